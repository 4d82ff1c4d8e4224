"""What `evaluate_model.py` does once its arguments are read."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.atomic import write_text
from engines.manifest import MANIFEST_NAME
from train.datasets.sysu import open_sysu
from train.evaluation import embed_images, method_embedder, test_images
from train.protocol import Scores, score

if TYPE_CHECKING:
    import argparse
    from contextlib import ExitStack

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.evaluation import Embed

PIXELS = "pixels"  # nearest neighbour on the resized image itself: the floor that a method must leave behind
PIXELS_HEIGHT, PIXELS_WIDTH = 96, 48


def run_evaluation(args: argparse.Namespace) -> None:
    """Score as the arguments say and print a table; see evaluate_model.py --help."""
    from contextlib import ExitStack

    dataset = open_sysu(args.data)
    with ExitStack() as stack:
        name, embed, (height_px, width_px) = open_model(args, stack)
        features = embed_images(embed, test_images(dataset, [args.search]), height_px, width_px)
    scores = score(dataset, features, search=args.search, shots=args.shots)
    sys.stdout.write(table(name, scores) + "\n")
    if args.json is not None:
        write_text(args.json, json.dumps(as_dict(name, scores), indent=2) + "\n")


def open_model(args: argparse.Namespace, stack: ExitStack) -> tuple[str, Embed, tuple[int, int]]:
    """Open a checkpoint, a run folder, an engine folder or the raw-pixel floor; returns name, embed and input size."""
    if str(args.model) == PIXELS:
        return "raw pixels", embed_pixels, (PIXELS_HEIGHT, PIXELS_WIDTH)
    if (args.model / MANIFEST_NAME).is_file():
        from engines.open import open_engine

        engine = stack.enter_context(open_engine(args.model, backend=args.backend, precision=args.precision))
        manifest = engine.manifest
        return f"{manifest.method} ({engine.name})", engine.embed, (manifest.height_px, manifest.width_px)

    from train.checkpoint import CHECKPOINT_NAME, build_method, load_checkpoint

    path: Path = args.model / CHECKPOINT_NAME if args.model.is_dir() else args.model
    checkpoint = load_checkpoint(path, args.method)
    method = build_method(checkpoint)
    size = (method.recipe.height_px, method.recipe.width_px)
    return f"{checkpoint.method_name} (pytorch fp32)", method_embedder(method), size


def embed_pixels(image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
    """Flatten grey pixels, centred, to unit vectors."""
    gray_BP = image_BHWC.mean(axis=3).reshape(len(image_BHWC), -1).astype(np.float32)
    gray_BP -= gray_BP.mean(axis=1, keepdims=True)
    return gray_BP / np.maximum(np.linalg.norm(gray_BP, axis=1, keepdims=True), 1e-12)


def table(name: str, scores: Scores) -> str:
    """One line for people, in percent, that names the protocol."""
    shots = "single-shot" if scores.shots == 1 else f"{scores.shots}-shot"
    return (
        f"{name}: SYSU official, {scores.search}-search, {shots}, gallery {scores.gallery}, "
        f"probes {scores.probes} ({scores.trials[0].queries} valid), {len(scores.trials)} trials\n"
        f"  rank-1 {100 * scores.rank1:.2f} ± {100 * scores.rank1_spread:.2f}  "
        f"rank-10 {100 * scores.mean_rank(10):.2f}  rank-20 {100 * scores.mean_rank(20):.2f}  "
        f"mAP {100 * scores.mean_ap:.2f}  mINP {100 * scores.mean_inp:.2f}"
    )


def as_dict(name: str, scores: Scores) -> dict[str, Any]:
    """The figures with the protocol that gave them."""
    return {
        "model": name,
        "lineage": "official",
        "search": scores.search,
        "shots": scores.shots,
        "gallery": scores.gallery,
        "probes": scores.probes,
        "rank1": scores.rank1,
        "rank1_spread": scores.rank1_spread,
        "rank10": scores.mean_rank(10),
        "rank20": scores.mean_rank(20),
        "mean_ap": scores.mean_ap,
        "mean_inp": scores.mean_inp,
        "cmc": scores.cmc_R.tolist(),
        "trials": [{k: v for k, v in dataclasses.asdict(trial).items() if k != "cmc_R"} for trial in scores.trials],
    }
