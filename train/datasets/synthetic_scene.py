"""Places: what stands behind the people of one camera.

A place is painted once, as maps of surface and shade like a person, so that the room which camera 2 sees in colour and
camera 3 in infrared is the same room (as in SYSU-MM01). Shapes: H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from train.datasets.synthetic_material import Material, linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Canvas = NDArray[np.uint8]

PlaceKind = Literal["room", "corridor", "street", "yard", "passage"]
OUTDOORS: tuple[PlaceKind, ...] = ("street", "yard")
WALL, FLOOR, JOINT, WOOD, GLASS, METAL, LEAF, BARK, PAPER, SKY, TRIM, PRINT, SURFACES = range(13)

# Near infrared of a place: leaves are bright, glass and the clear sky dark, paint and paper hardly depend on colour.
INFRARED = {WALL: 0.46, FLOOR: 0.34, JOINT: 0.22, WOOD: 0.50, GLASS: 0.07, METAL: 0.30, LEAF: 0.68, BARK: 0.30}
INFRARED |= {PAPER: 0.62, SKY: 0.16, TRIM: 0.40, PRINT: 0.48}
WARMTH = {WALL: 0.24, FLOOR: 0.20, JOINT: 0.18, WOOD: 0.27, GLASS: 0.10, METAL: 0.16, LEAF: 0.17, BARK: 0.22}
WARMTH |= {PAPER: 0.26, SKY: 0.03, TRIM: 0.25, PRINT: 0.27}
WALLS = ((206, 198, 182), (176, 184, 188), (196, 178, 152), (150, 156, 160), (164, 134, 116), (188, 190, 176))
FLOORS = ((142, 136, 126), (112, 114, 118), (158, 132, 104), (126, 128, 122), (168, 164, 156))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A painted place."""

    surface_HW: Canvas
    shade_HW: Canvas
    materials: dict[int, Material]
    floor_px: int  # row where the floor begins


def paint_scene(rng: np.random.Generator, kind: PlaceKind, height: int, width: int, floor_share: float) -> Scene:
    """Paint a place; floor_share is the height of the wall as a share of the picture."""
    floor_px = round(height * floor_share)
    surface_HW = np.full((height, width), WALL, np.uint8)
    surface_HW[floor_px:] = FLOOR
    if kind in OUTDOORS:
        _sky(rng, surface_HW, floor_px)
    if kind in ("street", "passage"):
        _bricks(surface_HW, floor_px)
    _floor_joints(rng, surface_HW, floor_px)
    furniture = {"room": (_door, _window, _board, _shelf, _plant), "corridor": (_door, _board, _pillar, _door)}
    outside = {"street": (_window, _door, _tree, _hedge, _lamp), "yard": (_tree, _hedge, _window, _lamp, _tree)}
    painters = {**furniture, **outside, "passage": (_pillar, _board, _door, _window, _plant)}[kind]
    step = height * 0.46
    x = -rng.uniform(0, 0.5) * step
    while x < width:
        painters[int(rng.integers(len(painters)))](rng, surface_HW, int(x), floor_px)
        x += step * rng.uniform(0.7, 1.35)
    surface_HW[floor_px - max(2, height // 60) : floor_px][
        surface_HW[floor_px - max(2, height // 60) : floor_px] == WALL
    ] = TRIM
    return Scene(
        surface_HW=surface_HW,
        shade_HW=_shade(rng, height, width, floor_px),
        materials=_materials(rng),
        floor_px=floor_px,
    )


def _materials(rng: np.random.Generator) -> dict[int, Material]:
    colours = {WALL: WALLS[int(rng.integers(len(WALLS)))], FLOOR: FLOORS[int(rng.integers(len(FLOORS)))]}
    colours |= {JOINT: (92, 90, 86), WOOD: (122, 86, 56), GLASS: (116, 140, 152), METAL: (120, 124, 128)}
    colours |= {LEAF: (62, 92, 48), BARK: (78, 62, 48), PAPER: (214, 210, 200), SKY: (198, 212, 224)}
    colours |= {TRIM: (98, 94, 90), PRINT: (96, 116, 136)}
    materials: dict[int, Material] = {}
    for surface, colour in colours.items():
        red, green, blue = (int(np.clip(value + rng.normal(0, 6), 5, 250)) for value in colour)
        materials[surface] = Material(
            colour=linear((red, green, blue)),
            infrared=INFRARED[surface] * rng.uniform(0.85, 1.15),
            warmth=WARMTH[surface] * rng.uniform(0.9, 1.1),
        )
    return materials


def _shade(rng: np.random.Generator, height: int, width: int, floor_px: int) -> Canvas:
    """Uneven light on walls and floor, dirt, and the darker line where they meet."""
    coarse_HW = cv2.resize(rng.random((4, 9)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    middle_HW = cv2.resize(rng.random((24, 60)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    fine_HW = rng.random((height, width), np.float32)
    row_H1 = np.arange(height, dtype=np.float32)[:, None]
    corner_H1 = 1 - 0.28 * np.exp(-np.abs(row_H1 - floor_px) / (height * 0.05))
    near_H1 = np.where(row_H1 > floor_px, 0.86 + 0.14 * (row_H1 - floor_px) / (height - floor_px), 1.0)
    shade_HW = (0.60 + 0.26 * coarse_HW + 0.08 * middle_HW + 0.06 * fine_HW) * corner_H1 * near_H1
    return np.clip(shade_HW * 255, 0, 255).astype(np.uint8)


def _floor_joints(rng: np.random.Generator, surface_HW: Canvas, floor_px: int) -> None:
    """Tiles in perspective: rows crowd towards the wall, columns run from one vanishing point."""
    height, width = surface_HW.shape
    depth = height - floor_px
    for step in range(1, 9):
        y = floor_px + int(depth * 0.12 * step / (1.35 - 0.12 * step)) if step < 9 else height
        cv2.line(surface_HW, (0, y), (width, y), JOINT, 1)
    vanish_x, vanish_y = int(width * rng.uniform(0.3, 0.7)), floor_px - int(depth * 1.2)
    spacing = depth * 0.62
    for number in range(-40, 41):
        bottom = (int(vanish_x + number * spacing), height)
        share = (floor_px - vanish_y) / (height - vanish_y)
        top = (int(vanish_x + number * spacing * share), floor_px)
        cv2.line(surface_HW, top, bottom, JOINT, 1)


def _sky(rng: np.random.Generator, surface_HW: Canvas, floor_px: int) -> None:
    width = surface_HW.shape[1]
    x = 0
    while x < width:  # roofs of different heights
        span = int(floor_px * rng.uniform(1.2, 2.4))
        surface_HW[: int(floor_px * rng.uniform(0.0, 0.22)), x : x + span] = SKY
        x += span


def _bricks(surface_HW: Canvas, floor_px: int) -> None:
    pitch = max(5, floor_px // 22)
    for row, y in enumerate(range(0, floor_px, pitch)):
        line_W = surface_HW[y]
        line_W[line_W == WALL] = TRIM
        for x in range((row % 2) * pitch, surface_HW.shape[1], pitch * 2):
            column_H = surface_HW[y : y + pitch, x]
            column_H[column_H == WALL] = TRIM


def _box(surface_HW: Canvas, x: int, y: int, width: float, height: float, surface: int) -> None:
    cv2.rectangle(surface_HW, (x, y), (int(x + width), int(y + height)), surface, -1)


def _door(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    height = floor_px * rng.uniform(0.72, 0.84)
    width = height * rng.uniform(0.42, 0.5)
    top = int(floor_px - height)
    _box(surface_HW, x, top, width, height, TRIM)
    _box(
        surface_HW,
        int(x + width * 0.06),
        int(top + height * 0.03),
        width * 0.88,
        height,
        int(rng.choice((WOOD, METAL))),
    )
    _box(surface_HW, int(x + width * 0.62), int(top + height * 0.12), width * 0.2, height * 0.34, GLASS)
    _box(surface_HW, int(x + width * 0.12), int(top + height * 0.54), width * 0.1, height * 0.02, PAPER)


def _window(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    top, height, width = int(floor_px * 0.16), floor_px * rng.uniform(0.36, 0.5), floor_px * rng.uniform(0.36, 0.6)
    _box(surface_HW, x, top, width, height, PAPER)
    for pane in range(2):
        left = int(x + width * (0.05 + 0.47 * pane))
        _box(surface_HW, left, int(top + height * 0.06), width * 0.42, height * 0.88, GLASS)
    _box(surface_HW, x - 3, int(top + height), width + 6, floor_px * 0.03, METAL)


def _board(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    top, height, width = int(floor_px * 0.24), floor_px * rng.uniform(0.26, 0.36), floor_px * rng.uniform(0.3, 0.55)
    _box(surface_HW, x, top, width, height, WOOD)
    for _ in range(int(rng.integers(2, 6))):
        left = int(x + width * rng.uniform(0.05, 0.75))
        _box(surface_HW, left, int(top + height * rng.uniform(0.08, 0.55)), width * 0.18, height * 0.32,
             int(rng.choice((PAPER, PRINT))))  # fmt: skip


def _shelf(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    height, width = floor_px * rng.uniform(0.4, 0.62), floor_px * rng.uniform(0.28, 0.5)
    top = int(floor_px - height)
    _box(surface_HW, x, top, width, height, WOOD)
    for level in range(3):
        y = int(top + height * (0.06 + 0.31 * level))
        _box(surface_HW, int(x + width * 0.05), y, width * 0.9, height * 0.25, JOINT)
        left = x + width * 0.07
        while left < x + width * 0.86:
            book = width * rng.uniform(0.04, 0.10)
            tall = height * rng.uniform(0.13, 0.24)
            _box(
                surface_HW,
                int(left),
                int(y + height * 0.25 - tall),
                book * 0.8,
                tall,
                int(rng.choice((PAPER, PRINT, METAL))),
            )
            left += book


def _pillar(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    width = floor_px * rng.uniform(0.12, 0.2)
    _box(surface_HW, x, 0, width, floor_px * 1.04, TRIM)
    _box(surface_HW, int(x + width * 0.12), 0, width * 0.7, floor_px * 1.03, METAL)


def _lamp(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    width = max(2.0, floor_px * 0.022)
    _box(surface_HW, x, int(floor_px * 0.1), width, floor_px * 0.97, METAL)
    _box(surface_HW, int(x - width * 2), int(floor_px * 0.07), width * 5, floor_px * 0.045, PAPER)


def _leaves(rng: np.random.Generator, surface_HW: Canvas, x: float, y: float, radius: float, count: int) -> None:
    for _ in range(count):
        at = (int(x + rng.normal(0, radius * 0.5)), int(y + rng.normal(0, radius * 0.42)))
        cv2.circle(surface_HW, at, max(1, int(radius * rng.uniform(0.12, 0.3))), LEAF, -1)
    for _ in range(count * 2):
        at = (int(x + rng.normal(0, radius * 0.5)), int(y + rng.normal(0, radius * 0.42)))
        cv2.circle(surface_HW, at, max(1, int(radius * 0.05)), BARK, -1)


def _tree(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    _box(surface_HW, x, int(floor_px * 0.3), floor_px * 0.07, floor_px * 0.74, BARK)
    _leaves(rng, surface_HW, x + floor_px * 0.03, floor_px * 0.22, floor_px * rng.uniform(0.24, 0.36), 46)


def _hedge(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    height, width = floor_px * rng.uniform(0.18, 0.3), floor_px * rng.uniform(0.5, 0.9)
    _box(surface_HW, x, int(floor_px - height), width, height, LEAF)
    for part in np.linspace(0, 1, 7):
        _leaves(rng, surface_HW, x + width * part, floor_px - height, height * 0.4, 8)


def _plant(rng: np.random.Generator, surface_HW: Canvas, x: int, floor_px: int) -> None:
    _box(surface_HW, x, int(floor_px * 0.9), floor_px * 0.12, floor_px * 0.14, TRIM)
    _leaves(rng, surface_HW, x + floor_px * 0.06, floor_px * 0.74, floor_px * 0.2, 26)
