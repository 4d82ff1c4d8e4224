"""How hard a dataset is: raw pixels, a linear probe, and a trained model across and within modalities.

Prints a table and one JSON line. Probes and galleries are drawn by SYSU-MM01's official protocol; within a modality
every image is a probe, the gallery is one drawn image of each person and camera, without the probe's own camera.

Shapes: N images, F pixels, D embedding, K identities.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.datasets.sysu import SysuDataset

    Features = dict[str, NDArray[np.float32]]

PROBE_SIZE = (48, 24)  # the linear probe sees this much, in colour
COMPONENTS = 200  # principal components before the discriminant; fewer and more scored lower or equal


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_dataset", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a tree in the layout of SYSU-MM01")
    parser.add_argument("--model", type=Path, action="append", default=[], metavar="RUN", help="run folder, repeatable")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_dataset", lambda: measure(args.data, args.model))


def measure(folder: Path, models: Sequence[Path]) -> None:
    from train.datasets.sysu import open_sysu
    from train.evaluation import embed_images, method_embedder
    from train.evaluation_model import PIXELS_HEIGHT, PIXELS_WIDTH, embed_pixels

    dataset = open_sysu(folder)
    test = dataset.split("test")
    found: dict[str, Features] = {
        "raw pixels": embed_images(embed_pixels, test, PIXELS_HEIGHT, PIXELS_WIDTH),
        "linear probe": linear_probe(dataset),
    }
    for path in models:
        from train.checkpoint import load_method
        from train.run_folder import checkpoint_path

        method = load_method(checkpoint_path(path))
        recipe = method.recipe
        found[f"{method.name} ({path.name})"] = embed_images(
            method_embedder(method), test, recipe.height_px, recipe.width_px
        )
    rows = [{"model": name, **searches(dataset, features)} for name, features in found.items()]
    head = ("across", "across mAP", "vis-vis", "ir-ir")
    sys.stdout.write(f"{'rank-1, %':32}" + "".join(f"{name:>12}" for name in head) + "\n")
    for row in rows:
        sys.stdout.write(f"{row['model']:32}" + "".join(f"{100 * float(row[name]):12.1f}" for name in head) + "\n")
    people = len(dataset.identities["test"])
    sys.stdout.write(f"{'chance':32}{100 / people:12.1f}\n")
    sys.stdout.write(json.dumps({"data": str(folder), "people": people, "rows": rows}) + "\n")


def searches(dataset: SysuDataset, features: Features) -> dict[str, float]:
    """Score across the modalities (official, all-search, single-shot) and within each."""
    from train.datasets.sysu import INFRARED_CAMERAS, VISIBLE_CAMERAS
    from train.evaluation import score_records
    from train.protocol import build_protocol, score

    def within(cameras: tuple[int, ...]) -> float:
        probes = dataset.split("test", cameras=cameras)
        drawn = [score_records(features, probes, draw_each(dataset, probes, trial)).rank1 for trial in range(10)]
        return float(np.mean(drawn))

    across = score(build_protocol(dataset), features)
    return {
        "across": across.rank1,
        "across mAP": across.mean_ap,
        "vis-vis": within(VISIBLE_CAMERAS),
        "ir-ir": within(INFRARED_CAMERAS),
    }


def draw_each(dataset: SysuDataset, records: Sequence[ImageRecord], trial: int) -> list[ImageRecord]:
    """Draw one image of each person and camera by the official permutation."""
    groups: dict[tuple[int, int], list[ImageRecord]] = {}
    for record in records:
        groups.setdefault((record.camera, record.identity), []).append(record)
    return [group[int(dataset.permutations[place][trial, 0]) - 1] for place, group in groups.items()]


def linear_probe(dataset: SysuDataset) -> Features:
    """Fisher's discriminant on principal components of the pixels, fitted on the training people of both modalities."""
    from train.protocol import key

    train, test = dataset.split("train"), dataset.split("test")
    pixels_NF = flat_pixels(train)
    mean_F = pixels_NF.mean(0)
    _, _, axes_DF = np.linalg.svd(pixels_NF - mean_F, full_matrices=False)
    axes_DF = axes_DF[:COMPONENTS]
    component_ND = (pixels_NF - mean_F) @ axes_DF.T
    identity_N = np.array([record.identity for record in train])
    centre_KD = np.stack([component_ND[identity_N == identity].mean(0) for identity in np.unique(identity_N)])
    index_N = np.searchsorted(np.unique(identity_N), identity_N)
    residual_ND = component_ND - centre_KD[index_N]
    within_DD = residual_ND.T @ residual_ND / len(train) + 1e-3 * np.eye(len(axes_DF))
    value_D, vector_DD = np.linalg.eigh(within_DD)
    whiten_DD = vector_DD / np.sqrt(value_D)
    _, _, direction_DD = np.linalg.svd((centre_KD - centre_KD.mean(0)) @ whiten_DD, full_matrices=False)
    project_FD = axes_DF.T @ whiten_DD @ direction_DD.T
    feature_ND = (flat_pixels(test) - mean_F) @ project_FD
    feature_ND /= np.linalg.norm(feature_ND, axis=1, keepdims=True)
    return {key(record): row.astype(np.float32) for record, row in zip(test, feature_ND, strict=True)}


def flat_pixels(records: Sequence[ImageRecord]) -> NDArray[np.float64]:
    from engines.preprocess import resize_crop
    from train.datasets.images import read_image

    return np.stack([resize_crop(read_image(record.path), *PROBE_SIZE).ravel() / 255.0 for record in records])


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
