"""How fast ResNet-50 at 384 x 128 runs on one core of this CPU, and whether calibration's memory stays flat.

The baseline method with random weights: speed does not depend on them. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from train.method import Method

HEIGHT, WIDTH = 384, 128
BATCHES = (1, 8)
MEMORY_IMAGES = (32, 256)
TOOLS = ("openvino", "onnxruntime", "torch", "numpy")
EAGER = "pytorch eager fp32"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_engines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="turns of each engine (default: 7)")
    parser.add_argument("--skip", nargs="+", default=[], choices=["compile", "memory"], help="leave slow parts out")
    parser.add_argument("--calibrate", nargs=2, metavar=("ONNX", "N"), help=argparse.SUPPRESS)  # the child process
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    if args.calibrate:
        return run_script("bench_engines", lambda: report_memory(Path(args.calibrate[0]), int(args.calibrate[1])))
    return run_script("bench_engines", lambda: measure(args.rounds, args.skip))


def measure(rounds: int, skip: Sequence[str]) -> None:
    import logging

    from engines.benchmark import cpu_name, time_in_turns
    from engines.provenance import git_revision, tool_versions

    logging.disable(logging.INFO)
    rows: list[dict[str, Any]] = []
    notes: dict[str, str] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method = build(folder)
        engines = open_all(folder, method)
        if "compile" not in skip:
            compiled, notes["torch.compile bf16"] = compile_bf16(method)
            if compiled is not None:
                engines["torch.compile bf16"] = compiled
        for batch in BATCHES:
            image_BHWC = random_pixels(batch)
            calls = {name: partial(run, image_BHWC) for name, run in engines.items()}
            timings = time_in_turns(calls, batch, rounds=rounds)
            eager = next(timing.least_s for timing in timings if timing.name == EAGER)
            rows += [
                {
                    "engine": timing.name,
                    "batch": batch,
                    "ms": round(1000 * timing.least_s, 2),
                    "images_per_s": round(timing.images_per_s, 2),
                    "times_eager": round(eager / timing.least_s, 2),
                }
                for timing in timings
            ]
        if "memory" not in skip:
            memory = {str(count): memory_of(folder / "visible.fp32.onnx", count) for count in MEMORY_IMAGES}
    write = sys.stdout.write
    write(f"ResNet-50 {HEIGHT} x {WIDTH}, one thread, {cpu_name()}\n")
    write(f"{'engine':22}{'batch':>6}{'ms':>10}{'images/s':>10}{'x eager':>9}\n")
    for row in rows:
        write(
            f"{row['engine']:22}{row['batch']:6}{row['ms']:10.1f}{row['images_per_s']:10.1f}{row['times_eager']:9.2f}\n"
        )
    for engine, note in notes.items():
        write(f"{engine}: {note}\n")
    for count, peak_mb in memory.items():
        write(f"calibration on {count:>4} images: peak memory {peak_mb:.0f} MB\n")
    facts = {"bench": "engines", "commit": git_revision(), "cpu": cpu_name(), "tools": tool_versions(TOOLS)}
    write(json.dumps({**facts, "rows": rows, "notes": notes, "calibration_peak_mb": memory}) + "\n")


def build(folder: Path) -> Method:
    """Export a ResNet-50 with random weights and add the INT8 graph of the visible modality."""
    import onnx

    from calib.placement import place
    from calib.quantize import quantize
    from calib.ranges import measure as measure_ranges
    from engines.manifest import Graph, sha256_of
    from train.export import export_model
    from train.methods import load

    recipe = dataclasses.replace(load("baseline").default_recipe, height_px=HEIGHT, width_px=WIDTH)
    method = load("baseline")(recipe, 10).eval()
    manifest = export_model(method, folder)
    graphs = list(manifest.graphs)
    for modality in ("visible", "infrared"):
        model = onnx.load(str(folder / f"{modality}.fp32.onnx"))
        histograms = measure_ranges(model, place(model).measured, [random_pixels(4)], threads=1)
        path = folder / f"{modality}.int8.onnx"
        amax = {name: histogram.amax("mse") for name, histogram in histograms.items()}
        path.write_bytes(quantize(model, amax).SerializeToString())
        graphs.append(Graph(file=path.name, sha256=sha256_of(path), modality=modality, precision="int8", form="onnx"))
    dataclasses.replace(manifest, graphs=tuple(graphs)).save(folder)
    return method


def open_all(folder: Path, method: Method) -> dict[str, Callable[[NDArray[np.uint8]], object]]:
    import torch

    from engines.open import open_engine
    from train.export import PixelsToEmbedding

    torch.set_num_threads(1)
    eager = PixelsToEmbedding(method, "visible").eval()

    def run_eager(image_BHWC: NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return eager(torch.as_tensor(image_BHWC))

    chosen = [("openvino", "int8"), ("openvino", "fp32"), ("onnxruntime", "int8"), ("onnxruntime", "fp32")]
    found: dict[str, Callable[[NDArray[np.uint8]], object]] = {}
    for backend, precision in chosen:
        engine = open_engine(folder, backend=backend, precision=precision, threads=1)
        found[engine.name] = lambda image_BHWC, engine=engine: engine.embed(image_BHWC, "visible")
    found[EAGER] = run_eager
    return found


def compile_bf16(method: Method) -> tuple[Callable[[NDArray[np.uint8]], object] | None, str]:
    """Compile with freezing in bf16, or say why not."""
    import torch
    from torch._inductor import config

    from engines.benchmark import cpu_name
    from train.export import PixelsToEmbedding

    config.freezing = True
    compiled = torch.compile(PixelsToEmbedding(method, "visible").eval())

    def run(image_BHWC: NDArray[np.uint8]) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return compiled(torch.as_tensor(image_BHWC))

    try:
        run(random_pixels(BATCHES[0]))
    except Exception as error:  # no compiler, or an operator it cannot take: the row is left out and says so
        return None, f"cannot compile here ({(str(error).strip().splitlines() or [type(error).__name__])[0][:120]})"
    native = "bf16" in cpu_name()
    return run, "bf16 instructions are there" if native else "bf16 is emulated: this CPU has no bf16 instructions"


def memory_of(onnx_path: Path, images: int) -> float:
    """Calibrate in a process of its own and return its peak memory in MB."""
    command = [sys.executable, str(Path(__file__).resolve()), "--calibrate", str(onnx_path), str(images)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def report_memory(onnx_path: Path, images: int) -> None:
    import onnx

    from calib.placement import place
    from calib.ranges import measure as measure_ranges
    from calib.samples import CALIBRATION_BATCH

    model = onnx.load(str(onnx_path))
    batches = (random_pixels(CALIBRATION_BATCH) for _ in range(images // CALIBRATION_BATCH))
    measure_ranges(model, place(model).measured, batches, threads=1)
    # Not getrusage: its peak starts at that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(f"{peak_kb / 1024:.1f}\n")


def random_pixels(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
