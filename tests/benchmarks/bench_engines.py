"""How fast ResNet-50 at 384 x 128 runs on this CPU, and what a device and a calibration hold in memory.

The baseline method with random weights: speed does not depend on them. All engines take turns in one process, each with
the same number of threads, and the least time of each counts. OpenVINO runs through the product; ONNX Runtime and
PyTorch as their users have them, with their own defaults. ONNX Runtime gets three INT8 files: both of our forms, and
its own default quantisation (quantize_static). Memory is the peak of a process that does nothing else; the device's has
no PyTorch in it. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import logging
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from numpy.typing import NDArray

    from engines.benchmark import Timing
    from engines.manifest import Form
    from train.method import Method

    Embed = Callable[[NDArray[np.uint8]], object]

HEIGHT, WIDTH = 384, 128
BATCHES = (1, 8, 32)
MEMORY_IMAGES = (32, 256)
TOOLS = ("openvino", "onnxruntime", "torch", "numpy")
EAGER = "pytorch eager fp32"
FORMS: dict[Form, str] = {"onnx": "openvino int8 (Q/DQ)", "onnx-uint8": "openvino int8 (uint8)"}
UINT8_THERE, QDQ_THERE = "onnxruntime int8 (uint8)", "onnxruntime int8 (Q/DQ)"
BY_US = ("openvino", UINT8_THERE, QDQ_THERE)
THEIRS = "visible.onnxruntime.int8.onnx"  # no graph of the manifest
PARTS = ("compile", "memory", "calibration")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One engine on one batch size."""

    threads: int
    batch: int
    engine: str
    ms: float
    images_per_s: float
    times_eager: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The product's INT8 against PyTorch eager, the best without this repository, and ONNX Runtime with our file."""

    threads: int
    batch: int
    times_eager: float
    best_other: str
    times_best_other: float
    times_onnxruntime_on_ours: float


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_engines", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="turns of each engine (default: 7)")
    parser.add_argument(
        "--threads",
        nargs="+",
        type=int,
        default=[1],
        metavar="N",
        help="thread counts, one after the other (default: 1)",
    )
    parser.add_argument("--batch", nargs="+", type=int, default=list(BATCHES), metavar="N", help="default: 1 8 32")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processor's time, not the wall's: a first look on a machine that others load, 1 thread only",
    )
    parser.add_argument("--skip", nargs="+", default=[], choices=PARTS, help="leave slow parts out")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_engines", lambda: measure(args))


def measure(args: argparse.Namespace) -> None:
    from engines.benchmark import cpu_name
    from engines.errors import BadInput
    from engines.provenance import git_revision, tool_versions

    if args.cpu_time and args.threads != [1]:
        raise BadInput(
            f"--cpu-time: expected 1 thread, whose time is the wall's, got {args.threads}; leave --threads out"
        )
    if min(*args.threads, *args.batch, args.rounds) < 1:
        raise BadInput("expected at least 1 for --threads, --batch and --rounds")
    logging.disable(logging.INFO)
    rows: list[Row] = []
    notes: dict[str, str] = {}
    device_mb: dict[str, float] = {}
    calibration_mb: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method = build(folder)
        for threads in args.threads:
            rows += time_all(folder, method, threads, args, notes)
        if "memory" not in args.skip:
            device_mb = {str(batch): peak_mb("device", str(folder), str(batch)) for batch in args.batch}
        if "calibration" not in args.skip:
            file = str(folder / "visible.fp32.onnx")
            calibration_mb = {str(count): peak_mb("calibration", file, str(count)) for count in MEMORY_IMAGES}
    summaries = [summary(rows, threads, batch) for threads in args.threads for batch in args.batch]
    write = sys.stdout.write
    clock = "processor time" if args.cpu_time else "wall time"
    write(f"ResNet-50 {HEIGHT} x {WIDTH}, {cpu_name()}, least {clock} of {args.rounds} turns\n")
    write_rows(rows)
    for found in summaries:
        write(
            f"{product()}, {found.threads} thread(s), batch {found.batch}: {found.times_eager:.1f} x {EAGER}, "
            f"{found.times_best_other:.2f} x the best of the others ({found.best_other}), "
            f"{found.times_onnxruntime_on_ours:.2f} x ONNX Runtime on our uint8 file\n"
        )
    for engine, note in notes.items():
        write(f"{engine}: {note}\n")
    for batch, peak in device_mb.items():
        write(f"device process, {product()}, both modalities, batch {batch:>2}: peak memory {peak:.0f} MB\n")
    for count, peak in calibration_mb.items():
        write(f"calibration on {count:>3} images: peak memory {peak:.0f} MB\n")
    facts = {
        "bench": "engines",
        "clock": clock,
        "commit": git_revision(),
        "cpu": cpu_name(),
        "tools": tool_versions(TOOLS),
    }
    tables = {
        "rows": [dataclasses.asdict(row) for row in rows],
        "summaries": [dataclasses.asdict(found) for found in summaries],
    }
    write(json.dumps({**facts, **tables, "notes": notes, "device_mb": device_mb, "calibration_mb": calibration_mb}))
    write("\n")


def time_all(folder: Path, method: Method, threads: int, args: argparse.Namespace, notes: dict[str, str]) -> list[Row]:
    """Time every engine at one number of threads."""
    from engines.benchmark import time_in_turns

    engines = {
        **open_openvino(folder, threads, notes),
        **open_onnxruntime(folder, threads),
        **open_torch(method, threads, compiled="compile" not in args.skip, notes=notes),
    }
    rows: list[Row] = []
    for batch in args.batch:
        image_BHWC = random_pixels(batch)
        calls = {name: partial(run, image_BHWC) for name, run in engines.items()}
        # A batch of 32 takes seconds in the slower engines, and a long run is disturbed by less.
        rounds = args.rounds if batch < 32 else max(2, args.rounds // 2)
        clock = time.process_time if args.cpu_time else time.perf_counter
        rows += rows_of(time_in_turns(calls, batch, rounds=rounds, clock=clock), threads)
    engines.clear()
    gc.collect()
    return rows


def rows_of(timings: Sequence[Timing], threads: int) -> list[Row]:
    eager = next(timing.least_s for timing in timings if timing.name == EAGER)
    return [
        Row(
            threads=threads,
            batch=timing.batch,
            engine=timing.name,
            ms=round(1000 * timing.least_s, 2),
            images_per_s=round(timing.images_per_s, 2),
            times_eager=round(eager / timing.least_s, 2),
        )
        for timing in timings
    ]


def summary(rows: Sequence[Row], threads: int, batch: int) -> Summary:
    here = [row for row in rows if (row.threads, row.batch) == (threads, batch)]
    ours = next(row for row in here if row.engine == product())
    best = min((row for row in here if not row.engine.startswith(BY_US)), key=lambda row: row.ms)
    same_file = next(row for row in here if row.engine == UINT8_THERE)
    return Summary(
        threads=threads,
        batch=batch,
        times_eager=ours.times_eager,
        best_other=best.engine,
        times_best_other=round(best.ms / ours.ms, 2),
        times_onnxruntime_on_ours=round(same_file.ms / ours.ms, 2),
    )


def product() -> str:
    """Name the row that a user gets without a choice."""
    from engines.open import RUNTIMES

    return FORMS[RUNTIMES["openvino"].reads["int8"][0]]


def write_rows(rows: Sequence[Row]) -> None:
    write = sys.stdout.write
    write(f"{'threads':>7}{'batch':>6}  {'engine':26}{'ms':>10}{'images/s':>10}{'x eager':>9}\n")
    for row in rows:
        write(
            f"{row.threads:7}{row.batch:6}  {row.engine:26}{row.ms:10.1f}{row.images_per_s:10.1f}"
            f"{row.times_eager:9.2f}\n"
        )


def build(folder: Path) -> Method:
    """Export a ResNet-50 with random weights and add the INT8 graphs of both forms."""
    from calib.calibrate import measured_tensors
    from calib.graph_cost import load_graph
    from calib.quantize import quantize
    from calib.ranges import measure as measure_ranges
    from calib.table import CalibrationTable
    from calib.uint8 import quantize_uint8
    from engines.manifest import Graph, sha256_of
    from train.export import export_model
    from train.methods import load

    recipe = dataclasses.replace(load("baseline").default_recipe, height_px=HEIGHT, width_px=WIDTH)
    method = load("baseline")(recipe, 10).eval()
    manifest = export_model(method, folder)
    graphs = list(manifest.graphs)
    for modality in ("visible", "infrared"):
        source = folder / f"{modality}.fp32.onnx"
        model = load_graph(source)
        histograms = measure_ranges(model, measured_tensors(model), [random_pixels(4)], threads=1)
        table = CalibrationTable(
            graph_sha256=sha256_of(source),
            range_method="mse",
            images=4,
            images_sha256="",
            list_sha256="",
            amax={name: histogram.amax("mse") for name, histogram in histograms.items()},
            lowest={name: histogram.lowest for name, histogram in histograms.items()},
        )
        written: list[tuple[str, Form, onnx.ModelProto]] = [
            (f"{modality}.int8.onnx", "onnx", quantize(model, table.amax)),
            (f"{modality}.int8.uint8.onnx", "onnx-uint8", quantize_uint8(model, table)),
        ]
        for file, form, graph in written:
            (folder / file).write_bytes(graph.SerializeToString())
            digest = sha256_of(folder / file)
            graphs.append(Graph(file=file, sha256=digest, modality=modality, precision="int8", form=form))
    dataclasses.replace(manifest, graphs=tuple(graphs)).save(folder)
    quantise_as_onnxruntime(folder / "visible.fp32.onnx", folder / THEIRS)
    return method


def quantise_as_onnxruntime(source: Path, out: Path) -> None:
    """Write what ONNX Runtime's own static quantisation makes with its defaults."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches = iter([{"pixels": random_pixels(4)}])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:  # type: ignore[override]
            return next(self._batches, None)

    logging.getLogger().setLevel(logging.ERROR)  # it advises a step that was done
    prepared = source.with_suffix(".prepared.onnx")
    # Without its symbolic shapes, which fail at the Expand of the L2 norm (1.31); ONNX's own shape inference stays.
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    quantize_static(str(prepared), str(out), Reader())


def open_openvino(folder: Path, threads: int, notes: dict[str, str]) -> dict[str, Embed]:
    """Open the product's engines; bf16 only where the CPU computes it."""
    from engines.errors import BadInput
    from engines.manifest import load_manifest
    from engines.open import open_engine

    def opened(precision: str, *, bf16: bool = False) -> Embed:
        engine = open_engine(folder, backend="openvino", precision=precision, threads=threads, bf16=bf16)
        return lambda image_BHWC: engine.embed(image_BHWC, "visible")

    manifest = load_manifest(folder)
    found: dict[str, Embed] = {}
    for form, name in FORMS.items():
        # Only this one is there, so it is opened.
        other = [graph for graph in manifest.graphs if graph.precision == "int8" and graph.form != form]
        rest = tuple(graph for graph in manifest.graphs if graph not in other)
        dataclasses.replace(manifest, graphs=rest).save(folder)
        found[name] = opened("int8")
    manifest.save(folder)
    found["openvino fp32"] = opened("fp32")
    try:
        found["openvino bf16"] = opened("fp32", bf16=True)
    except BadInput as error:
        notes["openvino bf16"] = str(error)
    return found


def open_onnxruntime(folder: Path, threads: int) -> dict[str, Embed]:
    """Open sessions with ONNX Runtime's defaults."""
    import onnxruntime

    runtime: Any = onnxruntime
    found: dict[str, Embed] = {}
    files = {
        UINT8_THERE: "visible.int8.uint8.onnx",
        QDQ_THERE: "visible.int8.onnx",
        "onnxruntime int8 (its own)": THEIRS,
        "onnxruntime fp32": "visible.fp32.onnx",
    }
    for name, file in files.items():
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        session = runtime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
        found[name] = lambda image_BHWC, session=session: session.run(None, {"pixels": image_BHWC})
    return found


def open_torch(method: Method, threads: int, *, compiled: bool, notes: dict[str, str]) -> dict[str, Embed]:
    """Return PyTorch as it is and compiled with freezing, in fp32 and bf16."""
    import torch
    from torch._inductor import config

    from train.export import PixelsToEmbedding

    torch.set_num_threads(threads)
    config.freezing = True
    config.fx_graph_cache = False  # compiled code knows its number of threads
    torch._dynamo.reset()
    eager = PixelsToEmbedding(method, "visible").eval()

    def run(embed: Embed, image_BHWC: NDArray[np.uint8], *, bf16: bool) -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return embed(torch.as_tensor(image_BHWC))  # type: ignore[arg-type]

    found: dict[str, Embed] = {
        EAGER: partial(run, eager, bf16=False),
        "pytorch eager bf16": partial(run, eager, bf16=True),
    }
    for precision in ("fp32", "bf16") if compiled else ():
        name = f"torch.compile {precision}"
        call = partial(
            run, torch.compile(PixelsToEmbedding(method, "visible").eval(), dynamic=False), bf16=precision == "bf16"
        )
        try:
            call(random_pixels(1))
        except Exception as error:  # no compiler, or an operator it cannot take: the row is left out and says so
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            notes[name] = f"cannot compile here ({reason})"
            continue
        found[name] = call
    if not cpu_has_bf16():
        notes["bf16"] = "emulated: this CPU has no bf16 instructions"
    return found


def cpu_has_bf16() -> bool:
    from engines.benchmark import cpu_name

    return "bf16" in cpu_name()


def peak_mb(*arguments: str) -> float:
    """Return the peak memory of measure_memory.py, a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("measure_memory.py")), *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def random_pixels(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
