"""Crop to network pixels: the only resize of the project.

Training-time evaluation, calibration, parity and the cameras all pass through here. The exported graph takes the
uint8 pixels as they leave this file; normalisation is inside the graph.

Shapes: B batch, H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]


def resize_crop(crop_HWC: Pixels, height_px: int, width_px: int) -> Pixels:
    """Resize an RGB uint8 crop with antialiased bilinear filtering.

    Pillow does it, because the published accuracies were made with Pillow's filter (torchvision's `Resize` on a PIL
    image); OpenCV's INTER_LINEAR does not antialias and moves them.
    """
    if crop_HWC.dtype != np.uint8 or crop_HWC.ndim != 3 or crop_HWC.shape[2] != 3 or 0 in crop_HWC.shape:
        raise BadInput(
            f"expected an RGB crop of shape (height, width, 3) and dtype uint8, got {crop_HWC.shape} {crop_HWC.dtype}"
        )
    if crop_HWC.shape[:2] == (height_px, width_px):
        return crop_HWC
    image = Image.fromarray(np.ascontiguousarray(crop_HWC))
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BILINEAR))


def batch_crops(crops: Sequence[Pixels], height_px: int, width_px: int) -> Pixels:
    """Resize crops of any size into one (B, H, W, 3) uint8 buffer."""
    batch_BHWC = np.empty((len(crops), height_px, width_px, 3), np.uint8)
    for index, crop_HWC in enumerate(crops):
        batch_BHWC[index] = resize_crop(crop_HWC, height_px, width_px)
    return batch_BHWC
