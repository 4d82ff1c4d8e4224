"""Losses that more than one method uses, as functions of tensors.

Shapes: B batch, D embedding, N items of one list.
"""

from __future__ import annotations

import torch
from torch import Tensor

from engines.errors import BadInput


def pairwise_distance(feature_BD: Tensor) -> Tensor:
    """Euclidean distance between all rows (B, B); differentiable at zero thanks to a floor of 1e-12 under the root.

    The product keeps the features' own precision under autocast: bfloat16 would cost more than a small distance.
    """
    with torch.autocast(feature_BD.device.type, enabled=False):
        square_B = feature_BD.square().sum(1)
        squared_BB = square_B[:, None] + square_B[None, :] - 2.0 * feature_BD @ feature_BD.T
        return squared_BB.clamp_min(1e-12).sqrt()


def batch_hard_triplet(feature_BD: Tensor, identity_B: Tensor, margin: float) -> Tensor:
    """Batch-hard triplet loss (Hermans et al., 2017): farthest positive against nearest negative, over both modalities.

    An anchor without a negative in the batch contributes nothing; the loss is 0 if no anchor has one.
    """
    distance_BB = pairwise_distance(feature_BD.float())
    same_BB = identity_B[:, None] == identity_B[None, :]
    positive_B = distance_BB.masked_fill(~same_BB, -torch.inf).amax(1)
    negative_B = distance_BB.masked_fill(same_BB, torch.inf).amin(1)
    return (positive_B - negative_B + margin).clamp_min(0.0).mean()


def need_both_modalities(infrared_B: Tensor) -> None:
    """Refuse a batch without visible or without infrared images, whose losses would be NaN."""
    for name, row_B in (("visible", ~infrared_B), ("infrared", infrared_B)):
        if not row_B.any():
            raise BadInput(
                f"expected visible and infrared images in every batch, got {len(infrared_B)} images and no {name} one; "
                "use --set sampler=interleaved or --set sampler=balanced"
            )
