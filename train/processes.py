"""The processes of a training run: one by default, several under torchrun, on one node or many.

Every process draws the same global batch and works on its share of it; losses see the whole batch (train.gather), and
the gradients of the processes are averaged here. Only the batch normalisation of the backbone is local: on GPUs it is
replaced by PyTorch's synchronised one, on CPUs, which have none, each process normalises with its own images.
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, distributed, nn

from engines.errors import BadInput
from train.gather import process_count

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where and how to compute; none of it is part of the recipe."""

    accelerator: str = "auto"
    precision: str = "32-true"  # Fabric's names: 32-true, bf16-mixed, 16-mixed
    workers: int = 2
    cache: str = "auto"  # auto, ram or none; of resized training images
    deterministic: bool = False


def launch(hardware: Hardware) -> Fabric:
    """Open the device; under torchrun join its processes."""
    if hardware.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before its first use
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    # The variables that torchrun sets for the processes that it starts.
    processes, here = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if processes % here:
        raise BadInput(f"expected as many processes on every node, got {processes} in all and {here} here")
    try:
        fabric = _fabric(hardware, here, processes)
    except (ValueError, RuntimeError) as error:
        raise BadInput(
            f"--accelerator {hardware.accelerator}: training cannot start there ({error}); take cpu"
        ) from error
    if hardware.precision == "16-mixed" and fabric.device.type == "cpu":  # Fabric would quietly take bf16
        raise BadInput("--precision 16-mixed: expected a GPU, got a CPU, which trains in bf16-mixed or 32-true")
    fabric.launch()
    return fabric


def _fabric(hardware: Hardware, here: int, processes: int) -> Fabric:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*AMP with fp16 is not supported on CPU.*")
        return Fabric(
            accelerator=hardware.accelerator,
            devices=here,
            num_nodes=processes // here,
            strategy="ddp" if processes > 1 else "auto",
            precision=hardware.precision,  # type: ignore[arg-type]
        )


def synchronise_norms(network: nn.Module, device: torch.device) -> None:
    """Let batch normalisation see the images of all processes, where the device can.

    A norm of pooled features runs on gathered ones and has them all already; converted too, it only counts each image
    once a process in Bessel's correction of its running variance.
    """
    if process_count() == 1:
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # in place: the network itself is no norm
    else:
        log.info("%d processes on a CPU: batch normalisation uses each process's own images", process_count())


def share_weights(network: nn.Module) -> None:
    """Give every process the weights and buffers of the first."""
    if process_count() > 1:
        for tensor in network.state_dict().values():
            distributed.broadcast(tensor, src=0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Average the gradients of all processes, in one message; what the update did not reach stays without one."""
    if process_count() == 1:
        return
    gradients: list[Tensor] = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= process_count()
    for gradient, averaged in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def seed_epoch(seed: int, epoch: int, rank: int) -> None:
    """Seed what the network itself draws (dropout), so that a resumed epoch draws what an undisturbed one would."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0]))


def leave() -> None:
    """Leave the processes' group; without it a process that ends first can abort the others."""
    if process_count() > 1:
        distributed.barrier()
        distributed.destroy_process_group()
