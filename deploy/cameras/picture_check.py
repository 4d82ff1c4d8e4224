"""What is wrong with a camera's pictures, cheaply: standing still, dark, without contrast, coloured by the camera.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploy.cameras.thermal import LEAST_RANGE, is_coloured, percentile_range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.settings.site_plan import Band

    Pixels = NDArray[np.uint8] | NDArray[np.uint16]

CHECK_EVERY_S = 1.0
CHECK_PERCENT = (1.0, 99.0)
DARK = 24.0  # grey level that 99 % of the pixels stay below; video range puts black at 16
FLAT = 10.0  # grey levels between the darkest and the brightest 1 %
HOLD_S = 0.15  # 9 Hz cameras repeat each picture once or twice to fill 30 a second: no event
FROZEN_S = 5.0  # encoders repeat a still scene byte for byte between two key frames, rarely this long

PALETTE, GREY, COLOUR = "8-bit palette", "8-bit grey", "colour"
Y16 = "where it offers 16-bit counts, set format: Y16; using 8 bits"
ADVICE = {
    PALETTE: f"gives 8 bits in false colours (a palette is on in the camera); {Y16}",
    GREY: f"gives 8 bits in three identical planes (the camera adjusts its contrast by itself); {Y16}",
    COLOUR: "gives colour pictures for an infrared camera; switch it to night mode, or a thermal one's palette to grey",
}


class Stillness(NamedTuple):
    """How often and for how long the newest picture has been repeated; `moved`: another one came before it."""

    repeats: int
    seconds: float
    moved: bool


class FreezeWatch:
    """Compares each picture with the one before, byte for byte."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew: what comes after a lost connection repeats nothing."""
        self._picture: Pixels | None = None
        self._since_s, self._repeats, self._moved = 0.0, 0, False

    def look(self, pixels: Pixels, time_s: float) -> Stillness:
        """Return how still the camera stands; pixels is kept until the next picture, not copied."""
        if self._picture is not None and _same(self._picture, pixels):
            self._repeats += 1
        else:
            self._moved = self._picture is not None
            self._since_s, self._repeats = time_s, 0
        self._picture = pixels
        return Stillness(self._repeats, time_s - self._since_s, self._moved)


class PictureCheck:
    """Looks at one picture a second and keeps what it found in `notes`."""

    def __init__(self) -> None:
        self.notes: tuple[str, ...] = ()
        self._next_s = -math.inf

    def look(self, pixels: Pixels, band: Band, time_s: float) -> None:
        """Check a picture of a camera of `band`, before conversion, unless another was checked in this second."""
        if time_s < self._next_s:
            return
        self._next_s = time_s + CHECK_EVERY_S
        self.notes = check(pixels, band)


def check(pixels: Pixels, band: Band) -> tuple[str, ...]:
    """Return what is wrong with a picture of a camera of `band`, in fixed words."""
    if pixels.dtype == np.uint16:
        low, high = percentile_range(pixels[::4, ::4], CHECK_PERCENT)
        return ("flat",) if high - low < LEAST_RANGE else ()
    notes = [_light(pixels)]
    if band != "visible":
        coloured = is_coloured(pixels)
        notes.append(COLOUR if coloured else "") if band == "nir" else notes.append(PALETTE if coloured else GREY)
    return tuple(note for note in notes if note)


def _light(image_HWC: Pixels) -> str:
    sample_HWC = image_HWC[::8, ::8]
    low, high = percentile_range(sample_HWC.reshape(sample_HWC.shape[0], -1), CHECK_PERCENT)
    if high < DARK:
        return "dark"
    return "flat" if high - low < FLAT else ""


def _same(a: Pixels, b: Pixels) -> bool:
    # Every 16th row decides nearly always: 0.02 ms for 1080p, where the whole takes 0.33 ms.
    return a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a[::16], b[::16]) and np.array_equal(a, b)
