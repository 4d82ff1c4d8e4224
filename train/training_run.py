"""What `train_model.py` does once its arguments are read: data, recipe, loop, scores on held-out identities."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BadInput
from train.datasets.images import SPLITS
from train.datasets.sysu import open_sysu
from train.loop import Hardware, train
from train.methods import load
from train.recipe import override, read_recipe_values, replace_checked

if TYPE_CHECKING:
    import argparse

    from train.method import Method

log = logging.getLogger(__name__)

RUNS = Path("runs")


def run_training(args: argparse.Namespace) -> None:
    """Train as the arguments say; see train_model.py --help."""
    recipe = load(args.method).default_recipe
    if args.recipe is not None:
        recipe = replace_checked(recipe, read_recipe_values(args.recipe, args.method))
    recipe = override(recipe, args.set)
    unknown = set(recipe.train_on) - set(SPLITS[:2])
    if unknown or not recipe.train_on:
        raise BadInput(f"setting train_on: expected train, val or both, got {list(recipe.train_on)}")
    dataset = open_sysu(args.data)
    records = dataset.split(*recipe.train_on)  # type: ignore[arg-type]
    if not records:
        raise BadInput(f"{args.data}: expected images of the identities in exp/, got none; check cam1 to cam6")
    visible = sum(record.modality == "visible" for record in records)
    log.info(
        "%s: %d identities, %d visible and %d infrared training images",
        args.data, len({record.identity for record in records}), visible, len(records) - visible,
    )  # fmt: skip
    if args.resume and args.out is None:
        raise BadInput("expected --out with --resume: the folder of the run to go on with")
    folder = args.out or RUNS / f"{args.method}-{time.strftime('%Y%m%d-%H%M%S')}"

    def score_validation(epoch: int, method: Method) -> None:
        if args.evaluate_every and epoch % args.evaluate_every == 0:
            from train.evaluation import score_identities

            metrics = score_identities(method, dataset, dataset.identities["val"])
            log.info(
                "epoch %d  validation rank-1 %.1f %%  mAP %.1f %%", epoch, 100 * metrics.rank1, 100 * metrics.mean_ap
            )

    path = train(
        args.method,
        recipe,
        records,
        folder,
        dataset={"name": args.dataset, "folder": str(args.data.resolve()), "train_on": list(recipe.train_on)},
        hardware=Hardware(accelerator=args.accelerator, precision=args.precision, workers=args.workers),
        resume=args.resume,
        pretrained=args.pretrained,
        after_epoch=score_validation,
    )
    log.info("wrote %s; next: python train/evaluate_model.py %s --data %s", path, path, args.data)
