"""Which tracks of the evidence are one person, which are certainly not, and how many people there may be.

Sound without labels:
- two tracks apart at the same moments are different people, whatever their modalities;
- a known walker, alone in the views for a while, is one person in all tracks of that while;
- two tracks long at one spot of two aligned cameras are one person;
- what is known of one track holds for the other tracks of its person: whoever is beside the walker in the visible
  picture is not the walker's infrared track either.

Not used: two cameras that see the same k people of whom nobody is known. Each row of their k x k similarities holds one
true pair, but telling it by its height leaves the low ones for strangers and the tail too short, and as a mixture the
true pairs drown the few strangers that a threshold is about.

Shapes: T tracks, G groups of tracks known to be one person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calib.prototypes import unit_mean
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.thresholds.evidence import Evidence, EvidenceTrack
    from engines.manifest import Modality

    Flags = NDArray[np.bool_]

LEAST_APART_S = 1.0  # on one ground; a moment may be a box that jumped
LEAST_ELSEWHERE_S = 3.0  # of two grounds; a person who leaves one enters the other soon, and clocks differ
LEAST_AT_ONE_S = 3.0
LEAST_WALK_S = 0.5  # that a walker's track shares with the time of the walk
# Tracks of one modality as alike as all but a tenth of the halves of one track count as one person: it decides only how
# many independent pairs the measured ones are worth, and fewer people are worth less.
ALIKE = 0.1


@dataclass(frozen=True, kw_only=True)
class Walk:
    """A time span in which one known person alone was in the views; the same name is the same person."""

    from_s: float
    to_s: float
    name: str = "walker"

    def __post_init__(self) -> None:
        if not self.from_s < self.to_s:
            raise BadInput(f"--walker: expected a time and a later one, got {self.from_s:g} and {self.to_s:g} s")


@dataclass(frozen=True, kw_only=True, eq=False)
class Relations:
    """What is known of the tracks; person numbers whom there may be, for counting alone."""

    person_T: NDArray[np.int64]
    different_TT: Flags
    same_TT: Flags  # a track and itself are left out


class _Groups:
    """Tracks joined to people, and groups that must stay apart."""

    def __init__(self, count: int) -> None:
        self._root = list(range(count))
        self._apart: list[set[int]] = [set() for _ in range(count)]

    def find(self, track: int) -> int:
        while self._root[track] != track:
            self._root[track] = track = self._root[self._root[track]]
        return track

    def part(self, first: int, second: int) -> None:
        one, other = self.find(first), self.find(second)
        self._apart[one].add(other)
        self._apart[other].add(one)

    def join(self, first: int, second: int) -> bool:
        """Make two tracks one person unless they are known to be two; return whether they are one now."""
        one, other = self.find(first), self.find(second)
        if other in self._apart[one]:
            return False
        if one != other:
            self._root[other] = one
            for enemy in self._apart[other]:
                self._apart[enemy].discard(other)
                self._apart[enemy].add(one)
            self._apart[one] |= self._apart[other]
        return True

    def labels(self) -> NDArray[np.int64]:
        return np.unique([self.find(track) for track in range(len(self._root))], return_inverse=True)[1]

    def different(self) -> Flags:
        """Return which tracks belong to groups that are apart."""
        root_T = np.array([self.find(track) for track in range(len(self._root))], np.int64)
        apart_GG = np.zeros((len(root_T), len(root_T)), np.bool_)
        for group, enemies in enumerate(self._apart):
            if self.find(group) == group:
                apart_GG[group, list(enemies)] = True
        return apart_GG[np.ix_(root_T, root_T)]


def relate(evidence: Evidence, walks: Sequence[Walk] = ()) -> Relations:
    """Say who is who as far as it is certain; a walk during which two people were in the views is refused."""
    groups = _Groups(len(evidence.tracks))
    for meeting in evidence.meetings:
        cameras = (evidence.tracks[meeting.first].key.camera, evidence.tracks[meeting.second].key.camera)
        one_ground = evidence.grounds[cameras[0]] == evidence.grounds[cameras[1]]
        if meeting.apart_s >= (LEAST_APART_S if one_ground else LEAST_ELSEWHERE_S):
            groups.part(meeting.first, meeting.second)
    _join_walkers(groups, evidence, walks)
    for meeting in sorted(evidence.meetings, key=lambda m: (-m.at_one_s, m.first, m.second)):
        if meeting.at_one_s >= LEAST_AT_ONE_S and meeting.apart_s < LEAST_APART_S:
            groups.join(meeting.first, meeting.second)
    person_T, different_TT = groups.labels(), groups.different()
    same_TT = (person_T[:, None] == person_T[None, :]) & ~np.eye(len(person_T), dtype=np.bool_)
    _join_alike(groups, evidence.tracks)
    return Relations(person_T=groups.labels(), different_TT=different_TT, same_TT=same_TT)


def halves(track: EvidenceTrack) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return the means of the first and the last half of a track; None for a single crop."""
    middle = len(track.embedding_ND) // 2
    if not middle:
        return None
    parts = slice(None, middle), slice(middle, None)
    first_D, last_D = (unit_mean(track.embedding_ND[part], track.quality_N[part]) for part in parts)
    return first_D, last_D


def _join_walkers(groups: _Groups, evidence: Evidence, walks: Sequence[Walk]) -> None:
    first_of: dict[str, int] = {}
    for walk in walks:
        found = [
            index
            for index, track in enumerate(evidence.tracks)
            if min(track.last_s, walk.to_s) - max(track.first_s, walk.from_s) >= LEAST_WALK_S
        ]
        if not found:
            raise BadInput(
                f"--walker {walk.from_s:g} {walk.to_s:g}: expected somebody in the views in that time, found no track; "
                "the times are seconds from the start of the recording"
            )
        for index in found:
            first = first_of.setdefault(walk.name, index)
            if not groups.join(first, index):
                keys = [f"{key.camera} {key.track}" for key in (evidence.tracks[i].key for i in (first, index))]
                raise BadInput(
                    f"--walker {walk.from_s:g} {walk.to_s:g}: expected one person alone in the views, but "
                    f"{walk.name!r} is in two places at once (tracks {keys[0]} and {keys[1]}); name a shorter time"
                )
    names = list(first_of)
    for place, name in enumerate(names):
        for other in names[place + 1 :]:
            if groups.find(first_of[name]) == groups.find(first_of[other]):
                raise BadInput(f"--walker: expected {name!r} and {other!r} at different times, got one track for both")
            groups.part(first_of[name], first_of[other])


def _join_alike(groups: _Groups, tracks: Sequence[EvidenceTrack]) -> None:
    """Join tracks of one modality that look like one person, the most alike first, as far as it is not impossible."""
    modalities: tuple[Modality, ...] = ("visible", "infrared")
    for modality in modalities:
        chosen = [index for index, track in enumerate(tracks) if track.modality == modality]
        parts = [part for part in (halves(tracks[index]) for index in chosen) if part is not None]
        if not parts or len(chosen) < 2:
            continue
        level = float(np.quantile([float(first_D @ last_D) for first_D, last_D in parts], ALIKE))
        mean_TD = np.stack([unit_mean(tracks[index].embedding_ND, tracks[index].quality_N) for index in chosen])
        similarity_TT = mean_TD @ mean_TD.T
        first_N, second_N = np.nonzero(np.triu(similarity_TT >= level, 1))
        order_N = np.argsort(-similarity_TT[first_N, second_N], kind="stable")
        order: list[int] = order_N.tolist()
        for pair in order:
            groups.join(chosen[int(first_N[pair])], chosen[int(second_N[pair])])
