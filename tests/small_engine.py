"""Checkpoints of small networks with random weights whose activations look like a trained network's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from calib.drift import Limits
from calib.samples import balanced_sample, pixel_batches
from train.checkpoint import Checkpoint, save_checkpoint
from train.datasets.sysu import open_sysu
from train.export import PixelsToEmbedding
from train.methods import load

if TYPE_CHECKING:
    from train.method import Method

HEIGHT, WIDTH = 64, 32
NO_LIMITS = Limits(worst_cosine=-1.0, mean_cosine=-1.0, rank1_agreement=0.0, max_similarity_error=2.0)
OWN_SETTINGS: dict[str, dict[str, object]] = {
    "aligngan": {
        "feature_height_px": 96, "feature_width_px": 48, "generator_width": 16, "discriminator_width": 8,
        "pixel_identities": 2,
    }
}  # fmt: skip


def random_method(name: str, tree: Path) -> Method:
    """Build a small network and take its BatchNorm statistics from images.

    Without that every image gets nearly the same embedding (mean cosine 0.99), and parity could not fail.
    """
    changes = {"backbone": "resnet_small", "height_px": HEIGHT, "width_px": WIDTH}
    recipe = dataclasses.replace(load(name).default_recipe, **changes, **OWN_SETTINGS.get(name, {}))  # type: ignore[arg-type]
    torch.manual_seed(0)
    method = load(name)(recipe, 6)
    norms = [module for module in method.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # a plain mean over the batches below
        # A zero weight (MCJA's attention at its start) would hide its branch.
        torch.nn.init.uniform_(norm.weight, 0.5, 1.0)
    records = balanced_sample(open_sysu(tree).split("train"), 64)
    method.train()
    with torch.no_grad():
        for modality in ("visible", "infrared"):
            graph = PixelsToEmbedding(method, modality)
            for image_BHWC in pixel_batches(
                [record for record in records if record.modality == modality], HEIGHT, WIDTH, 16
            ):
                graph(torch.as_tensor(image_BHWC))
        for norm in norms:
            if (
                isinstance(norm, torch.nn.BatchNorm1d)
                and norm.running_var is not None
                and norm.running_mean is not None
            ):
                # One deviation for all: random features have few directions, and the neck would blow up the others,
                # which hold nothing but rounding error.
                norm.running_var.fill_(float(norm.running_var.mean()))
                # Part of what all images share stays, or only that rounding error would be left of the small rest.
                norm.running_mean.mul_(0.5)
    return method.eval()


def save_random_checkpoint(name: str, tree: Path, path: Path) -> Path:
    method = random_method(name, tree)
    save_checkpoint(
        path,
        Checkpoint(
            method_name=name,
            recipe=method.recipe,
            identity_count=method.identity_count,
            epoch=1,
            model=method.state_dict(),
            optimizer={},
            dataset={"name": "sysu", "folder": str(tree), "train_on": ["train"]},
        ),
    )
    return path
