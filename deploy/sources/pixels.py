"""Decoded pictures in one of two forms: RGB uint8 (H, W, C), or uint16 (H, W) of a thermal camera.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deploy.sources.source import Pixels, failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.settings.site_plan import CameraSite

    Decoded = NDArray[Any]  # as OpenCV returns it: any depth, 2 or 3 axes


def to_pixels(image: Decoded, site: CameraSite) -> Pixels:
    """Return OpenCV's picture (grey, BGR or BGRA) as RGB or 16-bit thermal; raise SourceError for anything else."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[:, :, 0]
    if not image.size or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise failure(site, f"expected a picture of 1, 3 or 4 channels, got {image.shape}; set another format", "codec")
    if image.dtype == np.uint16 and image.ndim == 2 and site.modality == "infrared":
        return np.asarray(image, np.uint16)
    if image.dtype != np.uint8:
        colours = "colour" if image.ndim == 3 else "grey"
        raise failure(
            site,
            f"expected 8 bits a pixel, or 16-bit grey of an infrared camera, got {image.dtype} {colours} of a "
            f"{site.modality} camera; convert the pictures",
            "unsupported",
        )
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2RGB), np.uint8)


def from_y16(raw: Decoded, size_px: tuple[int, int], site: CameraSite) -> Pixels:
    """Return a V4L2 Y16 buffer as uint16 (H, W); OpenCV hands it over as (1, bytes) or as the picture, by version."""
    width, height = size_px
    if raw.dtype == np.uint16 and raw.ndim == 2 and raw.shape[0] > 1 and raw.size:
        return np.asarray(raw, np.uint16)
    flat = np.ascontiguousarray(raw).reshape(-1).view(np.uint8)
    row_bytes = flat.size // height if height else 0  # a driver may pad its rows
    if row_bytes < 2 * width or row_bytes % 2 or not width:
        raise failure(site, f"expected {2 * width * height} bytes of Y16, {width} x {height}, got {flat.size}", "codec")
    return np.array(flat[: row_bytes * height].view("<u2").reshape(height, -1)[:, :width], np.uint16)
