"""Text in a picture: a real typeface, antialiased, rendered once per string.

OpenCV's stroke fonts are unreadable at the sizes of an overlay. Shapes: H height, W width.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Colour = tuple[int, int, int]
    Pixels = NDArray[np.uint8]


@lru_cache(maxsize=512)  # a label costs 0.2 ms to render and 0.02 ms to blend
def text_mask(text: str, size_px: int) -> NDArray[np.float32]:
    """Return the coverage (H, W) of a line of text, 0 to 1."""
    font = _font(size_px)
    left, _, right, _ = font.getbbox(text)
    image = Image.new("L", (max(1, int(right - left) + 2), int(size_px * 1.35)))
    ImageDraw.Draw(image).text((1 - left, 0), text, fill=255, font=font)
    return np.asarray(image, np.float32) / np.float32(255)


@lru_cache(maxsize=32)
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)


@lru_cache(maxsize=256)  # made in 0.2 ms, copied in 0.005; most words of a picture were in the one before
def text_plate(text: str, size_px: int, ink: Colour, fill: Colour) -> Pixels:
    """Return a line of text on a plain colour (H, W, 3)."""
    plate_HWC = np.full((*text_mask(text, size_px).shape, 3), fill, np.uint8)
    put_text(plate_HWC, text, (0, 0), size_px, ink)
    return plate_HWC


def put_plate(canvas_HWC: Pixels, plate_HWC: Pixels, place: tuple[int, int]) -> None:
    """Copy a plate into the canvas with its top left corner at place, cut at the border."""
    x, y = place
    area_HWC = canvas_HWC[max(0, y) : max(0, y + plate_HWC.shape[0]), max(0, x) : max(0, x + plate_HWC.shape[1])]
    height, width = area_HWC.shape[:2]
    area_HWC[:] = plate_HWC[max(0, -y) :, max(0, -x) :][:height, :width]


def put_text(canvas_HWC: Pixels, text: str, place: tuple[int, int], size_px: int, colour: Colour) -> int:
    """Blend text into the canvas with its top left corner at place, cut at the border; return its width."""
    mask_HW = text_mask(text, size_px)
    x, y = place
    area_HWC = canvas_HWC[max(0, y) : max(0, y + mask_HW.shape[0]), max(0, x) : max(0, x + mask_HW.shape[1])]
    height, width = area_HWC.shape[:2]
    if height and width:
        cover_HW1 = mask_HW[max(0, -y) :, max(0, -x) :][:height, :width, None]
        area_HWC[:] = (area_HWC * (1 - cover_HW1) + np.asarray(colour, np.float32) * cover_HW1).astype(np.uint8)
    return mask_HW.shape[1]
