"""YOLOX (Ge et al., "YOLOX: Exceeding YOLO Series in 2021"): one row per cell of the strides 8, 16 and 32.

A row is x, y, width, height, objectness, class probabilities. As exported by default, x and y are the offset from the
cell in cells and the sizes are logarithms; with --decode_in_inference all four are pixels. Both have the same shape,
so the numbers decide. YOLOv6 exports the second form too, but wants RGB 0-1: say so in detector.json.

Shapes: B batch, A rows (cells), F fields (5 + classes).
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.heads.form import (
    STRIDES,
    WIDE_STRIDES,
    Convention,
    Form,
    Signature,
    cell_counts,
    from_centres,
    only_output,
    strong_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.detection.detector import Detections
    from deploy.detection.heads.form import Array, Float

CONVENTION = Convention(colour="bgr", scale=1.0)


def find_raw(signature: Signature) -> tuple[int, ...] | None:
    return (0,) if _is_grid(signature) and not _is_decoded(signature) else None


def find_decoded(signature: Signature) -> tuple[int, ...] | None:
    return (0,) if _is_grid(signature) and _is_decoded(signature) else None


def read_raw(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    cell_A2, stride_A = make_cells(signature.height_px, signature.width_px, len(outputs[0][0]))
    return [decode(np.asarray(output_AF, np.float32), cell_A2, stride_A, person) for output_AF in outputs[0]]


def decode(output_AF: Float, cell_A2: Float, stride_A: Float, person: int) -> Detections:
    """Turn the network's rows into boxes of people."""
    score_A = output_AF[:, 4] * output_AF[:, 5 + person]
    rows_N = strong_rows(score_A)
    stride_N1 = stride_A[rows_N, None]
    centre_N2 = (output_AF[rows_N, :2] + cell_A2[rows_N]) * stride_N1
    size_N2 = np.exp(np.minimum(output_AF[rows_N, 2:4], 10.0)) * stride_N1
    return from_centres(np.concatenate([centre_N2, size_N2], axis=1), score_A[rows_N])


def read_decoded(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    found: list[Detections] = []
    for output_AF in outputs[0]:
        score_A = np.asarray(output_AF[:, 4] * output_AF[:, 5 + person], np.float32)
        rows_N = strong_rows(score_A)
        found.append(from_centres(output_AF[rows_N, :4], score_A[rows_N]))
    return found


@functools.lru_cache(maxsize=8)
def make_cells(height_px: int, width_px: int, rows: int) -> tuple[Float, Float]:
    """Return the column and row (A, 2) and the stride (A) of every row of the output."""
    cells: list[Float] = []
    strides: list[Float] = []
    counts = [(height_px // stride) * (width_px // stride) for stride in STRIDES]
    for stride in STRIDES if rows == sum(counts) else WIDE_STRIDES:
        lines, columns = height_px // stride, width_px // stride
        cell_2A = np.indices((lines, columns), np.float32)[::-1].reshape(2, -1)
        cells.append(np.ascontiguousarray(cell_2A.T))
        strides.append(np.full(lines * columns, stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def _is_grid(signature: Signature) -> bool:
    shape = only_output(signature, 3)
    return shape is not None and shape[1] in cell_counts(signature) and shape[2] >= 6


def _is_decoded(signature: Signature) -> bool:
    """Say whether x and y lie near their cells in pixels; an offset in cells does so at the left and top edge only."""
    answer_AF = np.asarray(signature.answers[0][0], np.float32)
    cell_A2, stride_A = make_cells(signature.height_px, signature.width_px, len(answer_AF))
    away_A2 = np.abs(answer_AF[:, :2] / stride_A[:, None] - cell_A2 - 0.5)
    return bool(np.median(away_A2) < 2)


YOLOX = Form(
    name="yolox",
    looks="YOLOX (B, cells, 5 + classes), decoded or not",
    convention=CONVENTION,
    find=find_raw,
    read=read_raw,
    suppress=True,
)
YOLOX_DECODED = Form(
    name="yolox-decoded",
    looks="",
    convention=CONVENTION,
    find=find_decoded,
    read=read_decoded,
    suppress=True,
)
