"""Thresholds from what a site's cameras saw, without labels; a direction without enough evidence is not written.

Shapes: T tracks, N pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calib.directions import DIRECTIONS, Direction, Measured, Track, measure, score
from calib.impostors import LEAST_ABOVE
from calib.prototypes import choose_prototypes, unit_mean
from deploy.thresholds.relations import halves, relate
from deploy.thresholds.thresholds import Thresholds
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.sightings import TrackKey
    from deploy.thresholds.evidence import Evidence
    from deploy.thresholds.relations import Relations, Walk

    Float = NDArray[np.float64]

KNOWN, HALVES = "known people", "halves of a track"  # where pairs of one person come from
CLOSEST = 3  # pairs of strangers shown with the result: a person in two tracks at once would be among them


@dataclass(frozen=True, kw_only=True, eq=False)
class Finding:
    """What a direction gave: written or not, and what it is made of."""

    direction: Direction
    measured: Measured | None
    written: bool
    impostor_N: Float
    genuine_N: Float
    genuine_source: str  # KNOWN or HALVES
    closest: tuple[tuple[float, TrackKey, TrackKey], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """`thresholds` knows the written directions only; it has none where nothing could be written."""

    thresholds: Thresholds
    findings: tuple[Finding, ...]
    tracks: int
    people: int  # as far as they can be told apart
    seconds: float


def calibrate(evidence: Evidence, *, false_match_rate: float, walks: Sequence[Walk] = ()) -> Calibration:
    """Measure every direction, and keep those that can promise the rate in a search among one person at least."""
    if not 0 < false_match_rate < 1:
        raise BadInput(f"--false-match-rate: expected a share between 0 and 1, got {false_match_rate:g}")
    if len(evidence.tracks) < 2:
        raise BadInput(
            f"expected tracks of people in the evidence, got {len(evidence.tracks)}; record for longer, where people "
            "walk, and check the cameras with run_cameras.py --show"
        )
    relations = relate(evidence, walks)
    tracks = _tracks(evidence, relations)
    findings = tuple(_find(evidence, relations, tracks, direction, false_match_rate) for direction in DIRECTIONS)
    people = len(set(relations.person_T.tolist()))
    measured: dict[Direction, Measured] = {
        found.direction: found.measured for found in findings if found.written and found.measured is not None
    }
    thresholds = Thresholds(
        measured=measured,
        false_match_rate=false_match_rate,
        source=f"site, {len(evidence.tracks)} tracks of about {people} people in {evidence.seconds / 60:.1f} minutes",
        model=evidence.model,
        engine=evidence.engine,
        created=evidence.created,
    )
    return Calibration(
        thresholds=thresholds,
        findings=findings,
        tracks=len(evidence.tracks),
        people=people,
        seconds=evidence.seconds,
    )


def verdict(found: Finding, false_match_rate: float) -> str:
    """Say whether a direction was written, and of one that was not, what is missing and what can be had instead."""
    if found.measured is None:
        return f"not written: {_missing(found.direction)}"
    least = found.measured.least_rate
    if found.written:
        return "written"
    if found.measured.supported(false_match_rate):
        return (
            "not written: nobody would reach it, for some strangers are as alike as one person; did they cross and "
            "swap tracks (the most alike are named)? Use a better --detector, or fewer people at a time"
        )
    worth = found.measured.tails[0].effective_pairs
    needed = LEAST_ABOVE / false_match_rate
    hint = f", or ask for --false-match-rate {_rounded_up(least)}" if least < 0.5 else ""
    return (
        f"not written: its strangers are worth {worth:.0f} independent pairs, {100 * false_match_rate:g} % needs "
        f"{needed:.0f}; record about {needed / worth:.1f} times as many different people{hint}"
    )


def _can_match(measured: Measured, false_match_rate: float) -> bool:
    """Say whether a cosine below 1, to the digits that are shown, keeps the rate in a search among one person."""
    return round(measured.least(false_match_rate), 3) < 1.0


def _tracks(evidence: Evidence, relations: Relations) -> list[Track]:
    return [
        Track(
            person=int(person),
            camera=track.key.camera,
            modality=track.modality,
            mean_D=unit_mean(track.embedding_ND, track.quality_N),
            prototype_PD=choose_prototypes(track.embedding_ND, track.quality_N),
        )
        for track, person in zip(evidence.tracks, relations.person_T, strict=True)
    ]


def _find(
    evidence: Evidence, relations: Relations, seen: list[Track], direction: Direction, false_match_rate: float
) -> Finding:
    strangers = score(seen, direction, relations.different_TT)
    tracks, different_TT, same_TT, source = _with_positives(evidence, relations, direction, seen)
    measured = measure(tracks, direction, different_TT, same_TT)
    order: list[int] = np.argsort(-strangers.similarity_N, kind="stable").tolist()
    closest: dict[frozenset[TrackKey], tuple[float, TrackKey, TrackKey]] = {}
    for pair in order:
        keys = [evidence.tracks[int(places[pair])].key for places in (strangers.first_N, strangers.second_N)]
        closest.setdefault(frozenset(keys), (float(strangers.similarity_N[pair]), keys[0], keys[1]))
        if len(closest) == CLOSEST:
            break
    return Finding(
        direction=direction,
        measured=measured,
        written=measured is not None
        and measured.supported(false_match_rate)
        and _can_match(measured, false_match_rate),
        impostor_N=strangers.similarity_N,
        genuine_N=score(tracks, direction, same_TT).similarity_N,
        genuine_source=source,
        closest=tuple(closest.values()),
    )


def _with_positives(
    evidence: Evidence, relations: Relations, direction: Direction, tracks: list[Track]
) -> tuple[list[Track], NDArray[np.bool_], NDArray[np.bool_], str]:
    """Add the halves of tracks in one modality, where nobody is known to have come back.

    Halves resemble each other more than two visits do: they show that the engine works, not what it misses.
    """
    different_TT, same_TT = relations.different_TT, relations.same_TT
    query, _, stored = direction.partition("->")
    modality_T = np.array([track.modality for track in tracks])
    if query != stored or same_TT[np.ix_(modality_T == query, modality_T == query)].any():
        return tracks, different_TT, same_TT, KNOWN
    extra = [
        Track(
            person=track.person,
            camera=track.camera,
            modality=track.modality,
            mean_D=half_D,
            prototype_PD=half_D[None],
        )
        for track, seen in zip(tracks, evidence.tracks, strict=True)
        if track.modality == query
        for half_D in halves(seen) or ()
    ]
    count, total = len(tracks), len(tracks) + len(extra)
    different, same = np.zeros((total, total), np.bool_), np.zeros((total, total), np.bool_)
    different[:count, :count] = different_TT
    first = np.arange(count, total, 2)
    same[first, first + 1] = same[first + 1, first] = True
    return [*tracks, *extra], different, same, HALVES


def _missing(direction: Direction) -> str:
    if direction in ("visible->visible", "infrared->infrared"):
        return f"no two people were in one {direction.split('->')[0]} picture, or in two places, at the same time"
    return (
        "nobody in a visible and somebody in an infrared picture are known to be different; let a known person walk "
        "through the views alone and then meet others (--walker), align the cameras, or record two places at once"
    )


def _rounded_up(rate: float) -> str:
    digits = -math.floor(math.log10(rate)) + 1
    return f"{math.ceil(rate * 10**digits) / 10**digits:.{max(digits, 0)}f}".rstrip("0")
