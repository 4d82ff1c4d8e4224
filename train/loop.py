"""The training loop, on Lightning Fabric: device, precision, exact resume, progress, metrics.

A run folder holds recipe.json, metrics.jsonl (one object an epoch) and checkpoint.pt. After a kill, `resume` goes on
behind the last complete epoch and gives the losses that an undisturbed run would have given: batches and augmentation
depend on (seed, epoch, position) alone.
"""

from __future__ import annotations

import json
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning_fabric import Fabric

from engines.atomic import write_text
from engines.errors import BadInput
from engines.progress import progress
from train.checkpoint import CHECKPOINT_NAME, Checkpoint, load_checkpoint, save_checkpoint
from train.methods import load
from train.recipe import Recipe, save_recipe
from train.sampler import epoch_batches
from train.training_images import Collate, TrainingImages, epoch_loader
from train.weights import load_weights, read_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from train.datasets.images import ImageRecord
    from train.method import Batch, Method
    from train.sampler import Parts

log = logging.getLogger(__name__)

METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """Where and how to compute; none of it is part of the recipe."""

    accelerator: str = "auto"
    precision: str = "32-true"  # Fabric's names: 32-true, bf16-mixed, 16-mixed
    workers: int = 2


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Step decay with a linear warm-up from a tenth."""
    rate = recipe.lr * recipe.lr_decay ** sum(epoch >= milestone for milestone in recipe.milestones)
    if epoch < recipe.warmup_epochs:
        rate *= 0.1 + 0.9 * (epoch + 1) / recipe.warmup_epochs
    return rate


def train(
    method_name: str,
    recipe: Recipe,
    records: Sequence[ImageRecord],
    folder: Path,
    *,
    dataset: dict[str, Any],
    hardware: Hardware | None = None,
    resume: bool = False,
    pretrained: Path | None = None,
    after_epoch: Callable[[int, Method], None] | None = None,
) -> Path:
    """Train into folder and return the checkpoint's path; with resume, go on where the folder's checkpoint stands."""
    hardware = hardware or Hardware()
    identities = sorted({record.identity for record in records})
    fabric = Fabric(accelerator=hardware.accelerator, devices=1, precision=hardware.precision)  # type: ignore[arg-type]
    torch.manual_seed(recipe.seed)
    plain = load(method_name)(recipe, len(identities))
    optimizer = torch.optim.Adam(
        [parameter for parameter in plain.parameters() if parameter.requires_grad],
        lr=recipe.lr,
        weight_decay=recipe.weight_decay,
    )
    checkpoint_path = folder / CHECKPOINT_NAME
    first_epoch, earlier = 0, None
    if resume:
        earlier = load_checkpoint(checkpoint_path, method_name)
        _check_same_run(earlier, recipe, len(identities), folder)
        load_weights(plain, earlier.model, str(checkpoint_path))
        first_epoch = earlier.epoch
    elif checkpoint_path.exists():
        raise BadInput(f"{folder}: holds a finished or interrupted run; add --resume to go on, or choose another --out")
    elif pretrained is not None:
        plain.load_backbone(read_weights(pretrained, "file of ImageNet weights"), str(pretrained))
    plain.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.7 x on a CPU (resnet_small, 96 x 48), as fast or faster on a GPU
    method, optimizer = fabric.setup(plain, optimizer)
    method.mark_forward_method("losses")
    if earlier is not None:
        optimizer.load_state_dict(earlier.optimizer)
        fabric.strategy.precision.load_state_dict(earlier.precision)
    save_recipe(recipe, method_name, folder / "recipe.json")
    _keep_epochs(folder / METRICS_NAME, first_epoch)

    images = TrainingImages(records, recipe)
    collate = Collate({identity: label for label, identity in enumerate(identities)})
    for epoch in range(first_epoch, recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, epoch)
        batches = epoch_batches(records, recipe, epoch)
        row = _train_epoch(fabric, method, optimizer, images, collate, batches, epoch, hardware.workers)
        with (folder / METRICS_NAME).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        save_checkpoint(
            checkpoint_path,
            Checkpoint(
                method_name=method_name,
                recipe=recipe,
                identity_count=len(identities),
                epoch=epoch + 1,
                model=plain.state_dict(),
                optimizer=optimizer.state_dict(),
                precision=fabric.strategy.precision.state_dict(),
                dataset=dataset,
            ),
        )
        terms = " ".join(f"{name} {value:.4f}" for name, value in row["losses"].items())
        remaining_s = row["seconds"] * (recipe.epochs - epoch - 1)
        log.info(
            "epoch %d/%d  loss %.4f (%s)  lr %.2g  %.0f images/s  %s left",
            epoch + 1, recipe.epochs, row["loss"], terms, row["lr"], row["images_per_s"], _clock(remaining_s),
        )  # fmt: skip
        if after_epoch is not None:
            after_epoch(epoch + 1, plain)
    return checkpoint_path


def _train_epoch(
    fabric: Any,
    method: Any,
    optimizer: Any,
    images: TrainingImages,
    collate: Collate,
    batches: list[Parts],
    epoch: int,
    workers: int,
) -> dict[str, Any]:
    method.train()
    started = time.monotonic()
    sums: dict[str, float] = {}
    damaged: set[str] = set()
    loader = epoch_loader(images, collate, batches, epoch, workers)
    for batch, _files, replaced in progress(loader, total=len(batches), unit="batches", label=f"epoch {epoch + 1}"):
        damaged.update(replaced)
        losses = method.losses(_to_device(batch, fabric), epoch)
        total = torch.stack(list(losses.values())).sum()
        if not math.isfinite(total.item()):
            raise BadInput(
                f"epoch {epoch + 1}: the loss is {total.item()} ("
                + ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
                + "); lower --set lr, or train with --precision 32-true"
            )
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(total)
        optimizer.step()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.item()
    if damaged:
        log.warning("%d damaged images skipped, first %s", len(damaged), min(damaged))
    seconds = time.monotonic() - started
    means = {name: value / len(batches) for name, value in sums.items()}
    return {
        "epoch": epoch + 1,
        "loss": sum(means.values()),
        "losses": means,
        "lr": optimizer.param_groups[0]["lr"],
        "batches": len(batches),
        "images_per_s": sum(len(part) for parts in batches for part in parts) / seconds,
        "seconds": seconds,
        "damaged_images": len(damaged),
    }


def _to_device(batch: Batch, fabric: Any) -> Batch:
    fields = {name: fabric.to_device(value) for name, value in vars(batch).items()}
    fields["image_BCHW"] = fields["image_BCHW"].contiguous(memory_format=torch.channels_last)
    return type(batch)(**fields)


def _check_same_run(earlier: Checkpoint, recipe: Recipe, identities: int, folder: Path) -> None:
    """Refuse to resume with other numbers than the run began with; more epochs are allowed."""
    for name, value in vars(recipe).items():
        if name != "epochs" and getattr(earlier.recipe, name) != value:
            raise BadInput(f"{folder}: the run has {name}={getattr(earlier.recipe, name)!r}, asked was {value!r}")
    if earlier.identity_count != identities:
        raise BadInput(f"{folder}: the run has {earlier.identity_count} identities, the data now {identities}")


def _keep_epochs(path: Path, complete: int) -> None:
    """Drop rows of epochs that are about to be trained again."""
    rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [row for row in rows if json.loads(row)["epoch"] <= complete]
    write_text(path, "".join(row + "\n" for row in kept))


def _clock(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
