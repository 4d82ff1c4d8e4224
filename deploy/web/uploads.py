"""Pictures that come from outside: decoded with limits, on the thread of whoever sent them.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import io
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from deploy.cameras.thermal import ThermalConverter
from deploy.settings.site_plan import ThermalSettings
from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

# One picture at a time: 48 connections with one each of the largest would take gigabytes of a device that has eight.
_DECODING = threading.Lock()
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MOST_PIXELS = 50_000_000  # of a JPEG, which is decoded at a part of its size
MOST_WHOLE = 25_000_000  # of the others: takes 190 MB while it is decoded, with transparency 260 MB (measured)
LONGEST_PX = 1920  # a person of half its height is twice as large as the network's picture


def decode_picture(content: bytes, what: str) -> Pixels:
    """Return an uploaded picture upright, as RGB, 1920 pixels long at most; `what` names it in the message."""
    if not content:
        raise BadInput(f"{what}: expected a picture, got nothing")
    try:
        with _DECODING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of damaged tags; each would be a line on stderr
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _opened(image, what)
    except BadInput:
        raise
    except Exception as error:  # damaged bytes make a decoder raise anything
        raise BadInput(f"{what}: expected a JPEG, PNG, WebP, BMP or TIFF picture that is whole, got another") from error


def _opened(image: Image.Image, what: str) -> Pixels:
    # The size stands in the header: a file of some kilobytes can unpack to gigabytes.
    most = MOST_PIXELS if image.format == "JPEG" else min(MOST_PIXELS, MOST_WHOLE)
    if image.width * image.height > most:
        raise BadInput(f"{what}: expected {most / 1e6:g} megapixels at most, got {image.width} x {image.height}")
    if image.format == "JPEG":
        image.draft("RGB", (LONGEST_PX, LONGEST_PX))  # decodes a large one at a half, a quarter or an eighth
    return _pixels(image)


def _pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I") or image.mode == "F":
        raw_HW = np.asarray(image)
        if raw_HW.min() < 0 or raw_HW.max() > np.iinfo(np.uint16).max:
            raise BadInput("expected 8 or 16 bits a pixel, got more")
        # Counts of a thermal camera, as the cameras' own: white-hot, percentiles.
        return ThermalConverter(ThermalSettings()).convert(raw_HW.astype(np.uint16), 0.0).image_HWC
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        clear = upright if upright.mode == "RGBA" else upright.convert("RGBA")
        upright = Image.new("RGB", clear.size, "white")
        upright.paste(clear, mask=clear.getchannel("A"))
        del clear
    upright.thumbnail((LONGEST_PX, LONGEST_PX), Image.Resampling.BILINEAR)
    return np.asarray(upright.convert("RGB"), np.uint8)
