"""What all detectors share, by hand, and background subtraction on figures that walk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.cameras.frames import Frame
from deploy.detection.detector import Detections, overlap, suppress
from deploy.detection.motion_detector import MAX_CAMERAS, MotionDetector, find_people, join_stacked
from tests.camera_fakes import detections

if TYPE_CHECKING:
    from numpy.typing import NDArray


def as_frame(image_HWC: NDArray[np.uint8], camera: str = "door") -> Frame:
    return Frame(image_HWC=image_HWC, time_s=0.0, index=0, camera=camera, modality="visible")


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150),
        ((0, 0, 10, 10), (10, 0, 10, 10), 0.0),
        ((0, 0, 10, 10), (2, 2, 5, 5), 0.25),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_overlap(left: tuple[int, ...], right: tuple[int, ...], expected: float) -> None:
    assert overlap(np.array([left], np.float32), np.array([right], np.float32))[0, 0] == pytest.approx(expected)


def test_suppression_keeps_the_best_of_a_heap() -> None:
    kept = suppress(detections((0, 0, 10, 10, 0.5), (1, 0, 10, 10, 0.9), (50, 0, 10, 10, 0.3)), 0.45)
    assert kept.score_N.tolist() == pytest.approx([0.9, 0.3])
    assert len(suppress(detections(), 0.45)) == 0


def test_a_box_that_was_beaten_beats_nobody() -> None:
    """In a row, each overlaps the next by 60 %: the second falls to the first, so the third stays."""
    row = detections((0, 0, 10, 10, 0.9), (2.5, 0, 10, 10, 0.8), (5, 0, 10, 10, 0.7))
    assert suppress(row, 0.45).score_N.tolist() == pytest.approx([0.9, 0.7])


def test_suppression_is_the_one_with_loops() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        count = int(rng.integers(0, 40))
        box_N4 = np.concatenate([rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))], 1).astype(np.float32)
        found = Detections(box_N4=box_N4, score_N=rng.uniform(0, 1, count).astype(np.float32))
        kept: list[int] = []
        for index in sorted(range(count), key=lambda i: -found.score_N[i]):
            if all(overlap(box_N4[[index]], box_N4[[other]])[0, 0] <= 0.45 for other in kept):
                kept.append(index)
        np.testing.assert_array_equal(suppress(found, 0.45).box_N4, box_N4[kept].reshape(-1, 4))


def walk(index: int, x: int, *, person: int = 200) -> NDArray[np.uint8]:
    """A noisy wall with an upright figure 24 x 80 at x, from frame 20 on."""
    rng = np.random.default_rng(index)
    image_HW = 90 + rng.normal(0, 2, (180, 320))
    if index >= 20:
        image_HW[60:140, x : x + 24] = person
    return np.repeat(np.clip(image_HW, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("person", [200, 30])  # warm or cold, bright or dark
def test_motion_finds_a_walking_figure_and_nothing_before(person: int) -> None:
    detector = MotionDetector()
    counts: list[int] = []
    for index in range(60):
        x = 20 + 5 * (index - 20)
        (found,) = detector.detect([as_frame(walk(index, max(x, 0), person=person))])
        counts.append(len(found))
        if index >= 25:
            assert overlap(found.box_N4, np.array([[x, 60, 24, 80]], np.float32)).max() > 0.7
    assert counts[:20] == [0] * 20
    assert set(counts[25:]) == {1}


def test_each_camera_has_its_own_background() -> None:
    """Two cameras in turn, one of them three times as bright: with one background all would be foreground."""
    both, alone = MotionDetector(), MotionDetector()
    for index in range(50):
        dark = walk(index, max(20 + 5 * (index - 20), 0))
        bright = np.minimum(walk(1000 + index, 0, person=90), 80).astype(np.uint8) * 3
        first, second = both.detect([as_frame(dark, "a"), as_frame(bright, "b")])
        (expected,) = alone.detect([as_frame(dark, "a")])
        np.testing.assert_array_equal(first.box_N4, expected.box_N4)
        assert len(second) == 0
        assert len(first) == 1 or index < 25


def test_a_camera_that_changes_its_size_begins_anew() -> None:
    detector = MotionDetector()
    for index in range(25):
        detector.detect([as_frame(walk(index, 40))])
    assert len(detector.detect([as_frame(walk(26, 40)[:, :200])])[0]) == 0


def test_the_backgrounds_of_cameras_that_went_are_given_up() -> None:
    """With 40 names, of which one stays: that one's background is never lost."""
    detector, counts = MotionDetector(), list[int]()
    for index in range(MAX_CAMERAS + 8):
        walker = as_frame(walk(index, max(20 + 5 * (index - 20), 0)))
        found = detector.detect([walker, as_frame(np.zeros((20, 20, 3), np.uint8), f"c{index}")])
        counts.append(len(found[0]))
    assert len(detector._backgrounds) == MAX_CAMERAS
    assert "door" in detector._backgrounds
    assert counts[25:] == [1] * 15
    detector.close()
    assert not detector._backgrounds


def test_a_shadow_is_no_person() -> None:
    detector = MotionDetector()
    for index in range(40):
        image_HWC = walk(index, 0, person=90)
        if index >= 30:  # a darker patch of the same colour on the floor
            image_HWC[100:170, 100:140] = (image_HWC[100:170, 100:140] * 0.7).astype(np.uint8)
        assert len(detector.detect([as_frame(image_HWC)])[0]) == 0


def test_head_trunk_and_legs_are_one_person() -> None:
    assert join_stacked([(50, 10, 10, 12), (45, 26, 20, 40), (47, 70, 16, 40)]) == [(45, 10, 20, 100)]
    # Two people side by side are two.
    assert len(join_stacked([(10, 10, 20, 80), (40, 10, 20, 80)])) == 2


def test_wide_and_small_things_are_no_people() -> None:
    mask_HW = np.zeros((200, 300), np.uint8)
    mask_HW[150:170, 20:120] = 255  # a car, lower than wide
    mask_HW[20:30, 200:205] = 255  # far too small
    assert find_people(mask_HW) == []
    mask_HW[40:120, 240:270] = 255
    assert len(find_people(mask_HW)) == 1
