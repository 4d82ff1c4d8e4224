"""Records, pictures and videos."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.drawing.display import PALETTE, UNKNOWN, Display, Status, colour_of, label_of
from deploy.drawing.viewers import VideoRecorder, open_window
from deploy.matching.matcher import Decision
from deploy.sightings import TrackKey, to_json
from deploy.tracking.tracker import TrackedBox
from engines.errors import BadInput
from tests.camera_fakes import SHAPE, frame
from tests.record_material import sighting

if TYPE_CHECKING:
    from pathlib import Path

V1, I1 = TrackKey("visible", 1), TrackKey("infrared", 1)
STATUS = Status(engine="openvino int8", time_s=61.25, frames_per_s=23.8, summary="identities 2")


def test_a_sighting_as_json() -> None:
    assert json.loads(to_json(sighting())) == {
        "event": "sighting",
        "time_s": 1.2346,
        "frame": 12,
        "camera": "visible",
        "modality": "visible",
        "track": 1,
        "identity": 3,
        "box_px": [1.0, 2.0, 3.0, 4.0],
        "similarity": 0.5124,
        "matched_track": {"camera": "infrared", "track": 1},
    }


def test_unknown_is_null() -> None:
    record = json.loads(to_json(sighting(identity=None, similarity=None, matched_track=None)))
    assert (record["identity"], record["similarity"], record["matched_track"]) == (None, None, None)


def display() -> Display:
    return Display([(name, (SHAPE[1], SHAPE[0])) for name in ("visible", "infrared")])


def boxes(key: TrackKey) -> dict[TrackKey, TrackedBox]:
    return {key: TrackedBox(track=1, box_4=np.array([60, 20, 30, 80], np.float32), score=0.9)}


def test_the_picture_is_1280_wide_and_even() -> None:
    width, height = display().size_px
    assert (width, height % 2) == (1280, 0)
    assert display().compose(STATUS).shape == (height, width, 3)


def test_a_matched_pair_is_linked_in_its_colour() -> None:
    target = display()
    for key, camera, other in ((V1, "visible", I1), (I1, "infrared", V1)):
        decision = Decision(identity=2, similarity=0.8, matched=other)
        target.update(frame(camera=camera), boxes(key), {key: decision})  # type: ignore[arg-type]
    image_HWC = target.compose(STATUS)
    middle_HW3 = image_HWC[44:-34, 636:645].astype(int)
    assert (np.abs(middle_HW3 - np.array(PALETTE[1])).sum(-1) < 30).any()


def test_an_unmatched_pair_is_not_linked() -> None:
    target = display()
    for key, camera in ((V1, "visible"), (I1, "infrared")):
        target.update(frame(camera=camera), boxes(key), {key: Decision(similarity=0.3)})  # type: ignore[arg-type]
    middle_HW3 = target.compose(STATUS)[44:-34, 641:660].astype(int)
    assert not (np.abs(middle_HW3 - np.array(UNKNOWN)).sum(-1) < 30).any()


def test_a_camera_that_changes_its_size_is_fitted() -> None:
    target = display()
    big = frame()
    target.update(big, {}, {})
    object.__setattr__(big, "image_HWC", np.zeros((500, 300, 3), np.uint8))
    target.update(big, {}, {})
    assert target.compose(STATUS).shape[:2] == target.size_px[::-1]


def test_a_box_beyond_the_border_is_drawn_without_harm() -> None:
    target = display()
    wild = TrackedBox(track=1, box_4=np.array([-40, -50, 300, 400], np.float32), score=0.9)
    target.update(frame(), {V1: wild}, {V1: Decision(identity=1)})
    target.compose(STATUS)


@pytest.mark.parametrize(("cameras", "columns"), [(1, 1), (2, 2), (3, 2), (4, 2), (6, 3)])
def test_any_number_of_cameras_has_a_place(cameras: int, columns: int) -> None:
    names = [f"camera-{number}" for number in range(cameras)]
    target = Display([(name, (SHAPE[1], SHAPE[0])) for name in names])
    for value, name in enumerate(names):
        target.update(frame(camera=name, value=60 + 30 * value), {}, {})
    image_HWC = target.compose(STATUS)
    assert image_HWC.shape[1] == 1280
    width = 1280 // columns
    middles = [image_HWC[100, width * column + width // 2, 0] for column in range(min(columns, cameras))]
    assert middles == [60 + 30 * column for column in range(min(columns, cameras))]


def test_people_of_any_two_cameras_are_linked() -> None:
    names = ["a", "b", "c", "d"]
    target = Display([(name, (SHAPE[1], SHAPE[0])) for name in names])
    first, last = TrackKey("a", 1), TrackKey("d", 1)
    target.update(frame(camera="a"), boxes(first), {first: Decision(identity=2, similarity=0.8, matched=last)})
    target.update(frame(camera="d"), boxes(last), {last: Decision(identity=2, similarity=0.8, matched=first)})
    image_HWC = target.compose(STATUS)
    assert (np.abs(image_HWC[:, 636:645].astype(int) - np.array(PALETTE[1])).sum(-1) < 30).any()


def test_a_camera_that_is_lost_says_so_over_its_last_picture() -> None:
    target = display()
    target.update(frame(value=200), {}, {})
    before_HWC = target.compose(STATUS)
    target.note("visible", "reconnecting: refused")
    during_HWC = target.compose(STATUS)
    target.note("visible", "")
    assert during_HWC[100, 100, 0] < before_HWC[100, 100, 0]
    assert (target.compose(STATUS) == before_HWC).all()


def test_a_camera_whose_size_is_not_known_yet_gets_a_usual_one() -> None:
    assert Display([("a", (0, 0)), ("b", (0, 0))]).compose(STATUS).shape[1] == 1280


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Decision(identity=3, similarity=0.8249, matched=I1), "ID 3  0.82"),
        (Decision(identity=3, similarity=0.2), "ID 3"),  # the nearest, but no match
        (Decision(identity=3), "ID 3"),
        (Decision(similarity=0.4), "track 7  0.40"),
        (Decision(), "track 7"),
    ],
)
def test_labels(decision: Decision, expected: str) -> None:
    assert label_of(7, decision) == expected


def test_neighbouring_identities_differ_in_colour() -> None:
    assert len({colour_of(identity) for identity in range(1, 11)}) == 10
    assert colour_of(None) == UNKNOWN


def frame_count(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([0.0, 0.1, 0.2, 0.3], 4),
        ([0.0, 0.3], 4),  # a gap is filled
        ([0.0, 0.02, 0.04, 0.1], 2),  # 50 pictures a second into 10
        ([0.0, 60.0, 60.1], 3),  # a stall of a minute is not
    ],
)
def test_a_video_runs_at_the_speed_of_life(tmp_path: Path, times: list[float], expected: int) -> None:
    recorder = VideoRecorder(tmp_path / "a.mp4", 10.0, (64, 48))
    for time_s in times:
        recorder.show(np.full((48, 64, 3), 100, np.uint8), time_s)
    recorder.close()
    assert frame_count(tmp_path / "a.mp4") == expected


def test_a_video_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(BadInput, match="--save"):
        VideoRecorder(tmp_path / "a.mp4", 10.0, (64, 48))


def test_no_display_means_no_window_and_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_window("t", lambda: None, {}) is None
    assert len(caplog.records) == 1
