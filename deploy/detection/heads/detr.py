"""DETR and what came of it: class logits (B, N, C) and boxes (B, N, 4) as centre x, y, width, height from 0 to 1.

DETR (Carion et al., ECCV 2020) and YOLOS end in a softmax whose last class is "no object": 92 classes of COCO, person
1. Deformable DETR, DINO and RF-DETR take a sigmoid of 91 classes, person 1. RT-DETR, D-FINE and DEIM take a sigmoid
of 80 classes, person 0, and pixels 0-1 without mean. A number of classes that is none of these is taken for the last.

Shapes: B batch, N queries, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.heads.form import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Convention,
    Form,
    Signature,
    from_centres,
    is_float,
    strong_rows,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.detection.detector import Detections
    from deploy.detection.heads.form import Array, Float

LOGITS, BOXES = ("logits", "pred_logits", "labels"), ("pred_boxes", "boxes", "dets")
SOFTMAX_CLASSES, SPARSE_CLASSES = 92, 91

IMAGENET = Convention(mean=IMAGENET_MEAN, std=IMAGENET_STD, resize="stretch", person=1)


def find_with_classes(accepts: Callable[[int], bool]) -> Callable[[Signature], tuple[int, ...] | None]:
    """Return a `find` for logits of an accepted number of classes."""

    def find(signature: Signature) -> tuple[int, ...] | None:
        pair = _logits_and_boxes(signature)
        return pair if pair is not None and accepts(signature.answers[pair[0]].shape[2]) else None

    return find


def read_softmax(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    logit_BNC = np.asarray(outputs[0], np.float32)
    power_BNC = np.exp(logit_BNC - logit_BNC.max(2, keepdims=True))
    return _read(power_BNC[..., person] / power_BNC.sum(2), outputs[1], signature)


def read_sigmoid(outputs: Sequence[Array], signature: Signature, person: int) -> list[Detections]:
    logit_BN = np.asarray(outputs[0][..., person], np.float32)
    score_BN = np.asarray(1 / (1 + np.exp(np.minimum(-logit_BN, 80))), np.float32)
    return _read(score_BN, outputs[1], signature)


def _read(score_BN: Float, box_BN4: Array, signature: Signature) -> list[Detections]:
    size_4 = np.array([signature.width_px, signature.height_px] * 2, np.float32)
    found: list[Detections] = []
    for score_N, box_N4 in zip(score_BN, box_BN4, strict=True):
        rows_N = strong_rows(score_N)
        found.append(from_centres(box_N4[rows_N] * size_4, score_N[rows_N]))
    return found


def _logits_and_boxes(signature: Signature) -> tuple[int, int] | None:
    """By name where both have one that is known, for three classes and "none" are four columns too; else by size."""
    shapes = [answer.shape for answer in signature.answers]
    ranked = [i for i, shape in enumerate(shapes) if len(shape) == 3 and is_float(signature.outputs[i])]
    logits = [i for i in ranked if signature.outputs[i].name in LOGITS]
    boxes = [i for i in ranked if signature.outputs[i].name in BOXES]
    if len(logits) != 1 or len(boxes) != 1:
        if len(shapes) != 2 or len(ranked) != 2:
            return None
        boxes = [i for i in ranked if shapes[i][2] == 4]
        logits = [i for i in ranked if i not in boxes]
    if len(logits) != 1 or len(boxes) != 1:
        return None
    fits = shapes[boxes[0]][2] == 4 and shapes[logits[0]][:2] == shapes[boxes[0]][:2]
    return (logits[0], boxes[0]) if fits else None


DETR = Form(
    name="detr",
    looks="DETR (B, N, classes) and (B, N, 4)",
    convention=IMAGENET,
    find=find_with_classes(lambda classes: classes == SOFTMAX_CLASSES),
    read=read_softmax,
)
DINO = Form(
    name="dino",
    looks="",
    convention=IMAGENET,
    find=find_with_classes(lambda classes: classes == SPARSE_CLASSES),
    read=read_sigmoid,
)
RT_DETR = Form(
    name="rt-detr",
    looks="",
    convention=Convention(resize="stretch"),
    find=find_with_classes(lambda classes: classes not in (SOFTMAX_CLASSES, SPARSE_CLASSES)),
    read=read_sigmoid,
)
