"""What becomes evidence, and how often."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from deploy.cameras.frames import Frame
from deploy.settings.site_plan import CameraSite
from deploy.tracking.crop_quality import Reject, judge
from deploy.tracking.crops import CropSelector, CropSettings, crop_settings, cut
from deploy.tracking.tracker import TrackedBox
from tests.camera_fakes import SHAPE
from tests.camera_fakes import frame as plain

GOOD = (60.0, 20.0, 30.0, 80.0)


def frame(index: int = 0, *, contrast: float = 1.0, blur: float = 0.0, frozen: bool = False) -> Frame:
    """A picture full of stripes."""
    y, x = np.mgrid[0 : SHAPE[0], 0 : SHAPE[1]]
    grey_HW = 128 + 100 * contrast * np.sign(np.sin(x * 0.9) + np.sin(y * 0.7 + 1))
    if blur:
        grey_HW = cv2.GaussianBlur(grey_HW, (0, 0), blur)
    image_HWC = np.repeat(grey_HW.astype(np.uint8)[..., None], 3, axis=2)
    return dataclasses.replace(plain(index, frozen=frozen), image_HWC=image_HWC)


def box(
    track: int = 1, place: tuple[float, float, float, float] = GOOD, *, score: float = 0.9, coasted: bool = False
) -> TrackedBox:
    return TrackedBox(track=track, box_4=np.array(place, np.float32), score=score, coasted=coasted)


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
    assert selector.finish(1).crops == 3


def test_a_busy_loop_stretches_the_cadence_at_once() -> None:
    selector = CropSelector()
    selector.select(frame(0), [box()])
    selector.stretch = 3
    taken = [index for index in range(1, 70) if selector.select(frame(index), [box()])]
    assert taken == [30, 60]
    selector.stretch = 1
    assert [index for index in range(70, 85) if selector.select(frame(index), [box()])] == [70, 80]


def test_a_rejected_crop_is_tried_again_at_the_next_frame_and_counted() -> None:
    selector = CropSelector()
    assert selector.select(frame(0), [box(place=(0.0, 20.0, 30.0, 80.0))]) == []
    assert selector.select(frame(1, contrast=0.02), [box()]) == []
    assert selector.select(frame(2, blur=12.0, contrast=1.2), [box()]) == []
    assert len(selector.select(frame(3), [box()])) == 1
    evidence = selector.finish(1)
    assert evidence.crops == 1
    assert sum(evidence.rejects.values()) == 3
    assert evidence.rejects["edge"] == 1
    assert set(evidence.rejects) <= {"edge", "flat", "blurred"}
    assert selector.rejects == evidence.rejects
    assert selector.finish(1).crops == 0  # forgotten


def test_nothing_is_cut_from_a_picture_that_the_camera_repeats() -> None:
    selector = CropSelector()
    assert selector.select(frame(0, frozen=True), [box()]) == []
    assert len(selector.select(frame(1), [box()])) == 1


def test_a_box_that_nobody_looked_at_is_not_cut_but_covers_others() -> None:
    selector = CropSelector()
    assert selector.select(frame(0), [box(1, coasted=True)]) == []
    assert selector.select(frame(1), [box(2), box(1, (75.0, 20.0, 30.0, 80.0), coasted=True)]) == []
    assert dict(selector.rejects) == {"covered": 1}


def test_a_clearly_better_crop_replaces_the_worst_at_a_quarter_of_the_cadence() -> None:
    """Somebody comes nearer: 50 px high for the first three crops, 80 px afterwards."""
    selector = CropSelector(CropSettings(every_frames=10, most_crops=3))
    far, near = (60.0, 30.0, 20.0, 50.0), GOOD
    taken: list[tuple[int, float]] = []
    for index in range(400):
        taken += [
            (index, crop.quality) for crop in selector.select(frame(index), [box(place=far if index < 30 else near)])
        ]
    assert [index for index, _ in taken] == [0, 10, 20, 60, 100, 140]
    assert all(better >= 1.5 * worse for (_, worse), (_, better) in zip(taken[:3], taken[3:], strict=True))
    evidence = selector.finish(1)
    assert (evidence.crops, len(evidence.qualities)) == (6, 3)


def test_replacing_comes_to_an_end() -> None:
    """Quality grows by 2 % with every look: it could go on for ever, were not half as good again asked for."""
    selector = CropSelector(CropSettings(every_frames=1, most_crops=8))
    count = 0
    for index in range(4000):
        score = min(1.0, -0.9 + index * 0.0005)
        count += len(selector.select(frame(index), [box(score=score)]))
    assert count <= 8 * 8


def test_a_crop_carries_its_quality() -> None:
    selector = CropSelector()
    sure, unsure = selector.select(frame(), [box(1), box(2, (110.0, 20.0, 30.0, 80.0), score=0.3)])
    assert 0 < unsure.quality < sure.quality <= 1


def site(**settings: object) -> CameraSite:
    return CameraSite(name="camera", uri="0", **settings)  # type: ignore[arg-type]


def test_the_least_height_is_the_sites_or_the_bands() -> None:
    assert crop_settings(site(modality="visible")).least_height_px == 48
    assert crop_settings(site(modality="infrared", band="nir")).least_height_px == 48
    lwir = crop_settings(site(modality="infrared", band="lwir"), every_frames=5, most_crops=4)
    assert (lwir.least_height_px, lwir.thermal, lwir.every_frames, lwir.most_crops) == (24, True, 5, 4)
    assert crop_settings(site(modality="infrared", band="lwir", least_height_px=30)).least_height_px == 30
    assert not crop_settings(site(modality="infrared")).thermal


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
