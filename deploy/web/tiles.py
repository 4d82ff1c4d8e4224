"""The newest picture of every camera with its people marked, drawn and encoded only when somebody looks.

The loop leaves references here; whoever looks draws, on his own thread, and all who look at one picture share one JPEG.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from deploy.drawing.display import BACKGROUND, colour_of, label_of
from deploy.drawing.lettering import put_text, text_mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.matching.matcher import Decision
    from deploy.sightings import TrackKey
    from deploy.tracking.tracker import TrackedBox

    Pixels = NDArray[np.uint8]

WIDEST_PX = 960
NARROWEST_PX = 480  # letters and lines need room: a Lepton's picture is 160 wide
JPEG_QUALITY = 80
LETTER_SHARE = 0.025  # of the width: readable in a tile of half the size


class Mark(NamedTuple):
    """A person in a picture; the box is left, top, width, height in the picture's pixels."""

    box_4: tuple[float, float, float, float]
    identity: int | None
    label: str


class Tile(NamedTuple):
    """One encoded picture. `version` counts the pictures that the loop gave."""

    jpeg: bytes
    version: int
    time_s: float


@dataclass(eq=False)
class _View:
    frame: Frame
    marks: list[Mark]
    version: int


@dataclass(eq=False)
class Tiles:
    """`update` by the loop, everything else by any thread. `names` of enrolled people stand instead of numbers."""

    names: Mapping[int, str] = field(default_factory=dict[int, str])
    encoded: int = 0  # pictures so far
    _views: dict[str, _View] = field(default_factory=dict[str, _View])
    _tiles: dict[str, Tile] = field(default_factory=dict[str, Tile])
    _arrival: threading.Condition = field(default_factory=threading.Condition)
    _encoding: threading.Lock = field(default_factory=threading.Lock)

    def update(
        self, frame: Frame, boxes: Mapping[TrackKey, TrackedBox], decisions: Mapping[TrackKey, Decision]
    ) -> None:
        """Take a camera's new frame, its tracked boxes and what is believed of them; nothing is drawn."""
        marks: list[Mark] = []
        for key, box in boxes.items():
            left, top, width, height = (float(value) for value in box.box_4)
            identity = decisions[key].identity
            marks.append(Mark((left, top, width, height), identity, label_of(key.track, decisions[key])))
        with self._arrival:
            before = self._views.get(frame.camera)
            version = 1 if before is None else before.version + 1
            self._views[frame.camera] = _View(frame, marks, version)
            self._arrival.notify_all()

    def version(self, camera: str) -> int:
        """Return the number of the newest picture, 0 before the first."""
        view = self._views.get(camera)
        return 0 if view is None else view.version

    def wait(self, camera: str, after: int, timeout_s: float) -> int:
        """Wait for a picture newer than version `after` and return the newest version."""
        with self._arrival:
            self._arrival.wait_for(lambda: self.version(camera) > after, timeout_s)
            return self.version(camera)

    def newest(self, camera: str) -> Tile | None:
        """Return the newest picture of a camera, or None where it gave none yet."""
        # One encoder at a time: 1.2 ms for 768x576, and eight onlookers must not take eight cores from the loop.
        with self._encoding:
            view, tile = self._views.get(camera), self._tiles.get(camera)
            if view is None:
                return None
            if tile is None or tile.version != view.version:
                jpeg = encode_jpeg(draw_marks(view.frame.image_HWC, view.marks, self.names))
                tile = self._tiles[camera] = Tile(jpeg, view.version, view.frame.time_s)
                self.encoded += 1
            return tile


def draw_marks(image_HWC: Pixels, marks: list[Mark], names: Mapping[int, str]) -> Pixels:
    """Return a copy of the picture, 480 to 960 pixels wide, with a box and a label for every mark."""
    height, width = image_HWC.shape[:2]
    scale = min(max(1.0, NARROWEST_PX / width), WIDEST_PX / width)
    size = (round(width * scale), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    shown_HWC = image_HWC.copy() if scale == 1 else cv2.resize(image_HWC, size, interpolation=method)
    canvas_HWC = np.asarray(shown_HWC, np.uint8)
    for mark in marks:
        left, top, width, height = (round(value * scale) for value in mark.box_4)
        colour = colour_of(mark.identity)
        for line, thickness in ((BACKGROUND, 5), (colour, 3)):  # the dark rim keeps it readable on every background
            cv2.rectangle(canvas_HWC, (left, top), (left + width, top + height), line, thickness, cv2.LINE_AA)
        _letter(canvas_HWC, _named(mark, names), (left, top), colour)
    return canvas_HWC


def encode_jpeg(image_HWC: Pixels, quality: int = JPEG_QUALITY) -> bytes:
    done, jpeg_N = cv2.imencode(".jpg", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"expected a picture that fits into a JPEG file, got {image_HWC.shape}")
    return jpeg_N.tobytes()


def _named(mark: Mark, names: Mapping[int, str]) -> str:
    name = names.get(mark.identity, "") if mark.identity is not None else ""
    # The built-in typeface has no letters beyond Latin 1; such a name stands on the page, whose fonts have.
    drawable = bool(name) and all(" " <= letter <= "ÿ" for letter in name)
    return mark.label.replace(f"ID {mark.identity}", name[:24], 1) if drawable else mark.label


def _letter(canvas_HWC: Pixels, text: str, place: tuple[int, int], fill: tuple[int, int, int]) -> None:
    letter_px = round(canvas_HWC.shape[1] * LETTER_SHARE)
    width, height = text_mask(text, letter_px).shape[1] + letter_px, round(letter_px * 1.5)
    x = min(max(place[0] - 2, 0), max(canvas_HWC.shape[1] - width, 0))
    y = min(max(place[1] - height, 0), max(canvas_HWC.shape[0] - height, 0))
    cv2.rectangle(canvas_HWC, (x, y), (x + width, y + height), fill, -1)
    put_text(canvas_HWC, text, (x + letter_px // 2, y + letter_px // 8), letter_px, BACKGROUND)
