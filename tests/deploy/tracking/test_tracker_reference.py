"""ByteTrack against a slow second one, written from the paper's Algorithm 1 with matrices, loops and permutations.

Its filter is the textbook's on 8 x 8 matrices; its assignment tries every way. The paper leaves to its published code
what happens to tracks of one sight, lost tracks and duplicates; the text of those rules is in each function.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.tracking.motion_filter import boxes, correct, predict, start
from deploy.tracking.tracker import Tracker, TrackerSettings
from tests.camera_fakes import detections, frame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.detection.detector import Detections

    Box = tuple[float, float, float, float]

PAPER = TrackerSettings(reach_heights_per_s=0.0)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    across = max(0.0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    union = a[2] * a[3] + b[2] * b[3] - across * down
    return across * down / union if union > 0 else 0.0


def measured(box: Sequence[float]) -> np.ndarray:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2, box[2] / box[3], box[3]])


@dataclass
class SlowTrack:
    """A Kalman filter with its state (x, y, a, h and velocities), as in DeepSORT, and the track's record."""

    box: Sequence[float]
    first: float
    number: int = 0
    lost: bool = False
    seen: float = 0.0
    mean: np.ndarray = field(init=False)
    covariance: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        z, h, self.seen = measured(self.box), self.box[3], self.first
        self.mean = np.concatenate([z, np.zeros(4)])
        sigma = [h / 10, h / 10, 1e-2, h / 10, h / 16, h / 16, 1e-5, h / 16]
        self.covariance = np.diag(np.square(sigma))

    def predict(self) -> None:
        if self.lost:
            self.mean[6:] = 0
        h = max(self.mean[3], 1.0)
        noise = np.diag(np.square([h / 20, h / 20, 1e-2, h / 20, h / 160, h / 160, 1e-5, h / 160]))
        step = np.eye(8)
        for i in range(4):
            step[i, 4 + i] = 1
        self.mean = step @ self.mean
        self.covariance = step @ self.covariance @ step.T + noise

    def correct(self, box: Sequence[float]) -> None:
        h = max(self.mean[3], 1.0)
        look = np.eye(4, 8)
        spread = look @ self.covariance @ look.T + np.diag(np.square([h / 20, h / 20, 1e-1, h / 20]))
        gain = self.covariance @ look.T @ np.linalg.inv(spread)
        self.mean = self.mean + gain @ (measured(box) - look @ self.mean)
        self.covariance = self.covariance - gain @ spread @ gain.T

    def place(self) -> Box:
        x, y, a, h = self.mean[:4]
        return (x - a * h / 2, y - h / 2, a * h, h)


def best_pairs(tracks: list[SlowTrack], found: list[Sequence[float]], least: float) -> list[tuple[int, int]]:
    """Try every one-to-one choice; the greatest sum of overlaps of at least `least` wins."""
    places = [track.place() for track in tracks]
    gain = [[iou(place, box) if iou(place, box) >= least else 0.0 for box in found] for place in places]
    turned = len(tracks) > len(found)
    few, many = (len(found), len(tracks)) if turned else (len(tracks), len(found))
    best: tuple[float, list[tuple[int, int]]] = (0.0, [])
    for choice in itertools.permutations(range(many), few):
        pairs = [(c, i) if turned else (i, c) for i, c in enumerate(choice)]
        pairs = [(t, d) for t, d in pairs if gain[t][d] > 0]
        total = sum(gain[t][d] for t, d in pairs)
        if total > best[0] + 1e-9:
            best = (total, pairs)
    return best[1]


@dataclass
class SlowByteTrack:
    tracks: list[SlowTrack] = field(default_factory=list)
    count: int = 0
    frames: int = 0

    def update(self, found: Detections, time: float) -> tuple[dict[int, list[float]], list[int]]:
        """Return the boxes of the tracks that are seen, and the numbers of those that end."""
        boxes_, scores = found.box_N4.tolist(), found.score_N.tolist()
        high = [i for i, score in enumerate(scores) if score >= np.float32(0.5)]
        low = [i for i, score in enumerate(scores) if np.float32(0.1) <= score < np.float32(0.5)]
        for track in self.tracks:
            track.predict()
        confirmed = [track for track in self.tracks if track.number]
        tentative = [track for track in self.tracks if not track.number]
        given = self.choose(confirmed, tentative, boxes_, high, low)
        self.tracks = [track for track in self.tracks if track.number or id(track) in given]
        for track in self.tracks:
            if id(track) not in given:
                track.lost = True
        for track in confirmed + tentative:  # numbers are given in the order of the stages
            if id(track) in given:
                self.see(track, boxes_[given[id(track)]], time)
        # New tracks from high boxes that nobody wanted; those of the first frame count at once.
        for i, box in enumerate(boxes_):
            if scores[i] >= np.float32(0.6) and i not in given.values():
                self.tracks.append(SlowTrack(box, time))
                if self.frames == 0:
                    self.count += 1
                    self.tracks[-1].number = self.count
        self.frames += 1
        ended = self.end(time)
        return {t.number: list(t.box) for t in self.tracks if t.number and not t.lost}, ended

    @staticmethod
    def choose(
        confirmed: list[SlowTrack], tentative: list[SlowTrack], found: list[Box], high: list[int], low: list[int]
    ) -> dict[int, int]:
        """Return the box of each track that gets one, by the id of the object."""
        given: dict[int, int] = {}
        # First association: all tracks, lost ones too, with the high boxes.
        for t, d in best_pairs(confirmed, [found[i] for i in high], 0.2):
            given[id(confirmed[t])] = high[d]
        # Second association: tracks still followed with the low boxes.
        left = [track for track in confirmed if id(track) not in given and not track.lost]
        for t, d in best_pairs(left, [found[i] for i in low], 0.5):
            given[id(left[t])] = low[d]
        # Tracks of one sight: with the high boxes that are left; unmatched they go.
        high = [i for i in high if i not in given.values()]
        for t, d in best_pairs(tentative, [found[i] for i in high], 0.3):
            given[id(tentative[t])] = high[d]
        return given

    def see(self, track: SlowTrack, box: Sequence[float], time: float) -> None:
        track.correct(box)
        track.box, track.seen, track.lost = box, time, False
        if not track.number:
            self.count += 1
            track.number = self.count

    def end(self, time: float) -> list[int]:
        """Tracks lost for too long, and of a lost one over a seen one (IoU above 0.85) the younger."""
        gone = [t for t in self.tracks if t.lost and time - t.seen > 2.0]
        for a in [t for t in self.tracks if t.number and t.lost]:
            for b in [t for t in self.tracks if t.number and not t.lost]:
                if iou(a.place(), b.place()) > 0.85:
                    younger = a if (a.first, a.number) > (b.first, b.number) else b
                    gone += [younger] if younger not in gone else []
        self.tracks = [t for t in self.tracks if t not in gone]
        return [t.number for t in gone if t.number]


def random_scene(seed: int) -> list[Detections]:
    """One to five people who walk, hide, come and go; boxes shake, some are weak, missing, doubled or nobody's."""
    rng = np.random.default_rng(seed)
    people = int(rng.integers(1, 6))
    height = rng.uniform(40, 80, people)
    place = np.stack([rng.uniform(0, 160, people), rng.uniform(0, 60, people)], 1)
    speed = rng.uniform(-1, 1, (people, 2)) * [rng.choice([2.0, 5.0, 9.0]), 1.5]
    hidden_at = rng.integers(5, 35, people)
    hidden_for = rng.choice([0, 4, 12, 30], people)
    scene: list[Detections] = []
    for t in range(45):
        rows: list[tuple[float, float, float, float, float]] = []
        for i in range(people):
            if hidden_at[i] <= t < hidden_at[i] + hidden_for[i] or rng.random() < 0.07:
                continue
            shake = rng.normal(0, 1.0, 4)
            x, y = place[i] + speed[i] * t
            score = rng.uniform(0.12, 0.45) if rng.random() < 0.25 else rng.uniform(0.5, 0.95)
            box = (x + shake[0], y + shake[1], 0.4 * height[i] + shake[2], height[i] + shake[3])
            rows.append((*box, score))
            if rng.random() < 0.05:
                # Another size: two equal boxes inside a prediction would overlap it by exactly as much.
                rows.append((box[0] + 1, box[1] + 1, 1.05 * box[2], 0.97 * box[3], score * 0.97))
        if rng.random() < 0.1:
            rows.append((*rng.uniform(0, 150, 2), 20, 50, rng.uniform(0.1, 0.9)))
        scene.append(detections(*rows))
    return scene


@pytest.mark.parametrize("block", range(6))
def test_three_hundred_random_scenes_give_the_tracks_of_the_slow_one(block: int) -> None:
    tracked = weak = ended_count = lost_and_found = 0
    for seed in range(50 * block, 50 * block + 50):
        fast, slow = Tracker(PAPER), SlowByteTrack()
        last: dict[int, int] = {}
        for index, found in enumerate(random_scene(seed)):
            step = fast.update(found, frame(index))
            expected, ended = slow.update(found, index / 10)
            assert {box.track: box.box_4.tolist() for box in step.seen} == expected, (seed, index)
            assert sorted(step.ended) == sorted(ended), (seed, index)
            assert not any(box.coasted for box in step.seen)
            tracked += len(step.seen)
            weak += sum(box.score < 0.5 for box in step.seen)
            ended_count += len(ended)
            lost_and_found += sum(index - last.get(box.track, index) > 1 for box in step.seen)
            last.update({box.track: index for box in step.seen})
    # The scenes have what is to be compared.
    assert tracked > 3000
    assert min(weak, ended_count, lost_and_found) > 20


def test_the_filter_is_the_one_on_matrices() -> None:
    rng = np.random.default_rng(3)
    path = np.array([100, 80, 40, 110]) + np.cumsum(rng.normal(0, 3, (3, 30, 4)), axis=1)
    slow = [SlowTrack(list(path[i, 0]), 0.0) for i in range(3)]
    state_5T4 = start(path[:, 0].astype(np.float32))
    for t in range(1, 30):
        held = [1] if t % 5 == 0 else []
        state_5T4 = predict(state_5T4, 1, held)
        for i, track in enumerate(slow):
            track.lost = i in held
            track.predict()
        np.testing.assert_allclose(boxes(state_5T4), [track.place() for track in slow], rtol=1e-5)
        rows = [i for i in range(3) if i not in held and (i + t) % 4]
        correct(state_5T4, rows, path[rows, t].astype(np.float32))
        for i in rows:
            slow[i].correct(path[i, t])
        for i, track in enumerate(slow):
            for block, part in enumerate(((0, 0), (0, 4), (4, 4))):
                for value in range(4):
                    expected = track.covariance[part[0] + value, part[1] + value]
                    assert state_5T4[2 + block, i, value] == pytest.approx(expected, rel=1e-4)


def test_several_steps_at_once_are_that_many_single_ones() -> None:
    """At rest, where the height and with it the noise stays."""
    state_5T4 = start(np.array([[0, 0, 20, 60]], np.float32))
    single = state_5T4
    for _ in range(7):
        single = predict(single, 1)
    np.testing.assert_allclose(predict(state_5T4, 7), single, rtol=1e-12)
