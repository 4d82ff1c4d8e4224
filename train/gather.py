"""Join what several processes computed into the whole batch, with gradients.

A loss that compares the images of a batch needs all of them: each process embeds its share, gathers the features and
computes the loss of the whole batch. Every process then holds the same loss; the average of the processes' gradients,
which the loop takes, is the gradient that one process with the whole batch would have had.

Shapes: B rows of this process, W processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def process_count() -> int:
    """Return W; 1 outside torchrun."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather(*rows_B: Tensor) -> tuple[Tensor, ...]:
    """Return each tensor with the rows of all processes, in the order of their ranks; (W * B, ...)."""
    if process_count() == 1:
        return rows_B
    return tuple(_Gather.apply(rows) if rows.is_floating_point() else _joined(rows) for rows in rows_B)


def _joined(rows_B: Tensor) -> Tensor:
    sent = rows_B.contiguous().to(torch.uint8) if rows_B.dtype == torch.bool else rows_B.contiguous()
    received = [torch.empty_like(sent) for _ in range(process_count())]
    distributed.all_gather(received, sent)
    return torch.cat(received).to(rows_B.dtype)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_B: Tensor) -> Tensor:
        return _joined(rows_B)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        distributed.all_reduce(summed)
        return summed.chunk(process_count())[distributed.get_rank()]
