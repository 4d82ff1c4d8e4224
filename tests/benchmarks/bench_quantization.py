"""INT8 by this repository's calibrator against ONNX Runtime's default static quantisation, on one trained model.

The same FP32 graphs, the same calibration images (training people), the same judging images (all test people). Theirs
is quant_pre_process and quantize_static with every default (MinMax, INT8 activations and weights, one scale a tensor).
Every file runs in both CPU runtimes, one thread; ours has two forms of the same table, of which the symmetric one is
slow in ONNX Runtime and is left out there. Calibration is timed in a process of its own on one core, from the FP32 file
and the images on disk to INT8 files; one pass gives all of our range methods in both forms. Prints a table and one JSON
line.

Shapes: N images, B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    from numpy.typing import NDArray

    from calib.drift import Drift
    from engines.manifest import Form, Graph, Manifest, Modality
    from train.datasets.images import Dataset, ImageRecord

THEIRS = "onnxruntime default"
TOOLS = ("openvino", "onnxruntime", "onnx", "torch", "numpy")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What making the INT8 files of both modalities took."""

    seconds: float
    peak_mb: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One INT8 file in one runtime."""

    quantiser: str
    form: str
    runtime: str
    megabytes: float
    drift: Drift
    mean_ap: float  # on the data set's protocol, in points of 100
    map_change: float  # against PyTorch FP32 there


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_quantization", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="what the run was trained on")
    parser.add_argument("--model", type=Path, metavar="RUN", help="checkpoint or run folder")
    parser.add_argument("--images", type=int, default=512, metavar="N", help="calibration images (default: 512)")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)  # the child process
    args = parser.parse_args(argv)
    if args.job is None and (args.data is None or args.model is None):
        parser.error("--data and --model are required")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    if args.job is not None:
        return run_script("bench_quantization", lambda: work(args.job))
    return run_script("bench_quantization", lambda: run(args))


def run(args: argparse.Namespace) -> None:
    from engines.benchmark import cpu_name
    from engines.provenance import git_revision, tool_versions

    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as name:
        trained = Trained(Path(name), args.model, args.data, args.images)
        costs = {"ours": trained.quantise("ours"), THEIRS: trained.quantise(THEIRS)}
        rows = [trained.judge(*variant) for variant in variants()]
    what = (
        f"{trained.manifest.method} ({args.model.name}), {trained.manifest.height_px} x {trained.manifest.width_px}, "
        f"{trained.calibration} calibration images, {len(trained.records)} judging images; "
        f"PyTorch FP32 mAP {trained.mean_ap:.2f} %"
    )
    write_table(what, rows, costs)
    facts = {
        "bench": "quantization", "commit": git_revision(), "cpu": cpu_name(), "tools": tool_versions(TOOLS),
        "method": trained.manifest.method, "run": args.model.name, "dataset": trained.dataset.name,
        "size_px": [trained.manifest.height_px, trained.manifest.width_px], "calibration_images": trained.calibration,
        "judging_images": len(trained.records), "fp32_mean_ap": round(trained.mean_ap, 3),
        "costs": {quantiser: dataclasses.asdict(cost) for quantiser, cost in costs.items()},
        "rows": [dataclasses.asdict(row) for row in rows],
    }  # fmt: skip
    sys.stdout.write(json.dumps(facts) + "\n")


class Trained:
    """An exported run, the images that judge it and its PyTorch embeddings of them."""

    def __init__(self, folder: Path, model: Path, data: Path, images: int) -> None:
        import torch

        from calib.samples import calibration_images
        from train.checkpoint import build_method, load_checkpoint
        from train.datasets.open import open_dataset
        from train.export import export_model
        from train.run_folder import checkpoint_path

        torch.set_num_threads(1)
        checkpoint = load_checkpoint(checkpoint_path(model))
        facts = checkpoint.dataset
        self.dataset: Dataset = open_dataset(str(facts.get("name", "sysu")), data, trial=int(facts.get("trial", 1)))
        self._folder = folder
        self.manifest: Manifest = export_model(build_method(checkpoint), folder)
        drawn = calibration_images(self.dataset, images)
        self.calibration = len(drawn)
        self._jobs = folder / "job.json"
        self._drawn = drawn
        self.records: list[ImageRecord] = self.dataset.split("test")
        self._reference_ND = self._embed("torch", "fp32")
        self.mean_ap = self._mean_ap(self._reference_ND)

    def quantise(self, quantiser: str) -> Cost:
        """Make the INT8 files of every FP32 graph in a process of its own."""
        job = {
            "quantiser": quantiser,
            "size": [self.manifest.height_px, self.manifest.width_px],
            "graphs": [
                {
                    "file": str(self._folder / file),
                    "images": [
                        [str(record.path), record.identity, record.camera, record.modality]
                        for record in self._drawn
                        if record.modality in modalities
                    ],
                }
                for file, modalities in self._files().items()
            ],
        }
        self._jobs.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, str(Path(__file__).resolve()), "--job", str(self._jobs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            from engines.errors import BadInput

            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BadInput(f"expected {quantiser} to quantise {self.manifest.method}, got {last}")
        return Cost(**json.loads(done.stdout))

    def judge(self, quantiser: str, form: Form, runtime: str) -> Judged:
        from calib.drift import drift_of
        from engines.manifest import Graph, sha256_of

        graphs: list[Graph] = []
        size = 0
        for file, modalities in self._files().items():
            path = self._folder / output_name(file, quantiser, form)
            size += path.stat().st_size
            graphs += [
                Graph(file=path.name, sha256=sha256_of(path), modality=modality, precision="int8", form=form)
                for modality in modalities
            ]
        dataclasses.replace(self.manifest, graphs=(*self.manifest.graphs, *graphs)).save(self._folder)
        feature_ND = self._embed(runtime, "int8")
        mean_ap = self._mean_ap(feature_ND)
        return Judged(
            quantiser=quantiser,
            form="uint8" if form == "onnx-uint8" else "Q/DQ",
            runtime=runtime,
            megabytes=round(size / 1e6, 2),
            drift=drift_of(self.records, self._reference_ND, feature_ND, dataset=self.dataset.name),
            mean_ap=mean_ap,
            map_change=mean_ap - self.mean_ap,
        )

    def _files(self) -> dict[str, list[Modality]]:
        files: dict[str, list[Modality]] = {}
        for graph in self.manifest.graphs:
            if graph.form == "onnx":
                files.setdefault(graph.file, []).append(graph.modality)
        return files

    def _embed(self, backend: str, precision: str) -> NDArray[np.float32]:
        from engines.open import open_engine
        from train.evaluation import embed_images
        from train.protocol import key

        with open_engine(self._folder, backend=backend, precision=precision, threads=1) as engine:
            found = embed_images(engine.embed, self.records, self.manifest.height_px, self.manifest.width_px)
        return np.stack([found[key(record)] for record in self.records])

    def _mean_ap(self, feature_ND: NDArray[np.float32]) -> float:
        from train.protocol import build_protocol, key, score

        features = dict(zip(map(key, self.records), feature_ND, strict=True))
        return 100 * score(build_protocol(self.dataset), features).mean_ap


def variants() -> list[tuple[str, Form, str]]:
    """List quantiser, form and runtime of every row."""
    from calib.ranges import RANGE_METHODS

    ours: list[tuple[Form, str]] = [("onnx", "openvino"), ("onnx-uint8", "openvino"), ("onnx-uint8", "onnxruntime")]
    found: list[tuple[str, Form, str]] = [
        (f"ours, {method}", form, runtime) for method in RANGE_METHODS for form, runtime in ours
    ]
    return [*found, (THEIRS, "onnx", "openvino"), (THEIRS, "onnx", "onnxruntime")]


def output_name(file: str, quantiser: str, form: Form) -> str:
    """Name the INT8 file that a quantiser makes of an FP32 one."""
    return f"{file.removesuffix('.fp32.onnx')}.{quantiser.replace(', ', '-').replace(' ', '-')}.{form}.int8.onnx"


def work(path: Path) -> None:
    """Do one quantiser's job on one core and say what it took; this process does nothing else."""
    from train.datasets.images import ImageRecord

    job = json.loads(path.read_text(encoding="utf-8"))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # theirs takes no number of threads
    logging.disable(logging.WARNING)
    height_px, width_px = job["size"]
    seconds = 0.0
    for graph in job["graphs"]:
        records = [
            ImageRecord(path=Path(file), identity=identity, camera=camera, modality=modality)
            for file, identity, camera, modality in graph["images"]
        ]
        make = make_ours if job["quantiser"] == "ours" else make_theirs
        seconds += make(Path(graph["file"]), records, height_px, width_px)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(json.dumps({"seconds": round(seconds, 2), "peak_mb": round(peak_kb * 1024 / 1e6, 1)}) + "\n")


def make_ours(onnx_path: Path, records: Sequence[ImageRecord], height_px: int, width_px: int) -> float:
    """Write both forms for each range method; return the seconds without imports."""
    import openvino  # noqa: F401  before the clock starts, as theirs

    from calib.calibrate import calibrate
    from calib.graph_cost import load_graph
    from calib.quantize import quantize
    from calib.uint8 import quantize_uint8

    start = time.perf_counter()
    tables = calibrate(onnx_path, records, height_px, width_px, threads=1)
    model = load_graph(onnx_path)
    for method, table in tables.items():
        written: list[tuple[Form, onnx.ModelProto]] = [
            ("onnx", quantize(model, table.amax)),
            ("onnx-uint8", quantize_uint8(model, table)),
        ]
        for form, graph in written:
            out = onnx_path.with_name(output_name(onnx_path.name, f"ours, {method}", form))
            out.write_bytes(graph.SerializeToString())
    return time.perf_counter() - start


def make_theirs(onnx_path: Path, records: Sequence[ImageRecord], height_px: int, width_px: int) -> float:
    """Write ONNX Runtime's INT8 file as its documentation says; return the seconds without imports."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from calib.samples import pixel_batches

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[NDArray[np.uint8]] = pixel_batches(records, height_px, width_px)

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:  # type: ignore[override]
            image_BHWC = next(self._batches, None)
            return None if image_BHWC is None else {"pixels": image_BHWC}

    start = time.perf_counter()
    prepared = onnx_path.with_suffix(".prepared.onnx")
    # Without its symbolic shapes, which fail at the Expand of the L2 norm (1.31); ONNX's own shape inference stays.
    quant_pre_process(str(onnx_path), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(onnx_path.with_name(output_name(onnx_path.name, THEIRS, "onnx"))), Reader())
    return time.perf_counter() - start


def write_table(what: str, rows: Sequence[Judged], costs: dict[str, Cost]) -> None:
    write = sys.stdout.write
    write(f"{what}\n\n{'':39}{'cosine':>16}{'rank-1':>10}{'similarity':>12}{'mAP on the':>12}\n")
    write(
        f"{'INT8 by':20}{'form':7}{'run by':12}{'mean':>8}{'worst':>8}{'agree %':>10}{'error':>12}{'protocol %':>12}"
        f"{'change':>8}{'MB':>6}\n"
    )
    for row in rows:
        write(
            f"{row.quantiser:20}{row.form:7}{row.runtime:12}{row.drift.mean_cosine:8.4f}{row.drift.worst_cosine:8.4f}"
            f"{100 * row.drift.rank1_agreement:10.1f}{row.drift.max_similarity_error:12.3f}{row.mean_ap:12.2f}"
            f"{row.map_change:+8.2f}{row.megabytes:6.1f}\n"
        )
    write("\n")
    for quantiser, cost in costs.items():
        write(f"calibration, {quantiser}: {cost.seconds:.1f} s on one core, peak memory {cost.peak_mb:.0f} MB\n")


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
