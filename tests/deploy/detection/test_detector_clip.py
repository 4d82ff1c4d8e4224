"""The real clip: six people one after another, whose frame ranges are written down in ../shared/data/README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.cameras.frames import Frame
from deploy.detection.detector import overlap
from deploy.detection.open_detector import open_detector
from deploy.tracking.tracker import Tracker
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

SIX = ((64, 188), (232, 440), (508, 692), (748, 864), (932, 1192), (1240, 1356))
# The ranges are of full-body crops on a grid of four frames; half a person is tracked at the edge of the picture.
SLACK_FRAMES = 12


def clip(first: int, last: int, every: int) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(shared_folder("data/visible/one-by-one-person-detection.mp4")))
    index = 0
    while index <= last and capture.grab():
        if index >= first and index % every == 0:
            image_HWC = np.asarray(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(image_HWC=image_HWC, time_s=index / 10, index=index, camera="hall", modality="visible")
        index += 1
    capture.release()


def ranges_of(first: int, last: int, every: int) -> dict[int, tuple[int, int]]:
    """Return the first and the last frame of each track."""
    detector = open_detector(shared_folder("data/detectors/yolox_nano.onnx"))
    tracker, found = Tracker(), dict[int, tuple[int, int]]()
    for frame in clip(first, last, every):
        for box in tracker.update(detector.detect([frame])[0], frame).seen:
            found[box.track] = (found.get(box.track, (frame.index, 0))[0], frame.index)
    detector.close()
    return found


def assert_ranges(found: dict[int, tuple[int, int]], people: tuple[tuple[int, int], ...]) -> None:
    assert sorted(found) == list(range(1, len(people) + 1))
    for track, expected in enumerate(people, 1):
        assert found[track] == pytest.approx(expected, abs=SLACK_FRAMES)


def test_two_people_of_the_clip_are_two_tracks_at_two_frames_a_second() -> None:
    assert_ranges(ranges_of(0, 470, 5), SIX[:2])


@pytest.mark.slow
def test_the_six_people_of_the_clip_are_six_tracks() -> None:
    assert_ranges(ranges_of(0, 2000, 1), SIX)


@pytest.mark.slow
def test_coasting_over_every_second_frame_keeps_the_six_and_lies_on_them() -> None:
    """What is drawn in a frame that was skipped overlaps what the detector would have found there."""
    detector = open_detector(shared_folder("data/detectors/yolox_nano.onnx"))
    tracker, tracks, agreement = Tracker(), set[int](), list[float]()
    for frame in clip(0, 2000, 1):
        found = detector.detect([frame])[0]
        if frame.index % 2 == 0:
            tracks |= {box.track for box in tracker.update(found, frame).seen}
        else:
            strong = found.box_N4[found.score_N > 0.6]
            for box in tracker.coast(frame).seen:
                agreement += [float(overlap(box.box_4[None], strong).max())] if len(strong) else []
    assert tracks == {1, 2, 3, 4, 5, 6}
    assert len(agreement) > 400
    assert np.median(agreement) > 0.85
    assert np.percentile(agreement, 5) > 0.5  # who comes into the picture grows by a fifth from frame to frame
