"""The annotated picture: both views side by side, one colour per identity, matched people linked.

1280 pixels wide, RGB. A camera without a new frame keeps its last view.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deploy.lettering import put_text, text_mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from deploy.frames import Frame
    from deploy.matching import Decision
    from deploy.sightings import TrackKey
    from deploy.tracker import TrackedBox

    Pixels = NDArray[np.uint8]
    Colour = tuple[int, int, int]

WIDTH_PX, HEADER_PX, FOOTER_PX, GAP_PX = 1280, 44, 34, 4
VIEW_PX = (WIDTH_PX - GAP_PX) // 2
BACKGROUND, PANEL, INK, QUIET = (14, 17, 22), (24, 28, 36), (236, 240, 245), (140, 150, 163)
UNKNOWN = (214, 219, 226)
# Ten hues that stay apart on grey infrared pictures and for most colour-blind eyes.
PALETTE: tuple[Colour, ...] = (
    (64, 196, 255),
    (255, 167, 38),
    (102, 217, 132),
    (255, 99, 132),
    (255, 221, 87),
    (186, 134, 255),
    (38, 222, 206),
    (255, 140, 105),
    (158, 214, 61),
    (244, 143, 217),
)


@dataclass(frozen=True, kw_only=True)
class Status:
    """The words around the picture."""

    engine: str
    time_s: float
    frames_per_s: float
    summary: str


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mark:
    key: TrackKey
    box_px: tuple[int, int, int, int]  # in the canvas
    decision: Decision


class Display:
    """Draws the views of two cameras, given as name and frame size (width, height)."""

    def __init__(self, cameras: Sequence[tuple[str, tuple[int, int]]]) -> None:
        self._names = [name for name, _ in cameras]
        heights = [round(VIEW_PX * height / max(width, 1)) for _, (width, height) in cameras]
        self._view_height_px = min(max(heights), 720)
        # H.264 and MPEG-4 want even sides.
        self.size_px = (WIDTH_PX, (HEADER_PX + self._view_height_px + FOOTER_PX + 1) // 2 * 2)
        self._views: dict[str, Pixels] = {}
        self._marks: dict[str, list[_Mark]] = {name: [] for name in self._names}

    def update(
        self, frame: Frame, boxes: Mapping[TrackKey, TrackedBox], decisions: Mapping[TrackKey, Decision]
    ) -> None:
        """Take a camera's new frame, its tracked boxes and what is believed of them."""
        height_px, width_px = frame.image_HWC.shape[:2]
        scale = min(VIEW_PX / width_px, self._view_height_px / height_px)
        size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
        pad_x, pad_y = (VIEW_PX - size[0]) // 2, (self._view_height_px - size[1]) // 2
        view_HWC = np.full((self._view_height_px, VIEW_PX, 3), PANEL, np.uint8)
        # INTER_AREA takes 5.5 ms for 768x432 against 0.5, and only pays where several pixels become one.
        method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
        view_HWC[pad_y : pad_y + size[1], pad_x : pad_x + size[0]] = cv2.resize(
            frame.image_HWC, size, interpolation=method
        )
        self._views[frame.camera] = view_HWC
        x0 = self._left(frame.camera) + pad_x
        marks: list[_Mark] = []
        for key, box in boxes.items():
            left, top, width, height = (float(value) * scale for value in box.box_4)
            place = (round(x0 + left), round(HEADER_PX + pad_y + top), round(width), round(height))
            marks.append(_Mark(key=key, box_px=place, decision=decisions[key]))
        self._marks[frame.camera] = marks

    def compose(self, status: Status) -> Pixels:
        """Return the whole picture as RGB."""
        canvas_HWC = np.full((self.size_px[1], self.size_px[0], 3), BACKGROUND, np.uint8)
        for name in self._names:
            left, view_HWC = self._left(name), self._views.get(name)
            area_HWC = canvas_HWC[HEADER_PX : HEADER_PX + self._view_height_px, left : left + VIEW_PX]
            area_HWC[:] = PANEL if view_HWC is None else view_HWC
            if view_HWC is None:
                put_text(area_HWC, "waiting for a picture", (VIEW_PX // 2 - 80, self._view_height_px // 2), 16, QUIET)
        self._link(canvas_HWC)
        for name in self._names:
            for mark in self._marks[name]:
                _draw_mark(canvas_HWC, mark, self._left(name))
            _chip(canvas_HWC, name.upper(), (self._left(name) + 10, HEADER_PX + 10), 13, PANEL, INK)
        self._frame_words(canvas_HWC, status)
        return canvas_HWC

    def _left(self, name: str) -> int:
        return self._names.index(name) * (VIEW_PX + GAP_PX)

    def _link(self, canvas_HWC: Pixels) -> None:
        by_key = {mark.key: mark for marks in self._marks.values() for mark in marks}
        for mark in self._marks[self._names[0]]:
            partner = by_key.get(mark.decision.matched) if mark.decision.matched else None
            if partner is None or mark.decision.identity is None:
                continue
            ends = [(b[0] + b[2] // 2, b[1] + b[3] // 2) for b in (mark.box_px, partner.box_px)]
            colour = colour_of(mark.decision.identity)
            cv2.line(canvas_HWC, ends[0], ends[1], colour, 1, cv2.LINE_AA)
            for end in ends:
                cv2.circle(canvas_HWC, end, 4, colour, -1, cv2.LINE_AA)

    def _frame_words(self, canvas_HWC: Pixels, status: Status) -> None:
        x = 14 + put_text(canvas_HWC, "Crosslight", (14, 10), 20, INK)
        put_text(canvas_HWC, status.engine, (x + 12, 15), 14, QUIET)
        minutes, seconds = divmod(max(status.time_s, 0.0), 60)
        clock = f"{int(minutes):02d}:{seconds:04.1f}    {status.frames_per_s:.1f} fps"
        put_text(canvas_HWC, clock, (WIDTH_PX - 14 - text_mask(clock, 16).shape[1], 13), 16, INK)
        put_text(canvas_HWC, status.summary, (14, HEADER_PX + self._view_height_px + 8), 14, QUIET)


def colour_of(identity: int | None) -> Colour:
    return UNKNOWN if identity is None else PALETTE[(identity - 1) % len(PALETTE)]


def label_of(mark_track: int, decision: Decision) -> str:
    """Return what stands over a box: the identity and the similarity of its match, or the track without identities."""
    if decision.identity is None:
        return (
            f"track {mark_track}" if decision.similarity is None else f"track {mark_track}  {decision.similarity:.2f}"
        )
    # The similarity of somebody who is not matched would read as if he were.
    matched = decision.matched is not None and decision.similarity is not None
    return f"ID {decision.identity}  {decision.similarity:.2f}" if matched else f"ID {decision.identity}"


def _draw_mark(canvas_HWC: Pixels, mark: _Mark, view_left: int) -> None:
    x, y, width, height = mark.box_px
    colour = colour_of(mark.decision.identity)
    # A box may leave its view; the line must not run into the other one.
    x0, x1 = max(x, view_left), min(x + width, view_left + VIEW_PX - 1)
    bottom = min(y + height, canvas_HWC.shape[0] - FOOTER_PX - 1)
    for line, thickness in ((BACKGROUND, 4), (colour, 2)):  # the dark rim keeps it readable on every background
        cv2.rectangle(canvas_HWC, (x0, max(y, HEADER_PX)), (x1, bottom), line, thickness, cv2.LINE_AA)
    label = label_of(mark.key.track, mark.decision)
    label_width = text_mask(label, 15).shape[1] + 12
    place = (min(max(x0 - 1, view_left), view_left + VIEW_PX - label_width), max(y - 24, HEADER_PX))
    _chip(canvas_HWC, label, place, 15, colour, BACKGROUND)


def _chip(canvas_HWC: Pixels, text: str, place: tuple[int, int], size_px: int, fill: Colour, ink: Colour) -> None:
    width, height = text_mask(text, size_px).shape[1] + 12, round(size_px * 1.55)
    cv2.rectangle(canvas_HWC, place, (place[0] + width, place[1] + height), fill, -1)
    put_text(canvas_HWC, text, (place[0] + 6, place[1] + round(size_px * 0.13)), size_px, ink)
