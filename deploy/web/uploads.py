"""Pictures that come from outside: decoded with limits, on the thread of whoever sent them.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from deploy.assembly.site_plan import ThermalSettings
from deploy.cameras.thermal import ThermalConverter
from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MOST_PIXELS = 50_000_000  # 150 MB once decoded
LONGEST_PX = 1920  # a person of half its height is twice as large as the network's picture


def decode_picture(content: bytes, what: str) -> Pixels:
    """Return an uploaded picture upright, as RGB, 1920 pixels long at most; `what` names it in the message."""
    if not content:
        raise BadInput(f"{what}: expected a picture, got nothing")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # The size stands in the header: a file of some kilobytes can unpack to gigabytes.
            if image.width * image.height > MOST_PIXELS:
                raise BadInput(
                    f"{what}: expected {MOST_PIXELS / 1e6:g} megapixels at most, got {image.width} x {image.height}"
                )
            if image.format == "JPEG":
                image.draft("RGB", (LONGEST_PX, LONGEST_PX))  # decodes a large one at a half, a quarter or an eighth
            return _pixels(image)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{what}: expected a JPEG, PNG, WebP, BMP or TIFF picture that is whole, got another") from error


def _pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I") or image.mode == "F":
        raw_HW = np.asarray(image)
        if raw_HW.min() < 0 or raw_HW.max() > np.iinfo(np.uint16).max:
            raise BadInput("expected 8 or 16 bits a pixel, got more")
        # Counts of a thermal camera, as the cameras' own: white-hot, percentiles.
        return ThermalConverter(ThermalSettings()).convert(raw_HW.astype(np.uint16), 0.0).image_HWC
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
    upright.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BILINEAR)
    return np.asarray(upright.convert("RGB"), np.uint8)
