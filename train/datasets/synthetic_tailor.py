"""From a person to the solids that are drawn: the body and the clothes on it.

Lengths are in statures. Shapes: R row along the part, C column around it.
"""

from __future__ import annotations

from math import hypot, pi
from typing import TYPE_CHECKING

import numpy as np

from train.datasets.synthetic_accessory import bag_solids, hair_solids
from train.datasets.synthetic_material import Surface
from train.datasets.synthetic_pattern import ACCENT, COLUMNS, GROUND, PATTERN, grid, paint
from train.datasets.synthetic_solid import Hull, Solid, blob, profile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from train.datasets.synthetic_pattern import Texture
    from train.datasets.synthetic_person import Person

TOP = {GROUND: Surface.TOP, PATTERN: Surface.TOP_PATTERN, ACCENT: Surface.TOP_ACCENT}
BOTTOM = {GROUND: Surface.BOTTOM, PATTERN: Surface.BOTTOM_PATTERN, ACCENT: Surface.BOTTOM_PATTERN}


def make_solids(person: Person) -> list[Solid]:
    """Cut and sew everything a person is made of."""
    solids = [_torso(person), _neck(person), _head(person), *hair_solids(person), *bag_solids(person)]
    for side in ("left", "right"):
        solids += [*_arm(person, side), *_leg(person, side)]
    if person.outfit.tail > 0.06:
        solids.append(_skirt(person, person.outfit.tail, TOP, 0.13))
    if person.outfit.bottom == "skirt":
        solids.append(_skirt(person, person.outfit.leg * 0.5, BOTTOM, 0.06))
    return solids


def _dress(mark_RC: Texture, surfaces: Mapping[int, Surface]) -> Texture:
    lookup = np.zeros(3, np.uint8)
    for mark, surface in surfaces.items():
        lookup[mark] = surface
    return lookup[mark_RC]


def _relief(person: Person, texture_RC: Texture, kind: str, seed: int, length: float, start: float) -> Texture | None:
    """Cast the shadows of a garment's relief; skin, bags and the shirt below have none."""
    if kind == "plain":
        return None
    outfit = person.outfit
    left = np.array((1.0, 1 - outfit.relief, 1 - 0.6 * outfit.relief)) * 255
    relief_RC = left.astype(np.uint8)[paint(kind, outfit.pattern_seed + seed, length, start)]
    cloth_RC = (texture_RC >= Surface.TOP) & (texture_RC <= Surface.BOTTOM_PATTERN) & (texture_RC != Surface.INNER)
    relief_RC[~cloth_RC] = 255
    return relief_RC


def _torso(person: Person) -> Solid:
    body, outfit = person.body, person.outfit
    below = 0.035 + min(outfit.tail, 0.04)
    length = body.shoulder_height + 0.025 - body.hip_height + below
    rows = grid(length)[0].shape[0]
    loose = 0.012 if outfit.top in ("hoodie", "jacket", "coat", "vest") else 0.004

    def at(down: float) -> float:
        return down / length

    texture_RC = _torso_texture(person, length)
    relief_RC = _relief(person, texture_RC, outfit.top_relief, 2, length, 0.0)
    waist_at, hip_at = at(length - below - 0.10), at(length - below)
    front = [
        *(
            (0.0, 0.036),
            (at(0.014), 0.052),
            (at(0.032), body.shoulder * 0.74),
            (at(0.055), body.shoulder * 0.90 + loose),
        ),
        *((at(0.16), body.shoulder * 0.79 + loose), (waist_at, body.waist + loose), (hip_at, body.hip + loose)),
        (1.0, body.hip * 0.97 + loose),
    ]
    side = [
        *((0.0, 0.036), (at(0.05), body.depth * 0.75), (at(0.12), body.depth + loose), (waist_at, body.belly + loose)),
        *((hip_at, body.depth * 1.02 + loose), (1.0, body.depth * 0.95 + loose)),
    ]
    return Solid(
        hull=Hull(texture_RC, profile(rows, front), profile(rows, side), relief_RC),
        start="neck",
        end="pelvis",
        after=below,
        nearer=0.07,
    )


def _torso_texture(person: Person, length: float) -> Texture:
    outfit = person.outfit
    texture_RC = _dress(paint(outfit.top_pattern, outfit.pattern_seed, length), TOP)
    down_R1, angle_1C = grid(length)
    if outfit.opening > 0:
        texture_RC[np.broadcast_to(np.abs(angle_1C) < outfit.opening * (0.55 + 1.6 * down_R1), texture_RC.shape)] = (
            Surface.INNER
        )
    if outfit.top == "hoodie":  # the hood lies on the back
        hood = (np.abs(np.abs(angle_1C) - pi) < 1.0) & (down_R1 < 0.075)
        texture_RC[hood] = Surface.TOP_ACCENT
    neckline = down_R1 < 0.02 + 0.02 * np.cos(angle_1C) * (np.cos(angle_1C) > 0) * (outfit.top in ("tee", "dress"))
    if outfit.top in ("tee", "dress", "shirt"):
        texture_RC[neckline & (down_R1 < 0.045)] = Surface.SKIN
    if outfit.bag == "backpack":  # shoulder straps
        strap = (np.abs(np.abs(angle_1C) - 0.85) < 0.16) & (down_R1 < 0.21) & (down_R1 > 0.015)
        texture_RC[strap] = Surface.BAG_TRIM
    elif outfit.bag == "shoulder":
        slope = -outfit.bag_side * 0.13 * np.sin(angle_1C)
        texture_RC[np.abs(down_R1 - 0.17 + slope * 1.1) < 0.012] = Surface.BAG_TRIM
    if outfit.tail <= 0.04 and outfit.top in ("shirt", "tee"):
        texture_RC[np.broadcast_to(down_R1 > length - 0.022, texture_RC.shape)] = Surface.BOTTOM
    return texture_RC


def _neck(person: Person) -> Solid:
    rows = grid(0.07)[0].shape[0]
    scarf = person.outfit.scarf
    radius_R = profile(rows, ((0, 0.030), (1, 0.034))) if not scarf else profile(rows, ((0, 0.048), (1, 0.062)), 0.3)
    surface = Surface.SCARF if scarf else Surface.SKIN
    texture_RC = np.full((rows, COLUMNS), surface, np.uint8)
    return Solid(
        hull=Hull(texture_RC, radius_R, radius_R * 0.9), start="chin", end="neck", before=0.005,
        after=0.028 if scarf else 0.004, nearer=0.13,
    )  # fmt: skip


def _head(person: Person) -> Solid:
    body, outfit = person.body, person.outfit
    length = 2 * body.head
    down_R1, angle_1C = grid(length)
    rows = down_R1.shape[0]
    share_R1 = (np.arange(rows, dtype=np.float32)[:, None] + 0.5) / rows
    front_1C = np.cos(angle_1C)
    texture_RC = np.full((rows, COLUMNS), Surface.SKIN, np.uint8)
    if outfit.hair != "bald":
        low = {"crop": 0.52, "short": 0.66}.get(outfit.hair, 0.84)
        hairline = np.where(
            front_1C > 0.35, 0.20 - 0.04 * np.cos(3 * angle_1C), low - 0.35 * np.clip(front_1C, -0.2, 1)
        )
        texture_RC[share_R1 < hairline] = Surface.HAIR
    if outfit.beard:
        texture_RC[(share_R1 > 0.70) & (np.abs(angle_1C) < 1.3)] = Surface.HAIR
    eyes = (np.abs(np.abs(angle_1C) - 0.42) < 0.15) & (np.abs(share_R1 - 0.46) < 0.035)
    brows = (np.abs(np.abs(angle_1C) - 0.42) < 0.24) & (np.abs(share_R1 - 0.37) < 0.02)
    mouth = (np.abs(angle_1C) < 0.26) & (np.abs(share_R1 - 0.77) < 0.022)
    texture_RC[eyes | brows | mouth] = Surface.FEATURE
    if outfit.headwear != "none":
        low = 0.30 if outfit.headwear == "cap" else 0.36
        texture_RC[np.broadcast_to(share_R1 < low, texture_RC.shape)] = Surface.HEADWEAR
    skull = ((0.0, body.head * 0.62), (0.3, body.head * 0.74), (0.6, body.head * 0.72), (1.0, body.head * 0.52))
    front_R = profile(rows, skull, 0.38)
    return Solid(hull=Hull(texture_RC, front_R, front_R * 1.16), start="crown", end="chin", nearer=0.15)


def _arm(person: Person, side: str) -> list[Solid]:
    body, outfit = person.body, person.outfit
    arm = body.arm + (0.006 if outfit.top in ("hoodie", "jacket", "coat") else 0.001)
    relief = outfit.top_relief if outfit.top_relief not in ("sash", "block", "sides") else "plain"
    surfaces = TOP if outfit.top != "vest" else dict.fromkeys(TOP, Surface.INNER)
    pattern = outfit.top_pattern if outfit.top_pattern not in ("logo", "zip", "sash", "half") else "plain"
    solids: list[Solid] = []
    bones = (
        (f"shoulder_{side}", f"elbow_{side}", 0.165, 0.0, arm),
        (f"elbow_{side}", f"wrist_{side}", 0.14, 0.165, arm * 0.82),
    )
    for start, end, bone, done, radius in bones:
        length = bone + 2 * radius * 0.9
        texture_RC = _dress(paint(pattern, outfit.pattern_seed, length, done), surfaces)
        bare_R1 = grid(length)[0] + done - radius * 0.9 > outfit.sleeve * 0.305 + 0.012
        texture_RC[np.broadcast_to(bare_R1, texture_RC.shape)] = Surface.SKIN
        relief_RC = _relief(person, texture_RC, relief, 2, length, done)
        taper = ((0, radius), (0.35, radius * 1.02), (1, radius * (0.84 if done == 0 else 0.72)))
        radius_R = profile(texture_RC.shape[0], taper, radius * 0.9 / length)
        solids.append(
            Solid(hull=Hull(texture_RC, radius_R, radius_R, relief_RC), start=start, end=end,
                  before=radius * 0.9, after=radius * 0.9, nearer=0.09)
        )  # fmt: skip
    shape = blob(Surface.SKIN, ((0, 0.016), (0.5, 0.021), (1, 0.017)), 0.065, 0.35, 0.8)
    solids.append(Solid(hull=shape, start=f"wrist_{side}", end=f"hand_{side}", before=0.008, after=0.004, nearer=0.085))
    return solids


def _leg(person: Person, side: str) -> list[Solid]:
    body, outfit = person.body, person.outfit
    bone = body.hip_height * 0.47
    bare = outfit.bottom in ("bare", "skirt")
    thigh, knee, ankle = body.thigh, body.thigh * 0.72, body.thigh * 0.46
    solids: list[Solid] = []
    bones = ((f"hip_{side}", f"knee_{side}", 0.0, thigh, knee), (f"knee_{side}", f"ankle_{side}", bone, knee, ankle))
    for start, end, done, above, below in bones:
        length = bone + 1.5 * above
        down_R1 = grid(length)[0] + done - above * 0.75
        texture_RC = _dress(paint(outfit.bottom_pattern, outfit.pattern_seed + 1, length, done), BOTTOM)
        cloth = 0.0 if bare else outfit.looseness
        if bare:
            texture_RC[:] = (
                Surface.SKIN if outfit.beard or outfit.pattern_seed % 3 else Surface.SOCK
            )  # some wear tights
        else:
            texture_RC[np.broadcast_to(down_R1 > outfit.leg * bone * 2.03, texture_RC.shape)] = Surface.SKIN
        if done > 0:
            texture_RC[np.broadcast_to(down_R1 > bone * (1.93 - outfit.boot * 0.9), texture_RC.shape)] = Surface.SHOE
        points = (
            (0, above + cloth),
            (0.3, above * 1.02 + cloth),
            (0.85, below + cloth * 1.2),
            (1, below + cloth * 1.2),
        )
        radius_R = profile(texture_RC.shape[0], points, above * 0.5 / length)
        relief_RC = _relief(person, texture_RC, outfit.bottom_relief, 3, length, done)
        solids.append(
            Solid(hull=Hull(texture_RC, radius_R, radius_R * 1.05, relief_RC), start=start, end=end,
                  before=above * 0.75, after=above * (0.5 if done == 0 else 0.2))
        )  # fmt: skip
    shape = blob(Surface.SHOE, ((0, 0.026), (0.6, 0.027), (1, 0.02)), 0.15, 0.22, 0.85)
    solids.append(Solid(hull=shape, start=f"heel_{side}", end=f"toe_{side}", before=0.02, after=0.015, nearer=0.002))
    sole = blob(Surface.SOLE, ((0, 0.026), (0.6, 0.028), (1, 0.02)), 0.15, 0.22, 0.5)
    solids.append(
        Solid(
            hull=sole,
            start=f"heel_{side}",
            end=f"toe_{side}",
            before=0.02,
            after=0.015,
            offset=(0, -0.008, 0),
            nearer=0.0,
        )
    )
    return solids


def _skirt(person: Person, reach: float, surfaces: Mapping[int, Surface], nearer: float) -> Solid:
    body, outfit = person.body, person.outfit
    length = reach + 0.07
    start = body.shoulder_height - body.hip_height
    kind, seed = (outfit.top_pattern, 0) if surfaces is TOP else (outfit.bottom_pattern, 1)
    relief = outfit.top_relief if surfaces is TOP else outfit.bottom_relief
    texture_RC = _dress(paint(kind, outfit.pattern_seed + seed, length, start), surfaces)
    if surfaces is TOP and outfit.opening > 0:
        _, angle_1C = grid(length)
        texture_RC[np.broadcast_to(np.abs(angle_1C) < outfit.opening * 0.9, texture_RC.shape)] = Surface.NOTHING
    relief_RC = _relief(person, texture_RC, relief, seed + 2, length, start)
    flare = reach * (0.10 + 0.16 * (outfit.pattern_seed % 5) / 4)
    points = ((0, body.hip * 0.97), (0.2, body.hip + 0.008), (1, body.hip + flare))
    front_R = profile(texture_RC.shape[0], points)
    side_R = profile(texture_RC.shape[0], ((0, body.depth), (0.2, body.depth + 0.012), (1, body.depth + flare)))
    after = length - hypot(0.05, body.hip_height * 0.47)
    return Solid(
        hull=Hull(texture_RC, front_R, side_R, relief_RC), start="pelvis", end="knees", before=0.05, after=after,
        nearer=nearer,
    )  # fmt: skip
