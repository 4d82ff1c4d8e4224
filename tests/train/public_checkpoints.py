"""State dicts with the names and shapes of the methods' public code (shared/golden), filled by seed."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING

import torch

from tests.shared_material import shared_folder
from train.methods import load

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from train.method import Method
    from train.recipe import Recipe

    Names = dict[str, tuple[tuple[int, ...], str]]  # key: shape and type of number


def listed(name: str) -> Names:
    """Read a key list that the public code's own network gave."""
    rows = (line.split("\t") for line in shared_folder(f"golden/{name}").read_text().splitlines())
    return {key: (ast.literal_eval(shape), kind) for key, shape, kind in rows}


def listed_parts() -> list[Names]:
    """Read AlignGAN's eight lists, in the order of its files."""
    parts = json.loads(shared_folder("golden/aligngan_state_dict_keys.json").read_text())
    return [
        {
            key: (tuple(shape), "torch.int64" if key.endswith("tracked") else "torch.float32")
            for key, shape in part.items()
        }
        for part in parts.values()
    ]


def drawn(names: Names, seed: int) -> dict[str, Tensor]:
    """Fill a list with values that differ from tensor to tensor and keep a deep network's numbers finite."""
    generator = torch.Generator().manual_seed(seed)
    values: dict[str, Tensor] = {}
    for key, (shape, kind) in names.items():
        if kind == "torch.int64":
            values[key] = torch.randint(1, 1000, shape, generator=generator)
        elif len(shape) > 1:
            fan_in = torch.Size(shape[1:]).numel()
            values[key] = torch.randn(shape, generator=generator) / fan_in**0.5
        else:
            values[key] = torch.rand(shape, generator=generator) + 0.5
    return values


def hollow(names: Names) -> dict[str, Tensor]:
    """Fill a list with tensors of one number each, that is a few bytes in a file; no two are alike."""
    return {
        key: (torch.tensor(place) if kind == "torch.int64" else torch.tensor(place / 1000)).expand(shape)
        for place, (key, (shape, kind)) in enumerate(names.items(), 1)
    }


def save(path: Path, weights: object) -> Path:
    torch.save(weights, path)
    return path


def images() -> Tensor:
    return torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(5))


def loaded_directly(name: str, recipe: Recipe, identities: int, weights: dict[str, Tensor]) -> Method:
    """Give a network the public tensors themselves, without our importer and checkpoint."""
    with torch.device("meta"):
        method = load(name)(recipe, identities)
    method.load_state_dict(weights, assign=True)
    return method.eval()
