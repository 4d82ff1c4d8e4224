"""What `evaluate_model.py` does once its arguments are read."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from engines.atomic import write_text
from engines.errors import BadInput
from train.datasets.open import open_dataset
from train.datasets.regdb import TRIALS
from train.evaluation import embed_images, embed_spectra
from train.evaluation_model import open_model, trial_of
from train.evaluation_table import RERANKED, Result, as_dict, mean_as_dict, mean_table, table
from train.protocol import build_protocol, score
from train.reranking import check_reranking, trial_distance
from train.run_folder import split_folders

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from train.protocol import Protocol, Scores
    from train.reranking import Spectra


def run_evaluation(args: argparse.Namespace) -> None:
    """Score as the arguments say and print a table; see evaluate_model.py --help."""
    folders = split_folders(args.model)
    if folders and args.dataset != "regdb":
        raise BadInput(f"{args.model}: expected --dataset regdb, for it holds a model for each RegDB split; name one")
    if args.trial in folders:
        folders = {args.trial: folders[args.trial]}
    results: list[Result] = []
    for path in folders.values() or [args.model]:
        results.append(evaluate_one(path, args))
        sys.stdout.write(table(results[-1]) + "\n")
        sys.stdout.flush()
    figures = as_dict(results[0])
    if len(results) > 1:
        name = f"mean of {'ten' if len(results) == len(TRIALS) else f'{len(results)} of ten'} models"
        sys.stdout.write(mean_table(name, results) + "\n")
        figures = mean_as_dict(name, results)
    if args.json is not None:
        write_text(args.json, json.dumps(figures, indent=2) + "\n")


def evaluate_one(path: Path, args: argparse.Namespace) -> Result:
    """Open one model, embed what its protocol needs and score it, plain and then re-ranked."""
    names = list(RERANKED) if "both" in args.rerank else [name for name in RERANKED if name in args.rerank]
    for name in names:
        check_reranking(name, args.dataset)
    with ExitStack() as stack:
        model = open_model(path, args, stack)
        dataset = open_dataset(args.dataset, args.data, trial=trial_of(model, args.dataset, args.trial))
        protocol = build_protocol(
            dataset, lineage=args.lineage, search=args.search, shots=args.shots, direction=args.direction
        )
        images = protocol.images()
        if "mser" in names:
            spectra = embed_spectra(model.embed, images, *model.size, flip=args.flip)
        else:
            spectra = {"rgb": embed_images(model.embed, images, *model.size, flip=args.flip)}
    return Result(
        model=model.described(args.dataset),
        protocol=protocol,
        flip=args.flip,
        plain=score(protocol, spectra["rgb"]),
        reranked=rerank(protocol, spectra, names),
    )


def rerank(protocol: Protocol, spectra: Spectra, names: list[str]) -> dict[str, Scores]:
    """Score the same features by each re-ranked distance."""
    return {
        name: score(protocol, spectra["rgb"], distance=trial_distance(name, protocol.dataset, spectra))
        for name in names
    }
