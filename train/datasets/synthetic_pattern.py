"""Cloth patterns as maps of surfaces, wrapped around a body.

A texture has a row per 1 / 240 of a stature and 128 columns around the body; column 64 is the front, 96 the person's
left. Shapes: R row, C column.
"""

from __future__ import annotations

from math import pi
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Texture = NDArray[np.uint8]
    Painter = Callable[[np.random.Generator, NDArray[np.float32], NDArray[np.float32]], NDArray[np.uint8]]

COLUMNS = 128
FRONT = COLUMNS // 2
ROWS_PER_STATURE = 240
GROUND, PATTERN, ACCENT = 0, 1, 2  # what a painter writes; the garment says which surfaces they are


def grid(length: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return for a part of this length the depth below its top (R, 1) and the angle from the front (1, C)."""
    rows = max(4, round(length * ROWS_PER_STATURE))
    down_R1 = ((np.arange(rows) + 0.5) / ROWS_PER_STATURE).astype(np.float32)[:, None]
    angle_1C = ((np.arange(COLUMNS, dtype=np.float32) - FRONT) * np.float32(2 * pi / COLUMNS))[None, :]
    return down_R1, angle_1C


def paint(kind: str, seed: int, length: float, start: float = 0.0) -> Texture:
    """Paint a pattern on a part that begins `start` below the collar; one seed gives all parts of a garment."""
    down_R1, angle_1C = grid(length)
    mark_RC = PAINTERS[kind](np.random.default_rng(seed), down_R1 + np.float32(start), angle_1C)
    return np.ascontiguousarray(np.broadcast_to(mark_RC, (down_R1.shape[0], COLUMNS)), np.uint8)


def _plain(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    return np.zeros((down.shape[0], angle.shape[1]), np.uint8)


def _hoops(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    period, duty = rng.uniform(0.028, 0.09), rng.uniform(0.3, 0.6)
    return ((down / period + rng.random()) % 1.0 < duty).astype(np.uint8)


def _stripes(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    count, duty = int(rng.integers(7, 15)), rng.uniform(0.25, 0.5)
    return ((angle * count / (2 * pi) + 0.25) % 1.0 < duty).astype(np.uint8)


def _checks(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    count, period, duty = int(rng.integers(7, 13)), rng.uniform(0.04, 0.09), rng.uniform(0.3, 0.5)
    across = (angle * count / (2 * pi) + 0.3) % 1.0 < duty
    along = (down / period) % 1.0 < duty
    return across.astype(np.uint8) + along.astype(np.uint8)


def _block(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    return (down > rng.uniform(0.10, 0.26)).astype(np.uint8)


def _yoke(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    dip = rng.uniform(-0.05, 0.05)
    return (down < rng.uniform(0.07, 0.13) + dip * np.cos(angle)).astype(np.uint8)


def _band(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    middle, half = rng.uniform(0.11, 0.24), rng.uniform(0.015, 0.045)
    edge = np.abs(down - middle)
    return np.where(edge < half, PATTERN, np.where(edge < half + rng.uniform(0, 0.012), ACCENT, GROUND)).astype(
        np.uint8
    )


def _logo(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    middle, half, across = rng.uniform(0.11, 0.20), rng.uniform(0.03, 0.06), rng.uniform(0.4, 0.85)
    shape, back = int(rng.integers(4)), rng.random() < 0.4
    v = (down - middle) / half
    u = ((angle + (pi if back else 0.0) + pi) % (2 * pi) - pi) / across
    if shape == 0:
        inside = (np.abs(u) < 1) & (np.abs(v) < 1)
    elif shape == 1:
        inside = u * u + v * v < 1
    elif shape == 2:
        inside = (v < 1) & (v > -1) & (np.abs(u) < (v + 1) / 2)
    else:
        inside = np.abs(u) + np.abs(v) < 1.1
    inner = inside & (u * u + v * v < rng.uniform(0.0, 0.35))
    return inside.astype(np.uint8) + inner.astype(np.uint8)


def _sides(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    half = rng.uniform(0.25, 0.55)
    return np.broadcast_to(np.abs(np.abs(angle) - pi / 2) < half, (down.shape[0], angle.shape[1])).astype(np.uint8)


def _zip(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    line = np.abs(angle) < 0.09
    pocket = np.abs(down - rng.uniform(0.22, 0.28)) < 0.007
    pocket = pocket & (np.abs(np.abs(angle) - 0.75) < 0.35)
    return (line | pocket).astype(np.uint8)


def _dots(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    count, period = int(rng.integers(8, 13)), rng.uniform(0.04, 0.06)
    row = np.floor(down / period)
    u = (angle * count / (2 * pi) + 0.5 * (row % 2)) % 1.0 - 0.5
    v = (down / period) % 1.0 - 0.5
    return (u * u + v * v < rng.uniform(0.06, 0.14)).astype(np.uint8)


def _sash(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    slope = rng.choice((-1.0, 1.0)) * rng.uniform(0.09, 0.14)
    half = rng.uniform(0.03, 0.06)
    return (np.abs(down - 0.16 - slope * np.sin(angle) * np.sign(np.cos(angle))) < half).astype(np.uint8)


def _camo(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    noise_RC = rng.random((12, 12)).astype(np.float32)
    noise_RC = cv2.resize(np.hstack((noise_RC, noise_RC[:, :1])), (angle.shape[1], 120), interpolation=cv2.INTER_CUBIC)
    noise_RC = noise_RC[(down[:, 0] * ROWS_PER_STATURE).astype(int) % 120]
    return (noise_RC > 0.5).astype(np.uint8) + (noise_RC > 0.72).astype(np.uint8)


def _half(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    side = rng.choice((-1.0, 1.0))
    return np.broadcast_to(angle * side > 0, (down.shape[0], angle.shape[1])).astype(np.uint8)


def _chevron(rng: np.random.Generator, down: NDArray[np.float32], angle: NDArray[np.float32]) -> Texture:
    period, slope = rng.uniform(0.07, 0.13), rng.uniform(0.03, 0.07)
    return ((down / period + np.abs(np.sin(angle)) * slope / period) % 1.0 < 0.45).astype(np.uint8)


PAINTERS: Mapping[str, Painter] = {
    "plain": _plain,
    "hoops": _hoops,
    "stripes": _stripes,
    "checks": _checks,
    "block": _block,
    "yoke": _yoke,
    "band": _band,
    "logo": _logo,
    "sides": _sides,
    "zip": _zip,
    "dots": _dots,
    "sash": _sash,
    "camo": _camo,
    "half": _half,
    "chevron": _chevron,
}
