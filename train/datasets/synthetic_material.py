"""What synthetic people and places are made of, and how each material looks to each kind of camera.

A picture is painted once as a map of surfaces; a camera then looks every surface up in its own palette. That is why an
infrared picture is not a grey copy: colour is a dye, most dyes are transparent to near infrared, and what is left is
the fabric. Reflectances are linear, 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

InfraredKind = Literal["nir", "thermal"]
Sensor = Literal["visible", "nir", "thermal"]


class Surface(IntEnum):
    """Index of a surface of a person; 0 is where no person is."""

    NOTHING = 0
    SKIN = 1
    HAIR = 2
    FEATURE = 3  # eyes, brows, mouth
    TOP = 4
    TOP_PATTERN = 5
    TOP_ACCENT = 6
    INNER = 7  # the shirt under an open jacket
    BOTTOM = 8
    BOTTOM_PATTERN = 9
    SHOE = 10
    SOLE = 11
    BAG = 12
    BAG_TRIM = 13
    HEADWEAR = 14
    SCARF = 15
    SOCK = 16


@dataclass(frozen=True, kw_only=True)
class Material:
    """A surface as three kinds of sensor see it."""

    colour: tuple[float, float, float]  # reflectance of red, green, blue
    infrared: float  # reflectance at 850 nm
    warmth: float  # apparent temperature in the long wave, 0 at the air's, 1 at bare skin's


@dataclass(frozen=True, kw_only=True)
class Fabric:
    """A cloth before it is dyed."""

    infrared: float  # undyed reflectance at 850 nm
    spread: float  # between one bolt of cloth and the next
    warmth: float  # of the outside when worn


FABRICS: Mapping[str, Fabric] = {
    "cotton": Fabric(infrared=0.62, spread=0.08, warmth=0.62),
    "polyester": Fabric(infrared=0.54, spread=0.08, warmth=0.58),
    "wool": Fabric(infrared=0.48, spread=0.07, warmth=0.40),
    "denim": Fabric(infrared=0.44, spread=0.07, warmth=0.52),  # indigo is transparent at 850 nm
    "nylon": Fabric(infrared=0.38, spread=0.09, warmth=0.32),
    "leather": Fabric(infrared=0.24, spread=0.08, warmth=0.35),
    "rubber": Fabric(infrared=0.12, spread=0.05, warmth=0.22),
}

# sRGB, 0 to 255: what is sold in shops. Several identities share each, so colour alone does not name a person.
BLACK_COLOURS = ((24, 24, 28), (38, 40, 46), (28, 38, 72), (40, 30, 30))
GARMENT_COLOURS = (
    *((22, 22, 24), (30, 30, 36), (28, 32, 48)),
    *((24, 24, 28), (38, 40, 46), (58, 60, 66), (98, 100, 104), (150, 152, 154), (196, 198, 198), (234, 234, 230)),
    *((28, 38, 72), (42, 66, 122), (70, 112, 170), (128, 166, 204), (30, 74, 66), (56, 104, 66), (112, 126, 74)),
    *((120, 26, 34), (178, 40, 44), (214, 96, 82), (224, 142, 70), (222, 190, 84), (198, 174, 138), (132, 98, 66)),
    *((92, 56, 40), (104, 54, 104), (186, 128, 160), (70, 142, 142)),
)
BOTTOM_COLOURS = (
    *((24, 24, 28), (30, 30, 34), (38, 40, 46), (58, 60, 66), (98, 100, 104), (150, 152, 154), (226, 224, 216)),
    *((28, 38, 72), (36, 50, 88), (42, 66, 122), (70, 96, 140), (112, 140, 172), (84, 84, 62), (132, 98, 66)),
    *((198, 174, 138), (92, 56, 40), (120, 26, 34), (56, 84, 66)),
)
SHOE_COLOURS = (
    (22, 22, 24),
    (44, 42, 42),
    (84, 58, 42),
    (200, 200, 198),
    (232, 232, 230),
    (120, 122, 126),
    (40, 52, 88),
)
HAIR_COLOURS = ((18, 15, 14), (30, 23, 20), (48, 34, 26), (74, 50, 34), (124, 92, 58), (140, 136, 132))
SKIN_COLOURS = ((238, 202, 178), (226, 184, 156), (204, 158, 126), (172, 124, 94), (124, 84, 62), (86, 58, 46))

PATTERN_DYE_VANISHES = 0.25  # share of patterns whose two dyes reflect near infrared alike
CARBON = 0.60  # share of black things whose black is carbon, which absorbs at 850 nm too; other blacks turn bright
BLACK = 0.055  # mean reflectance below which a colour can be carbon black: 60 of 255 on a screen
RED_SHARE = 0.60  # no dye that reflects red absorbs all infrared: reflectance at 850 nm is at least this share of red's


def linear(srgb: tuple[int, int, int]) -> tuple[float, float, float]:
    """Turn an 8-bit screen colour into reflectances; a gamma of 2, which the cameras undo with a square root."""
    red, green, blue = ((value / 255.0) ** 2 for value in srgb)
    return red, green, blue


def pick_colour(rng: np.random.Generator, choices: tuple[tuple[int, int, int], ...]) -> tuple[float, float, float]:
    """Draw a colour of a table and age it a little."""
    base = np.asarray(choices[int(rng.integers(len(choices)))], np.float64) + rng.normal(0, 7, 3)
    red, green, blue = (int(value) for value in np.clip(base, 8, 245))
    return linear((red, green, blue))


def dye_fabric(rng: np.random.Generator, fabric: str, colour: tuple[float, float, float]) -> Material:
    """Dye a fabric. Hue has no part in near infrared: only black may absorb it; strong red or white may not."""
    cloth = FABRICS[fabric]
    carbon, absorbed_by_carbon, absorbed_by_dye = rng.random() < CARBON, rng.uniform(0.6, 0.85), rng.uniform(0.0, 0.12)
    absorbed = absorbed_by_carbon if carbon and sum(colour) / 3 < BLACK else absorbed_by_dye
    undyed = float(np.clip(rng.normal(cloth.infrared, cloth.spread), 0.05, 0.85))
    warmth = float(np.clip(rng.normal(cloth.warmth, 0.07), 0.1, 0.9))
    infrared = max(undyed * (1.0 - absorbed), RED_SHARE * colour[0])
    return Material(colour=colour, infrared=infrared, warmth=warmth)


def pattern_dye(rng: np.random.Generator, ground: Material, fabric: str) -> Material:
    """Dye a pattern onto a garment: another colour and, unless the dyes are of one class, another near infrared.

    What absorbs infrared is a carbon print, hence dark to the eye as well; on cloth that absorbs, the pattern is what
    does not. So a pattern that stays has the same sign in both pictures.
    """
    undyed = FABRICS[fabric].infrared
    ground_absorbs = ground.infrared < 0.5 * undyed
    if rng.random() < PATTERN_DYE_VANISHES and not ground_absorbs:
        options = [pick_colour(rng, GARMENT_COLOURS) for _ in range(4)]
        colour = max(options, key=lambda option: abs(sum(option) - sum(ground.colour)))
        return Material(colour=colour, infrared=ground.infrared, warmth=ground.warmth)
    if ground_absorbs or sum(ground.colour) / 3 < BLACK:
        colour = max((pick_colour(rng, GARMENT_COLOURS) for _ in range(4)), key=sum)
        infrared = max(undyed, RED_SHARE * colour[0])
    else:
        colour = pick_colour(rng, BLACK_COLOURS)
        infrared = ground.infrared * rng.uniform(0.15, 0.4)
    return Material(colour=colour, infrared=infrared, warmth=ground.warmth)  # a dye does not change the temperature


def palette(materials: Mapping[int, Material], sensor: Sensor, size: int) -> NDArray[np.float32]:
    """Tabulate what a sensor sees of each surface: (size, 3), visible as blue, green, red (OpenCV's order)."""
    table_KC = np.zeros((size, 3), np.float32)
    for surface, material in materials.items():
        if sensor == "visible":
            table_KC[surface] = material.colour[::-1]
        else:
            table_KC[surface] = material.infrared if sensor == "nir" else material.warmth
    return table_KC
