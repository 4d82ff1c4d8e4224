"""Checkpoints: weights, optimiser, recipe and provenance in one file, written atomically, loaded with weights_only."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.provenance import git_revision, tool_versions, utc_now
from train.methods import load
from train.recipe import Recipe, replace_checked
from train.weights import load_weights, read_weights

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from train.method import Method

FORMAT = 2
KINDS = {
    "method": str,
    "recipe": dict,
    "identity_count": int,
    "epoch": int,
    "model": dict,
    "optimizer": dict,
    "precision": dict,
    "dataset": dict,
    "metrics": dict,
    "git_revision": str,
}
TRAINING_TOOLS = ("torch", "lightning-fabric", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that is needed to go on training, or to evaluate and export."""

    method_name: str
    recipe: Recipe
    identity_count: int
    epoch: int  # epochs that are complete
    model: dict[str, Tensor]
    optimizer: dict[str, Any]  # state by optimiser name; empty where training cannot go on from this file
    precision: dict[str, Any] = field(default_factory=dict[str, Any])  # the gradient scaler's state under fp16
    dataset: dict[str, Any] = field(default_factory=dict[str, Any])
    metrics: dict[str, Any] = field(default_factory=dict[str, Any])
    git_revision: str = "unknown"
    created: str = ""  # UTC, ISO 8601; set when it is written


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write atomically: a kill or a full disk leaves the previous file as it was."""
    payload = {
        "crosslight_checkpoint": FORMAT,
        "method": checkpoint.method_name,
        "recipe": dataclasses.asdict(checkpoint.recipe),
        "identity_count": checkpoint.identity_count,
        "epoch": checkpoint.epoch,
        "model": checkpoint.model,
        "optimizer": checkpoint.optimizer,
        "precision": checkpoint.precision,
        "dataset": checkpoint.dataset,
        "metrics": checkpoint.metrics,
        "git_revision": git_revision(),
        "created": utc_now(),
        "tools": tool_versions(TRAINING_TOOLS),
    }
    try:
        with atomic_path(path) as temporary:
            torch.save(payload, temporary)
    except (OSError, RuntimeError) as error:
        raise BadInput(
            f"{path}: could not write the checkpoint ({error}); what was there is unchanged: free some space and go on"
        ) from error


def load_checkpoint(path: Path, method_name: str | None = None) -> Checkpoint:
    """Read a checkpoint of ours; with method_name, refuse one of another method."""
    raw = read_weights(path, "checkpoint")
    if raw.get("crosslight_checkpoint") == 1:  # had one optimiser, without a name
        raw["optimizer"] = {"all": raw.get("optimizer")}
    elif raw.get("crosslight_checkpoint") != FORMAT:
        raise BadInput(f"{path}: expected a Crosslight checkpoint of format {FORMAT}; train/train_model.py writes one")
    _check(path, raw)
    if method_name is not None and raw["method"] != method_name:
        raise BadInput(f"{path}: expected a checkpoint of method {method_name!r}, got one of {raw['method']!r}")
    recipe = replace_checked(
        load(raw["method"]).default_recipe,
        {name: list(value) if isinstance(value, tuple) else value for name, value in raw["recipe"].items()},
    )
    return Checkpoint(
        method_name=raw["method"],
        recipe=recipe,
        identity_count=raw["identity_count"],
        epoch=raw["epoch"],
        model=raw["model"],
        optimizer=raw["optimizer"],
        precision=raw["precision"],
        dataset=raw["dataset"],
        metrics=raw["metrics"],
        git_revision=raw["git_revision"],
        created=str(raw.get("created", "")),
    )


def _check(path: Path, raw: dict[str, Any]) -> None:
    for name, kind in KINDS.items():
        value = raw.get(name)
        if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
            raise _incomplete(path, name)
    if not all(isinstance(name, str) for name in (*raw["recipe"], *raw["model"])):
        raise _incomplete(path, "recipe and model")


def _incomplete(path: Path, part: str) -> BadInput:
    return BadInput(f"{path}: expected a whole checkpoint, got one whose {part} is missing or damaged; train again")


def build_method(checkpoint: Checkpoint) -> Method:
    """Build the network of a checkpoint with its weights, in evaluation mode."""
    method = load(checkpoint.method_name)(checkpoint.recipe, checkpoint.identity_count)
    load_weights(method, checkpoint.model, checkpoint.method_name)
    return method.eval()


def load_method(path: Path) -> Method:
    """Read a checkpoint and build its network, in evaluation mode."""
    return build_method(load_checkpoint(path))
