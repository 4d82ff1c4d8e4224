"""Dark, flat, frozen, coloured: what a look at the pictures says."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deploy.cameras.darkroom import RUNNING, judge
from deploy.cameras.picture_check import FreezeWatch, PictureCheck, Stillness, check
from tests.capture_fakes import picture

NOISE_HWC = np.random.default_rng(2).integers(0, 256, (96, 128, 3)).astype(np.uint8)
GREY_HWC = np.repeat(NOISE_HWC[:, :, :1], 3, axis=2)


def noisy(mean: float, sigma: float = 2.0) -> np.ndarray:
    values = np.random.default_rng(1).normal(mean, sigma, (96, 128, 1))
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8), 3, axis=2)


def test_a_dark_picture_is_noted_once_not_as_flat_too() -> None:
    assert check(noisy(12), "visible") == ("dark",)


def test_a_lamp_in_the_night_is_no_dark_picture() -> None:
    image_HWC = noisy(12)
    image_HWC[40:60, 40:80] = 240
    assert check(image_HWC, "visible") == ()


@pytest.mark.parametrize("mean", [60, 128, 250])
def test_a_picture_without_contrast_is_flat(mean: int) -> None:
    assert check(noisy(mean, 1.5), "visible") == ("flat",)
    assert check(noisy(mean, 12), "visible") == ()


def test_counts_of_one_temperature_are_flat() -> None:
    rng = np.random.default_rng(1)
    assert check(rng.normal(8000, 2, (120, 160)).astype(np.uint16), "lwir") == ("flat",)
    assert check(rng.normal(8000, 40, (120, 160)).astype(np.uint16), "lwir") == ()


def test_a_colour_palette_of_a_thermal_camera_is_told_from_grey() -> None:
    ironbow_HWC = np.asarray(cv2.applyColorMap(GREY_HWC[:, :, 0], cv2.COLORMAP_INFERNO), np.uint8)
    assert check(ironbow_HWC, "lwir") == ("8-bit palette",)
    assert check(GREY_HWC, "lwir") == ("8-bit grey",)


def test_jpeg_colours_a_grey_picture_too_little_to_count() -> None:
    scene_HWC = cv2.GaussianBlur(GREY_HWC, (0, 0), 3)
    done, data = cv2.imencode(".jpg", scene_HWC, [cv2.IMWRITE_JPEG_QUALITY, 30])
    assert done
    assert "8-bit palette" not in check(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8), "lwir")


def test_colour_of_a_near_infrared_camera_is_noted() -> None:
    assert check(NOISE_HWC, "nir") == ("colour",)
    assert check(GREY_HWC, "nir") == ()
    assert check(NOISE_HWC, "visible") == ()


def test_one_picture_a_second_is_looked_at() -> None:
    looker = PictureCheck()
    looker.look(noisy(12), "visible", 0.0)
    looker.look(NOISE_HWC, "visible", 0.9)
    assert looker.notes == ("dark",)
    looker.look(NOISE_HWC, "visible", 1.0)
    assert looker.notes == ()


def test_stillness_is_counted_from_the_first_of_equal_pictures() -> None:
    watch = FreezeWatch()
    assert watch.look(picture(1), 5.0) == Stillness(0, 0.0, False)
    assert watch.look(picture(1), 5.5) == Stillness(1, 0.5, False)
    assert watch.look(picture(2), 6.0) == Stillness(0, 0.0, True)
    assert watch.look(picture(2), 8.0) == Stillness(1, 2.0, True)
    watch.reset()
    assert watch.look(picture(2), 9.0) == Stillness(0, 0.0, False)


@pytest.mark.parametrize("place", [(0, 0, 0), (17, 33, 1), (119, 159, 2)])
def test_one_byte_is_enough_to_be_another_picture(place: tuple[int, int, int]) -> None:
    watch = FreezeWatch()
    watch.look(picture(7), 0.0)
    other_HWC = picture(7)
    other_HWC[place] += 1
    assert watch.look(other_HWC, 1.0).repeats == 0


def test_a_change_of_size_or_depth_is_another_picture() -> None:
    watch = FreezeWatch()
    zero_HW = np.zeros((32, 32), np.uint16)
    for pixels in (zero_HW, zero_HW[:16], zero_HW[:16].astype(np.uint8)):
        assert watch.look(pixels, 0.0).repeats == 0


@pytest.mark.parametrize(
    ("still", "thermal", "live", "state", "frozen"),
    [
        (Stillness(0, 0.0, True), True, True, "running", False),
        (Stillness(1, 0.1, True), True, True, "running", True),
        (Stillness(3, 0.3, True), True, True, "holding", True),
        (Stillness(20, 2.0, True), True, True, "holding", True),
        (Stillness(21, 2.1, False), True, True, "frozen", True),
        (Stillness(3, 0.3, True), False, True, "running", False),
        (Stillness(30, 2.1, True), False, True, "frozen", True),
        (Stillness(3, 0.3, True), True, False, "holding", True),
        (Stillness(3, 0.3, False), True, False, "running", False),
        (Stillness(30, 2.1, True), True, False, "running", False),
    ],
)
def test_what_a_repeated_picture_means(still: Stillness, thermal: bool, live: bool, state: str, frozen: bool) -> None:
    stand = judge(still, 2.0, thermal=thermal, live=live)
    assert (stand.state, stand.frozen) == (state, frozen)
    assert RUNNING.reason == ""
