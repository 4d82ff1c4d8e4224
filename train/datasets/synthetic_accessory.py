"""Hair, hats and bags: what hangs on a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from train.datasets.synthetic_material import Surface
from train.datasets.synthetic_solid import Solid, blob

if TYPE_CHECKING:
    from train.datasets.synthetic_person import Person


def hair_solids(person: Person) -> list[Solid]:
    """Long hair, a ponytail or a bun, and what is worn on it; short hair is part of the head's texture."""
    body, outfit = person.body, person.outfit
    head = body.head
    solids: list[Solid] = []
    if outfit.hair in ("bob", "long"):
        drop = 0.03 if outfit.hair == "bob" else 0.13
        shape = blob(Surface.HAIR, ((0, head * 0.75), (0.5, head * 0.92), (1, head * 0.85)), 0.1 + drop, 0.3, 0.45)
        solids.append(
            Solid(hull=shape, start="crown", end="chin", before=-0.01, after=drop, offset=(0, 0, -0.035), nearer=0.14)
        )
    elif outfit.hair == "ponytail":
        shape = blob(Surface.HAIR, ((0, head * 0.28), (0.4, head * 0.34), (1, head * 0.2)), 0.13, 0.2, 1.0)
        solids.append(
            Solid(hull=shape, start="crown", end="chin", before=-0.04, after=0.05, offset=(0, 0, -0.075), nearer=0.15)
        )
    elif outfit.hair == "bun":
        shape = blob(Surface.HAIR, ((0, head * 0.42), (1, head * 0.42)), 0.05, 0.5, 1.0)
        solids.append(
            Solid(hull=shape, start="crown", end="chin", before=0.018, after=-0.095, offset=(0, 0, -0.045), nearer=0.16)
        )
    if outfit.headwear == "cap":
        shape = blob(Surface.HEADWEAR, ((0, head * 0.62), (1, head * 0.62)), 0.02, 0.45, 1.0)
        solids.append(
            Solid(hull=shape, start="crown", end="chin", before=-0.033, after=-0.083, offset=(0, 0, 0.05), nearer=0.16)
        )
    elif outfit.headwear == "beanie":
        shape = blob(Surface.HEADWEAR, ((0, head * 0.70), (1, head * 0.86)), 0.055, 0.45, 1.12)
        solids.append(Solid(hull=shape, start="crown", end="chin", before=0.012, after=-0.085, nearer=0.16))
    return solids


def bag_solids(person: Person) -> list[Solid]:
    """A backpack, a shoulder bag or a handbag."""
    outfit, body = person.outfit, person.body
    half, length = outfit.bag_size
    if outfit.bag == "none":
        return []
    shape = blob(Surface.BAG, ((0, half * 0.86), (0.6, half), (1, half * 0.95)), length, 0.16, 0.55)
    texture_RC = shape.texture_RC
    rows = texture_RC.shape[0]
    texture_RC[int(rows * 0.55) : int(rows * 0.60)] = Surface.BAG_TRIM
    texture_RC[: int(rows * 0.12)] = Surface.BAG_TRIM
    if outfit.bag == "backpack":
        spine = body.shoulder_height + 0.025 - body.hip_height
        back = -(body.depth + half * 0.42)
        return [
            Solid(
                hull=shape,
                start="neck",
                end="pelvis",
                before=-0.035,
                after=length + 0.035 - spine,
                offset=(0, 0, back),
                nearer=0.08,
            )
        ]
    if outfit.bag == "shoulder":
        place = (outfit.bag_side * (body.hip + 0.02), 0.02, -0.01)
        return [
            Solid(
                hull=shape,
                start="pelvis",
                end="knees",
                before=0.01,
                after=length * 0.7 - body.hip_height * 0.46,
                offset=place,
                nearer=0.08,
            )
        ]
    side = "left" if outfit.bag_side > 0 else "right"
    return [Solid(hull=shape, start=f"hand_{side}", end=f"below_{side}", after=length * 0.75 - 0.1, nearer=0.1)]
