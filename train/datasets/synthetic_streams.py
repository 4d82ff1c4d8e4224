"""Two synthetic cameras that watch the same walkway from opposite sides, with the truth of who is where.

The infrared camera hangs on the other side: what walks right in one view walks left in the other, near is far, and it
sees the other side of the body. Coordinates on the walkway: along 0 to 1 (the visible view's width), across 0 to 1
(1 is near the visible camera).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, pi, sin
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from engines.errors import BadInput
from train.datasets.synthetic_camera import CAMERAS, CameraStyle, develop, figure_radiance, look, sensor_of
from train.datasets.synthetic_figure import Light, Place, draw_figure
from train.datasets.synthetic_material import palette
from train.datasets.synthetic_person import draw_person
from train.datasets.synthetic_pose import Pose
from train.datasets.synthetic_scene import SURFACES, PlaceKind, paint_scene
from train.datasets.synthetic_tailor import make_solids

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.synthetic_material import InfraredKind, Sensor
    from train.datasets.synthetic_person import Person
    from train.datasets.synthetic_solid import Solid

FIRST_IDENTITY = 1001  # behind every identity of a data set of the default size and of SYSU-MM01's 533
SUPERSAMPLING = 3  # these pictures are shown to people
MARGIN = 0.16  # people start and end this far outside the view
EMPTY_S = 2.5  # nobody at first: background subtraction learns the place


@dataclass(frozen=True, kw_only=True)
class StreamShape:
    """Size and length of the two videos."""

    width_px: int = 768
    height_px: int = 432
    fps: int = 10
    people: int = 8


@dataclass(frozen=True, kw_only=True)
class Walk:
    """One person crosses once."""

    identity: int
    start_s: float
    duration_s: float
    direction: int  # 1 towards larger `along`
    across: float
    drift: float  # how far the path bends


@dataclass(frozen=True, kw_only=True)
class View:
    """How one camera sees the walkway."""

    camera: CameraStyle
    kind: PlaceKind
    opposite: bool
    shift: float  # of the view along the walkway, in widths
    near_px: float  # row of the feet nearest to the camera, as a share of the height
    far_px: float
    horizon: float  # row where a person would have no height, as a share of the height; above the picture
    stature: float  # of a person whose feet are on the lowest row, as a share of the height


VIEWS: dict[Modality, View] = {
    "visible": View(camera=CAMERAS[4], kind="street", opposite=False, shift=0.0, near_px=0.955, far_px=0.70,
                    horizon=-0.16, stature=0.46),
    "infrared": View(camera=CAMERAS[6], kind="passage", opposite=True, shift=0.12, near_px=0.975, far_px=0.76,
                     horizon=-0.22, stature=0.43),
}  # fmt: skip


class Sight(NamedTuple):
    """A person in a frame: the truth that is written."""

    frame: int
    identity: int
    box: tuple[int, int, int, int]  # x, y, width, height, clipped to the frame


def plan_walks(shape: StreamShape, seed: int) -> list[Walk]:
    """Let people come one by one and in pairs that meet or overtake each other."""
    if not 1 <= shape.people <= 1000:
        raise BadInput(f"expected 1 to 1000 people in the streams, got {shape.people}")
    rng = np.random.default_rng((seed, 6))
    gaps_s = (5.6, 0.8, 7.2, 1.6)  # after each: alone, meets the next, alone or overtaking
    walks: list[Walk] = []
    start_s = EMPTY_S
    for number in range(shape.people):
        direction = 1 if number % 2 == 0 else -1
        if number % 4 == 3:
            direction = -direction  # walks the way of the one before
        across = (0.28, 0.78, 0.15, 0.85)[number % 4] + rng.uniform(-0.08, 0.08)
        walk = Walk(identity=FIRST_IDENTITY + number, start_s=start_s, duration_s=rng.uniform(6.6, 7.8),
                    direction=direction, across=across, drift=rng.uniform(-0.14, 0.14))  # fmt: skip
        walks.append(walk)
        start_s += gaps_s[number % 4]
    return walks


def frame_count(shape: StreamShape, walks: Sequence[Walk]) -> int:
    return round((max(walk.start_s + walk.duration_s for walk in walks) + 1.5) * shape.fps)


class StreamRenderer:
    """Renders one view frame by frame; holds the place, the people and the grain."""

    def __init__(self, modality: Modality, shape: StreamShape, seed: int, infrared: InfraredKind) -> None:
        self.shape, self.view = shape, VIEWS[modality]
        self.sensor: Sensor = sensor_of(self.view.camera, infrared)
        self.walks = plan_walks(shape, seed)
        self.people: dict[int, tuple[Person, list[Solid]]] = {}
        for walk in self.walks:
            person = draw_person(seed, walk.identity)
            self.people[walk.identity] = (person, make_solids(person))
        self.rng = np.random.default_rng((seed, 7, int(self.view.opposite)))
        size = (shape.height_px, shape.width_px)
        scene = paint_scene(np.random.default_rng((seed, 8, int(self.view.opposite))), self.view.kind, *size, 0.47)
        light_HWC = look(scene.surface_HW, scene.shade_HW, palette(scene.materials, self.sensor, SURFACES), self.sensor)
        if self.sensor == "nir":
            light_HWC *= _lamp_spot(*size)
        sharp_HWC = develop(light_HWC, self.view.camera, 1.0)
        self.background_HWC = np.asarray(cv2.GaussianBlur(sharp_HWC, (0, 0), 0.8), np.float32)
        self.grain_HWC = self.rng.standard_normal((size[0] + 64, size[1] + 64, 3), np.float32)
        if self.view.camera.infrared:
            self.grain_HWC[..., 1:] = self.grain_HWC[..., :1]

    def frames(self) -> Iterator[tuple[NDArray[np.uint8], list[Sight]]]:
        """Yield every frame (H, W, 3; blue, green, red) with the people in it."""
        for frame in range(frame_count(self.shape, self.walks)):
            yield self._frame(frame)

    def _frame(self, frame: int) -> tuple[NDArray[np.uint8], list[Sight]]:
        picture_HWC = self.background_HWC.copy()
        time_s = frame / self.shape.fps
        present = [walk for walk in self.walks if 0 <= time_s - walk.start_s <= walk.duration_s]
        sights: list[Sight] = []
        for walk in sorted(present, key=lambda walk: self._position(walk, time_s)[1]):  # far ones first
            box = self._draw(picture_HWC, walk, time_s)
            if box is not None:
                sights.append(Sight(frame, walk.identity, box))
        y, x = self.rng.integers(0, 64, 2)
        grain_HWC = self.grain_HWC[y : y + self.shape.height_px, x : x + self.shape.width_px]
        picture_HWC += grain_HWC * np.float32(0.45 * self.view.camera.noise)  # a video's codec smooths the rest
        return np.clip(picture_HWC, 0, 255).astype(np.uint8), sights

    def _position(self, walk: Walk, time_s: float) -> tuple[float, float]:
        """Return the pixel of the feet."""
        done = (time_s - walk.start_s) / walk.duration_s
        along = -MARGIN + (1 + 2 * MARGIN) * (done if walk.direction > 0 else 1 - done)
        across = walk.across + walk.drift * sin(pi * done)
        view = self.view
        if view.opposite:
            along, across = 1 - along + view.shift, 1 - across
        row = view.far_px + (view.near_px - view.far_px) * across
        widen = 0.92 + 0.12 * across  # the near side of the walkway passes faster
        return (0.5 + (along - 0.5) * widen) * self.shape.width_px, row * self.shape.height_px

    def _draw(self, picture_HWC: NDArray[np.float32], walk: Walk, time_s: float) -> tuple[int, int, int, int] | None:
        """Blend one person in and return its box, or None when hardly anything of it is inside the frame."""
        view, shape = self.view, self.shape
        x, y = self._position(walk, time_s)
        ahead_x, ahead_y = self._position(walk, time_s + 0.1)
        stature = view.stature * shape.height_px * (y / shape.height_px - view.horizon) / (1 - view.horizon)
        half, above, below = round(stature * 0.42), round(stature * 1.06), round(stature * 0.10)
        left, top = round(x) - half, round(y) - above
        pose = Pose(
            yaw=atan2(ahead_x - x, (ahead_y - y) * 2.2), phase=self._phase(walk, time_s, stature), stride=0.42,
            arm_swing=0.34, elbow=0.35, spread=0.10, lean=0.03, pitch=0.20,
        )  # fmt: skip
        person, solids = self.people[walk.identity]
        size = (above + below, 2 * half)
        place = Place((x - left) * SUPERSAMPLING, (y - top) * SUPERSAMPLING, stature * SUPERSAMPLING)
        light = Light(azimuth=view.camera.azimuth * 0.7, ambient=view.camera.ambient, folds=0.3)
        canvas = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
        figure = draw_figure(solids, person.body, pose, place, light, canvas)
        light_HWC, cover_HW1 = figure_radiance(figure, person, self.sensor, size)
        gain = view.camera.person_gain if self.sensor == "nir" else 1.0
        # Cover is divided out before the tone curve and multiplied back, or every edge would get a dark seam.
        bare_HWC = np.asarray(light_HWC / np.maximum(cover_HW1, 1e-3), np.float32)
        tone_HWC = develop(bare_HWC, view.camera, gain) * cover_HW1
        rows = slice(max(0, top), min(shape.height_px, top + size[0]))
        columns = slice(max(0, left), min(shape.width_px, left + size[1]))
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

    def _phase(self, walk: Walk, time_s: float, stature: float) -> float:
        """Advance the walk with the ground: two steps cover 0.85 of a stature."""
        speed_px_s = (1 + 2 * MARGIN) * self.shape.width_px / walk.duration_s
        return (time_s - walk.start_s) * speed_px_s / (0.85 * stature) * 2 * pi + walk.identity


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
