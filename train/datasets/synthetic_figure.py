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
    from train.datasets.synthetic_solid import Solid

OUTSIDE = 255  # steps 0 and 255 lie beyond the outline
STEPS = 256  # across a part: the sine of the angle from the camera's axis, -1 at 1 and 1 at 255


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
    lit_S = _lit(light)
    for _, number, start, end in sorted(queue):
        solid = solids[number]
        outline_R = _outline(solid, pose.yaw)
        half_px = float(outline_R.max()) * place.stature
        sprite_RC2 = _sprite(solid, outline_R, half_px, place.stature, pose.yaw, lit_S)
        creases_RC = _creases(sprite_RC2.shape[:2], light.folds, number, pose.yaw)
        sprite_RC2[..., 1] = cv2.multiply(sprite_RC2[..., 1], creases_RC, scale=1 / 255)
        _paste(canvas_HW2, sprite_RC2, solid, start, end, half_px, place.stature)
    return Figure(np.ascontiguousarray(canvas_HW2[..., 0]), np.ascontiguousarray(canvas_HW2[..., 1]))


def _outline(solid: Solid, yaw: float) -> NDArray[np.float32]:
    """Half widths of an elliptic body seen from this direction."""
    return np.sqrt((solid.hull.front_R * np.float32(cos(yaw))) ** 2 + (solid.hull.side_R * np.float32(sin(yaw))) ** 2)


_ANGLE_S = np.arcsin(np.clip((np.arange(STEPS) - 128) / 127, -1, 1)).astype(np.float32)
_INSIDE_S = np.array([0] + [1] * (STEPS - 2) + [0], np.uint8)
_COLUMN_S = np.round(_ANGLE_S * (COLUMNS / (2 * pi))).astype(np.int32)


def _lit(light: Light) -> NDArray[np.uint8]:
    """Tabulate the light across a cylinder, 255 where it falls straight."""
    direct_S = np.maximum(np.cos(_ANGLE_S - light.azimuth), 0) * (1 - light.ambient)
    edge_S = 0.80 + 0.20 * np.cos(_ANGLE_S)  # less of the sky is seen there
    return ((light.ambient * edge_S + direct_S) * 255).astype(np.uint8)


@lru_cache(maxsize=256)
def _across(columns: int) -> NDArray[np.float32]:
    share_C = (np.arange(columns, dtype=np.float32) + 0.5) * 2 / columns - 1
    return (share_C * 127).astype(np.float32)[None, :]


def _sprite(
    solid: Solid, outline_R: NDArray[np.float32], half_px: float, stature: float, yaw: float, lit_S: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Unroll the visible half of the part: surface and shade, (R, C, 2), a column per pixel of the canvas."""
    columns = min(128, max(6, round(2 * half_px)))
    step_RC = _across(columns) * (half_px / stature / outline_R)[:, None]
    step_RC += np.float32(128)
    step_RC = np.clip(step_RC, 0, OUTSIDE, out=step_RC).astype(np.uint8)
    turn = round(FRONT + 2 * COLUMNS - yaw * COLUMNS / (2 * pi))
    flat_RC = _COLUMN_S.take(step_RC)
    flat_RC += turn
    flat_RC &= COLUMNS - 1
    flat_RC += _row_start(solid.hull.texture_RC.shape[0])
    sprite_RC2 = np.empty((*step_RC.shape, 2), np.uint8)
    np.multiply(solid.hull.texture_RC.ravel().take(flat_RC), _INSIDE_S.take(step_RC), out=sprite_RC2[..., 0])
    lit_RC = lit_S.take(step_RC)
    if solid.hull.relief_RC is not None:
        lit_RC = cv2.multiply(lit_RC, solid.hull.relief_RC.ravel().take(flat_RC), scale=1 / 255)
    sprite_RC2[..., 1] = lit_RC
    return sprite_RC2


@lru_cache(maxsize=512)
def _row_start(rows: int) -> NDArray[np.int32]:
    return (np.arange(rows, dtype=np.int32) * COLUMNS)[:, None]


@lru_cache(maxsize=16)
def _cloth(level: int) -> NDArray[np.uint8]:
    """Creases of cloth as smooth random darkening, slanted and wider than high; level is the strength in 1 / 16."""
    noise_HW = np.random.default_rng(20).random((44, 16)).astype(np.float32)
    noise_HW = cv2.resize(noise_HW, (256, 384), interpolation=cv2.INTER_CUBIC)
    slant = np.array([[1, 0, 0], [0.35, 1, 0]], np.float32)
    noise_HW = cv2.warpAffine(noise_HW, slant, (256, 384), borderMode=cv2.BORDER_REFLECT)
    return (255 * (1 - level / 16 * np.clip((noise_HW - 0.45) * 1.8, 0, 1))).astype(np.uint8)


def _creases(shape: tuple[int, int], strength: float, number: int, yaw: float) -> NDArray[np.uint8]:
    top, left = number * 17 % 120, (number * 37 + int(abs(yaw) * 20)) % 120
    return _cloth(round(strength * 16))[top : top + shape[0], left : left + shape[1]]


def _paste(
    canvas_HW2: NDArray[np.uint8], sprite_RC2: NDArray[np.uint8], solid: Solid, start: tuple[float, float],
    end: tuple[float, float], half: float, stature: float,
) -> None:  # fmt: skip
    """Lay the sprite along the bone on the canvas; only the bone's own rectangle is touched."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = hypot(dx, dy)
    if length < 1e-3:
        dx, dy, length = 0.0, 1.0, 1.0
    dx, dy = dx / length, dy / length
    top_x, top_y = start[0] - dx * solid.before * stature, start[1] - dy * solid.before * stature
    length = max(length + (solid.before + solid.after) * stature, half)  # seen end on, a limb is as long as it is wide
    side_x, side_y = dy * half * 2, -dx * half * 2  # to the right of "down"
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
    cv2.copyTo(patch_HW2, patch_HW2[..., 0], region_HW2)
