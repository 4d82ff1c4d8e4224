"""Two synthetic cameras that watch the same walkway from opposite sides, with the truth of who is where.

The infrared camera hangs on the other side: what walks right in one view walks left in the other, near is far, and it
sees the other side of the body.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engines.errors import BadInput
from train.datasets.synthetic_camera import CAMERAS
from train.datasets.synthetic_scene import paint_scene
from train.datasets.synthetic_stream_view import GRAIN_PX, View, ViewRenderer, Walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.synthetic_material import InfraredKind

FIRST_IDENTITY = 1001  # behind every identity of a data set of the default size and of SYSU-MM01's 533
EMPTY_S = 2.5  # nobody at first: background subtraction learns the place
WALL_SHARE = 0.47  # of the picture's height
SUPERSAMPLING = 3  # these pictures are shown to people


@dataclass(frozen=True, kw_only=True)
class StreamShape:
    """Size and length of the two videos."""

    width_px: int = 768
    height_px: int = 432
    fps: int = 10
    people: int = 8


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
    return round((max(walk.end_s for walk in walks) + 1.5) * shape.fps)


class StreamRenderer(ViewRenderer):
    """Renders one of the two views frame by frame."""

    def __init__(self, modality: Modality, shape: StreamShape, seed: int, infrared: InfraredKind) -> None:
        self.shape, self.walks = shape, plan_walks(shape, seed)
        view = VIEWS[modality]
        self.rng = np.random.default_rng((seed, 7, int(view.opposite)))
        painter = np.random.default_rng((seed, 8, int(view.opposite)))
        scene = paint_scene(painter, view.kind, shape.height_px, shape.width_px, WALL_SHARE)
        size_px = (shape.width_px, shape.height_px)
        super().__init__(view, size_px, scene, seed=seed, infrared=infrared, rng=self.rng, supersampling=SUPERSAMPLING)

    def frames(self) -> Iterator[tuple[NDArray[np.uint8], list[Sight]]]:
        """Yield every frame (H, W, 3; blue, green, red) with the people in it."""
        for frame in range(frame_count(self.shape, self.walks)):
            yield self._frame(frame)

    def _frame(self, frame: int) -> tuple[NDArray[np.uint8], list[Sight]]:
        picture_HWC, seen = self.paint(self.walks, frame / self.shape.fps)
        y, x = (int(value) for value in self.rng.integers(0, GRAIN_PX, 2))
        return self.expose(picture_HWC, (y, x)), [Sight(frame, person.identity, person.box) for person in seen]
