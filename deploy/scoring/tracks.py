"""Tracked boxes against true boxes: whom a track follows, where it errs, and IDF1's counts.

Shapes: T true identities, P predicted identities, N true boxes, M tracked boxes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploy.detection.detector import overlap
from deploy.scoring.files import Spot
from deploy.sightings import TrackKey
from deploy.tracking.assignment import assign

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

    from deploy.scoring.files import Person, Run, Truth

    Float = NDArray[np.float32]

STAY_S = 2.0  # a person who is out of a camera's view for longer begins a new stay


class Match(NamedTuple):
    """A tracked box that lies on a true box, one to one within a frame."""

    spot: Spot
    label: int
    track: TrackKey


@dataclass(frozen=True, kw_only=True)
class TrackSpan:
    """A track on the clock of the run; label is whom it follows, None: nobody for half of its boxes."""

    key: TrackKey
    modality: str
    place: str
    first_s: float
    last_s: float
    label: int | None
    identity: int | None


@dataclass(frozen=True)
class IdentityCounts:
    """IDTP, IDFP and IDFN of Ristani et al. (ECCV Workshops 2016)."""

    true_positive: int
    false_positive: int
    false_negative: int


def match_boxes(run: Run, truth: Truth, least_overlap: float) -> list[Match]:
    """Match boxes one to one in every frame so that the summed overlap is greatest; ordered by camera and frame."""
    matches: list[Match] = []
    for spot in sorted(run.boxes):
        people, tracked = truth.boxes.get(spot, []), run.boxes[spot]
        if people and tracked:
            iou_NM = overlap(_array(people), _array(tracked))
            pairs = assign(np.where(iou_NM >= least_overlap, iou_NM, np.float32(0)))
            matches += [Match(spot, people[t].label, TrackKey(spot.camera, tracked[p].label)) for t, p in pairs]
    return matches


def track_spans(run: Run, truth: Truth, matches: Sequence[Match]) -> list[TrackSpan]:
    """Return every track with the person it follows longest, in order of first box (ties: camera, number)."""
    votes: defaultdict[TrackKey, Counter[int]] = defaultdict(Counter)
    for match in matches:
        votes[match.track][match.label] += 1
    times: defaultdict[TrackKey, list[float]] = defaultdict(list)
    for spot, tracked in run.boxes.items():
        for box in tracked:
            times[TrackKey(spot.camera, box.label)].append(truth.time_s(spot))
    spans: list[TrackSpan] = []
    for key, seen_s in times.items():
        camera = truth.cameras[key.camera]
        # The lower identity wins a tie, so that the order of the boxes decides nothing.
        label, count = min(votes[key].items(), key=lambda item: (-item[1], item[0]), default=(None, 0))
        spans.append(
            TrackSpan(
                key=key,
                modality=run.modalities.get(key, camera.modality),
                place=camera.place,
                first_s=min(seen_s),
                last_s=max(seen_s),
                label=label if 2 * count >= len(seen_s) else None,
                identity=run.identities.get(key),
            )
        )
    return sorted(spans, key=lambda span: (span.first_s, span.key))


def identity_counts(
    run: Run, truth: Truth, matches: Sequence[Match], least_overlap: float, only: AbstractSet[int] | None = None
) -> IdentityCounts:
    """Count boxes under the right identity over all cameras.

    One true identity is assigned to one predicted identity so that most boxes agree; all other boxes are errors. A
    track without an identity counts as a person of its own. With `only`, other people's true boxes and the tracked
    boxes that lie on them are left out.
    """
    left_out = {(m.spot, m.track.track) for m in matches if only is not None and m.label not in only}
    together: Counter[tuple[int, int | TrackKey]] = Counter()
    total_true = total_tracked = 0
    for spot in sorted(truth.boxes.keys() | run.boxes.keys()):
        people = [person for person in truth.boxes.get(spot, []) if only is None or person.label in only]
        tracked = [box for box in run.boxes.get(spot, []) if (spot, box.label) not in left_out]
        total_true, total_tracked = total_true + len(people), total_tracked + len(tracked)
        if people and tracked:
            together.update(_agreements(run, spot, people, tracked, least_overlap))
    true_positive = _best_sum(together)
    return IdentityCounts(true_positive, total_tracked - true_positive, total_true - true_positive)


def _agreements(
    run: Run, spot: Spot, people: Sequence[Person], tracked: Sequence[Person], least_overlap: float
) -> set[tuple[int, int | TrackKey]]:
    """Return who lies under which identity; two boxes of one identity on one person are one agreement."""
    iou_NM = overlap(_array(people), _array(tracked))
    found: set[tuple[int, int | TrackKey]] = set()
    for t, p in np.argwhere(iou_NM >= least_overlap).tolist():
        key = TrackKey(spot.camera, tracked[p].label)
        identity = run.identities.get(key)
        found.add((people[t].label, key if identity is None else identity))
    return found


def _best_sum(together: Counter[tuple[int, int | TrackKey]]) -> int:
    row_of = {label: number for number, label in enumerate(dict.fromkeys(true for true, _ in together))}
    column_of = {label: number for number, label in enumerate(dict.fromkeys(predicted for _, predicted in together))}
    count_TP = np.zeros((len(row_of), len(column_of)))
    for (true, predicted), count in together.items():
        count_TP[row_of[true], column_of[predicted]] = count
    return round(sum(float(count_TP[t, p]) for t, p in assign(count_TP)))


def count_switches(matches: Sequence[Match]) -> int:
    """Count how often a track goes over from one person to another."""
    followed: dict[TrackKey, int] = {}
    switches = 0
    for match in matches:
        switches += followed.get(match.track, match.label) != match.label
        followed[match.track] = match.label
    return switches


def count_fragments(truth: Truth, matches: Sequence[Match]) -> int:
    """Count how often a person goes over to another track of a camera without having left its view."""
    track_of = {(match.spot, match.label): match.track for match in matches}
    last: dict[tuple[str, int], tuple[float, TrackKey | None]] = {}  # camera, label -> when in view, last track
    fragments = 0
    for spot in sorted(truth.boxes):
        for person in truth.boxes[spot]:
            now_s, track = truth.time_s(spot), track_of.get((spot, person.label))
            seen_s, before = last.get((spot.camera, person.label), (now_s, None))
            if now_s - seen_s > STAY_S:
                before = None
            fragments += track is not None and before is not None and track != before
            last[spot.camera, person.label] = (now_s, track or before)
    return fragments


def _array(people: Sequence[Person]) -> Float:
    return np.array([person.box for person in people], np.float32).reshape(-1, 4)
