"""Read weights from files that are not trusted, and load them strictly."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

NAMED_PROBLEMS = 5  # more are counted, so that the message stays one line


def read_weights(path: Path, kind: str) -> dict[str, Any]:
    """Read a dict of tensors and plain values; weights_only, so a file cannot run code. kind names it in errors."""
    if not path.is_file():
        raise BadInput(f"expected a {kind}, got {path}, which does not exist; check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a foreign pickle warns before it fails, which is told below
            raw = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes make the unpickler raise anything
        raise BadInput(f"{path}: expected a {kind}, got {_refusal(error)}") from error
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a {kind} with named values, got {type(raw).__name__}")
    return raw


def _refusal(error: Exception) -> str:
    text = str(error)
    if found := re.search(r"GLOBAL ([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)", text):
        return f"a file that asks for {found[1]}, which could run code; save its tensors alone (a state dict)"
    if "legacy .tar" in text:
        return "PyTorch's oldest format, which cannot be read without running code; save it again with torch.save"
    reason = "no archive of torch.save" if text.startswith("Weights only") else text.split("\n")[0][:100]
    return f"a truncated or foreign file ({reason or type(error).__name__}); restore it or make it again"


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """What keeps weights from being loaded; empty when they fit."""

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unfit: tuple[str, ...]  # "KEY has shape (3, 2) for (3, 4)"

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.unfit)


def compare(expected: Mapping[str, Tensor], weights: Mapping[str, Any]) -> Misfit:
    """Compare names, shapes and kinds of numbers with those of a network's state dict."""
    shared = {name: _difference(weights[name], value) for name, value in expected.items() if name in weights}
    return Misfit(
        missing=tuple(name for name in expected if name not in weights),
        unexpected=tuple(name for name in weights if name not in expected),
        unfit=tuple(f"{name} {difference}" for name, difference in shared.items() if difference),
    )


def _difference(found: object, expected: Tensor) -> str:
    if not isinstance(found, Tensor):
        return f"is of type {type(found).__name__} for a tensor"
    if found.shape != expected.shape:
        return f"has shape {tuple(found.shape)} for {tuple(expected.shape)}"
    if found.is_floating_point() != expected.is_floating_point():
        return f"holds {found.dtype} for {expected.dtype}"
    return ""


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load strictly; missing, unexpected and misshapen keys are named."""
    misfit = compare(network.state_dict(), weights)
    if misfit:
        problems = [f"missing {name}" for name in misfit.missing]
        problems += [f"unexpected {name}" for name in misfit.unexpected]
        problems += misfit.unfit
        more = f" and {len(problems) - NAMED_PROBLEMS} more" if len(problems) > NAMED_PROBLEMS else ""
        raise BadInput(
            f"{source}: expected the weights of this network, got others: {'; '.join(problems[:NAMED_PROBLEMS])}{more}"
        )
    network.load_state_dict(weights)


def impossible_values(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Name the tensors whose values no training leaves behind: not finite, or a negative variance."""
    found: list[str] = []
    for name, value in weights.items():
        if not value.is_floating_point() or not value.numel():
            continue
        lowest, highest = value.float().aminmax()  # as stored; one pass, and both are nan where one value is
        if not (lowest.isfinite() and highest.isfinite()):
            found.append(f"{name} has {int((~value.float().isfinite()).sum())} values that are not finite")
        elif name.endswith("running_var") and lowest < 0:
            found.append(f"{name} has negative variances")
    return tuple(found)


def rows(weights: Mapping[str, Tensor], name: str, otherwise: int) -> int:
    """Return the length of a tensor's first axis, from which a size of its network is read.

    Where there is none, otherwise: the comparison with the network that follows then names the key.
    """
    value = weights.get(name)
    return value.shape[0] if value is not None and value.ndim and value.shape[0] else otherwise
