"""Finding people in frames: the protocol, its result, and the geometry that all detectors share.

Shapes: N detections, 4 box (left, top, width, height) in pixels of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame

    Float = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """People found in one frame."""

    box_N4: Float
    score_N: Float

    def __len__(self) -> int:
        return len(self.score_N)


class Detector(Protocol):
    """Finds people. Frames of one camera come in order; one detector may serve several cameras."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Return what is found in each frame, in the same order; frames may be of several cameras and sizes."""
        ...

    def close(self) -> None:
        """Free what it holds; harmless when repeated."""
        ...


def no_detections() -> Detections:
    return Detections(box_N4=np.empty((0, 4), np.float32), score_N=np.empty(0, np.float32))


def overlap(left_N4: Float, right_M4: Float) -> Float:
    """Return the intersection over union of every box on the left (N) with every box on the right (M)."""
    shared_NM = intersection(left_N4, right_M4)
    area_N, area_M = left_N4[:, 2] * left_N4[:, 3], right_M4[:, 2] * right_M4[:, 3]
    union_NM = area_N[:, None] + area_M[None, :] - shared_NM
    return np.divide(shared_NM, union_NM, out=np.zeros_like(shared_NM), where=union_NM > 0)


def intersection(left_N4: Float, right_M4: Float) -> Float:
    """Return the shared area, in square pixels, of every box on the left with every box on the right."""
    start_NM2 = np.maximum(left_N4[:, None, :2], right_M4[None, :, :2])
    end_NM2 = np.minimum(left_N4[:, None, :2] + left_N4[:, None, 2:], right_M4[None, :, :2] + right_M4[None, :, 2:])
    side_NM2 = np.maximum(end_NM2 - start_NM2, 0)
    return side_NM2[..., 0] * side_NM2[..., 1]


def suppress(detections: Detections, limit: float) -> Detections:
    """Keep the best of every set of boxes that overlap by more than limit (greedy non-maximum suppression)."""
    order_N = np.argsort(-detections.score_N, kind="stable")
    rival_NN = overlap(detections.box_N4, detections.box_N4) > limit
    beaten_N = np.zeros(len(detections), bool)
    kept: list[int] = []
    for index in order_N.tolist():
        if not beaten_N[index]:
            kept.append(index)
            beaten_N |= rival_NN[index]
    return Detections(box_N4=detections.box_N4[kept], score_N=detections.score_N[kept])
