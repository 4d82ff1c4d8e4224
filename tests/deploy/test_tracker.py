"""ByteTrack against cases that can be followed by hand. Boxes are 20 x 60 and move along x."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.motion_filter import correct, predict, start
from deploy.tracker import Tracker, TrackerSettings
from tests.camera_fakes import detections, frame


def follow(*rows: list[tuple[float, float]]) -> list[dict[int, float]]:
    """Give the tracker (x, score) per person and frame; return per frame the x of every seen track."""
    tracker = Tracker()
    found: list[dict[int, float]] = []
    for index, people in enumerate(rows):
        boxes = detections(*((x, 30.0, 20.0, 60.0, score) for x, score in people))
        found.append({box.track: float(box.box_4[0]) for box in tracker.update(boxes, frame(index)).seen})
    return found


def test_one_person_keeps_one_number() -> None:
    assert follow(*([(10.0 + 4 * t, 0.9)] for t in range(10))) == [{1: 10.0 + 4 * t} for t in range(10)]


def test_a_person_who_comes_later_is_confirmed_by_the_second_sight() -> None:
    found = follow([], [(10, 0.9)], [(12, 0.9)], [(14, 0.9)])
    assert found == [{}, {}, {1: 12.0}, {1: 14.0}]


def test_a_single_flash_is_no_track() -> None:
    assert follow([], [(10, 0.9)], [], [(80, 0.9)], []) == [{}, {}, {}, {}, {}]


def test_people_who_cross_keep_their_numbers() -> None:
    # 6 px a frame against each other; they overlap fully at frame 10 and both stay detected.
    rows = [[(10.0 + 6 * t, 0.9), (130.0 - 6 * t, 0.8)] for t in range(21)]
    found = follow(*rows)
    assert found[0] == {1: 10.0, 2: 130.0}
    assert found[-1] == {1: 130.0, 2: 10.0}


def test_a_weak_box_carries_a_hidden_person() -> None:
    rows = [[(10.0 + 2 * t, 0.2 if 4 <= t < 7 else 0.9)] for t in range(10)]
    assert all(list(seen) == [1] for seen in follow(*rows))


def test_a_weak_box_starts_nothing() -> None:
    assert all(seen == {} for seen in follow(*([(10.0, 0.3)] for _ in range(5))))


def test_a_gap_of_one_second_is_bridged_where_the_motion_leads() -> None:
    rows = [[(10.0 + 3 * t, 0.9)] if not 8 <= t < 18 else [] for t in range(22)]
    found = follow(*rows)
    assert found[7] == {1: 31.0}
    assert found[12] == {}
    assert found[18] == {1: 64.0}


def test_a_gap_of_three_seconds_ends_the_track() -> None:
    tracker = Tracker()
    ended: list[tuple[int, ...]] = []
    for index in range(40):
        boxes = detections((10, 30, 20, 60, 0.9)) if index < 5 or index >= 35 else detections()
        ended.append(tracker.update(boxes, frame(index)).ended)
    # Last seen at 0.4 s; more than 2 s later is 2.5 s.
    assert [index for index, tracks in enumerate(ended) if tracks] == [25]
    assert tracker.finish() == (2,)


def test_a_blob_of_two_people_drags_nobody_along() -> None:
    """Person 1 walks left, person 2 stands; at the frames 8 to 11 both are one blob."""

    def run(*, blobs: bool) -> list[dict[int, float]]:
        tracker = Tracker(TrackerSettings(blobs=blobs))
        found: list[dict[int, float]] = []
        for index in range(16):
            walker, stander = 100.0 - 6 * index, 30.0
            if 8 <= index < 12:
                left, right = min(walker, stander), max(walker, stander) + 20
                boxes = detections((left, 28, right - left, 64, 1))
            else:
                boxes = detections((walker, 30, 20, 60, 1), (stander, 30, 20, 60, 1))
            found.append({b.track: float(b.box_4[0]) for b in tracker.update(boxes, frame(index)).seen})
        return found

    assert run(blobs=True)[7] == {1: 58.0, 2: 30.0}
    assert run(blobs=True)[9] == {}
    assert run(blobs=True)[15] == {1: 10.0, 2: 30.0}
    assert run(blobs=False)[9] != {}


def test_dropped_frames_of_a_live_camera_count_as_steps() -> None:
    tracker = Tracker()
    for index in (0, 1, 2, 3, 4, 9, 14):  # 4 px a frame, then five frames at once
        step = tracker.update(detections((10 + 4 * index, 30, 20, 60, 0.9)), frame(index))
    assert [box.track for box in step.seen] == [1]


def test_two_trackers_share_nothing_and_repeat_each_other() -> None:
    rows = [[(10.0 + 6 * t, 0.9), (130.0 - 6 * t, 0.8)] for t in range(21)]
    assert follow(*rows) == follow(*rows)


def test_the_filter_learns_a_constant_velocity() -> None:
    motion = start(np.array([0.0, 0.0, 20.0, 60.0]))
    for t in range(1, 30):
        motion = correct(predict(motion, 1), np.array([3.0 * t, 0.0, 20.0, 60.0]))
    assert motion.mean_8[4] == pytest.approx(3.0, abs=0.05)
    assert predict(motion, 10).box_4[0] == pytest.approx(87 + 30, abs=1.0)
    assert np.linalg.eigvalsh(motion.covariance_88).min() > 0


def test_holding_the_size_stops_growth() -> None:
    motion = start(np.array([0.0, 0.0, 20.0, 60.0]))
    for t in range(1, 10):
        motion = correct(predict(motion, 1), np.array([0.0, 0.0, 20.0 + t, 60.0 + 3 * t]))
    assert predict(motion, 10, hold_size=True).box_4[3] == pytest.approx(motion.box_4[3])
