"""People of whom a script draws a few stripes, for runs that are about the loop: no rendering, no networks.

Shapes: B batch, H height, W width, C channel (3), D embedding, N boxes, 4 box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.detection.detector import Detections
    from engines.manifest import Manifest, Modality

    Pixels = NDArray[np.uint8]

FPS = 2.0
DIM = 64
SIZE = (120, 160)
COMES_EVERY, STAYS, STEP_PX = 12, 24, 5  # frames, frames, pixels a frame
QUIET_EVERY, QUIET = 3600, 120  # frames: nobody comes for a minute every half hour, in which galleries are tidied
REGULARS = 97
LEVELS, LEVEL_PX, DARKEST = 12, 16, 30  # grey levels of a channel, which say who it is


def person_at(number: int) -> int:
    """Return who comes as number-th: every second one is a regular."""
    return number % REGULARS if number % 2 else REGULARS + number


def present(index: int) -> list[tuple[int, int]]:
    """Return who is in the pictures of an index, and how far to the left."""
    newest = index // COMES_EVERY
    arrivals = [(number, number * COMES_EVERY) for number in range(max(0, newest - 1), newest + 1)]
    return [
        (person_at(number), 4 + STEP_PX * (index - first))
        for number, first in arrivals
        if index - first < STAYS and first % QUIET_EVERY < QUIET_EVERY - QUIET
    ]


def colour_code(person: int) -> tuple[int, int, int]:
    code = person % LEVELS**3
    red, green, blue = code % LEVELS, code // LEVELS % LEVELS, code // LEVELS**2
    return DARKEST + LEVEL_PX * red, DARKEST + LEVEL_PX * green, DARKEST + LEVEL_PX * blue


@dataclass
class DrawnSource:
    """Draws who is present, in stripes: something to be sharp about."""

    frames: int
    live: bool = False
    fps: float = FPS
    _number: int = -1

    def open(self) -> None: ...

    def grab(self) -> bool:
        self._number += 1
        return self._number < self.frames

    def retrieve(self) -> Pixels:
        image_HWC = np.zeros((*SIZE, 3), np.uint8)
        stripe_H11 = np.where(np.arange(80)[:, None, None] // 4 % 2 == 0, 20, -20)
        for person, left in present(self._number):
            image_HWC[20:100, left : left + 30] = np.array(colour_code(person)) + stripe_H11
        return image_HWC

    def close(self) -> None: ...


@dataclass
class DrawnDetector:
    """Knows where everybody was drawn; tells the clock how late it is."""

    now_s: float = 0.0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        from deploy.detection.detector import Detections

        found: list[Detections] = []
        for frame in frames:
            self.now_s = max(self.now_s, frame.time_s)
            box_N4 = np.array([(left, 20, 30, 80) for _, left in present(frame.index)], np.float32).reshape(-1, 4)
            found.append(Detections(box_N4=box_N4, score_N=np.full(len(box_N4), 0.9, np.float32)))
        return found

    def close(self) -> None: ...


@dataclass
class ColourBackend:
    """Embeds a crop by the colour of its middle: a direction of its own for every code."""

    manifest: Manifest
    name: str = "colours"

    def embed(self, image_BHWC: Pixels, modality: Modality) -> NDArray[np.float32]:
        height, width = image_BHWC.shape[1:3]
        middle_BHWC = image_BHWC[:, height // 4 : -height // 4, width // 4 : -width // 4]
        level_BC = np.rint((middle_BHWC.mean((1, 2)) - DARKEST) / LEVEL_PX).astype(int).clip(0, LEVELS - 1)
        codes: list[int] = (level_BC @ (1, LEVELS, LEVELS**2)).tolist()
        row_BD = np.stack([np.random.default_rng(code).standard_normal(DIM, np.float32) for code in codes])
        return np.asarray(row_BD / np.linalg.norm(row_BD, axis=1, keepdims=True), np.float32)

    def close(self) -> None: ...

    def __enter__(self) -> ColourBackend:
        return self

    def __exit__(self, *failure: object) -> None: ...


def drawn_manifest() -> Manifest:
    from engines.manifest import Graph, Manifest

    modalities: tuple[Modality, Modality] = ("visible", "infrared")
    return Manifest(
        method="drawn",
        height_px=64,
        width_px=32,
        embedding_dim=DIM,
        graphs=tuple(Graph(file=m, sha256="0", modality=m, precision="fp32", form="onnx") for m in modalities),
    )
