"""The people in a single picture that an operator gave, and the crop of one of them.

Shapes: H height, W width, C channel (3, RGB), N boxes, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.cameras.frames import Frame
from deploy.tracking.crops import CropSettings, cut
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.detection.detector import Detections, Detector
    from deploy.sightings import Box
    from deploy.web.desk_views import Picture

LEAST_SCORE = 0.4  # a tracker has time to drop a wrong box, a single picture has not
LEAST_HEIGHT_PX = 32
MOST_FOUND = 20


def find_people(detector: Detector, picture: Picture) -> list[Box]:
    """Return the people in a picture, the biggest first.

    An infrared picture in which nobody is found is tried inverted: a detector of visible people takes white-hot
    thermal pictures better so.
    """
    boxes: list[Box] = []
    for inverted in (False, True) if picture.modality == "infrared" else (False,):
        frame = Frame(
            image_HWC=picture.image_HWC,
            time_s=0.0,
            index=0,
            camera="a picture",
            modality=picture.modality,
            inverted_for_detector=inverted,
        )
        boxes = boxes or _boxes(detector.detect([frame])[0], picture.image_HWC.shape[:2])
    return boxes


def cut_person(picture: Picture, boxes: Sequence[Box]) -> NDArray[np.uint8]:
    """Return the crop of the chosen person; where nobody was found, all of the picture is one."""
    if not boxes:
        if picture.person:
            raise BadInput(f"expected person 0, got {picture.person}: nobody was found, so all of the picture is one")
        return picture.image_HWC
    if not 0 <= picture.person < len(boxes):
        raise BadInput(f"expected a person from 0 to {len(boxes) - 1} of this picture, got {picture.person}")
    return cut(picture.image_HWC, np.asarray(boxes[picture.person], np.float32), CropSettings().margin)


def _boxes(found: Detections, size: tuple[int, ...]) -> list[Box]:
    boxes: list[Box] = []
    for box_4, score in zip(found.box_N4.tolist(), found.score_N.tolist(), strict=True):
        left, top, right, bottom = max(box_4[0], 0), max(box_4[1], 0), box_4[0] + box_4[2], box_4[1] + box_4[3]
        right, bottom = min(right, size[1]), min(bottom, size[0])
        if score >= LEAST_SCORE and bottom - top >= LEAST_HEIGHT_PX and right - left >= 1:
            boxes.append((left, top, right - left, bottom - top))
    boxes.sort(key=lambda box: (-box[2] * box[3], box))
    return boxes[:MOST_FOUND]
