"""What a camera of a synthetic site sees: frames that depend on their number alone.

Shapes: H height, W width, C channel (blue, green, red).
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

import cv2
import numpy as np

from train.datasets.synthetic_camera import SUPERSAMPLING
from train.datasets.synthetic_scene import Scene, paint_scene
from train.datasets.synthetic_site import CAMERA_TABLE
from train.datasets.synthetic_stream_view import GRAIN_PX, ViewRenderer, Walk
from train.datasets.synthetic_streams import EMPTY_S, WALL_SHARE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.synthetic_material import InfraredKind
    from train.datasets.synthetic_site import SiteCamera, SitePlan, SiteShape
    from train.datasets.synthetic_stream_view import Seen, View

    Image = NDArray[np.uint8] | NDArray[np.uint16]  # (H, W, C), or (H, W) of thermal counts

WIDEST_SHIFT = 0.10  # of the cameras: a scene is painted wider by this
CROWD_IDENTITY = 4001  # behind everybody at a site
CROSSING_S, AWAY_S = (6.6, 7.8), 0.8  # how long somebody of the crowd takes, and stays outside


class SiteRenderer(ViewRenderer):
    """Renders one camera of a site."""

    def __init__(self, plan: SitePlan, camera: SiteCamera) -> None:
        shape, view = plan.shape, camera.view
        self.fps = plan.shape.fps
        self._walks = plan.walks(camera.place)
        self._key = (plan.seed, 11, plan.cameras.index(camera))
        place = sorted({other.place for other in plan.cameras}).index(camera.place)
        painter = np.random.default_rng((plan.seed, 12, place, int(view.opposite)))
        size_px = camera_size(shape, camera)
        scene = paint_behind(painter, view, (shape.width_px, shape.height_px), size_px)
        super().__init__(
            view, size_px, scene, seed=plan.seed, infrared=shape.infrared, rng=np.random.default_rng(self._key),
            supersampling=SUPERSAMPLING,
        )  # fmt: skip

    def frame(self, number: int) -> tuple[Image, list[Seen]]:
        """Return a frame and who is in it."""
        return _expose(self, self._walks, number, self.fps, self._key)


class CrowdRenderer(ViewRenderer):
    """Renders a visible or an infrared camera, side by side, before which people walk up and down for ever."""

    def __init__(
        self, modality: Modality, *, people: int, seed: int, size_px: tuple[int, int], fps: float,
        infrared: InfraredKind,
    ) -> None:  # fmt: skip
        self.people, self.fps = people, fps
        self._key = (seed, 13, int(modality == "infrared"))
        view = next(camera.view for camera in CAMERA_TABLE if camera.modality == modality)
        scene = paint_behind(np.random.default_rng((seed, 14)), view, size_px, size_px)
        super().__init__(
            view, size_px, scene, seed=seed, infrared=infrared, rng=np.random.default_rng(self._key),
            supersampling=SUPERSAMPLING,
        )  # fmt: skip

    def frame(self, number: int) -> tuple[Image, list[Seen]]:
        """Return a frame and who is in it."""
        walks = crowd_walks(self.people, self.seed, number / self.fps)
        return _expose(self, walks, number, self.fps, self._key)


def crowd_walks(people: int, seed: int, time_s: float) -> list[Walk]:
    """Return who is crossing at a time; at first there is nobody, so that the place can be learned."""
    walks: list[Walk] = []
    for number in range(people):
        rng = np.random.default_rng((seed, 15, number))
        duration_s, phase = rng.uniform(*CROSSING_S), rng.uniform()
        lap_s = duration_s + AWAY_S
        lap = floor(time_s / lap_s - phase)
        start_s = (lap + phase) * lap_s
        if start_s >= EMPTY_S:
            across = 0.1 + 0.8 * (number * 0.618 % 1)  # the golden ratio spreads any number of paths
            walks.append(
                Walk(identity=CROWD_IDENTITY + number, start_s=start_s, duration_s=duration_s,
                     direction=1 if (lap + number) % 2 == 0 else -1, across=across, drift=rng.uniform(-0.1, 0.1))
            )  # fmt: skip
    return walks


def camera_size(shape: SiteShape, camera: SiteCamera) -> tuple[int, int]:
    """Return width and height."""
    half = 2 if camera.modality == "infrared" and shape.infrared == "thermal" else 1
    return shape.width_px // half, shape.height_px // half


def paint_behind(
    painter: np.random.Generator, view: View, full_px: tuple[int, int], size_px: tuple[int, int]
) -> Scene:  # fmt: skip
    """Paint what is behind the people at full_px and reduce it; cameras side by side see one wall, shifted."""
    width_px, height_px = full_px
    scene = paint_scene(painter, view.kind, height_px, round(width_px * (1 + WIDEST_SHIFT)), WALL_SHARE)
    left_px = round((0.0 if view.opposite else WIDEST_SHIFT - view.shift) * width_px)

    def cut(map_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        part_HW = np.ascontiguousarray(map_HW[:, left_px : left_px + width_px])
        return np.asarray(cv2.resize(part_HW, size_px, interpolation=cv2.INTER_NEAREST), np.uint8)

    return Scene(
        surface_HW=cut(scene.surface_HW),
        shade_HW=cut(scene.shade_HW),
        materials=scene.materials,
        floor_px=round(scene.floor_px * size_px[1] / height_px),
    )


def _expose(
    renderer: ViewRenderer, walks: Sequence[Walk], number: int, fps: float, key: tuple[int, ...]
) -> tuple[Image, list[Seen]]:
    picture_HWC, seen = renderer.paint(walks, number / fps)
    y, x = (int(value) for value in np.random.default_rng((*key, number)).integers(0, GRAIN_PX, 2))
    if renderer.sensor == "thermal":
        return renderer.count(picture_HWC, (y, x)), seen
    return renderer.expose(picture_HWC, (y, x)), seen
