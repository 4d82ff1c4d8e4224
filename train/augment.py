"""Training-time changes of pixels, on uint8 RGB images; the randomness comes in as a NumPy generator.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.recipe import Recipe

    Pixels = NDArray[np.uint8]

HUE_RANGE = 0.20  # MCJA: share of the colour circle, either way
CUTMIX_AREA = (0.02, 0.33)
ASPECT = (0.3, 3.3)  # height / width of a patch, drawn log-uniformly
ATTEMPTS = 10


class Box(NamedTuple):
    """A rectangle in pixels."""

    top: int
    left: int
    height: int
    width: int


class Augmented(NamedTuple):
    """A changed image and the rectangle that is set to the mean after normalisation, if any."""

    image_HWC: Pixels
    erase: Box | None


def augment(image_HWC: Pixels, modality: Modality, recipe: Recipe, rng: Generator) -> Augmented:
    """Apply the recipe: colour change (visible images only), flip, padded crop; draw the rectangle to erase."""
    if modality == "visible":
        if recipe.augment not in AUGMENTATIONS:
            raise BadInput(f"setting augment: expected one of {', '.join(AUGMENTATIONS)}, got {recipe.augment!r}")
        image_HWC = AUGMENTATIONS[recipe.augment](image_HWC, recipe, rng)
    if rng.random() < recipe.flip_probability:
        image_HWC = image_HWC[:, ::-1]
    if recipe.pad_px:
        image_HWC = _padded_crop(image_HWC, recipe.pad_px, recipe.pad_value, rng)
    erase = None
    if rng.random() < recipe.erase_probability:
        erase = draw_box(image_HWC.shape[0], image_HWC.shape[1], recipe.erase_area, rng)
    return Augmented(np.ascontiguousarray(image_HWC), erase)


def vimc(image_HWC: Pixels, recipe: Recipe, rng: Generator) -> Pixels:
    """MCJA's VIMC: one of four colour changes, each chosen with probability 1/4 and then applied with 1/2."""
    choice = int(rng.integers(4))
    if rng.random() < 0.5:
        return image_HWC
    if choice == 0:
        return shift_hue(image_HWC, rng.uniform(-HUE_RANGE, HUE_RANGE))
    if choice == 1:
        weight_C = rng.random(3)
        return weighted_gray(image_HWC, weight_C / weight_C.sum())
    if choice == 2:
        background, foreground = (int(channel) for channel in rng.permutation(3)[:2])
        return channel_cutmix(
            image_HWC, background, foreground, rng, transposed=bool(getattr(recipe, "cutmix_transposed", False))
        )
    return spectrum_jitter(image_HWC, int(rng.integers(3)), rng.random())


AUGMENTATIONS: dict[str, Callable[[Pixels, Recipe, Generator], Pixels]] = {
    "plain": lambda image_HWC, _recipe, _rng: image_HWC,
    "vimc": vimc,
}


def shift_hue(image_HWC: Pixels, turn: float) -> Pixels:
    """Turn the hue by a share of the circle, in Pillow's 8-bit HSV as torchvision does."""
    hue, saturation, value = Image.fromarray(np.ascontiguousarray(image_HWC)).convert("HSV").split()
    turned = (np.asarray(hue).astype(np.int16) + int(turn * 255)) % 256
    shifted = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value))
    return np.asarray(shifted.convert("RGB"))


def weighted_gray(image_HWC: Pixels, weight_C: NDArray[np.float64]) -> Pixels:
    """Return the weighted sum of the channels, cut down to whole numbers, on all three channels."""
    return _replicate((image_HWC @ weight_C).astype(np.uint8))


def channel_cutmix(
    image_HWC: Pixels, background: int, foreground: int, rng: Generator, *, transposed: bool = False
) -> Pixels:
    """Show one channel with a rectangle of another, on all three channels.

    transposed repeats the public code's slip: it takes (width, height) for (height, width) when it draws the rectangle.
    """
    height, width = image_HWC.shape[:2]
    gray_HW = image_HWC[:, :, background].copy()
    drawn = draw_box(width, height, CUTMIX_AREA, rng) if transposed else draw_box(height, width, CUTMIX_AREA, rng)
    if drawn is not None:
        rows = slice(drawn.top, drawn.top + drawn.height)
        columns = slice(drawn.left, drawn.left + drawn.width)
        gray_HW[rows, columns] = image_HWC[rows, columns, foreground]
    return _replicate(gray_HW)


def spectrum_jitter(image_HWC: Pixels, channel: int, factor: float) -> Pixels:
    """Blend the colour image (share: factor) with one of its channels shown as grey, by Pillow's rounding."""
    gray = Image.fromarray(_replicate(image_HWC[:, :, channel]))
    return np.asarray(Image.blend(gray, Image.fromarray(np.ascontiguousarray(image_HWC)), factor))


def draw_box(height: int, width: int, area: tuple[float, float], rng: Generator) -> Box | None:
    """Draw a rectangle of a share of the area with a log-uniform aspect; None if none fits in ten attempts."""
    for _ in range(ATTEMPTS):
        target = rng.uniform(*area) * height * width
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        box_height, box_width = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < box_height < height and 0 < box_width < width:
            top = int(rng.integers(0, height - box_height + 1))
            return Box(top, int(rng.integers(0, width - box_width + 1)), box_height, box_width)
    return None


def _padded_crop(image_HWC: Pixels, pad_px: int, pad_value: int, rng: Generator) -> Pixels:
    """Crop the image's own size out of the padded image, which is never made: only what shows of it is copied."""
    height, width = image_HWC.shape[:2]
    down, right = (int(offset) - pad_px for offset in rng.integers(0, 2 * pad_px + 1, 2))
    cropped_HWC = np.full_like(image_HWC, pad_value, order="C")
    seen_HWC = image_HWC[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    top, left = max(0, -down), max(0, -right)
    cropped_HWC[top : top + seen_HWC.shape[0], left : left + seen_HWC.shape[1]] = seen_HWC
    return cropped_HWC


def _replicate(gray_HW: Pixels) -> Pixels:
    return np.repeat(gray_HW[:, :, None], 3, axis=2)
