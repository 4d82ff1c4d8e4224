"""How good a crop is, on drawn people and on real ones."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from deploy.tracking.crop_quality import assess, covered, judge, measure_relief, measure_sharpness, shrink
from deploy.tracking.crops import CropSettings

SETTINGS = CropSettings()
THERMAL = CropSettings(thermal=True, least_height_px=24)
SHARED = Path(os.environ.get("CROSSLIGHT_SHARED", Path(__file__).resolve().parents[4] / "shared"))
needs_shared = pytest.mark.skipif(not (SHARED / "data/visible").is_dir(), reason=f"no real pictures in {SHARED}")


def drawing(height: int = 300, *, seed: int = 0) -> np.ndarray:
    """Return a picture of 480 x 640 with somebody of this height at (200, 40), a third as wide.

    Head, coat and trousers of one shade each, with a pattern on them: as in life, most of the variance is coarse.
    """
    rng = np.random.default_rng(seed)
    image_HWC = np.full((480, 640, 3), 90, np.uint8)
    pattern_HW = rng.integers(-55, 56, (40, 14)).repeat(15, axis=0).repeat(15, axis=1)
    shade_HW = np.repeat([150, 70, 190], [90, 230, 280])[:, None]
    stripes_HW = np.clip(pattern_HW + shade_HW, 0, 255).astype(np.uint8)
    person_HW = cv2.resize(stripes_HW, (height // 3, height), interpolation=cv2.INTER_AREA)
    image_HWC[40 : 40 + height, 200 : 200 + height // 3] = person_HW[..., None]
    return image_HWC


def box(height: float = 300) -> np.ndarray:
    return np.array([[200, 40, height // 3, height]], np.float32)


def quality(image_HWC: np.ndarray, box_N4: np.ndarray, score: float = 0.9, settings: CropSettings = SETTINGS) -> float:
    verdict = assess(image_HWC, box_N4, 0, score, settings)
    assert isinstance(verdict, float), verdict
    assert 0 < verdict <= 1
    return verdict


def blurred(image_HWC: np.ndarray, percent: float, height: int) -> np.ndarray:
    return cv2.GaussianBlur(image_HWC, (0, 0), percent * height / 100)


def test_a_good_person_loses_only_what_the_detector_doubts() -> None:
    assert quality(drawing(), box(), score=0.9) == pytest.approx(0.95)
    assert quality(drawing(), box(), score=0.3) == pytest.approx(0.65)


def test_quality_rises_with_height_up_to_three_times_the_least() -> None:
    values = [quality(drawing(height), box(height)) for height in (60, 90, 120, 150, 300)]
    assert values[:4] == sorted(values[:4])
    assert values[0] < 0.5 * values[3]
    assert values[3] == pytest.approx(values[4], rel=0.01)


def test_quality_falls_with_blur_until_nothing_is_left() -> None:
    values = [quality(blurred(drawing(), percent, 300), box()) for percent in (0.1, 1.0, 2.0, 3.0)]
    assert values == sorted(values, reverse=True)
    assert values[3] < 0.6 * values[0]
    assert assess(blurred(drawing(), 8.0, 300), box(), 0, 0.9, SETTINGS) == "blurred"


@pytest.mark.parametrize("height", [48, 60, 100, 200, 400])
def test_a_blur_counts_by_its_share_of_the_height(height: int) -> None:
    assert isinstance(assess(blurred(drawing(height), 2.0, height), box(height), 0, 0.9, SETTINGS), float)
    assert assess(blurred(drawing(height), 6.0, height), box(height), 0, 0.9, SETTINGS) == "blurred"


def test_a_smear_along_the_way_counts_as_blur() -> None:
    kernel = np.zeros((61, 61), np.float32)
    kernel[30] = 1 / 61
    smeared = cv2.filter2D(drawing(), -1, kernel)
    assert quality(smeared, box()) < quality(drawing(), box())


@pytest.mark.parametrize("gain", [0.2, 0.5, 1.0])
def test_sharpness_does_not_depend_on_the_light(gain: float) -> None:
    dim = (drawing() * gain).astype(np.uint8)
    sharp, plain = (measure_sharpness(shrink(image, 200, 40, 100, 300)) for image in (dim, drawing()))
    assert sharp == pytest.approx(plain, rel=0.05)


def test_noise_does_not_make_a_smear_sharp() -> None:
    noise = np.random.default_rng(1).normal(0, 10, (480, 640, 1))
    smear = blurred(drawing(), 8.0, 300)
    noisy = np.clip(smear + noise, 0, 255).astype(np.uint8)
    assert assess(noisy, box(), 0, 0.9, SETTINGS) == "blurred"


def test_a_plain_patch_is_flat() -> None:
    image_HWC = drawing()
    image_HWC[40:340, 200:300] = 90
    assert assess(image_HWC, box(), 0, 0.9, SETTINGS) == "flat"


def test_quality_falls_with_what_others_cover() -> None:
    other = np.array([[280, 40, 100, 300]], np.float32)  # hides a fifth
    both = np.concatenate([box(), other])
    assert covered(both, 0) == pytest.approx(0.2)
    assert quality(drawing(), both) == pytest.approx(0.8 * quality(drawing(), box()))
    assert assess(drawing(), np.concatenate([box(), other - [30, 0, 0, 0]]).astype(np.float32), 0, 0.9, SETTINGS) == (
        "covered"
    )


@pytest.mark.parametrize(("width", "term"), [(100, 1.0), (200, 0.75), (245, 0.5204), (71, 0.7585)])
def test_quality_falls_towards_the_limits_of_the_aspect(width: int, term: float) -> None:
    """300 / 200 is half of the way from 1.8 to 1.2: 1 - 0.5 * 0.5; 300 / 71 = 4.225, 0.483 of the way from 3.5 to 5."""
    image_HWC = cv2.resize(drawing(), None, fx=width / 100, fy=1.0)
    place = np.array([[2.0 * width, 40, width, 300]], np.float32)
    assert quality(image_HWC, place) == pytest.approx(term * 0.95, rel=0.01)


def test_who_does_not_stand_out_in_a_thermal_picture_is_faint() -> None:
    rng = np.random.default_rng(0)
    texture = rng.normal(90, 6, (48, 64)).astype(np.float32)
    image_HWC = np.repeat(cv2.resize(texture, (640, 480))[..., None], 3, axis=2).astype(np.uint8)
    assert assess(image_HWC, box(), 0, 0.9, THERMAL) == "faint"
    warm = image_HWC.copy()
    warm[40:340, 200:300] += 40
    assert measure_relief(warm, box()[0]) == pytest.approx(40, abs=3)
    assert isinstance(assess(warm, box(), 0, 0.9, THERMAL), float)


def test_cold_people_stand_out_as_warm_ones_do() -> None:
    image_HWC = np.full((480, 640, 3), 100, np.uint8)
    for value in (70, 130):
        image_HWC[40:340, 200:300] = value
        assert measure_relief(image_HWC, box()[0]) == pytest.approx(30)


def test_a_box_as_wide_as_the_picture_has_no_surroundings() -> None:
    image_HWC = np.full((100, 40, 3), 100, np.uint8)
    assert measure_relief(image_HWC, np.array([0, 0, 40, 100], np.float32)) == 0.0


@pytest.mark.parametrize("place", [(-20.0, -20.0, 40.0, 100.0), (630.0, 470.0, 30.0, 80.0), (5.0, 5.0, 0.4, 0.4)])
def test_boxes_beyond_the_picture_are_measured_without_failing(place: tuple[float, float, float, float]) -> None:
    box_N4 = np.array([place], np.float32)
    assert assess(drawing(), box_N4, 0, 0.9, THERMAL) in ("edge", "small")
    loose = CropSettings(edge_px=-1000, least_height_px=0, least_aspect=0.0, thermal=True)
    assert isinstance(assess(drawing(), box_N4, 0, 0.9, loose), (str, float))


def test_judge_is_what_needs_no_pixels() -> None:
    assert judge(box(), 0, (480, 640), SETTINGS) is None
    assert judge(box(47), 0, (480, 640), SETTINGS) == "small"
    assert judge(box(47), 0, (480, 640), THERMAL) is None


@needs_shared
def test_real_people_are_good_evidence_and_their_smears_are_not() -> None:
    paths = sorted((SHARED / "data/visible/one_by_one_crops").glob("*.jpg"))
    assert len(paths) == 60
    for path in paths:
        crop_HWC = np.asarray(cv2.imread(str(path)), np.uint8)
        height, width = crop_HWC.shape[:2]
        if height / width < 1.3:
            continue  # arms out
        image_HWC = cv2.copyMakeBorder(crop_HWC, 9, 9, 9, 9, cv2.BORDER_REPLICATE)
        place = np.array([[9, 9, width, height]], np.float32)
        assert quality(image_HWC, place) > 0.5
        assert assess(blurred(image_HWC, 6.0, height), place, 0, 0.9, SETTINGS) == "blurred"


@needs_shared
def test_real_people_in_a_thermal_picture_are_evidence() -> None:
    image_HWC = np.asarray(cv2.imread(str(SHARED / "data/thermal/tfw_3312.png")), np.uint8)
    # The three whom YOLOX-nano finds whole inside the picture's edges, without their feet at the lower one.
    people = np.array([[350, 137, 68, 205], [235, 108, 92, 230], [172, 115, 68, 220]], np.float32)
    for index in range(3):
        verdict = assess(image_HWC, people, index, 0.88, THERMAL)
        assert isinstance(verdict, float)
        assert verdict > 0.3
