"""From what a source gives to a frame: telemetry off, thermal made grey, and whether there is anything new in it.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploy.cameras.frames import Frame
from deploy.cameras.picture_check import ADVICE, FROZEN_S, HOLD_S, FreezeWatch, PictureCheck
from deploy.cameras.thermal import ThermalConverter, band_of, without_telemetry

if TYPE_CHECKING:
    from deploy.cameras.picture_check import Stillness
    from deploy.cameras.state import State
    from deploy.settings.site_plan import Band, CameraSite
    from deploy.sources import Pixels

log = logging.getLogger(__name__)


class Stand(NamedTuple):
    """What a repeated picture says about its camera."""

    state: State
    reason: str
    frozen: bool  # nothing is new in the picture


RUNNING = Stand("running", "", False)


class Darkroom:
    """Develops the pictures of one camera, in their order."""

    def __init__(self, site: CameraSite) -> None:
        self._site = site
        self._thermal, self._freeze, self._check = ThermalConverter(site.thermal), FreezeWatch(), PictureCheck()
        self._advised = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong with the pictures, in the words of deploy.cameras.picture_check."""
        return self._check.notes

    def reopen(self) -> None:
        """Forget the newest picture: what comes after a lost connection repeats nothing."""
        self._freeze.reset()

    def develop(self, pixels: Pixels, *, time_s: float, index: int, live: bool) -> tuple[Frame, Stand]:
        """Return the frame and what it says about the camera; raise BadInput where the site does not fit the pixels."""
        band = band_of(self._site, pixels)
        if band == "lwir":
            pixels = without_telemetry(pixels, self._site.thermal.telemetry_rows, self._site.name)
        self._check.look(pixels, band, time_s)
        self._advise()
        stand = RUNNING
        if live or band == "lwir":
            stand = judge(self._freeze.look(pixels, time_s), self._freeze_s(band), thermal=band == "lwir", live=live)
        inverted = False
        if band == "lwir" or pixels.dtype == np.uint16:
            pixels, white_hot = self._thermal.convert(pixels, time_s)
            inverted = band == "lwir" and white_hot and self._site.thermal.invert_for_detector
        frame = Frame(
            image_HWC=np.asarray(pixels, np.uint8),
            time_s=time_s,
            index=index,
            camera=self._site.name,
            modality=self._site.modality,
            inverted_for_detector=inverted,
            frozen=stand.frozen,
        )
        return frame, stand

    def _freeze_s(self, band: Band) -> float:
        return self._site.thermal.freeze_s if band == "lwir" else FROZEN_S

    def _advise(self) -> None:
        told = [note for note in self.notes if note in ADVICE]
        if told and not self._advised:
            self._advised = True
            log.warning("%s camera: %s", self._site.name, ADVICE[told[0]])


def judge(still: Stillness, limit_s: float, *, thermal: bool, live: bool) -> Stand:
    """Say what a picture that has been repeated means.

    A thermal camera closes its shutter for up to a second (flat-field correction) and repeats itself meanwhile: its
    pictures are frozen from the first repetition, the camera holds, and is frozen itself only after limit_s. Others
    are frozen after limit_s. A recording cannot fail so: what never moved or stands for longer is a still.
    """
    if not still.repeats:
        return RUNNING
    if live and still.seconds > limit_s:
        return Stand("frozen", f"the same picture for {still.seconds:.0f} s", True)
    if not thermal or (not live and (not still.moved or still.seconds > limit_s)):
        return RUNNING
    if still.seconds < HOLD_S:
        return Stand("running", "", True)
    return Stand("holding", "the same picture again and again, as in a flat-field correction", True)
