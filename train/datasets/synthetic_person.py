"""Who a synthetic person is: body, hair, cut of the clothes, patterns, bags and the material of each.

Everything here is drawn from (seed, identity) alone, so a person is the same in every camera, worker and data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from train.datasets.synthetic_material import (
    BOTTOM_COLOURS,
    FABRICS,
    GARMENT_COLOURS,
    HAIR_COLOURS,
    SHOE_COLOURS,
    SKIN_COLOURS,
    Material,
    Surface,
    dye_fabric,
    linear,
    pattern_dye,
    pick_colour,
)
from train.datasets.synthetic_pattern import PAINTERS
from train.datasets.synthetic_pose import Body

if TYPE_CHECKING:
    from collections.abc import Sequence

TOP_CUTS = ("tee", "shirt", "shirt", "hoodie", "jacket", "coat", "vest", "dress")
BOTTOM_CUTS = ("slim", "slim", "straight", "straight", "wide", "shorts", "skirt")
BOTTOM_PATTERNS = ("plain", "plain", "plain", "plain", "sides", "block", "block", "checks", "hoops", "stripes")
# Quilting, ribs, pleats, seams: what a light casts shadows on, so every sensor of reflected light sees the same.
TOP_RELIEFS = ("plain", "hoops", "stripes", "checks", "chevron", "yoke", "band", "block", "sash", "sides")
BOTTOM_RELIEFS = ("plain", "plain", "hoops", "stripes", "block", "sides", "band")
HAIR_CUTS = ("short", "short", "crop", "bob", "long", "ponytail", "bun", "bald")
BAGS = ("none", "backpack", "backpack", "shoulder", "handbag")
HEADWEAR = ("none", "none", "none", "cap", "beanie")
WARM_TOPS = ("hoodie", "jacket", "coat", "vest")


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """The cut of the clothes; lengths in statures."""

    top: str  # TOP_CUTS
    sleeve: float  # share of the arm that is covered, 0 to 1
    tail: float  # how far a coat or dress reaches below the pelvis
    top_pattern: str
    pattern_seed: int
    top_relief: str
    bottom_relief: str
    relief: float  # share of the light that the folds of a relief lose
    opening: float  # half angle of an open jacket, radians; 0 is closed
    bottom: str  # BOTTOM_CUTS
    leg: float  # share of the leg that is covered, 0 to 1
    looseness: float  # of the trousers, statures
    bottom_pattern: str
    boot: float  # height of the shoe on the shin, as a share of it
    hair: str
    beard: bool
    headwear: str
    scarf: bool
    bag: str
    bag_size: tuple[float, float]  # half width, length
    bag_side: float  # -1 right, 1 left


@dataclass(frozen=True, kw_only=True)
class Person:
    """One identity."""

    identity: int
    body: Body
    outfit: Outfit
    materials: dict[int, Material]


def draw_person(seed: int, identity: int) -> Person:
    """Draw the person that carries this identity."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 1, identity)))
    outfit = _draw_outfit(rng)
    return Person(identity=identity, body=_draw_body(rng), outfit=outfit, materials=_draw_materials(rng, outfit))


def _draw_body(rng: np.random.Generator) -> Body:
    build = rng.uniform(0.80, 1.30)  # slim to heavy
    hip_height = rng.uniform(0.485, 0.535)
    return Body(
        shoulder=rng.uniform(0.108, 0.134) * (0.55 + 0.45 * build),
        waist=rng.uniform(0.080, 0.096) * build,
        hip=rng.uniform(0.092, 0.106) * (0.4 + 0.6 * build),
        depth=rng.uniform(0.066, 0.078) * (0.4 + 0.6 * build),
        belly=rng.uniform(0.058, 0.072) * build**1.3,
        hip_height=hip_height,
        shoulder_height=hip_height + rng.uniform(0.300, 0.325),
        head=rng.uniform(0.062, 0.070),
        arm=rng.uniform(0.028, 0.033) * (0.5 + 0.5 * build),
        thigh=rng.uniform(0.046, 0.053) * (0.5 + 0.5 * build),
    )


def _draw_outfit(rng: np.random.Generator) -> Outfit:
    top, bottom = _one(rng, TOP_CUTS), _one(rng, BOTTOM_CUTS)
    sleeve = {"tee": rng.uniform(0.15, 0.45), "vest": 1.0, "dress": rng.uniform(0.1, 1.0)}.get(top, 1.0)
    tail = {"coat": rng.uniform(0.12, 0.30), "dress": rng.uniform(0.12, 0.34)}.get(top, rng.uniform(0.0, 0.04))
    leg = {"shorts": rng.uniform(0.30, 0.52), "skirt": rng.uniform(0.30, 0.75)}.get(bottom, rng.uniform(0.9, 1.0))
    loose = {"slim": rng.uniform(0.0, 0.005), "wide": rng.uniform(0.018, 0.030)}.get(bottom, rng.uniform(0.006, 0.014))
    patterns = [kind for kind in PAINTERS if kind not in ("plain", "zip")]
    plain = ("zip", "plain") if top in WARM_TOPS else ("plain", "plain")
    hair = _one(rng, HAIR_CUTS)
    return Outfit(
        top=top,
        sleeve=sleeve,
        tail=tail,
        top_pattern=_one(rng, plain) if rng.random() < 0.18 else _one(rng, patterns),
        pattern_seed=int(rng.integers(2**31)),
        top_relief=_one(rng, TOP_RELIEFS),
        bottom_relief=_one(rng, BOTTOM_RELIEFS),
        relief=rng.uniform(0.45, 0.7),
        opening=rng.uniform(0.18, 0.6) if top in ("jacket", "coat", "vest") and rng.random() < 0.7 else 0.0,
        bottom="bare" if top == "dress" else bottom,
        leg=0.0 if top == "dress" else leg,
        looseness=loose,
        bottom_pattern=_one(rng, BOTTOM_PATTERNS),
        boot=rng.uniform(0.25, 0.75) if rng.random() < 0.22 else rng.uniform(0.0, 0.08),
        hair=hair,
        beard=bool(rng.random() < 0.35) and top != "dress" and bottom != "skirt" and hair in ("crop", "short", "bald"),
        headwear=_one(rng, HEADWEAR),
        scarf=bool(rng.random() < 0.14),
        bag=_one(rng, BAGS),
        bag_size=(rng.uniform(0.06, 0.11), rng.uniform(0.15, 0.27)),
        bag_side=float(rng.choice((-1.0, 1.0))),
    )


def _draw_materials(rng: np.random.Generator, outfit: Outfit) -> dict[int, Material]:
    skin = pick_colour(rng, SKIN_COLOURS)
    top_fabric = _one(
        rng, ("wool", "nylon", "leather", "polyester") if outfit.top in WARM_TOPS else ("cotton", "polyester")
    )
    bottom_fabric = _one(rng, ("denim", "cotton", "wool", "polyester"))
    top = dye_fabric(rng, top_fabric, pick_colour(rng, GARMENT_COLOURS))
    bottom = dye_fabric(rng, bottom_fabric, pick_colour(rng, BOTTOM_COLOURS))
    bag_fabric = _one(rng, ("nylon", "leather", "cotton"))
    bag = dye_fabric(rng, bag_fabric, pick_colour(rng, GARMENT_COLOURS))
    bag = Material(colour=bag.colour, infrared=bag.infrared, warmth=0.15)  # nothing warm behind it
    hair = pick_colour(rng, HAIR_COLOURS)
    shoe = dye_fabric(rng, _one(rng, ("rubber", "leather", "cotton")), pick_colour(rng, SHOE_COLOURS))
    materials = {
        # Human skin reflects half to two thirds at 850 nm whatever its colour: melanin is nearly transparent there.
        Surface.SKIN: Material(colour=skin, infrared=rng.uniform(0.52, 0.64), warmth=rng.uniform(0.94, 1.0)),
        Surface.HAIR: Material(
            colour=hair, infrared=rng.uniform(0.13, 0.30) + 0.3 * hair[0], warmth=rng.uniform(0.5, 0.7)
        ),
        Surface.FEATURE: Material(colour=linear((62, 40, 36)), infrared=0.22, warmth=0.9),
        Surface.TOP: top,
        Surface.TOP_PATTERN: pattern_dye(rng, top, top_fabric),
        Surface.TOP_ACCENT: pattern_dye(rng, top, top_fabric),
        Surface.INNER: dye_fabric(rng, "cotton", pick_colour(rng, GARMENT_COLOURS)),
        Surface.BOTTOM: bottom,
        Surface.BOTTOM_PATTERN: pattern_dye(rng, bottom, bottom_fabric),
        Surface.SHOE: shoe,
        Surface.SOLE: dye_fabric(rng, "rubber", pick_colour(rng, SHOE_COLOURS)),
        Surface.BAG: bag,
        Surface.BAG_TRIM: pattern_dye(rng, bag, bag_fabric),
        Surface.HEADWEAR: dye_fabric(rng, _one(rng, ("cotton", "wool")), pick_colour(rng, GARMENT_COLOURS)),
        Surface.SCARF: dye_fabric(rng, _one(rng, tuple(FABRICS)[:3]), pick_colour(rng, GARMENT_COLOURS)),
        Surface.SOCK: dye_fabric(rng, "cotton", pick_colour(rng, BOTTOM_COLOURS)),
    }
    return {int(surface): material for surface, material in materials.items()}


def _one(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]
