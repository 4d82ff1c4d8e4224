"""A slow, obvious second way to each count of deploy.scoring.score: loops over frames, tracks and all assignments."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from deploy.sightings import TrackKey

if TYPE_CHECKING:
    from collections.abc import Collection

    from deploy.scoring.score import Person, Run, Truth

Counts = tuple[int, int, int]


def iou(one: Person, other: Person) -> float:
    (ax, ay, aw, ah), (bx, by, bw, bh) = one.box, other.box
    wide = max(0.0, min(ax + aw, bx + bw) - max(ax, bx))
    high = max(0.0, min(ay + ah, by + bh) - max(ay, by))
    return wide * high / (aw * ah + bw * bh - wide * high)


def who_is_under(run: Run, truth: Truth) -> dict[tuple[str, int, int], int]:
    """Return (camera, frame, track) -> person; for scenes whose boxes coincide or are apart."""
    found = {}
    for spot, tracked in run.boxes.items():
        for box in tracked:
            for person in truth.boxes.get(spot, []):
                if iou(box, person) >= 0.5:
                    found[spot.camera, spot.frame, box.label] = person.label
    return found


class SlowTracks:
    """What is known of every track: (person or None, identity, modality, place, first, last)."""

    def __init__(self, run: Run, truth: Truth) -> None:
        under = who_is_under(run, truth)
        frames: dict[TrackKey, list[int]] = {}
        for spot, tracked in run.boxes.items():
            for box in tracked:
                frames.setdefault(TrackKey(spot.camera, box.label), []).append(spot.frame)
        self.rows = []
        for key, numbers in frames.items():
            camera = truth.cameras[key.camera]
            people = [under.get((key.camera, number, key.track)) for number in numbers]
            best: int | None = None
            for person in sorted({person for person in people if person is not None}):
                if best is None or people.count(person) > people.count(best):
                    best = person
            if best is not None and people.count(best) < len(people) / 2:
                best = None
            span = [camera.start_s + number / camera.fps for number in numbers]
            self.rows.append((min(span), key, best, run.identities.get(key), camera.modality, camera.place, max(span)))
        self.rows.sort(key=lambda row: row[:2])

    def links(self) -> tuple[Counts, Counts]:
        """Return predicted, true and correct pairs across modalities and within one."""
        counts = {True: [0, 0, 0], False: [0, 0, 0]}
        for number, one in enumerate(self.rows):
            for other in self.rows[:number]:
                same = one[3] is not None and one[3] == other[3]
                truly = one[2] is not None and one[2] == other[2]
                row = counts[one[4] != other[4]]
                for index, hit in enumerate((same, truly, same and truly)):
                    row[index] += hit
        (a, b, c), (d, e, f) = counts[True], counts[False]
        return (a, b, c), (d, e, f)

    def newcomers(self) -> tuple[int, int]:
        """Return the people who were falsely matched when they came, and those who could be."""
        wrong = searched = 0
        for number, one in enumerate(self.rows):
            before = [row for row in self.rows[:number] if row[2] is not None]
            if one[2] is None or one[2] in [row[2] for row in before]:
                continue
            searched += len(before) > 0
            wrong += one[3] is not None and one[3] in [row[3] for row in before]
        return wrong, searched

    def searches(self) -> tuple[int, int]:
        """Return the tracks that were taken for somebody else's, and those that could be."""
        wrong = searched = 0
        for number, one in enumerate(self.rows):
            before = [row for row in self.rows[:number] if row[2] is not None]
            if one[2] is None or not before:
                continue
            owners = {row[2] for row in before if row[3] == one[3]}
            searched += 1
            wrong += one[3] is not None and len(owners) > 0 and one[2] not in owners
        return wrong, searched

    def in_view(self) -> tuple[int, int]:
        joined = pairs = 0
        for one in self.rows:
            for other in self.rows:
                if one[4] != "visible" or other[4] != "infrared" or one[5] != other[5]:
                    continue
                if None in (one[2], other[2]) or one[2] == other[2]:
                    continue
                if one[0] <= other[6] and other[0] <= one[6]:
                    pairs += 1
                    joined += one[3] is not None and one[3] == other[3]
        return joined, pairs


def slow_identity_counts(run: Run, truth: Truth, only: Collection[int] | None = None) -> Counts:
    """Return IDTP, IDFP and IDFN of the best of all assignments of people to identities."""
    under = who_is_under(run, truth)
    keys = sorted({TrackKey(spot.camera, box.label) for spot, boxes in run.boxes.items() for box in boxes})
    name = {key: key if run.identities.get(key) is None else run.identities[key] for key in keys}
    people = sorted({p.label for boxes in truth.boxes.values() for p in boxes if only is None or p.label in only})
    agree: dict[tuple[int, object], set[tuple[str, int]]] = {}
    tracked = 0
    for spot, boxes in run.boxes.items():
        for box in boxes:
            person = under.get((spot.camera, spot.frame, box.label))
            tracked += only is None or person is None or person in only
            if person is not None and (only is None or person in only):
                key = person, name[TrackKey(spot.camera, box.label)]
                agree.setdefault(key, set()).add((spot.camera, spot.frame))
    predicted: list[object] = [*sorted(set(name.values()), key=str), *[None] * len(people)]
    best = 0
    for choice in set(permutations(predicted, len(people))):
        best = max(best, sum(len(agree.get(pair, ())) for pair in zip(people, choice, strict=True)))
    true = sum(person.label in people for boxes in truth.boxes.values() for person in boxes)
    return best, tracked - best, true - best
