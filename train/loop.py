"""The training loop, on Lightning Fabric: devices, processes, precision, exact resume, progress, metrics.

A run folder holds recipe.json, metrics.jsonl (one object an epoch), tensorboard/, checkpoint.pt (the last complete
epoch) and, when epochs are judged, best.pt. After a kill, `resume` goes on behind the last complete epoch and gives the
losses that an undisturbed run would have given: batches, augmentation and dropout depend on (seed, epoch, position).
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import torch

from engines.atomic import write_text
from engines.errors import BadInput
from engines.manifest import MODALITIES
from engines.progress import progress
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.imagenet import imagenet_weights
from train.methods import load
from train.processes import (
    Hardware,
    average_gradients,
    launch,
    seed_epoch,
    share_weights,
    synchronise_norms,
)
from train.recipe import Recipe, save_recipe
from train.run_folder import CHECKPOINT_NAME
from train.run_log import RunLog
from train.sampler import epoch_batches
from train.training_images import Collate, TrainingImages, epoch_loader
from train.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning_fabric import Fabric
    from torch.optim import Optimizer

    from train.datasets.images import ImageRecord
    from train.method import Batch, Method
    from train.sampler import Parts
    from train.selection import Judge

log = logging.getLogger(__name__)

BAD_BATCH_NAME = "bad_batch.txt"


def learning_rate_factor(recipe: Recipe, epoch: int) -> float:
    """Step decay with a linear warm-up: what the initial rates are multiplied with in this epoch, counted from 0."""
    factor = recipe.lr_decay ** sum(epoch >= milestone for milestone in recipe.milestones)
    return factor * min(1.0, (epoch + 1) / max(1, recipe.warmup_epochs))


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
    judge: Judge | None = None,
) -> Path:
    """Train into folder and return the checkpoint's path; with resume, go on where the folder's checkpoint stands."""
    hardware = hardware or Hardware()
    identities = check_records(records, recipe)
    checkpoint_path = folder / CHECKPOINT_NAME
    if checkpoint_path.exists() and not resume:
        raise BadInput(f"{folder}: holds a finished or interrupted run; add --resume to go on, or choose another --out")
    earlier = load_checkpoint(checkpoint_path, method_name) if resume else None
    if earlier is not None:
        _check_same_run(earlier, recipe, len(identities), folder)
        dataset = earlier.dataset  # where the run began, with which weights
    fabric = launch(hardware)
    method = _network(method_name, recipe, len(identities), fabric, earlier, pretrained)
    run = _Run(fabric, method, recipe, hardware)
    if earlier is not None:
        run.restore(earlier)
    first_epoch = 0 if earlier is None else earlier.epoch
    run_log = None  # one process writes
    if fabric.is_global_zero:
        save_recipe(recipe, method_name, folder / "recipe.json")
        run_log = RunLog(folder, first_epoch)

    images = TrainingImages(records, recipe, hardware.cache)
    collate = Collate({identity: label for label, identity in enumerate(identities)})
    for epoch in range(first_epoch, recipe.epochs):
        row = run.epoch(images, collate, epoch_batches(records, recipe, epoch), epoch, folder)
        if run_log is not None:
            checkpoint = Checkpoint(
                method_name=method_name,
                recipe=recipe,
                identity_count=len(identities),
                epoch=epoch + 1,
                model=method.state_dict(),
                optimizer={name: optimizer.state_dict() for name, optimizer in run.optimizers.items()},
                precision=fabric.strategy.precision.state_dict(),
                dataset=dataset,
            )
            if judge is not None and judge.due(epoch + 1, recipe.epochs):
                row["validation" if judge.split == "val" else "test"] = scores = judge.judge(method, epoch + 1)
                judge.keep(checkpoint, scores, folder)
            run_log.write(row, recipe.epochs)
            save_checkpoint(checkpoint_path, checkpoint)
        fabric.barrier()
    if run_log is not None:
        run_log.close()
    return checkpoint_path


def _network(
    method_name: str,
    recipe: Recipe,
    identity_count: int,
    fabric: Fabric,
    earlier: Checkpoint | None,
    pretrained: Path | None,
) -> Method:
    """Build the network as the run begins, or goes on, with it, on its device."""
    torch.manual_seed(recipe.seed)
    method = load(method_name)(recipe, identity_count)
    if recipe.accumulate > 1 and not method.accumulates:
        raise BadInput(f"setting accumulate: {method_name} takes a step with every batch; leave it at 1")
    if earlier is not None:
        load_weights(method, earlier.model, "checkpoint")
    elif pretrained is not None:
        with fabric.rank_zero_first(local=True):
            weights, source = imagenet_weights(pretrained, recipe.backbone)
        method.load_backbone(weights, source)
    method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # 1.7 x on a CPU (resnet_small, 96 x 48), as fast or faster on a GPU
    method.to(fabric.device)
    synchronise_norms(method, fabric.device)
    share_weights(method)
    return method


class _Run:
    """A network with its optimisers on a device."""

    def __init__(self, fabric: Fabric, method: Method, recipe: Recipe, hardware: Hardware) -> None:
        self.fabric, self.method, self.recipe, self.hardware = fabric, method, recipe, hardware
        self.plain: dict[str, Optimizer] = method.optimizers()
        for optimizer in self.plain.values():
            for group in optimizer.param_groups:
                group["initial_lr"] = group["lr"]
        wrapped = [fabric.setup_optimizers(optimizer) for optimizer in self.plain.values()]
        self.optimizers: dict[str, Any] = dict(zip(self.plain, wrapped, strict=True))

    def restore(self, earlier: Checkpoint) -> None:
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(earlier.optimizer[name])
        self.fabric.strategy.precision.load_state_dict(earlier.precision)

    def epoch(
        self, images: TrainingImages, collate: Collate, batches: list[Parts], epoch: int, folder: Path
    ) -> dict[str, Any]:
        """Train one epoch and return its row of metrics."""
        if not batches:
            raise BadInput("expected at least one batch an epoch, got none; lower --set identities_per_batch")
        for optimizer in self.plain.values():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * learning_rate_factor(self.recipe, epoch)
        seed_epoch(self.recipe.seed, epoch, self.fabric.global_rank)
        self.method.train()
        started = time.monotonic()
        sums: dict[str, float] = {}
        damaged: set[str] = set()
        loader = epoch_loader(
            images, collate, batches, epoch, self.hardware.workers,
            rank=self.fabric.global_rank, processes=self.fabric.world_size,
        )  # fmt: skip
        bar: Any = loader
        if self.fabric.is_global_zero:
            bar = progress(loader, total=len(batches), unit="batches", label=f"epoch {epoch + 1}/{self.recipe.epochs}")
        for index, (batch, files, replaced) in enumerate(bar):
            damaged.update(replaced)
            # The last window of an epoch may be shorter than the others.
            window = index - index % self.recipe.accumulate
            size = min(self.recipe.accumulate, len(batches) - window)
            losses = self._step(_to_device(batch, self.fabric), epoch, index - window, size)
            _check_finite(losses, epoch, index, files, folder / BAD_BATCH_NAME)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            shown = {name: f"{value:.3f}" for name, value in losses.items()}
            if bar is not loader:
                bar.set_postfix(**shown, refresh=False)
        self._warn_damaged(damaged)
        seconds = time.monotonic() - started
        means = {name: self._mean(value) / len(batches) for name, value in sums.items()}
        return {
            "epoch": epoch + 1,
            "loss": sum(means.values()),
            "losses": means,
            "lr": next(iter(self.plain.values())).param_groups[0]["lr"],
            "batches": len(batches),
            "images_per_s": sum(len(part) for parts in batches for part in parts) / seconds,
            "seconds": seconds,
            "damaged_images": len(damaged),
        }

    def _step(self, batch: Batch, epoch: int, place: int, window: int) -> dict[str, float]:
        """Take the method's updates with one batch, which is number `place` of `window` that share a step."""
        values: dict[str, float] = {}
        updates = self.method.updates(batch, epoch)
        while True:
            with self.fabric.autocast():
                update = next(updates, None)
                if update is None:
                    return values
                total = torch.stack([loss.float() for loss in update.losses.values()]).sum()
            values |= {name: loss.item() for name, loss in update.losses.items()}
            if not math.isfinite(total.item()):
                return values  # the caller stops; no step is taken
            chosen = [self.optimizers[name] for name in update.optimizers]
            if place == 0:
                for optimizer in chosen:
                    optimizer.zero_grad(set_to_none=True)
            self.fabric.backward(total / window)
            if place == window - 1:
                for name, optimizer in zip(update.optimizers, chosen, strict=True):
                    average_gradients(p for group in self.plain[name].param_groups for p in group["params"])
                    optimizer.step()

    def _mean(self, value: float) -> float:
        """Average over the processes."""
        if self.fabric.world_size == 1:
            return value
        mean = self.fabric.all_reduce(self.fabric.to_device(torch.tensor(value)), reduce_op="mean")
        return float(mean)  # type: ignore[arg-type]

    def _warn_damaged(self, damaged: set[str]) -> None:
        if damaged:
            log.warning("%d damaged images skipped, first %s", len(damaged), min(damaged))


def check_records(records: Sequence[ImageRecord], recipe: Recipe) -> list[int]:
    """Return the identities, ascending; refuse data that cannot fill a batch of both modalities."""
    by_modality = {
        modality: {record.identity for record in records if record.modality == modality} for modality in MODALITIES
    }
    for modality, found in by_modality.items():
        if not found:
            raise BadInput(f"expected training images of both modalities, got no {modality} ones; check the data set")
    both = set.intersection(*by_modality.values())
    if len(both) < recipe.identities_per_batch:
        raise BadInput(
            f"expected at least {recipe.identities_per_batch} identities with visible and infrared images for a batch, "
            f"got {len(both)}; lower --set identities_per_batch or use more data"
        )
    return sorted(set.union(*by_modality.values()))


def _check_finite(losses: dict[str, float], epoch: int, index: int, files: Sequence[str], path: Path) -> None:
    """Stop at a loss that is not finite, before the step, and leave the list of the batch's files."""
    if all(math.isfinite(value) for value in losses.values()):
        return
    write_text(path, "".join(f"{name}\n" for name in files))
    terms = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
    raise BadInput(
        f"epoch {epoch + 1}, batch {index + 1}: the loss is {sum(losses.values())} ({terms}); the batch's {len(files)} "
        f"files stand in {path}, first {files[0]}; lower --set lr, or train with --precision 32-true"
    )


def _to_device(batch: Batch, fabric: Fabric) -> Batch:
    fields = {name: fabric.to_device(value) for name, value in vars(batch).items()}
    fields["image_BCHW"] = fields["image_BCHW"].contiguous(memory_format=torch.channels_last)
    return type(batch)(**fields)


def _check_same_run(earlier: Checkpoint, recipe: Recipe, identities: int, folder: Path) -> None:
    """Refuse to resume with other numbers than the run began with; more epochs are allowed."""
    if not earlier.optimizer:
        raise BadInput(f"{folder}: {CHECKPOINT_NAME} was imported and holds no optimiser state; start a new run")
    for name, value in vars(recipe).items():
        if name != "epochs" and getattr(earlier.recipe, name) != value:
            raise BadInput(
                f"{folder}: the run has {name}={getattr(earlier.recipe, name)!r}, asked was {value!r}; leave it out"
            )
    if earlier.identity_count != identities:
        raise BadInput(
            f"{folder}: the run has {earlier.identity_count} identities, the data now {identities}; name its data"
        )
