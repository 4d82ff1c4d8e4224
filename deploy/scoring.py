"""How good a run was, against a truth: identities across the two cameras, and over time.

The truth is a JSON file:
`{"fps": 10, "cameras": {"visible": [{"frame": 0, "identity": 401, "box": [x, y, w, h]}, ...], "infrared": [...]}}`.
The run is a sightings file written with --every-box. A track's identity is its final one, with merges followed.
Tracked boxes match true boxes one to one per frame, at an overlap (intersection over union) of 0.5 or more.

Shapes: T true identities, P predicted identities, N boxes, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from deploy.assignment import assign
from deploy.detector import overlap
from deploy.sightings import TrackKey
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LEAST_OVERLAP = 0.5


class Spot(NamedTuple):
    """A frame of a camera."""

    camera: str
    frame: int


class Person(NamedTuple):
    """A box of somebody: the true identity or the track's number."""

    label: int
    box: tuple[float, float, float, float]


Boxes = dict[Spot, list[Person]]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a sightings file says: every tracked box and the final identity of every track (None: none)."""

    boxes: Boxes
    identities: dict[TrackKey, int | None]
    modalities: dict[TrackKey, str] = field(default_factory=dict[TrackKey, str])


@dataclass(frozen=True, kw_only=True)
class Score:
    """Pairs are a visible and an infrared track that share an identity; None where there is nothing to divide by."""

    pairs_predicted: int
    pairs_true: int
    pairs_correct: int
    people_in_both: int
    people_matched: int  # of those: at least one correct pair
    id_true_positive: int
    id_false_positive: int
    id_false_negative: int

    @property
    def pair_precision(self) -> float | None:
        return _ratio(self.pairs_correct, self.pairs_predicted)

    @property
    def pair_recall(self) -> float | None:
        return _ratio(self.pairs_correct, self.pairs_true)

    @property
    def idf1(self) -> float | None:
        return _ratio(
            2 * self.id_true_positive, 2 * self.id_true_positive + self.id_false_positive + self.id_false_negative
        )

    def __str__(self) -> str:
        return (
            f"{self.people_in_both} people, {self.people_matched} matched across the cameras, "
            f"{self.pairs_predicted - self.pairs_correct} wrong pairs; pair precision {_show(self.pair_precision)}, "
            f"recall {_show(self.pair_recall)}; IDF1 {_show(self.idf1)}"
        )


def score(run: Run, truth: Boxes, least_overlap: float = LEAST_OVERLAP) -> Score:
    """Compare a run with the truth."""
    label_of = _label_tracks(run, truth, least_overlap)
    visible = sorted(key for key in run.identities if run.modalities.get(key, key.camera) == "visible")
    infrared = sorted(key for key in run.identities if run.modalities.get(key, key.camera) == "infrared")
    predicted = correct = expected = 0
    matched: set[int] = set()
    for v in visible:
        for i in infrared:
            same = run.identities[v] is not None and run.identities[v] == run.identities[i]
            person = label_of.get(v)
            truly = person is not None and person == label_of.get(i)
            predicted, expected, correct = predicted + same, expected + truly, correct + (same and truly)
            if same and truly and person is not None:
                matched.add(person)
    seen: defaultdict[int, set[str]] = defaultdict(set)
    for spot, people in truth.items():
        for person_box in people:
            seen[person_box.label].add(spot.camera)
    true_positive, false_positive, false_negative = identity_counts(run, truth, least_overlap)
    return Score(
        pairs_predicted=predicted,
        pairs_true=expected,
        pairs_correct=correct,
        people_in_both=sum(len(cameras) > 1 for cameras in seen.values()),
        people_matched=len(matched),
        id_true_positive=true_positive,
        id_false_positive=false_positive,
        id_false_negative=false_negative,
    )


def identity_counts(run: Run, truth: Boxes, least_overlap: float = LEAST_OVERLAP) -> tuple[int, int, int]:
    """Return IDTP, IDFP and IDFN over all cameras (Ristani et al., ECCV Workshops 2016).

    One true identity is assigned to one predicted identity so that most boxes agree; all other boxes are errors. A
    track without an identity counts as a person of its own.
    """
    together: Counter[tuple[int, int | TrackKey]] = Counter()
    for spot, tracked in run.boxes.items():
        people = truth.get(spot, [])
        if not people or not tracked:
            continue
        iou_NN = overlap(_array(people), _array(tracked))
        for t, p in np.argwhere(iou_NN >= least_overlap).tolist():
            together[people[t].label, _global_identity(run, TrackKey(spot.camera, tracked[p].label))] += 1
    true_labels = sorted({true for true, _ in together})
    predicted_labels = sorted({predicted for _, predicted in together}, key=str)
    count_TP = np.zeros((len(true_labels), len(predicted_labels)))
    for (true, predicted), count in together.items():
        count_TP[true_labels.index(true), predicted_labels.index(predicted)] = count
    true_positive = round(sum(count_TP[t, p] for t, p in assign(count_TP)))
    total_true, total_tracked = (sum(len(people) for people in boxes.values()) for boxes in (truth, run.boxes))
    return true_positive, total_tracked - true_positive, total_true - true_positive


def _label_tracks(run: Run, truth: Boxes, least_overlap: float) -> dict[TrackKey, int]:
    """Return whom each track follows for most of its frames; one that follows nobody for half of them is left out."""
    votes: defaultdict[TrackKey, Counter[int]] = defaultdict(Counter)
    length: Counter[TrackKey] = Counter()
    for spot, tracked in run.boxes.items():
        length.update(TrackKey(spot.camera, box.label) for box in tracked)
        people = truth.get(spot, [])
        if not people or not tracked:
            continue
        iou_NN = overlap(_array(people), _array(tracked))
        for t, p in assign(np.where(iou_NN >= least_overlap, iou_NN, np.float32(0))):
            votes[TrackKey(spot.camera, tracked[p].label)][people[t].label] += 1
    best = {key: counter.most_common(1)[0] for key, counter in votes.items()}
    return {key: person for key, (person, count) in best.items() if 2 * count >= length[key]}


def read_truth(path: Path) -> Boxes:
    """Read a truth file."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        boxes: Boxes = defaultdict(list)
        for camera, people in raw["cameras"].items():
            for entry in people:
                boxes[Spot(str(camera), int(entry["frame"]))].append(Person(int(entry["identity"]), _box(entry["box"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: expected a truth file with cameras, frames, identities and boxes, got {error!r}"
        ) from error
    return dict(boxes)


def read_run(path: Path) -> Run:
    """Read a sightings file that was written with --every-box."""
    boxes: Boxes = defaultdict(list)
    identities: dict[TrackKey, int | None] = {}
    modalities: dict[TrackKey, str] = {}
    merged: dict[int, int] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            match record["event"]:
                case "box":
                    spot = Spot(record["camera"], record["frame"])
                    boxes[spot].append(Person(record["track"], _box(record["box_px"])))
                case "track":
                    key = TrackKey(record["camera"], record["track"])
                    identities[key], modalities[key] = record["identity"], record["modality"]
                case "merge":
                    merged[record["absorbed"]] = record["kept"]
                case _:
                    pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: expected a sightings file of run_cameras, got {error!r}") from error
    if identities and not boxes:
        raise BadInput(f"{path}: expected a record of every box, found none; run run_cameras with --every-box")
    final = {key: _follow(identity, merged) for key, identity in identities.items()}
    return Run(boxes=dict(boxes), identities=final, modalities=modalities)


def _follow(identity: int | None, merged: dict[int, int]) -> int | None:
    while identity in merged:
        identity = merged[identity]
    return identity


def _global_identity(run: Run, key: TrackKey) -> int | TrackKey:
    identity = run.identities.get(key)
    return key if identity is None else identity


def _array(people: Sequence[Person]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([person.box for person in people], np.float32).reshape(-1, 4)


def _box(raw: Sequence[Any]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(value) for value in raw)
    return left, top, width, height


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
