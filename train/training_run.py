"""What `train_model.py` does once its arguments are read: data, recipe, loop, scores on held-out identities."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BadInput
from train.checkpoint import load_checkpoint
from train.datasets.images import SPLITS
from train.datasets.open import checked_split, describe, open_dataset
from train.datasets.regdb import TRIALS
from train.loop import train
from train.methods import load
from train.processes import Hardware, leave
from train.recipe import override, read_recipe_values, replace_checked
from train.run_folder import CHECKPOINT_NAME, split_folder
from train.selection import Judge

if TYPE_CHECKING:
    import argparse

    from train.datasets.images import Dataset
    from train.method import Method
    from train.metrics import Metrics
    from train.recipe import Recipe

log = logging.getLogger(__name__)

RUNS = Path("runs")
JUDGE_EVERY = 5  # epochs, where a best one is to be kept and nothing else was asked


def run_training(args: argparse.Namespace) -> None:
    """Train as the arguments say; see train_model.py --help."""
    recipe = resolve_recipe(args)
    if args.resume and args.out is None:
        raise BadInput("expected --out with --resume: the folder of the run to go on with")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # set by torchrun
        if args.out is None:
            raise BadInput("expected --out with torchrun: one folder for all processes")
        if os.environ.get("RANK", "0") != "0":
            logging.getLogger().setLevel(logging.WARNING)  # one process tells the course
    folder = args.out or RUNS / f"{args.method}-{time.strftime('%Y%m%d-%H%M%S')}"
    if not args.all_splits:
        train_one(args, recipe, args.trial or 1, folder)
        leave()
        return
    if args.dataset != "regdb" or args.trial is not None:
        raise BadInput("expected --all-splits with --dataset regdb and without --trial: it trains a model per split")
    for trial in TRIALS:
        log.info("RegDB split %d of %d", trial, len(TRIALS))
        train_one(args, recipe, trial, split_folder(folder, trial))
    leave()
    log.info(
        "wrote ten models; next: python train/evaluate_model.py %s --dataset regdb --data %s averages them",
        folder, args.data,
    )  # fmt: skip


def resolve_recipe(args: argparse.Namespace) -> Recipe:
    """Put together the authors' numbers for the dataset, --recipe and --set."""
    recipe = load(args.method).recipe_for(args.dataset)
    if args.recipe is not None:
        recipe = replace_checked(recipe, read_recipe_values(args.recipe, args.method))
    recipe = override(recipe, args.set)
    if set(recipe.train_on) - set(SPLITS[:2]) or not recipe.train_on:
        raise BadInput(f"setting train_on: expected train, val or both, got {list(recipe.train_on)}")
    if args.select == "val" and "val" in recipe.train_on:
        log.info("--select val: the validation identities are kept out of training")
        recipe = dataclasses.replace(recipe, train_on=("train",))
    return recipe


def train_one(args: argparse.Namespace, recipe: Recipe, trial: int, folder: Path) -> None:
    """Train one model; with --resume and several splits, go on with the ones that were begun."""
    resume = args.resume
    if args.all_splits and resume:
        resume = (folder / CHECKPOINT_NAME).is_file()
        if resume and load_checkpoint(folder / CHECKPOINT_NAME).epoch >= recipe.epochs:
            log.info("%s is complete", folder)
            return
    dataset = open_dataset(args.dataset, args.data, trial=trial)
    log.info("%s: %s", args.data, describe(dataset))
    provenance = {
        "name": args.dataset,
        "folder": str(args.data.resolve()),
        "train_on": list(recipe.train_on),
        "pretrained": None if args.pretrained is None else str(args.pretrained),
    }
    if args.dataset == "regdb":
        provenance["trial"] = trial
    path = train(
        args.method,
        recipe,
        checked_split(dataset, *recipe.train_on),  # type: ignore[arg-type]
        folder,
        dataset=provenance,
        hardware=Hardware(
            accelerator=args.accelerator,
            precision=args.precision,
            workers=args.workers,
            cache=args.cache,
            deterministic=args.deterministic,
        ),
        resume=resume,
        pretrained=args.pretrained,
        judge=make_judge(args, dataset),
    )
    log.info(
        "wrote %s; next: python train/evaluate_model.py %s --dataset %s --data %s",
        path, folder, args.dataset, args.data,
    )  # fmt: skip


def make_judge(args: argparse.Namespace, dataset: Dataset) -> Judge | None:
    """Decide what the epochs are judged on, if at all; the test set only where --select test asks for it."""
    every = args.evaluate_every or (JUDGE_EVERY if args.select != "last" else 0)
    if not every:
        return None
    if args.select == "test":
        log.warning(
            "--select test: the epoch is chosen on the test set, as published codes do; the figures will say so"
        )
        return Judge(split="test", every=every, score=lambda method: score_test(method, dataset), keep_best=True)
    return Judge(
        split="val", every=every, score=lambda method: score_validation(method, dataset), keep_best=args.select == "val"
    )


def score_validation(method: Method, dataset: Dataset) -> Metrics:
    """Score the validation identities: all infrared images against all visible ones."""
    from train.evaluation import score_identities

    return score_identities(method, dataset, dataset.identities["val"])


def score_test(method: Method, dataset: Dataset) -> Metrics:
    """Score the first trial of the dataset's official protocol, on which published codes choose their epoch."""
    from train.evaluation import embed_images, method_embedder
    from train.protocol import build_protocol, score

    protocol = build_protocol(dataset)
    protocol = dataclasses.replace(protocol, trials=protocol.trials[:1])
    size = (method.recipe.height_px, method.recipe.width_px)
    return score(protocol, embed_images(method_embedder(method), protocol.images(), *size)).trials[0]
