"""Read weights from files that are not trusted, and load them strictly."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn

NAMED_PROBLEMS = 5  # more are counted, so that the message stays one line


def read_weights(path: Path, kind: str) -> dict[str, Any]:
    """Read a dict of tensors and plain values; weights_only, so a file cannot run code. kind names it in errors."""
    if not path.is_file():
        raise BadInput(f"expected a {kind}, got {path}, which does not exist; check the path")
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, KeyError, OSError, pickle.UnpicklingError) as error:
        reason = str(error).split("\n")[0][:100] or type(error).__name__
        raise BadInput(
            f"{path}: expected a {kind}, got a truncated or foreign file ({reason}); restore it or make it again"
        ) from error
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a {kind} holding a dict, got {type(raw).__name__}")
    return raw


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load strictly; missing, unexpected and misshapen keys are named."""
    expected = network.state_dict()
    problems = [f"missing {name}" for name in expected if name not in weights]
    problems += [f"unexpected {name}" for name in weights if name not in expected]
    problems += [
        f"{name} has shape {tuple(weights[name].shape)} for {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    if problems:
        more = f" and {len(problems) - NAMED_PROBLEMS} more" if len(problems) > NAMED_PROBLEMS else ""
        raise BadInput(f"{source}: the weights do not fit the network: {'; '.join(problems[:NAMED_PROBLEMS])}{more}")
    network.load_state_dict(weights)
