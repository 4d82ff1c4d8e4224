"""What a detector's graph looks like, what its input means, and how its answer is read: the types of all heads.

Shapes: B batch, N boxes, C classes, 4 box. Boxes of a head are in pixels of the network's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deploy.detection.detector import Detections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float32]
    Array = NDArray[Any]

Colour = Literal["rgb", "bgr"]
Resize = Literal["letterbox", "stretch"]

MIN_SCORE = 0.1  # ByteTrack's second stage lives on weak boxes
MAX_BOXES = 300
FARTHEST_PX = 1e6  # from the first pixel to a box
STRIDES = (8, 16, 32)
ANCHORS_A_CELL = 3
WIDE_STRIDES = (8, 16, 32, 64)  # networks for 1280 pixels


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a graph; None is a free size."""

    name: str
    shape: tuple[int | None, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({sizes}) {self.dtype}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Signature:
    """What tells one head from another. Output shapes are those of an answer, so nothing in them is free."""

    height_px: int  # of the network's input
    width_px: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answers: tuple[Array, ...]  # to one plain grey picture: whether boxes are decoded shows in numbers alone

    def __str__(self) -> str:
        seen_in, seen_out = ", ".join(map(str, self.inputs)), ", ".join(map(str, self.outputs))
        return f"inputs {seen_in}; outputs {seen_out}"


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What the numbers of the input are: (pixel * scale - mean) / std by channel, and which class is a person."""

    colour: Colour = "rgb"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # in the order of `colour`, as std
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: Resize = "letterbox"
    fill: int = 114  # 0-255, of what a letterboxed picture leaves over
    person: int = 0


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Form:
    """One kind of head. `find` returns which outputs `read` wants, in its order, or None where the graph is another's.

    `read(outputs, signature, person)` returns the people of each picture, those below MIN_SCORE left out.
    """

    name: str  # as in detector.json
    looks: str  # for people: what its outputs are
    convention: Convention
    find: Callable[[Signature], tuple[int, ...] | None]
    read: Callable[[Sequence[Array], Signature, int], list[Detections]]
    suppress: bool = False  # leaves copies of a person, which must be suppressed
    batched: bool = True  # takes several pictures in one call, where its graph does


def strong_rows(score_A: Float) -> NDArray[np.intp]:
    """Return which scores count, at most MAX_BOXES of them, the best ones."""
    best_N = np.flatnonzero(score_A >= MIN_SCORE)
    if len(best_N) > MAX_BOXES:
        best_N = best_N[np.argsort(-score_A[best_N], kind="stable")[:MAX_BOXES]]
    return best_N


def from_corners(corner_N4: Array, score_N: Array) -> Detections:
    """Make detections of boxes that are left, top, right, bottom."""
    box_N4 = np.array(corner_N4[:, :4], np.float32)
    with np.errstate(all="ignore"):
        box_N4[:, 2:] -= box_N4[:, :2]
    return _of_a_picture(box_N4, np.asarray(score_N, np.float32))


def from_centres(centre_N4: Array, score_N: Array) -> Detections:
    """Make detections of boxes that are centre x, centre y, width, height."""
    box_N4 = np.array(centre_N4[:, :4], np.float32)
    with np.errstate(all="ignore"):
        box_N4[:, :2] -= box_N4[:, 2:] / 2
    return _of_a_picture(box_N4, np.asarray(score_N, np.float32))


def _of_a_picture(box_N4: Float, score_N: Float) -> Detections:
    """Leave out what lies in no picture: a network in half precision can overflow into NaN and infinity."""
    usable_N = (np.abs(box_N4) < FARTHEST_PX).all(axis=1) & np.isfinite(score_N)
    if usable_N.all():
        return Detections(box_N4=box_N4, score_N=score_N)
    return Detections(box_N4=box_N4[usable_N], score_N=score_N[usable_N])


def cell_counts(signature: Signature) -> tuple[int, ...]:
    """Return how many cells a grid detector has on this input: strides 8 to 32, and 8 to 64."""

    def count(strides: tuple[int, ...]) -> int:
        return sum((signature.height_px // stride) * (signature.width_px // stride) for stride in strides)

    return count(STRIDES), count(WIDE_STRIDES)


def only_output(signature: Signature, rank: int) -> tuple[int, ...] | None:
    """Return the shape of the single output where it is a float one of this rank."""
    if len(signature.outputs) != 1 or not is_float(signature.outputs[0]):
        return None
    shape = signature.answers[0].shape
    return shape if len(shape) == rank else None


def is_float(spec: TensorSpec) -> bool:
    return np.issubdtype(spec.dtype, np.floating)
