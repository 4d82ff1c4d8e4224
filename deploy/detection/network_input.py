"""Pictures into a detector's input: size, colour order and numbers as its convention says, and the way back for boxes.

Shapes: B batch, H height, W width, C channel, N boxes, 4 box (left, top, width, height).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np

from deploy.detection.detector import Detections
from deploy.detection.graph import FREE_BATCH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.detection.heads.form import Array, Convention, TensorSpec

Layout = Literal["BCHW", "BHWC", "CHW"]


class Fit(NamedTuple):
    """Network pixels for one pixel of a frame, across and down."""

    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class NetworkInput:
    """Which input is the picture, and what else the graph wants: the size of the pictures, or a mask of what is one."""

    picture: int
    layout: Layout
    height_px: int
    width_px: int
    batch: int | None  # None: free
    sizes: tuple[int, ...] = ()
    masks: tuple[int, ...] = ()


def understand_inputs(specs: Sequence[TensorSpec]) -> NetworkInput | None:
    """Find the picture and what accompanies it; None where an input is none of these."""
    pictures = [i for i, spec in enumerate(specs) if _layout(spec.shape) is not None]
    sizes = tuple(i for i, spec in enumerate(specs) if len(spec.shape) == 2 and spec.shape[1] == 2)
    masks = tuple(i for i, spec in enumerate(specs) if "mask" in spec.name and i not in pictures)
    if len(pictures) != 1 or 1 + len(sizes) + len(masks) != len(specs):
        return None
    shape = specs[pictures[0]].shape
    layout = _layout(shape)
    height, width = shape[1:3] if layout == "BHWC" else shape[-2:]
    if layout is None or height is None or width is None:
        return None
    return NetworkInput(
        picture=pictures[0],
        layout=layout,
        height_px=height,
        width_px=width,
        batch=1 if layout == "CHW" else shape[0],
        sizes=sizes,
        masks=masks,
    )


def _layout(shape: tuple[int | None, ...]) -> Layout | None:
    if len(shape) == 3:
        return "CHW" if shape[0] == 3 else None
    if len(shape) != 4:
        return None
    return "BCHW" if shape[1] == 3 else "BHWC" if shape[3] == 3 else None


class Batch:
    """Memory for the largest batch of a graph, filled picture by picture."""

    def __init__(self, network: NetworkInput, specs: Sequence[TensorSpec], convention: Convention, most: int) -> None:
        self._network, self._specs, self._convention = network, specs, convention
        self.fixed = network.batch is not None
        self.size = min(network.batch or FREE_BATCH, most if network.batch is None else network.batch)
        height, width = network.height_px, network.width_px
        self._canvas_HWC = np.empty((height, width, 3), np.uint8)
        shape = (height, width, 3) if network.layout == "BHWC" else (3, height, width)
        self._picture = np.zeros((self.size, *shape), specs[network.picture].dtype)
        self._others = {i: self._companion(i) for i in (*network.sizes, *network.masks)}

    def put(self, row: int, image_HWC: NDArray[np.uint8]) -> Fit:
        """Write one frame's picture (RGB) into a row and return its scale."""
        fit = self._place(image_HWC)
        planes = cv2.split(self._canvas_HWC)
        convention = self._convention
        order = (0, 1, 2) if convention.colour == "rgb" else (2, 1, 0)
        target = self._picture[row]
        for channel, source in enumerate(order):
            plane_HW = target[..., channel] if self._network.layout == "BHWC" else target[channel]
            mean, std = convention.mean[channel], convention.std[channel]
            if target.dtype == np.uint8 or (convention.scale, mean, std) == (1.0, 0.0, 1.0):
                plane_HW[:] = planes[source]
            else:
                np.multiply(planes[source], np.float32(convention.scale / std), out=plane_HW, casting="unsafe")
                plane_HW -= np.asarray(mean / std, plane_HW.dtype)
        return fit

    def put_grey(self) -> None:
        """Write a plain picture into row 0."""
        grey = self._convention.fill
        self.put(0, np.full((self._network.height_px, self._network.width_px, 3), grey, np.uint8))

    def arrays(self, count: int) -> list[Array]:
        """Return the graph's inputs for the first rows; a fixed batch is filled up with what stands there."""
        rows = self.size if self.fixed else count
        found: list[Array] = []
        for i in range(len(self._specs)):
            if i in self._others:
                found.append(self._others[i][:rows])
            else:
                found.append(self._picture[0] if self._network.layout == "CHW" else self._picture[:rows])
        return found

    def _place(self, image_HWC: NDArray[np.uint8]) -> Fit:
        """Resize into the canvas: stretched, or with its aspect in the top left and plain grey beside it."""
        height, width = image_HWC.shape[:2]
        canvas_HWC = self._canvas_HWC
        canvas_height, canvas_width = canvas_HWC.shape[:2]
        if self._convention.resize == "stretch":
            size = canvas_width, canvas_height
        else:
            scale = min(canvas_height / height, canvas_width / width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            # Top left for networks trained with bars on both sides too: they have seen people everywhere.
            canvas_HWC[size[1] :] = self._convention.fill
            canvas_HWC[: size[1], size[0] :] = self._convention.fill
        canvas_HWC[: size[1], : size[0]] = cv2.resize(image_HWC, size, interpolation=cv2.INTER_LINEAR)
        return Fit(size[0] / width, size[1] / height)

    def _companion(self, position: int) -> NDArray[Any]:
        spec, network = self._specs[position], self._network
        if position in network.sizes:  # the input's own size, so that boxes come in its pixels
            row = np.array([network.width_px, network.height_px], spec.dtype)
            return np.repeat(row[None], self.size, axis=0)
        shape = tuple(size or 1 for size in spec.shape[1:])
        return np.ones((self.size, *shape), spec.dtype)


def to_frame(found: Detections, fit: Fit) -> Detections:
    """Move boxes from the network's pixels to the frame's."""
    scale_4 = np.array([fit.x, fit.y, fit.x, fit.y], np.float32)
    return Detections(box_N4=found.box_N4 / scale_4, score_N=found.score_N)
