"""The two grids of the other YOLO families, both decoded to centre x, centre y, width, height in pixels.

YOLOv5-like (YOLOv5, YOLOv7 without --end2end): (B, 3 anchors a cell, 5 + classes) with objectness; issue 3387 of
ultralytics/yolov5 names the fields. YOLOv8-like (YOLOv8, 9, 11, 12): (B, 4 + classes, cells) without. Fields behind
the classes (mask weights, key points) do no harm, for the person's column is read alone.

Shapes: B batch, A rows, F fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.heads.form import (
    ANCHORS_A_CELL,
    Convention,
    Form,
    Signature,
    cell_counts,
    from_centres,
    only_output,
    strong_rows,
)
from deploy.detection.heads.yolox import read_decoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.detection.detector import Detections
    from deploy.detection.heads.form import Array


def find_v5(signature: Signature) -> tuple[int, ...] | None:
    shape = only_output(signature, 3)
    rows = [ANCHORS_A_CELL * count for count in cell_counts(signature)]
    return (0,) if shape is not None and shape[1] in rows and shape[2] >= 6 else None


def find_v8(signature: Signature) -> tuple[int, ...] | None:
    shape = only_output(signature, 3)
    return (0,) if shape is not None and shape[2] in cell_counts(signature) and shape[1] >= 5 else None


def read_v8(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    """Read (B, 4 + classes, cells), and the same transposed where detector.json names this head."""
    fields_first = outputs[0].shape[2] in cell_counts(signature)
    found: list[Detections] = []
    for output in outputs[0]:
        output_FA = output if fields_first else output.T
        score_A = np.asarray(output_FA[4 + person], np.float32)
        rows_N = strong_rows(score_A)
        found.append(from_centres(output_FA[:4, rows_N].T, score_A[rows_N]))
    return found


YOLOV5 = Form(
    name="yolov5",
    looks="YOLOv5 (B, 3 x cells, 5 + classes)",
    convention=Convention(),
    find=find_v5,
    read=read_decoded,
    suppress=True,
)
YOLOV8 = Form(
    name="yolov8",
    looks="YOLOv8 (B, 4 + classes, cells)",
    convention=Convention(),
    find=find_v8,
    read=read_v8,
    suppress=True,
)
