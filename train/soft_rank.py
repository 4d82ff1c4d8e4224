"""Differentiable ranks by projection onto the permutahedron (Blondel et al., ICML 2020), quadratic regularisation.

Shapes: Q rows, G items of a row.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


def soft_rank(value_QG: Tensor, strength: float) -> Tensor:
    """Return ascending soft ranks of each row (1 for the smallest); equal to hard ranks as strength goes to 0."""
    return _SoftRank.apply(value_QG / strength)  # type: ignore[no-any-return]


class _SoftRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, theta_QG: Tensor) -> Tensor:
        items = theta_QG.shape[1]
        sorted_QG, order_QG = theta_QG.sort(dim=1, descending=True, stable=True)
        weight_G = torch.arange(items, 0, -1, dtype=theta_QG.dtype, device=theta_QG.device)
        fit_QG, block_QG = _non_increasing_fit(sorted_QG - weight_G)
        rank_QG = torch.empty_like(theta_QG).scatter_(1, order_QG, sorted_QG - fit_QG)
        ctx.save_for_backward(order_QG, block_QG)  # type: ignore[attr-defined]
        return rank_QG

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Tensor:
        order_QG, block_QG = ctx.saved_tensors  # type: ignore[attr-defined]
        sorted_QG = grads[0].gather(1, order_QG)
        sums_QG = torch.zeros_like(sorted_QG).scatter_add_(1, block_QG, sorted_QG)
        sizes_QG = torch.zeros_like(sorted_QG).scatter_add_(1, block_QG, torch.ones_like(sorted_QG))
        mean_QG = (sums_QG / sizes_QG.clamp_min(1.0)).gather(1, block_QG)
        return torch.empty_like(sorted_QG).scatter_(1, order_QG, sorted_QG - mean_QG)


def _non_increasing_fit(y_QG: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares non-increasing fit of each row by pool-adjacent-violators, and the block number of each item."""
    fits: list[list[float]] = []
    blocks: list[list[int]] = []
    for row in y_QG.tolist():
        pools: list[tuple[float, int]] = []  # (sum, size)
        for value in row:
            pools.append((value, 1))
            while len(pools) > 1 and pools[-2][0] * pools[-1][1] <= pools[-1][0] * pools[-2][1]:
                total, size = pools.pop()
                pools[-1] = (pools[-1][0] + total, pools[-1][1] + size)
        fits.append([total / size for total, size in pools for _ in range(size)])
        blocks.append([number for number, (_, size) in enumerate(pools) for _ in range(size)])
    return y_QG.new_tensor(fits), torch.tensor(blocks, dtype=torch.int64, device=y_QG.device)
