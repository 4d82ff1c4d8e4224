"""Heads that answer with boxes, labels and scores, boxes as left, top, right, bottom in pixels of the input.

- torchvision: boxes (N, 4), labels (N), scores (N) of one picture; RGB 0-1, background is class 0, a person 1.
- labelled (RT-DETR, D-FINE and DEIM with their post-processing): the same with a batch, boxes in pixels of the size
  that the second input `orig_target_sizes` (B, 2: width, height) names, which is the input's own here.
- mmdeploy (RTMDet and others of MMDetection): dets (B, N, 5) with the score behind the box, labels (B, N).

Shapes: B batch, N boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.heads.form import MIN_SCORE, Convention, Form, Signature, from_corners, is_float

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.detection.detector import Detections
    from deploy.detection.heads.form import Array


def find_torchvision(signature: Signature) -> tuple[int, ...] | None:
    return _boxes_labels_scores(signature, batch_ranks=0)


def find_labelled(signature: Signature) -> tuple[int, ...] | None:
    return _boxes_labels_scores(signature, batch_ranks=1)


def read_torchvision(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    return read_labelled([output[None] for output in outputs], signature, person)


def read_labelled(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    found: list[Detections] = []
    for corner_N4, label_N, score_N in zip(*outputs, strict=True):
        rows_N = np.flatnonzero((label_N == person) & (score_N >= MIN_SCORE))
        found.append(from_corners(corner_N4[rows_N], score_N[rows_N]))
    return found


def find_mmdeploy(signature: Signature) -> tuple[int, ...] | None:
    shapes = [answer.shape for answer in signature.answers]
    dets = [i for i, shape in enumerate(shapes) if len(shape) == 3 and shape[2] == 5 and is_float(signature.outputs[i])]
    labels = [i for i, shape in enumerate(shapes) if len(shape) == 2 and not is_float(signature.outputs[i])]
    return (dets[0], labels[0]) if len(dets) == 1 and len(labels) == 1 else None


def read_mmdeploy(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    return read_labelled([outputs[0][..., :4], outputs[1], outputs[0][..., 4]], signature, person)


def _boxes_labels_scores(signature: Signature, batch_ranks: int) -> tuple[int, ...] | None:
    shapes = [answer.shape for answer in signature.answers]
    if len(shapes) not in (3, 4):  # Mask R-CNN has masks too
        return None
    boxes = [i for i, shape in enumerate(shapes) if len(shape) == 2 + batch_ranks and shape[-1] == 4]
    flat = [i for i, shape in enumerate(shapes) if len(shape) == 1 + batch_ranks]
    labels = [i for i in flat if not is_float(signature.outputs[i])]
    scores = [i for i in flat if is_float(signature.outputs[i])]
    return (boxes[0], labels[0], scores[0]) if len(boxes) == len(labels) == len(scores) == 1 else None


TORCHVISION = Form(
    name="torchvision",
    looks="torchvision (N, 4), (N), (N)",
    convention=Convention(person=1),
    find=find_torchvision,
    read=read_torchvision,
    batched=False,
)
LABELLED = Form(
    name="labelled",
    looks="boxes, labels and scores (B, N, 4), (B, N), (B, N)",
    convention=Convention(resize="stretch"),
    find=find_labelled,
    read=read_labelled,
)
MMDEPLOY = Form(
    name="mmdeploy",
    looks="MMDeploy (B, N, 5) and (B, N)",
    # RTMDet's own; the older networks of MMDetection are RGB.
    convention=Convention(colour="bgr", scale=1.0, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395)),
    find=find_mmdeploy,
    read=read_mmdeploy,
)
