"""Layers that more than one method uses.

Shapes: B batch, C channel, H height, W width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from train.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from train.backbone import Backbone


class GeneralizedMeanPool(nn.Module):
    """GeM with a fixed exponent: (mean(x^p) + eps)^(1/p) (Radenovic et al., TPAMI 2019).

    The input must not be negative (it follows a ReLU). The power is taken in float32: at p = 3 half precision
    overflows above 40.3.
    """

    def __init__(self, exponent: float = 3.0, eps: float = 1e-12) -> None:
        super().__init__()
        self.exponent, self.eps = exponent, eps

    def forward(self, map_BCHW: Tensor) -> Tensor:
        with torch.autocast(map_BCHW.device.type, enabled=False):
            mean_BC = map_BCHW.float().pow(self.exponent).mean(dim=(2, 3))
            return (mean_BC + self.eps).pow(1.0 / self.exponent)


def bottleneck_norm(channels: int) -> nn.BatchNorm1d:
    """BNNeck (Luo et al., CVPRW 2019): batch normalisation whose bias stays 0."""
    norm = nn.BatchNorm1d(channels)
    nn.init.zeros_(norm.bias)
    norm.bias.requires_grad_(False)
    return norm


def without_head(backbone: Backbone) -> Backbone:
    """Remove the unused ImageNet head, for methods whose public checkpoints have none."""
    if hasattr(backbone, "fc"):
        del backbone.fc
    return backbone


def load_without_head(backbone: Backbone, weights: Mapping[str, Tensor], source: str) -> None:
    """Load torchvision's weights into a backbone without a head: fc is dropped by name, the rest must fit strictly."""
    load_weights(backbone, {name: value for name, value in weights.items() if not name.startswith("fc.")}, source)
