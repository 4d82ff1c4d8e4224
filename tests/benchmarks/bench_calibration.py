"""How many calibration images INT8 needs: accuracy against their number, over several draws of the images.

The trained run is exported once; each draw gives ranges, an INT8 graph and its drift from FP32 on people who were not
trained on. OpenVINO, one thread. Prints a table and one JSON line; --picture draws it.

Shapes: N images, B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from calib.drift import Drift
    from engines.manifest import Manifest, Modality, Precision
    from train.datasets.images import Dataset, ImageRecord, Split

COUNTS = (32, 64, 128, 256, 512, 1024)
BATCH = 32
TOOLS = ("openvino", "onnx", "torch", "numpy")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One set of calibration images and what became of the engine."""

    method: str
    images: int
    seed: int
    drift: Drift


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_calibration", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what the run was trained on")
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="checkpoint or run folder")
    parser.add_argument("--range-method", nargs="+", metavar="NAME", help="ways to choose ranges (default: all)")
    parser.add_argument(
        "--images",
        nargs="+",
        type=int,
        default=list(COUNTS),
        metavar="N",
        help=f"default: {' '.join(map(str, COUNTS))}",
    )
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="draws of each number of images (default: 5)")
    parser.add_argument("--judges", type=int, default=1000, metavar="N", help="held-out images (default: 1000)")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="write a picture of the table, .png or .svg")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_calibration", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    import logging

    from calib.ranges import RANGE_METHODS
    from engines.benchmark import cpu_name
    from engines.errors import BadInput
    from engines.provenance import git_revision, tool_versions

    methods = tuple(args.range_method or RANGE_METHODS)
    unknown = [name for name in methods if name not in RANGE_METHODS]
    if unknown:
        raise BadInput(f"--range-method: expected some of {', '.join(RANGE_METHODS)}, got {unknown[0]!r}")
    logging.disable(logging.INFO)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        trained = Trained(Path(name), args.model, args.data, args.judges)
        available = len(trained.dataset.split("train"))
        counts = [count for count in sorted(args.images) if count <= available]
        if not counts:
            raise BadInput(f"--images: expected {available} at most, the training images of {args.data}")
        draws = [draw for seed in range(args.seeds) for count in counts for draw in trained.draw(count, seed, methods)]
    rows = [row(draws, method, count) for method in methods for count in counts]
    what = (
        f"{trained.manifest.method} ({args.model.name}), FP32 mAP {100 * trained.mean_ap:.2f} % on "
        f"{len(trained.records)} held-out images of {trained.people} people; {args.seeds} draws"
    )
    write_table(what, rows)
    if args.picture is not None:
        draw_picture(args.picture, what, rows)
    facts = {
        "bench": "calibration", "commit": git_revision(), "cpu": cpu_name(), "tools": tool_versions(TOOLS),
        "method": trained.manifest.method, "run": args.model.name, "dataset": trained.dataset.name,
        "size_px": [trained.manifest.height_px, trained.manifest.width_px], "held_out_images": len(trained.records),
        "held_out_people": trained.people, "fp32_mean_ap": round(trained.mean_ap, 5), "seeds": args.seeds,
        "minutes": round((time.monotonic() - started) / 60, 1), "rows": rows,
    }  # fmt: skip
    sys.stdout.write(json.dumps(facts) + "\n")


class Trained:
    """An exported run, the pixels that judge it, and its FP32 embeddings of them."""

    def __init__(self, folder: Path, model: Path, data: Path, judges: int) -> None:
        import torch

        from calib.samples import balanced_sample
        from train.checkpoint import build_method, load_checkpoint
        from train.datasets.images import SPLITS
        from train.datasets.open import open_dataset
        from train.evaluation import score_records
        from train.export import export_model
        from train.protocol import key
        from train.protocol_gallery import by_direction
        from train.run_folder import checkpoint_path

        torch.set_num_threads(1)
        checkpoint = load_checkpoint(checkpoint_path(model))
        facts = checkpoint.dataset
        self.dataset: Dataset = open_dataset(str(facts.get("name", "sysu")), data, trial=int(facts.get("trial", 1)))
        trained_on = facts.get("train_on", ("train",))
        held_out: list[Split] = [split for split in SPLITS if split not in trained_on]
        self.records: list[ImageRecord] = balanced_sample(self.dataset.split(*held_out), judges)
        self.people = len({record.identity for record in self.records})
        self._folder = folder
        self.manifest: Manifest = export_model(build_method(checkpoint), folder)
        self._pixels = self._read()
        self._reference_ND = self._embed("fp32")
        features = dict(zip(map(key, self.records), self._reference_ND, strict=True))
        query, gallery = by_direction(self.records, "infrared-to-visible")
        self.mean_ap = score_records(features, query, gallery, self.dataset.name).mean_ap

    def draw(self, count: int, seed: int, methods: Sequence[str]) -> list[Draw]:
        """Calibrate on one set of images and measure the drift of each range method."""
        import onnx

        from calib.calibrate import calibrate
        from calib.drift import drift_of
        from calib.quantize import quantize
        from calib.samples import calibration_images
        from engines.manifest import Graph, sha256_of

        drawn = calibration_images(self.dataset, count, seed)
        size = self.manifest.height_px, self.manifest.width_px
        tables: dict[str, Any] = {}
        for file, modalities in self._files().items():
            used = [record for record in drawn if record.modality in modalities]
            tables[file] = calibrate(self._folder / file, used, *size, threads=1)
        found: list[Draw] = []
        for method in methods:
            graphs: list[Graph] = []
            for file, modalities in self._files().items():
                path = self._folder / file.replace(".fp32.", ".int8.")
                model = quantize(onnx.load(str(self._folder / file)), tables[file][method].amax)
                path.write_bytes(model.SerializeToString())
                digest = sha256_of(path)
                graphs += [
                    Graph(file=path.name, sha256=digest, modality=modality, precision="int8", form="onnx")
                    for modality in modalities
                ]
            dataclasses.replace(self.manifest, graphs=(*self.manifest.graphs, *graphs)).save(self._folder)
            drift = drift_of(self.records, self._reference_ND, self._embed("int8"), dataset=self.dataset.name)
            found.append(Draw(method=method, images=count, seed=seed, drift=drift))
        return found

    def _files(self) -> dict[str, list[Modality]]:
        files: dict[str, list[Modality]] = {}
        for graph in self.manifest.graphs:
            if graph.form == "onnx":
                files.setdefault(graph.file, []).append(graph.modality)
        return files

    def _read(self) -> list[tuple[list[int], Modality, NDArray[np.uint8]]]:
        """Decode and resize the judging images once: their places, modality and pixels (B, H, W, 3)."""
        from calib.samples import pixel_batches
        from engines.manifest import MODALITIES

        batches: list[tuple[list[int], Modality, NDArray[np.uint8]]] = []
        for modality in MODALITIES:
            places = [index for index, record in enumerate(self.records) if record.modality == modality]
            chosen = [self.records[index] for index in places]
            pixels = pixel_batches(chosen, self.manifest.height_px, self.manifest.width_px, BATCH)
            for number, image_BHWC in enumerate(pixels):
                batches.append((places[BATCH * number : BATCH * (number + 1)], modality, image_BHWC))
        return batches

    def _embed(self, precision: Precision) -> NDArray[np.float32]:
        from engines.open import open_engine

        feature_ND = np.empty((len(self.records), self.manifest.embedding_dim), np.float32)
        with open_engine(self._folder, backend="openvino", precision=precision, threads=1) as engine:
            for places, modality, image_BHWC in self._pixels:
                feature_ND[places] = engine.embed(image_BHWC, modality)
        return feature_ND


def row(draws: Sequence[Draw], method: str, count: int) -> dict[str, Any]:
    """Sum up the draws of one range method and number of images."""
    drifts = [draw.drift for draw in draws if (draw.method, draw.images) == (method, count)]

    def over(value: Callable[[Drift], float]) -> list[float]:
        return [round(value(drift), 5) for drift in drifts]

    return {
        "range_method": method,
        "images": count,
        "mean_cosine": over(lambda drift: drift.mean_cosine),
        "worst_cosine": over(lambda drift: drift.worst_cosine),
        "rank1_agreement": over(lambda drift: drift.rank1_agreement),
        "map_difference": over(lambda drift: drift.map_difference or 0.0),
    }


def write_table(what: str, rows: Sequence[dict[str, Any]]) -> None:
    write = sys.stdout.write
    write(
        f"{what}\n{'':12}{'':>7}{'mean cosine':>20}{'worst cosine':>20}{'rank-1 agreement %':>20}{'mAP, points':>24}\n"
    )
    write(f"{'ranges':12}{'images':>7}" + f"{'mean':>12}{'least':>8}" * 3 + f"{'mean':>10}{'least':>7}{'most':>7}\n")
    for found in rows:
        cosine, worst, gain = (np.array(found[name]) for name in ("mean_cosine", "worst_cosine", "map_difference"))
        agreement = 100 * np.array(found["rank1_agreement"])
        write(
            f"{found['range_method']:12}{found['images']:7}{cosine.mean():12.4f}{cosine.min():8.4f}"
            f"{worst.mean():12.4f}{worst.min():8.4f}{agreement.mean():12.1f}{agreement.min():8.1f}"
            f"{gain.mean():+10.2f}{gain.min():+7.2f}{gain.max():+7.2f}\n"
        )


def draw_picture(path: Path, what: str, rows: Sequence[dict[str, Any]]) -> None:
    """Draw the mean over the draws as a line and each draw as a point, a panel for each figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    panels = {
        "mean_cosine": "mean cosine",
        "worst_cosine": "worst cosine",
        "map_difference": "mAP against FP32, points",
    }
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    counts = sorted({found["images"] for found in rows})
    for axes, (name, title) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        for number, method in enumerate(dict.fromkeys(found["range_method"] for found in rows)):
            own = [found for found in rows if found["range_method"] == method]
            colour = f"C{number}"
            axes.plot(counts, [np.mean(found[name]) for found in own], color=colour, label=method)
            for found in own:
                # Side by side, so that methods do not hide each other.
                place = found["images"] * 1.04**number
                axes.plot([place] * len(found[name]), found[name], ".", color=colour, alpha=0.5)
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("calibration images")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    figure.axes[-1].axhline(0, color="black", linewidth=0.8)
    figure.axes[0].legend(title="ranges")
    figure.suptitle(what, fontsize=10)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
