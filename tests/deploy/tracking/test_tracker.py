"""Tracking in cases that can be followed by hand. Boxes are 20 x 60 and move along x at ten frames a second."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deploy.tracking.motion_filter import boxes, correct, predict, start
from deploy.tracking.tracker import Tracker, TrackerSettings
from tests.camera_fakes import detections, frame

PAPER = TrackerSettings(reach_heights_per_s=0.0)
SORT = dataclasses.replace(PAPER, weak_score=0.5)  # strong boxes alone, as SORT has them


def follow(
    *rows: list[tuple[float, float]], settings: TrackerSettings | None = None, fps: float = 10
) -> list[dict[int, float]]:
    """Give the tracker (x, score) per person and frame; return per frame the x of every seen track."""
    tracker = Tracker(settings or TrackerSettings())
    found: list[dict[int, float]] = []
    for index, people in enumerate(rows):
        given = detections(*((x, 30.0, 20.0, 60.0, score) for x, score in people))
        step = tracker.update(given, frame(index, time_s=index / fps))
        found.append({box.track: float(box.box_4[0]) for box in step.seen})
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


@pytest.mark.parametrize("settings", [TrackerSettings(), PAPER])
def test_people_who_hide_each_other_while_they_cross_keep_their_numbers(settings: TrackerSettings) -> None:
    """The one behind has no box at all while more than half of her is hidden."""
    rows = [[(10.0 + 6 * t, 0.9)] + [(130.0 - 6 * t, 0.8)] * (abs(120 - 12 * t) > 10) for t in range(21)]
    assert [len(row) for row in rows].count(1) == 1
    hidden = [row if not 8 <= t <= 12 else row[:1] for t, row in enumerate(rows)]
    assert follow(*hidden, settings=settings)[-1] == {1: 130.0, 2: 10.0}


def test_a_weak_box_carries_a_hidden_person() -> None:
    rows = [[(10.0 + 2 * t, 0.2 if 4 <= t < 7 else 0.9)] for t in range(10)]
    assert all(list(seen) == [1] for seen in follow(*rows))


def test_weak_boxes_keep_a_track_that_strong_ones_alone_lose() -> None:
    """She stops and turns round behind a counter: where she comes out is not where she would have walked on to.

    The paper's point, and its figure 2: with strong boxes alone she is another person afterwards.
    """
    steps = [*range(0, 40, 4), *range(40, 28, -1), *range(28, -12, -4)]
    rows = [[(100.0 + x, 0.3 if 10 <= t < 22 else 0.9)] for t, x in enumerate(steps)]
    assert [list(seen) for seen in follow(*rows, settings=PAPER)] == [[1]] * len(steps)
    alone = follow(*rows, settings=SORT)
    assert alone[15] == {}
    assert list(alone[-1]) == [2]


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
        found = detections((10, 30, 20, 60, 0.9)) if index < 5 or index >= 35 else detections()
        ended.append(tracker.update(found, frame(index)).ended)
    # Last seen at 0.4 s; more than 2 s later is 2.5 s.
    assert [index for index, tracks in enumerate(ended) if tracks] == [25]
    assert tracker.finish() == (2,)


def test_a_camera_that_was_away_has_lost_everybody() -> None:
    """Its index goes on where it stopped, and somebody else may stand at the same place."""
    tracker = Tracker()
    person = detections((10, 30, 20, 60, 0.9))
    tracker.update(person, frame(0))
    tracker.update(person, frame(1))
    step = tracker.update(person, frame(2, time_s=60.0))
    assert step.ended == (1,)
    assert [box.track for box in step.seen] == [2]


def test_the_younger_of_two_tracks_on_one_person_goes() -> None:
    """The first is lost at 50; the second, who walks onto its place, is taken for the first there, and ends."""
    tracker = Tracker(PAPER)
    tracker.update(detections((50, 30, 20, 60, 0.9), (80, 30, 20, 60, 0.9)), frame(0))
    seen: list[list[int]] = []
    ended: list[tuple[int, ...]] = []
    for index in range(1, 14):
        step = tracker.update(detections((max(83 - 3 * index, 50), 30, 20, 60, 0.9)), frame(index))
        seen.append([box.track for box in step.seen])
        ended.append(step.ended)
    assert seen == [[2]] * 10 + [[1]] * 3
    assert ended == [()] * 10 + [(2,)] + [()] * 2


@pytest.mark.parametrize("metres_per_s", [1.4, 2.0, 3.0, -3.0])
def test_a_fast_walker_at_five_frames_a_second_is_one_track(metres_per_s: float) -> None:
    """60 px are 1.7 m, so that 2 m/s are 14 px between two frames and boxes of 20 px overlap by 0.17."""
    step_px = metres_per_s / 5 * 60 / 1.7
    rows = [[(300.0 + step_px * t, 0.8)] for t in range(12)]
    found = follow(*rows, fps=5)
    assert [list(seen) for seen in found] == [[1]] * 12
    later = follow([], *rows, fps=5)  # not there from the first frame on: the second sight confirms
    assert [list(seen) for seen in later[2:]] == [[1]] * 11


def test_the_paper_loses_the_walker_at_five_frames_a_second() -> None:
    rows = [[(300.0 + 14 * t, 0.8)] for t in range(12)]
    assert follow([], *rows, settings=PAPER, fps=5) == [{}] * 13


def test_people_who_walk_in_a_row_at_five_frames_a_second_keep_their_numbers() -> None:
    """Three people 40 px apart, each 11 px further on in every frame: the nearest box is the right one."""
    rows = [[(10.0 + 40 * person + 11 * t, 0.8) for person in range(3)] for t in range(20)]
    assert follow(*rows, fps=5)[-1] == {1: 219.0, 2: 259.0, 3: 299.0}


def test_a_blob_of_two_people_drags_nobody_along() -> None:
    """Person 1 walks left, person 2 stands; at the frames 8 to 11 both are one blob."""

    def run(*, blobs: bool) -> list[dict[int, float]]:
        tracker = Tracker(TrackerSettings(blobs=blobs))
        found: list[dict[int, float]] = []
        for index in range(16):
            walker, stander = 100.0 - 6 * index, 30.0
            if 8 <= index < 12:
                left, right = min(walker, stander), max(walker, stander) + 20
                given = detections((left, 28, right - left, 64, 1))
            else:
                given = detections((walker, 30, 20, 60, 1), (stander, 30, 20, 60, 1))
            found.append({b.track: float(b.box_4[0]) for b in tracker.update(given, frame(index)).seen})
        return found

    assert run(blobs=True)[7] == {1: 58.0, 2: 30.0}
    assert run(blobs=True)[9] == {}
    assert run(blobs=True)[15] == {1: 10.0, 2: 30.0}
    assert run(blobs=False)[9] != {}


def test_dropped_frames_of_a_live_camera_count_as_steps() -> None:
    tracker = Tracker(PAPER)
    for index in (0, 1, 2, 3, 4, 9, 14):  # 4 px a frame, then five frames at once
        step = tracker.update(detections((10 + 4 * index, 30, 20, 60, 0.9)), frame(index))
    assert [box.track for box in step.seen] == [1]


def test_two_trackers_share_nothing_and_repeat_each_other() -> None:
    rows = [[(10.0 + 6 * t, 0.9), (130.0 - 6 * t, 0.8)] for t in range(21)]
    assert follow(*rows) == follow(*rows)


def walking(index: int) -> tuple[float, float, float, float, float]:
    return (10.0 + 4 * index, 30.0, 20.0, 60.0, 0.9)


def test_coasting_shows_where_the_people_should_be() -> None:
    tracker = Tracker()
    for index in range(12):
        tracker.update(detections(walking(index)), frame(index))
    for index in (12, 13, 14):
        step = tracker.coast(frame(index))
        (box,) = step.seen
        assert (box.track, box.coasted, step.ended) == (1, True, ())
        assert box.box_4.tolist() == pytest.approx(walking(index)[:4], abs=2)


def test_detecting_every_second_frame_loses_nobody() -> None:
    """A crossing, four weak sights and a person who is in the picture later; coasted frames confirm and end nothing."""
    tracker = Tracker()
    numbers: list[list[int]] = []
    for index in range(40):
        left, right = 10.0 + 4 * index, 170.0 - 4 * index
        people = [(left, 30, 20, 60, 0.3 if 8 <= index < 16 else 0.9), (right, 30, 20, 60, 0.8)]
        if index >= 9:
            people.append((250, 30, 20, 60, 0.9))
        step = tracker.coast(frame(index)) if index % 2 else tracker.update(detections(*people), frame(index))
        assert step.ended == ()
        assert all(box.coasted == bool(index % 2) for box in step.seen)
        numbers.append([box.track for box in step.seen])
    assert numbers[:12] == [[1, 2]] * 12
    assert numbers[12:] == [[1, 2, 3]] * 28  # first seen at 10, again at 12
    last = detections((170, 30, 20, 60, 0.9), (10, 30, 20, 60, 0.8), (250, 30, 20, 60, 0.9))
    final = {box.track: float(box.box_4[0]) for box in tracker.update(last, frame(40)).seen}
    assert final == {1: 170.0, 2: 10.0, 3: 250.0}


def test_coasting_before_anything_was_seen_shows_nothing() -> None:
    tracker = Tracker()
    assert tracker.coast(frame(0)).seen == ()
    assert [box.track for box in tracker.update(detections(walking(1)), frame(1)).seen] == [1]


def test_nobody_is_carried_on_blindly_for_longer_than_a_lost_track_is_kept() -> None:
    tracker = Tracker()
    tracker.update(detections(walking(0)), frame(0))
    shown = [len(tracker.coast(frame(index)).seen) for index in range(1, 40)]
    assert shown == [1] * 20 + [0] * 19
    step = tracker.update(detections(walking(0)), frame(40))
    assert (step.ended, [box.track for box in step.seen]) == ((1,), [2])


def test_a_frozen_picture_keeps_the_people_and_the_time_of_the_lost() -> None:
    """Person 2 is lost at 0.9 s; a freeze of 3 s is no time, so 1.5 s later she is still waited for."""
    tracker = Tracker()
    stander, sitter = (100.0, 30.0, 20.0, 60.0, 0.9), (60.0, 30.0, 20.0, 60.0, 0.9)
    for index in range(10):
        tracker.update(detections(stander, sitter), frame(index))
    tracker.update(detections(stander), frame(10))
    for index in range(11, 41):
        step = tracker.hold(frame(index))
        assert [(box.track, box.coasted, box.box_4.tolist()) for box in step.seen] == [(1, True, list(stander[:4]))]
        assert step.ended == ()
    for index in range(41, 56):
        assert tracker.update(detections(stander), frame(index)).ended == ()
    assert [box.track for box in tracker.update(detections(stander, sitter), frame(56)).seen] == [1, 2]


def test_a_walker_is_met_again_behind_a_frozen_picture() -> None:
    """He walks on for the second that the picture stood still: 40 px, two boxes' widths."""
    tracker = Tracker(PAPER)
    for index in range(12):
        tracker.update(detections(walking(index)), frame(index))
    for index in range(12, 22):
        tracker.hold(frame(index))
    assert [box.track for box in tracker.update(detections(walking(22)), frame(22)).seen] == [1]


def test_the_filter_learns_a_constant_velocity() -> None:
    state_5T4 = start(np.array([[0.0, 0.0, 20.0, 60.0]], np.float32))
    for t in range(1, 30):
        state_5T4 = predict(state_5T4, 1)
        correct(state_5T4, [0], np.array([[3.0 * t, 0.0, 20.0, 60.0]], np.float32))
    assert state_5T4[1, 0, 0] == pytest.approx(3.0, abs=0.05)
    assert boxes(predict(state_5T4, 10))[0, 0] == pytest.approx(87 + 30, abs=1.0)
    # Every covariance is one: variances above 0, and no more in common than both have.
    assert (state_5T4[2] * state_5T4[4] > state_5T4[3] ** 2).all()


def test_holding_the_size_stops_growth() -> None:
    state_5T4 = start(np.array([[0.0, 0.0, 20.0, 60.0]] * 2, np.float32))
    for t in range(1, 10):
        state_5T4 = predict(state_5T4, 1)
        correct(state_5T4, [0, 1], np.array([[0.0, 0.0, 20.0 + t, 60.0 + 3 * t]] * 2, np.float32))
    height = boxes(state_5T4)[0, 3]
    held, growing = boxes(predict(state_5T4, 10, [0]))[:, 3].tolist()
    assert held == pytest.approx(height)
    assert growing > height + 10
