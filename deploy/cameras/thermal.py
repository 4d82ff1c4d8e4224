"""Pictures of thermal cameras: 16-bit counts, or what a camera made of them, to grey in eight bits.

The range of counts that becomes black to white is a percentile of the pixels and moves slowly: with the minimum and
the maximum a hot spot of 10 x 10 pixels changes the background by 34 grey levels, with percentiles by 4
(cameras.md 2.1). Polarity is that of the network's training; a detector of visible people wants the opposite.

Shapes: H height, W width, C channel (3, equal).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.settings.site_plan import Band, CameraSite, ThermalSettings

    Pixels = NDArray[np.uint8] | NDArray[np.uint16]

LEAST_RANGE = 16.0  # counts from black to white: a scene of one temperature shows its noise of a few counts grey
COLOURED = 8.0  # grey levels between channels on average; a grey picture through JPEG stays below 2


class ThermalPicture(NamedTuple):
    image_HWC: NDArray[np.uint8]
    white_hot: bool


class ThermalConverter:
    """Makes the pictures of one camera grey in the trained polarity. Keeps the range from picture to picture."""

    def __init__(self, settings: ThermalSettings) -> None:
        self._settings = settings
        self._range: tuple[float, float] | None = None  # counts that are black and white
        self._time_s = -math.inf

    def convert(self, pixels: Pixels, time_s: float) -> ThermalPicture:
        """Convert uint16 (H, W) or uint8 (H, W, C) without telemetry rows; time_s is the picture's."""
        turned = self._settings.polarity != self._settings.trained_polarity
        grey_HW = self._stretch(pixels, time_s, turned) if pixels.dtype == np.uint16 else _grey(pixels, turned)
        return ThermalPicture(
            image_HWC=np.asarray(cv2.cvtColor(grey_HW, cv2.COLOR_GRAY2RGB), np.uint8),
            white_hot=self._settings.trained_polarity == "white-hot",
        )

    def _stretch(self, raw_HW: Pixels, time_s: float, turned: bool) -> NDArray[np.uint8]:
        low, high = self._move_range(percentile_range(raw_HW, self._settings.agc_percent), time_s)
        # The range grows around its middle where it is too narrow.
        spare = max(0.0, LEAST_RANGE - (high - low)) / 2
        low, high = low - spare, high + spare
        scale = 255.0 / (high - low)
        gain, offset = (-scale, 255.0 + low * scale) if turned else (scale, -low * scale)
        # One pass that rounds and saturates: 0.2 ms for 640 x 512.
        return np.asarray(cv2.addWeighted(raw_HW, gain, raw_HW, 0.0, offset, dtype=cv2.CV_8U), np.uint8)

    def _move_range(self, wanted: tuple[float, float], time_s: float) -> tuple[float, float]:
        if self._range is None or self._settings.agc_settle_s <= 0:
            self._range = wanted
        else:
            passed_s = max(0.0, time_s - self._time_s)
            step = 1.0 - math.exp(-passed_s / self._settings.agc_settle_s)
            low, high = self._range
            self._range = low + step * (wanted[0] - low), high + step * (wanted[1] - high)
        self._time_s = max(self._time_s, time_s)
        return self._range


def percentile_range(raw_HW: Pixels, percent: tuple[float, float]) -> tuple[float, float]:
    """Return the least counts that are not below these percentages of every fourth pixel."""
    # Counting is 0.2 ms for 640 x 512 where np.percentile takes 0.75 ms.
    total = np.cumsum(np.bincount(raw_HW[::2, ::2].ravel()))
    low, high = (float(np.searchsorted(total, max(1, math.ceil(p / 100 * int(total[-1]))))) for p in percent)
    return low, high


def without_telemetry(pixels: Pixels, rows: int, camera: str) -> Pixels:
    """Cut off the rows at the bottom that are no picture: they count on while the picture stands still."""
    if not rows:
        return pixels
    if rows >= pixels.shape[0]:
        raise BadInput(
            f"{camera} camera: expected fewer telemetry rows than the {pixels.shape[0]} rows of its picture, got "
            f"{rows}; set thermal.telemetry_rows"
        )
    return pixels[:-rows]


def band_of(site: CameraSite, pixels: Pixels) -> Band:
    """Return the camera's band, from the pictures where the site does not say it."""
    if site.modality == "visible":
        if pixels.dtype == np.uint16:
            raise BadInput(
                f"{site.name} camera: expected colour pictures of a visible camera, got 16-bit counts; declare a "
                "thermal camera with modality: infrared"
            )
        return "visible"
    return site.band or ("lwir" if pixels.dtype == np.uint16 else "nir")


def is_coloured(image_HWC: Pixels) -> bool:
    """True where the channels differ by more than compression makes them (every 8th row and column is looked at)."""
    sample_HWC = image_HWC[::8, ::8].astype(np.int16)
    spread_HW = sample_HWC.max(axis=2) - sample_HWC.min(axis=2)
    return bool(spread_HW.mean() > COLOURED)


def _grey(image_HWC: Pixels, turned: bool) -> NDArray[np.uint8]:
    # A colour palette's luminance rises with the temperature in most of them (ironbow, not rainbow).
    grey_HW = np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.asarray(255 - grey_HW, np.uint8) if turned else grey_HW
