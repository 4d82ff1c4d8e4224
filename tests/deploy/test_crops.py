"""What becomes evidence, and how often."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.crops import CropSelector, CropSettings, Reject, cut, judge
from deploy.tracker import TrackedBox
from tests.camera_fakes import SHAPE, frame

GOOD = (60.0, 20.0, 30.0, 80.0)


def box(track: int = 1, place: tuple[float, float, float, float] = GOOD) -> TrackedBox:
    return TrackedBox(track=track, box_4=np.array(place, np.float32), score=0.9)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (GOOD, None),
        ((0.0, 20.0, 30.0, 80.0), "edge"),  # cut on the left
        ((131.0, 20.0, 30.0, 80.0), "edge"),  # on the right: the picture is 160 wide
        ((60.0, 1.0, 30.0, 80.0), "edge"),  # the head
        ((60.0, 45.0, 30.0, 80.0), "edge"),  # the feet: it is 120 high
        ((60.0, 20.0, 16.0, 40.0), "small"),
        ((60.0, 20.0, 60.0, 60.0), "aspect"),  # two people, or half of one
        ((60.0, 20.0, 10.0, 80.0), "aspect"),  # a pole
    ],
)
def test_judge(place: tuple[float, float, float, float], expected: Reject | None) -> None:
    assert judge(np.array([place], np.float32), 0, SHAPE, CropSettings()) == expected


def test_a_person_behind_another_is_no_evidence() -> None:
    both = np.array([GOOD, (75.0, 20.0, 30.0, 80.0)], np.float32)
    assert judge(both, 0, SHAPE, CropSettings()) == "covered"
    apart = np.array([GOOD, (85.0, 20.0, 30.0, 80.0)], np.float32)
    assert judge(apart, 0, SHAPE, CropSettings()) is None


def test_crops_come_at_the_cadence_and_end_at_the_limit() -> None:
    selector = CropSelector(CropSettings(every_frames=10, most_crops=3))
    taken = [index for index in range(100) if selector.select(frame(index), [box()])]
    assert taken == [0, 10, 20]


def test_a_rejected_crop_is_tried_again_at_the_next_frame_and_counted() -> None:
    selector = CropSelector()
    assert selector.select(frame(0), [box(place=(0.0, 20.0, 30.0, 80.0))]) == []
    assert len(selector.select(frame(1), [box()])) == 1
    evidence = selector.finish(1)
    assert (evidence.crops, dict(evidence.rejects)) == (1, {"edge": 1})
    assert dict(selector.rejects) == {"edge": 1}
    assert selector.finish(1).crops == 0  # forgotten


def test_every_track_has_its_own_cadence() -> None:
    selector = CropSelector()
    selector.select(frame(0), [box(1)])
    crops = selector.select(frame(4), [box(1), box(2, (110.0, 20.0, 30.0, 80.0))])
    assert [crop.track for crop in crops] == [2]


def test_the_margin_is_cut_at_the_picture() -> None:
    image_HWC = frame().image_HWC
    assert cut(image_HWC, np.array(GOOD, np.float32), 0.05).shape == (88, 34, 3)  # 80 + 2 x 4, 30 + 2 x 1.5
    assert cut(image_HWC, np.array((-10.0, -10.0, 30.0, 50.0), np.float32), 0.05).shape == (42, 22, 3)


def test_a_crop_does_not_hold_the_whole_frame_in_memory() -> None:
    assert cut(frame().image_HWC, np.array(GOOD, np.float32), 0.05).base is None
