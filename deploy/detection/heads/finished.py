"""Heads whose graph has chosen the boxes already: left, top, right, bottom in pixels of the input, score and class.

- end-to-end (YOLOv10, YOLO26, YOLOv8 exported with nms): (B, N, 6); issue 7 of THU-MIG/yolov10 names the fields.
- nms (the outputs of TensorRT's EfficientNMS): how many (B, 1), boxes (B, N, 4), scores (B, N), classes (B, N).
- ssd (OpenVINO's DetectionOutput): (1, 1, N, 7) of picture, class, score and corners from 0 to 1; picture -1 ends it.

Shapes: B batch, N boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.heads.form import (
    ANCHORS_A_CELL,
    MIN_SCORE,
    Convention,
    Form,
    Signature,
    cell_counts,
    from_corners,
    is_float,
    only_output,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.detection.detector import Detections
    from deploy.detection.heads.form import Array

END_TO_END_ROWS = 1000  # graphs keep 100 to 300


def find_end_to_end(signature: Signature) -> tuple[int, ...] | None:
    shape = only_output(signature, 3)
    if shape is None or shape[2] != 6 or shape[1] > END_TO_END_ROWS:
        return None
    grids = cell_counts(signature)
    # A grid with one class has six fields too, but as many rows as cells or anchors.
    return None if shape[1] in (*grids, *(ANCHORS_A_CELL * count for count in grids)) else (0,)


def read_end_to_end(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    return [_chosen(rows_N6[:, :4], rows_N6[:, 4], rows_N6[:, 5], person) for rows_N6 in outputs[0]]


def find_nms(signature: Signature) -> tuple[int, ...] | None:
    """Tell the four outputs apart by rank and type; scores and classes that are both float, by name."""
    shapes = [answer.shape for answer in signature.answers]
    if len(shapes) != 4:
        return None
    boxes = [i for i, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 4]
    counts = [i for i, shape in enumerate(shapes) if shape in ((1,), (1, 1)) and not is_float(signature.outputs[i])]
    flat = [i for i, shape in enumerate(shapes) if len(shape) == 2 and i not in counts]
    if len(boxes) != 1 or len(counts) != 1 or len(flat) != 2:
        return None
    classes = [i for i in flat if not is_float(signature.outputs[i])]
    classes = classes or [i for i in flat if any(word in signature.outputs[i].name for word in ("class", "label"))]
    if len(classes) != 1:
        return None
    scores = flat[1] if flat[0] == classes[0] else flat[0]
    return counts[0], boxes[0], scores, classes[0]


def read_nms(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    count_B, box_BN4, score_BN, class_BN = outputs
    return [
        _chosen(box_N4[:count], score_N[:count], class_N[:count], person)
        for count, box_N4, score_N, class_N in zip(
            count_B.reshape(-1).tolist(), box_BN4, score_BN, class_BN, strict=True
        )
    ]


def find_ssd(signature: Signature) -> tuple[int, ...] | None:
    shape = only_output(signature, 4)
    return (0,) if shape is not None and shape[:2] == (1, 1) and shape[3] == 7 else None


def read_ssd(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    rows_N7 = outputs[0].reshape(-1, 7)
    ended_N = np.flatnonzero(rows_N7[:, 0] < 0)
    rows_N7 = rows_N7[: ended_N[0]] if len(ended_N) else rows_N7
    size_4 = np.array([signature.width_px, signature.height_px] * 2, np.float32)
    return [_chosen(rows_N7[:, 3:] * size_4, rows_N7[:, 2], rows_N7[:, 1], person)]


def _chosen(corner_N4: Array, score_N: Array, class_N: Array, person: int) -> Detections:
    rows_N = np.flatnonzero((class_N == person) & (score_N >= MIN_SCORE))
    return from_corners(corner_N4[rows_N], score_N[rows_N])


END_TO_END = Form(
    name="end-to-end",
    looks="end to end (B, N, 6)",
    convention=Convention(),
    find=find_end_to_end,
    read=read_end_to_end,
)
NMS = Form(
    name="nms",
    looks="EfficientNMS (B, 1), (B, N, 4), (B, N), (B, N)",
    convention=Convention(),
    find=find_nms,
    read=read_nms,
)
SSD = Form(
    name="ssd",
    looks="SSD (1, 1, N, 7)",
    # As the person detectors of Open Model Zoo: BGR 0-255, stretched, class 1.
    convention=Convention(colour="bgr", scale=1.0, resize="stretch", person=1),
    find=find_ssd,
    read=read_ssd,
    batched=False,
)
