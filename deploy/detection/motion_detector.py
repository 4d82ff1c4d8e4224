"""Finding walking people without a network: what differs from a learnt background (MOG2).

For fixed cameras of both kinds and people who walk apart from each other: two who touch become one box, one who
stands still fades into the background. A camera that moves needs `--detector`.

Shapes: N boxes, 4 box (left, top, width, height) in pixels, H height, W width.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deploy.detection.detector import Detections, no_detections

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame

WORK_WIDTH_PX = 384  # 0.9 ms a frame; at full size noise makes more blobs and it takes four times as long
HISTORY_FRAMES = 500
VARIANCE_LIMIT = 20.0
MIN_HEIGHT = 0.12  # of the frame; smaller things that move are no people that could be recognised
MIN_ASPECT = 1.0  # height to width: a person with legs apart has 1.3, a cast light patch less than 1
MIN_FILL = 0.2  # of the box that is foreground
SETTLE_FRAMES = 3  # a model of one frame calls every flicker foreground


MAX_CAMERAS = 32  # a background is 9 MB at 384 x 216; the camera that was away longest loses its own


class MotionDetector:
    """Background subtraction, a background for each camera; every box has the score 1."""

    def __init__(self) -> None:
        self._backgrounds: OrderedDict[str, Background] = OrderedDict()

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [self._background(frame).detect(frame) for frame in frames]

    def close(self) -> None:
        self._backgrounds.clear()

    def _background(self, frame: Frame) -> Background:
        """Return the camera's background: a new one for a new camera, and for one that changed its size."""
        found = self._backgrounds.pop(frame.camera, None)
        if found is None or found.shape != frame.image_HWC.shape:
            found = Background(frame.image_HWC.shape)
        self._backgrounds[frame.camera] = found
        if len(self._backgrounds) > MAX_CAMERAS:
            self._backgrounds.popitem(last=False)
        return found


class Background:
    """What one camera sees when nobody walks."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        # Shadows are marked 127 rather than 255 and cut off with the threshold below.
        self._model: Any = cv2.createBackgroundSubtractorMOG2(HISTORY_FRAMES, VARIANCE_LIMIT, detectShadows=True)
        self._frames = 0

    def detect(self, frame: Frame) -> Detections:
        # Not the picture for detectors: in inverted thermal a warm person is dark, and might pass for a shadow.
        image_HWC = frame.image_HWC
        height_px, width_px = image_HWC.shape[:2]
        scale = min(1.0, WORK_WIDTH_PX / width_px)
        size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
        small_HWC = cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA)
        raw_HW = self._model.apply(cv2.GaussianBlur(small_HWC, (3, 3), 0))
        self._frames += 1
        if self._frames <= SETTLE_FRAMES:
            return no_detections()
        found = find_people(np.asarray(raw_HW, np.uint8))
        if not found:
            return no_detections()
        return Detections(
            box_N4=(np.asarray(found, np.float32) / np.float32(scale)),
            score_N=np.ones(len(found), np.float32),
        )


def find_people(foreground_HW: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
    """Return the boxes of person-like blobs of a MOG2 mask (255 foreground, 127 shadow)."""
    height_px = foreground_HW.shape[0]
    solid_HW = np.where(foreground_HW > 200, 255, 0).astype(np.uint8)
    opened_HW = cv2.morphologyEx(solid_HW, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    # Taller than wide: joins head, trunk and legs of one person rather than two people side by side.
    reach = max(3, height_px // 24) | 1
    closed_HW: NDArray[np.uint8] = np.asarray(
        cv2.morphologyEx(opened_HW, cv2.MORPH_CLOSE, np.ones((reach, 5), np.uint8)), np.uint8
    )
    contours, _ = cv2.findContours(closed_HW, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    least_area = (height_px * MIN_HEIGHT) ** 2 * 0.02
    outlines = [contour for contour in contours if cv2.contourArea(contour) >= least_area]
    blobs = [_bounds(np.asarray(outline, np.int32)) for outline in outlines]
    return [box for box in join_stacked(blobs) if _is_person(box, closed_HW)]


def join_stacked(blobs: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Join blobs that stand above one another: share half of the narrower's width, and a gap below half a height."""
    boxes = sorted(blobs)
    joined = True
    while joined:
        joined = False
        for first in range(len(boxes)):
            second = next((j for j in range(first + 1, len(boxes)) if _stacked(boxes[first], boxes[j])), None)
            if second is not None:
                boxes[first] = _union(boxes[first], boxes.pop(second))
                joined = True
                break
    return boxes


def _stacked(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    shared_px = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    gap_px = max(a[1], b[1]) - min(a[1] + a[3], b[1] + b[3])
    return shared_px >= 0.5 * min(a[2], b[2]) and gap_px <= 0.5 * max(a[3], b[3])


def _union(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    left, top = min(a[0], b[0]), min(a[1], b[1])
    return left, top, max(a[0] + a[2], b[0] + b[2]) - left, max(a[1] + a[3], b[1] + b[3]) - top


def _bounds(contour: NDArray[np.int32]) -> tuple[int, int, int, int]:
    left, top, width, height = cv2.boundingRect(contour)
    return int(left), int(top), int(width), int(height)


def _is_person(box: tuple[int, int, int, int], mask_HW: NDArray[np.uint8]) -> bool:
    left, top, width, height = box
    if height < MIN_HEIGHT * mask_HW.shape[0] or height < MIN_ASPECT * width:
        return False
    filled = np.count_nonzero(mask_HW[top : top + height, left : left + width])
    return bool(filled >= MIN_FILL * width * height)
