"""The solids a person is made of: textured bodies of revolution between two joints.

Lengths are in statures. Shapes: R row along the part, C column around it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from train.datasets.synthetic_pattern import COLUMNS, ROWS_PER_STATURE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.synthetic_material import Surface
    from train.datasets.synthetic_pattern import Texture


class Hull(NamedTuple):
    """What a solid looks like, whatever it hangs on."""

    texture_RC: Texture  # of Surface, 0 is transparent
    front_R: NDArray[np.float32]  # half width seen from the front
    side_R: NDArray[np.float32]  # half width seen from the side
    relief_RC: Texture | None = None  # share of the light that seams and quilting leave, 255 all; None is smooth


@dataclass(frozen=True, kw_only=True)
class Solid:
    """A part of the body."""

    hull: Hull
    start: str  # joint at row 0
    end: str
    before: float = 0.0  # how far the part reaches beyond its joints
    after: float = 0.0
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the person's axes
    nearer: float = 0.0  # added to the nearness when parts are sorted: what is worn over what


def profile(rows: int, points: Sequence[tuple[float, float]], cap: float = 0.0) -> NDArray[np.float32]:
    """Interpolate half widths over the share of the length; cap rounds both ends over that share."""
    share_R = (np.arange(rows) + 0.5) / rows
    radius_R = np.interp(share_R, [at for at, _ in points], [radius for _, radius in points])
    if cap > 0:
        edge_R = np.clip(np.minimum(share_R, 1 - share_R) / cap, 0, 1)
        radius_R = radius_R * np.sqrt(1 - (1 - edge_R) ** 2)
    return np.maximum(radius_R, 1e-3).astype(np.float32)


def blob(surface: Surface, points: Sequence[tuple[float, float]], length: float, cap: float, depth: float) -> Hull:
    """Make a hull of one surface; depth is its half width from the side as a share of that from the front."""
    rows = max(4, round(length * ROWS_PER_STATURE))
    front_R = profile(rows, points, cap)
    return Hull(np.full((rows, COLUMNS), surface, np.uint8), front_R, front_R * np.float32(depth))
