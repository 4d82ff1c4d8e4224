"""The deterministic values that the golden numbers were measured with (shared/spec/golden_values.md)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn


def normal(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal values of a shape, seeded by the name's CRC-32."""
    seed = zlib.crc32(name.encode()) & 0xFFFFFFFF
    return np.random.RandomState(seed).standard_normal(shape)  # the golden values are of this generator


def tensor(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """The values rounded to float32, as all golden inputs were, in dtype."""
    return torch.from_numpy(normal(name, shape)).float().to(dtype)


def parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value of the state-dict entry called name."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return torch.zeros((), dtype=torch.int64)
    value = normal(name, shape)
    if leaf == "running_mean":
        value = 0.1 * value
    elif leaf == "running_var":
        value = 1.0 + 0.1 * np.abs(value)
    elif len(shape) >= 2:
        value = value / np.sqrt(np.prod(shape[1:]))
    elif leaf == "weight":
        value = 1.0 + 0.1 * value
    else:
        value = 0.1 * value
    return torch.from_numpy(np.asarray(value)).float()


def fill(module: nn.Module) -> None:
    """Give every entry of module's state dict its deterministic value."""
    module.load_state_dict({name: parameter(name, tuple(old.shape)) for name, old in module.state_dict().items()})
