"""One camera's view of people who walk by: where they stand in the picture, and the picture itself.

Coordinates on the ground: along 0 to 1 (the width of a view without shift), across 0 to 1 (1 is near the cameras that
are not opposite). Shapes: H height, W width, C channel (blue, green, red).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, pi, sin
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from train.datasets.synthetic_camera import CameraStyle, develop, figure_radiance, look, sensor_of
from train.datasets.synthetic_figure import Light, Place, draw_figure
from train.datasets.synthetic_material import palette
from train.datasets.synthetic_person import draw_person
from train.datasets.synthetic_pose import Pose
from train.datasets.synthetic_scene import SURFACES, PlaceKind
from train.datasets.synthetic_tailor import make_solids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.synthetic_material import InfraredKind, Sensor
    from train.datasets.synthetic_person import Person
    from train.datasets.synthetic_scene import Scene
    from train.datasets.synthetic_solid import Solid

MARGIN = 0.16  # people start and end this far outside the view
GRAIN_PX = 64  # the grain is larger than the picture by this, and shifts from frame to frame
VIDEO_NOISE = 0.45  # of a still's: a video's codec smooths the rest
# A 14-bit thermal camera: counts at the tone curve's black, and up to its white. The curve's square root undoes the
# square of look(), so that counts are about linear in apparent temperature, as a radiometric camera's are.
COUNTS_ZERO, COUNTS_SPAN, COUNTS_NOISE = 7300.0, 400.0, 2.0


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One person crosses once, and may stop on the way."""

    identity: int
    start_s: float
    duration_s: float  # the stop included
    direction: int  # 1 towards larger `along`
    across: float
    drift: float  # how far the path bends
    pause_s: float = 0.0
    pause_at: float = 0.46  # share of the way; two who meet stop a step before each other

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s

    @property
    def walking_s(self) -> float:
        return self.duration_s - self.pause_s

    def moved_s(self, time_s: float) -> float:
        """Return how long the person has walked, the stop taken off."""
        elapsed_s = time_s - self.start_s
        stop_s = self.pause_at * self.walking_s
        if self.pause_s == 0 or elapsed_s <= stop_s:
            return elapsed_s
        return max(stop_s, elapsed_s - self.pause_s)

    def stands(self, time_s: float) -> bool:
        return self.pause_s > 0 and 0 < time_s - self.start_s - self.pause_at * self.walking_s < self.pause_s


@dataclass(frozen=True, kw_only=True)
class View:
    """How one camera sees the ground."""

    camera: CameraStyle
    kind: PlaceKind
    opposite: bool
    shift: float  # of the view along the ground, in widths
    near_px: float  # row of the feet nearest to the camera, as a share of the height
    far_px: float
    horizon: float  # row where a person would have no height, as a share of the height; above the picture
    stature: float  # of a person whose feet are on the lowest row, as a share of the height


class Seen(NamedTuple):
    """A person in a picture."""

    identity: int
    box: tuple[int, int, int, int]  # x, y, width, height, clipped to the frame; what hides the person is not cut off


class ViewRenderer:
    """Renders one view; holds the place, the people and the grain."""

    def __init__(
        self, view: View, size_px: tuple[int, int], scene: Scene, *, seed: int, infrared: InfraredKind,
        rng: np.random.Generator, supersampling: int,
    ) -> None:  # fmt: skip
        self.view, self.seed, self._fine = view, seed, supersampling
        self.width_px, self.height_px = size_px
        self.sensor: Sensor = sensor_of(view.camera, infrared)
        self._people: dict[int, tuple[Person, list[Solid]]] = {}
        light_HWC = look(scene.surface_HW, scene.shade_HW, palette(scene.materials, self.sensor, SURFACES), self.sensor)
        if self.sensor == "nir":
            light_HWC *= _lamp_spot(self.height_px, self.width_px)
        sharp_HWC = develop(light_HWC, view.camera, 1.0)
        self.background_HWC = np.asarray(cv2.GaussianBlur(sharp_HWC, (0, 0), 0.8), np.float32)
        self.grain_HWC = rng.standard_normal((self.height_px + GRAIN_PX, self.width_px + GRAIN_PX, 3), np.float32)
        if view.camera.infrared:
            self.grain_HWC[..., 1:] = self.grain_HWC[..., :1]

    def paint(self, walks: Sequence[Walk], time_s: float) -> tuple[NDArray[np.float32], list[Seen]]:
        """Return the picture before the grain, 0 to 255 (H, W, C), and who is in it."""
        picture_HWC = self.background_HWC.copy()
        present = [walk for walk in walks if 0 <= time_s - walk.start_s <= walk.duration_s]
        seen: list[Seen] = []
        for walk in sorted(present, key=lambda walk: self._position(walk, time_s)[1]):  # far ones first
            box = self._draw(picture_HWC, walk, time_s)
            if box is not None:
                seen.append(Seen(walk.identity, box))
        return picture_HWC, seen

    def expose(self, picture_HWC: NDArray[np.float32], grain_at: tuple[int, int]) -> NDArray[np.uint8]:
        """Add the grain in place and round to 8 bits; grain_at is a row and a column below GRAIN_PX."""
        picture_HWC += self._grain(grain_at) * np.float32(VIDEO_NOISE * self.view.camera.noise)
        return np.clip(picture_HWC, 0, 255).astype(np.uint8)

    def count(self, picture_HWC: NDArray[np.float32], grain_at: tuple[int, int]) -> NDArray[np.uint16]:
        """Turn a thermal picture into the counts of a 14-bit camera (H, W)."""
        counts_HW = picture_HWC[..., 0] * np.float32(COUNTS_SPAN / 255) + np.float32(COUNTS_ZERO)
        counts_HW += self._grain(grain_at)[..., 0] * np.float32(COUNTS_NOISE)
        return np.round(counts_HW).astype(np.uint16)

    def _grain(self, at: tuple[int, int]) -> NDArray[np.float32]:
        y, x = at
        return self.grain_HWC[y : y + self.height_px, x : x + self.width_px]

    def _person(self, identity: int) -> tuple[Person, list[Solid]]:
        if identity not in self._people:
            person = draw_person(self.seed, identity)
            self._people[identity] = (person, make_solids(person))
        return self._people[identity]

    def _position(self, walk: Walk, time_s: float) -> tuple[float, float]:
        """Return the pixel of the feet."""
        done = walk.moved_s(time_s) / walk.walking_s
        along = -MARGIN + (1 + 2 * MARGIN) * (done if walk.direction > 0 else 1 - done)
        across = walk.across + walk.drift * sin(pi * done)
        view = self.view
        if view.opposite:
            along, across = 1 - along + view.shift, 1 - across
        elif view.shift:
            along += view.shift
        row = view.far_px + (view.near_px - view.far_px) * across
        widen = 0.92 + 0.12 * across  # the near side of the ground passes faster
        return (0.5 + (along - 0.5) * widen) * self.width_px, row * self.height_px

    def _pose(self, walk: Walk, time_s: float, stature: float) -> Pose:
        stands = walk.stands(time_s)
        facing_s = walk.start_s + walk.pause_at * walk.walking_s - 0.1 if stands else time_s
        x, y = self._position(walk, facing_s)
        ahead_x, ahead_y = self._position(walk, facing_s + 0.1)
        return Pose(
            yaw=atan2(ahead_x - x, (ahead_y - y) * 2.2), phase=self._phase(walk, time_s, stature),
            stride=0.05 if stands else 0.42, arm_swing=0.04 if stands else 0.34, elbow=0.35, spread=0.10, lean=0.03,
            pitch=0.20,
        )  # fmt: skip

    def _phase(self, walk: Walk, time_s: float, stature: float) -> float:
        """Advance the walk with the ground: two steps cover 0.85 of a stature."""
        speed_px_s = (1 + 2 * MARGIN) * self.width_px / walk.walking_s
        return walk.moved_s(time_s) * speed_px_s / (0.85 * stature) * 2 * pi + walk.identity

    def _draw(self, picture_HWC: NDArray[np.float32], walk: Walk, time_s: float) -> tuple[int, int, int, int] | None:
        """Blend one person in and return its box, or None when hardly anything of it is inside the frame."""
        view = self.view
        x, y = self._position(walk, time_s)
        stature = view.stature * self.height_px * (y / self.height_px - view.horizon) / (1 - view.horizon)
        half, above, below = round(stature * 0.42), round(stature * 1.06), round(stature * 0.10)
        left, top = round(x) - half, round(y) - above
        person, solids = self._person(walk.identity)
        size = (above + below, 2 * half)
        place = Place((x - left) * self._fine, (y - top) * self._fine, stature * self._fine)
        light = Light(azimuth=view.camera.azimuth * 0.7, ambient=view.camera.ambient, folds=0.3)
        canvas = (size[0] * self._fine, size[1] * self._fine)
        figure = draw_figure(solids, person.body, self._pose(walk, time_s, stature), place, light, canvas)
        light_HWC, cover_HW1 = figure_radiance(figure, person, self.sensor, size)
        gain = view.camera.person_gain if self.sensor == "nir" else 1.0
        # Cover is divided out before the tone curve and multiplied back, or every edge would get a dark seam.
        bare_HWC = np.asarray(light_HWC / np.maximum(cover_HW1, 1e-3), np.float32)
        tone_HWC = develop(bare_HWC, view.camera, gain) * cover_HW1
        rows = slice(max(0, top), min(self.height_px, top + size[0]))
        columns = slice(max(0, left), min(self.width_px, left + size[1]))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        inside = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
        region_HWC = picture_HWC[rows, columns]
        if self.sensor == "visible":
            region_HWC *= _shadow(size, x - left, y - top, stature)[inside]
        cover_HW1 = np.asarray(cv2.GaussianBlur(cover_HW1, (0, 0), 0.6), np.float32)[..., None]
        tone_HWC = cv2.GaussianBlur(tone_HWC, (0, 0), 0.6).reshape(tone_HWC.shape)
        region_HWC *= 1 - cover_HW1[inside]
        region_HWC += tone_HWC[inside]
        return _box(cover_HW1[..., 0], inside, rows, columns)


def _lamp_spot(height: int, width: int) -> NDArray[np.float32]:
    """The infrared lamp beside the lens lights the middle of the picture most; the corners get a third."""
    row_H1 = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(0.25)
    column_1W = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    spot_HW = 0.35 + np.exp(-1.3 * (row_H1**2 + column_1W**2))
    return spot_HW.astype(np.float32)[..., None]


def _shadow(size: tuple[int, int], x: float, y: float, stature: float) -> NDArray[np.float32]:
    shadow_HW = np.ones(size, np.float32)
    axes = (max(1, int(stature * 0.17)), max(1, int(stature * 0.03)))
    cv2.ellipse(shadow_HW, (int(x), int(y - stature * 0.02)), axes, 0, 0, 360, 0.66, -1)
    return np.asarray(cv2.blur(shadow_HW, (9, 5)), np.float32)[..., None]


def _box(
    cover_HW: NDArray[np.float32], inside: tuple[slice, slice], rows: slice, columns: slice
) -> tuple[int, int, int, int] | None:
    solid_HW = cover_HW > 0.4
    visible_HW = solid_HW[inside]
    if visible_HW.sum() < 0.3 * solid_HW.sum():  # less is not a person that a detector could find
        return None
    hit_rows, hit_columns = np.flatnonzero(visible_HW.any(1)), np.flatnonzero(visible_HW.any(0))
    left, top = int(columns.start + hit_columns[0]), int(rows.start + hit_rows[0])
    return left, top, int(hit_columns[-1] - hit_columns[0] + 1), int(hit_rows[-1] - hit_rows[0] + 1)
