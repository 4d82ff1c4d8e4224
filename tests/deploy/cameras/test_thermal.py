"""From 16-bit counts to grey: percentiles, a slow range, polarity."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.cameras.darkroom import Darkroom
from deploy.cameras.thermal import (
    LEAST_RANGE,
    ThermalConverter,
    band_of,
    is_coloured,
    percentile_range,
    without_telemetry,
)
from deploy.settings.site_plan import CameraSite, ThermalSettings
from engines.errors import BadInput
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from engines.manifest import Modality

PERSON = (slice(200, 320), slice(300, 340))


def scene(seed: int, *, hot_spot: bool = False) -> NDArray[np.uint16]:
    """640 x 512 counts of a background of 8000 with noise and a ramp, and a person 500 counts warmer."""
    rng = np.random.default_rng(seed)
    raw_HW = rng.normal(8000, 15, (512, 640)) + np.linspace(-100, 100, 640)
    raw_HW[PERSON] += 500
    if hot_spot:
        raw_HW[20:30, 20:30] = 12000
    return np.rint(raw_HW).astype(np.uint16)


def slow_percentile(raw_HW: NDArray[np.uint16], percent: float) -> float:
    """The smallest count that at least this share of every fourth pixel does not exceed."""
    ordered = sorted(int(raw_HW[y, x]) for y in range(0, raw_HW.shape[0], 2) for x in range(0, raw_HW.shape[1], 2))
    return float(next(v for i, v in enumerate(ordered) if (i + 1) / len(ordered) * 100 >= percent - 1e-9))


def slow_convert(frames: list[tuple[float, NDArray[np.uint16]]], settings: ThermalSettings) -> NDArray[np.uint8]:
    """The picture of the last of some frames at their times, in plain float64."""
    low, high = (slow_percentile(frames[0][1], p) for p in settings.agc_percent)
    for (before_s, _), (now_s, raw_HW) in pairwise(frames):
        keep = math.exp(-(now_s - before_s) / settings.agc_settle_s)
        low = keep * low + (1 - keep) * slow_percentile(raw_HW, settings.agc_percent[0])
        high = keep * high + (1 - keep) * slow_percentile(raw_HW, settings.agc_percent[1])
    grey_HW = (frames[-1][1].astype(np.float64) - low) / (high - low) * 255
    if settings.polarity != settings.trained_polarity:
        grey_HW = 255 - grey_HW
    return np.rint(np.clip(grey_HW, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("polarity", ["white-hot", "black-hot"])
def test_conversion_agrees_with_the_slow_one(polarity: str) -> None:
    settings = ThermalSettings(polarity=polarity, agc_percent=(2.0, 97.0))  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    times = [5.0, 5.1, 5.4, 8.0]
    frames = [(t, rng.integers(7000 + 100 * i, 9000, (37, 53)).astype(np.uint16)) for i, t in enumerate(times)]
    converter = ThermalConverter(settings)
    image_HWC = [converter.convert(raw_HW, time_s).image_HWC for time_s, raw_HW in frames][-1]
    assert image_HWC.shape == (37, 53, 3)
    assert (image_HWC == image_HWC[:, :, :1]).all()
    difference_HW = np.abs(image_HWC[:, :, 0].astype(int) - slow_convert(frames, settings))
    assert difference_HW.max() <= 1  # a value half way between two levels
    assert (difference_HW > 0).mean() < 0.002


@pytest.mark.parametrize("percent", [(0.0, 100.0), (0.5, 99.5), (10.0, 60.0)])
def test_percentiles_agree_with_the_slow_ones(percent: tuple[float, float]) -> None:
    raw_HW = np.random.default_rng(5).integers(0, 65536, (40, 30)).astype(np.uint16)
    assert percentile_range(raw_HW, percent) == tuple(slow_percentile(raw_HW, p) for p in percent)


def min_max(raw_HW: NDArray[np.uint16]) -> NDArray[np.float64]:
    low, high = float(raw_HW.min()), float(raw_HW.max())
    return (raw_HW.astype(np.float64) - low) * 255 / (high - low)


def test_a_hot_spot_does_not_dim_everybody() -> None:
    """10 x 10 pixels: cameras.md measured 3.6 grey levels for percentiles and 34.5 for minimum and maximum."""
    converter = ThermalConverter(ThermalSettings())
    quiet_HW = converter.convert(scene(1), 0.0).image_HWC[:, :, 0].astype(float)
    hot_HW = converter.convert(scene(2, hot_spot=True), 0.04).image_HWC[:, :, 0].astype(float)
    background = np.ones((512, 640), bool)
    background[PERSON] = background[15:35, 15:35] = False
    assert abs(hot_HW[background].mean() - quiet_HW[background].mean()) < 4
    naive = [min_max(scene(1))[background].mean(), min_max(scene(2, hot_spot=True))[background].mean()]
    assert abs(naive[1] - naive[0]) > 20
    # And the person still stands out: that is what the range is for.
    assert hot_HW[PERSON].mean() - hot_HW[background].mean() > 80


def test_the_range_follows_in_seconds_not_in_frames() -> None:
    """After one time constant 1 - 1/e of a step is made, with 5 as with 50 frames."""
    settled = []
    for steps in (5, 50):
        converter = ThermalConverter(ThermalSettings(agc_settle_s=1.5))
        converter.convert(np.tile(np.arange(7000, 8000, dtype=np.uint16), (100, 1)), 0.0)
        for step in range(1, steps + 1):
            converter.convert(np.tile(np.arange(9000, 10000, dtype=np.uint16), (100, 1)), 1.5 * step / steps)
        assert converter._range is not None
        settled.append(converter._range[0])
    assert settled[0] == pytest.approx(settled[1])
    assert (settled[0] - 7004) / 2000 == pytest.approx(1 - math.exp(-1), abs=0.002)


def test_a_clock_that_steps_back_moves_nothing() -> None:
    converter = ThermalConverter(ThermalSettings())
    converter.convert(scene(1), 100.0)
    before = converter._range
    converter.convert(scene(2, hot_spot=True), 3.0)
    assert converter._range == before


def test_a_scene_of_one_temperature_is_grey_not_noise() -> None:
    """Noise of 2 counts, stretched over all greys, would be a picture of standard deviation 50."""
    raw_HW = np.rint(np.random.default_rng(1).normal(8000, 1, (120, 160))).astype(np.uint16)
    grey_HWC = ThermalConverter(ThermalSettings()).convert(raw_HW, 0.0).image_HWC
    assert grey_HWC.std() == pytest.approx(255 / LEAST_RANGE, rel=0.1)
    flat_HWC = ThermalConverter(ThermalSettings()).convert(np.full((8, 8), 8000, np.uint16), 0.0).image_HWC
    assert set(flat_HWC.ravel().tolist()) <= {127, 128}


@pytest.mark.parametrize("value", [0, 65535])
def test_the_ends_of_sixteen_bits_are_no_trouble(value: int) -> None:
    raw_HW = scene(1)
    raw_HW[::50, ::50] = value  # dead pixels: 0.04 %
    image_HWC = ThermalConverter(ThermalSettings()).convert(raw_HW, 0.0).image_HWC
    assert image_HWC[0, 0, 0] == (0 if value == 0 else 255)
    assert image_HWC[PERSON].mean() - image_HWC.mean() > 80


def develop(
    pixels: NDArray[np.uint16] | NDArray[np.uint8], modality: Modality = "infrared", **options: object
) -> Frame:
    site = CameraSite(name="gate", uri="0", modality=modality, **options)  # type: ignore[arg-type]
    return Darkroom(site).develop(pixels, time_s=0.0, index=0, live=True)[0]


@pytest.mark.parametrize(
    ("polarity", "trained", "invert", "warm_is_bright", "inverted"),
    [
        ("white-hot", "white-hot", True, True, True),
        ("black-hot", "white-hot", True, True, True),
        ("white-hot", "black-hot", True, False, False),  # a detector sees warm people dark already
        ("black-hot", "black-hot", True, False, False),
        ("white-hot", "white-hot", False, True, False),
    ],
)
def test_polarity_is_the_trained_one_and_the_detectors_the_other(
    polarity: str, trained: str, invert: bool, warm_is_bright: bool, inverted: bool
) -> None:
    thermal = ThermalSettings(polarity=polarity, trained_polarity=trained, invert_for_detector=invert)  # type: ignore[arg-type]
    raw_HW = scene(1)
    if polarity == "black-hot":
        raw_HW = (16000 - raw_HW).astype(np.uint16)
    for pixels in (raw_HW, np.repeat((raw_HW // 64).astype(np.uint8)[:, :, None], 3, axis=2)):
        frame = develop(pixels, band="lwir", thermal=thermal)
        assert bool(frame.image_HWC[PERSON].mean() > frame.image_HWC.mean()) == warm_is_bright
        assert frame.inverted_for_detector == inverted
        assert bool(frame.detector_HWC[PERSON].mean() > frame.detector_HWC.mean()) == (warm_is_bright != inverted)


def test_eight_bit_thermal_pictures_pass_as_they_are() -> None:
    image_HWC = np.repeat(np.random.default_rng(1).integers(0, 256, (60, 80, 1)), 3, axis=2).astype(np.uint8)
    assert (develop(image_HWC, band="lwir").image_HWC == image_HWC).all()


def test_a_palette_becomes_its_luminance() -> None:
    image_HWC = np.zeros((64, 64, 3), np.uint8)
    image_HWC[:, 32:] = (255, 160, 0)
    frame = develop(image_HWC, band="lwir")
    # ITU-R BT.601: 0.299 * 255 + 0.587 * 160
    assert frame.image_HWC[0, 63].tolist() == [170, 170, 170]
    assert is_coloured(image_HWC)


def test_near_infrared_pictures_are_left_alone() -> None:
    image_HWC = np.random.default_rng(1).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    frame = develop(image_HWC, thermal=ThermalSettings(polarity="black-hot"))
    assert frame.image_HWC is image_HWC
    assert not frame.inverted_for_detector


@pytest.mark.parametrize(
    ("modality", "band", "dtype", "expected"),
    [
        ("infrared", None, np.uint16, "lwir"),
        ("infrared", None, np.uint8, "nir"),
        ("infrared", "lwir", np.uint8, "lwir"),
        ("infrared", "nir", np.uint16, "nir"),
        ("visible", None, np.uint8, "visible"),
    ],
)
def test_the_band_is_what_the_site_says_or_what_the_pictures_look_like(
    modality: Modality, band: str | None, dtype: type, expected: str
) -> None:
    site = CameraSite(name="gate", uri="0", modality=modality, band=band)  # type: ignore[arg-type]
    assert band_of(site, np.zeros((4, 4), dtype)) == expected


def test_sixteen_bits_of_a_visible_camera_are_refused() -> None:
    with pytest.raises(BadInput, match=r"gate camera: expected colour pictures .* modality: infrared"):
        develop(scene(1), "visible")


def test_telemetry_rows_are_cut_off() -> None:
    raw_HW = scene(1)
    raw_HW[-2:] = 0
    assert without_telemetry(raw_HW, 2, "gate").shape == (510, 640)
    assert without_telemetry(raw_HW, 0, "gate") is raw_HW
    frame = develop(raw_HW, thermal=ThermalSettings(telemetry_rows=2))
    assert frame.image_HWC.shape == (510, 640, 3)
    with pytest.raises(BadInput, match="fewer telemetry rows than the 512 rows"):
        without_telemetry(raw_HW, 512, "gate")


@pytest.mark.parametrize("name", ["tfw_3312.png", "tfw_103_1_1_4_450_1.png"])
def test_a_real_still_raised_to_counts_keeps_its_contrast(name: str) -> None:
    """Raised to 14 bits: 7000 + 2000 * grey / 255 counts with noise of 3, as an uncooled camera gives a street.

    Contrast is the grey levels between the 1st and the 99th percentile.
    """
    still = cv2.imread(str(shared_folder("data/thermal") / name), cv2.IMREAD_GRAYSCALE)
    assert still is not None
    still_HW = np.asarray(still, np.float64)
    counts_HW = 7000 + still_HW * 2000 / 255 + np.random.default_rng(1).normal(0, 3, still_HW.shape)
    frame = develop(np.rint(counts_HW).astype(np.uint16))
    contrast = float(np.subtract(*np.percentile(frame.image_HWC[:, :, 0], (99, 1))))
    assert contrast >= float(np.subtract(*np.percentile(still_HW, (99, 1))))
    assert np.corrcoef(frame.image_HWC[:, :, 0].ravel(), still_HW.ravel())[0, 1] > 0.99
