"""Draw a posed person as two maps: which surface each pixel shows, and how strongly it is lit.

A part is a body of revolution, so a pattern wraps around it and any direction can be seen; the light falls off as on
a cylinder. The maps know nothing of cameras: synthetic_camera looks the surfaces up in a sensor's palette.

Shapes: H height, W width, R row along a part, C column across it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, hypot, pi, sin
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from train.datasets.synthetic_pattern import COLUMNS, FRONT
from train.datasets.synthetic_pose import joints, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.synthetic_person import Body
    from train.datasets.synthetic_pose import Pose
    from train.datasets.synthetic_tailor import Solid

SPRITE_COLUMNS = 48  # a torso of a person 256 px high is 66 px wide; finer is not seen after the reduction by two


class Light(NamedTuple):
    """Where the light comes from, as the camera sees it."""

    azimuth: float  # radians from the camera's axis, positive from the right
    ambient: float  # share that falls everywhere, 0 to 1
    folds: float  # strength of the creases of cloth, 0 to 1


@dataclass(frozen=True)
class Place:
    """Where the person stands on the canvas, in pixels of the canvas."""

    feet_x: float
    feet_y: float
    stature: float


class Figure(NamedTuple):
    """A drawn person."""

    surface_HW: NDArray[np.uint8]
    shade_HW: NDArray[np.uint8]  # 255 is fully lit


def draw_figure(
    solids: Sequence[Solid], body: Body, pose: Pose, place: Place, light: Light, size: tuple[int, int]
) -> Figure:
    """Draw the parts from far to near on a canvas of (height, width)."""
    points = joints(body, pose)
    canvas_HW2 = np.zeros((*size, 2), np.uint8)
    queue: list[tuple[float, int, tuple[float, float], tuple[float, float]]] = []
    for number, solid in enumerate(solids):
        x1, y1, near1 = project(points[solid.start] + solid.offset, pose)
        x2, y2, near2 = project(points[solid.end] + solid.offset, pose)
        start = (place.feet_x + x1 * place.stature, place.feet_y + y1 * place.stature)
        end = (place.feet_x + x2 * place.stature, place.feet_y + y2 * place.stature)
        queue.append(((near1 + near2) / 2 + solid.nearer, number, start, end))
    for _, number, start, end in sorted(queue):
        sprite_RC2 = _sprite(solids[number], pose.yaw, light, fold_seed=number)
        _paste(canvas_HW2, sprite_RC2, solids[number], start, end, pose.yaw, place.stature)
    return Figure(np.ascontiguousarray(canvas_HW2[..., 0]), np.ascontiguousarray(canvas_HW2[..., 1]))


def _outline(solid: Solid, yaw: float) -> NDArray[np.float32]:
    """Half widths of an elliptic body seen from this direction."""
    return np.sqrt((solid.front_R * np.float32(cos(yaw))) ** 2 + (solid.side_R * np.float32(sin(yaw))) ** 2)


_ACROSS_C = ((np.arange(SPRITE_COLUMNS, dtype=np.float32) + 0.5) * 2 / SPRITE_COLUMNS - 1)[None, :]


def _sprite(solid: Solid, yaw: float, light: Light, fold_seed: int) -> NDArray[np.uint8]:
    """Unroll the visible half of the part: surface and shade, (R, C, 2)."""
    outline_R = _outline(solid, yaw)
    across_RC = _ACROSS_C * (outline_R.max() / outline_R)[:, None]  # sine of the angle from the camera's axis
    inside_RC = np.abs(across_RC) < 1
    across_RC = np.clip(across_RC, -1, 1)
    angle_RC = np.arcsin(across_RC)
    column_RC = (angle_RC * np.float32(COLUMNS / (2 * pi)) + (FRONT + 2 * COLUMNS - yaw * COLUMNS / (2 * pi))).astype(np.int32)
    rows = solid.texture_RC.shape[0]
    flat_RC = (column_RC & (COLUMNS - 1)) + (np.arange(rows, dtype=np.int32) * COLUMNS)[:, None]
    sprite_RC2 = np.empty((rows, SPRITE_COLUMNS, 2), np.uint8)
    np.multiply(solid.texture_RC.ravel().take(flat_RC), inside_RC, out=sprite_RC2[..., 0])
    lit_RC = np.maximum(np.cos(angle_RC - np.float32(light.azimuth)), 0) * np.float32(1 - light.ambient)
    lit_RC += np.float32(light.ambient)
    creases_RC = _creases()[fold_seed * 7 % 32 :][:rows, (fold_seed * 13 + int(yaw * 9)) % 64 :][:, :SPRITE_COLUMNS]
    lit_RC *= 1 - np.float32(light.folds) * creases_RC
    np.multiply(lit_RC, 255, out=lit_RC)
    sprite_RC2[..., 1] = lit_RC.astype(np.uint8)
    return sprite_RC2


@lru_cache(maxsize=1)
def _creases() -> NDArray[np.float32]:
    """Smooth random darkening, 0 to 1: creases of cloth, slanted and longer than wide."""
    noise_HW = np.random.default_rng(20).random((28, 20)).astype(np.float32)
    noise_HW = cv2.resize(noise_HW, (144, 176), interpolation=cv2.INTER_CUBIC)
    noise_HW = cv2.warpAffine(noise_HW, np.array([[1, 0.35, 0], [0, 1, 0]], np.float32), (144, 176), borderMode=cv2.BORDER_REFLECT)
    return np.clip((noise_HW - 0.45) * 1.6, 0, 1)


def _paste(
    canvas_HW2: NDArray[np.uint8], sprite_RC2: NDArray[np.uint8], solid: Solid, start: tuple[float, float],
    end: tuple[float, float], yaw: float, stature: float,
) -> None:  # fmt: skip
    """Lay the sprite along the bone on the canvas; only the bone's own rectangle is touched."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy)
    if length < 1e-3:
        dx, dy, length = 0.0, 1.0, 1.0
    dx, dy = dx / length, dy / length
    half = float(_outline(solid, yaw).max()) * stature
    top_x, top_y = start[0] - dx * solid.before * stature, start[1] - dy * solid.before * stature
    length = max(length + (solid.before + solid.after) * stature, half)  # seen end on, a limb is as long as it is wide
    corner_x, corner_y = top_x - dy * half, top_y + dx * half  # the right of "down" (0, 1) is (1, 0)
    side_x, side_y = dy * half * 2, -dx * half * 2
    corner_x, corner_y = top_x - side_x / 2, top_y - side_y / 2
    down_x, down_y = dx * length, dy * length
    xs = (corner_x, corner_x + side_x, corner_x + down_x, corner_x + side_x + down_x)
    ys = (corner_y, corner_y + side_y, corner_y + down_y, corner_y + side_y + down_y)
    height, width = canvas_HW2.shape[:2]
    left, right = max(0, int(min(xs))), min(width, int(max(xs)) + 2)
    top, bottom = max(0, int(min(ys))), min(height, int(max(ys)) + 2)
    if left >= right or top >= bottom:
        return
    rows, columns = sprite_RC2.shape[:2]
    forward = np.array(
        [
            [side_x / columns, down_x / rows, corner_x - left],
            [side_y / columns, down_y / rows, corner_y - top],
        ]
    )
    patch_HW2 = cv2.warpAffine(
        sprite_RC2, forward, (right - left, bottom - top), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT
    )
    region_HW2 = canvas_HW2[top:bottom, left:right]
    np.copyto(region_HW2, patch_HW2, where=(patch_HW2[..., 0] > 0)[..., None])
