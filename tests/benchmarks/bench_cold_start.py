"""How long run_cameras.py takes from the start of its process to the first embedding, and where the time goes.

The script as typed, with a visible and an infrared video of four people, YOLOX-nano and an INT8 engine: ResNet-50 with
random weights at 288 x 144, and any engine given with --engine. Beside it PyTorch, in a process of its own too: import,
the same network, one crop, no camera, no detector. Each in turns after one that warms the disk's cache; the median and
the worst count. `--help` of every script, likewise. Prints tables and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("measure_start.py")
DETECTOR = ROOT.parent / "shared" / "data" / "detectors" / "yolox_nano.onnx"
ROUNDS = 7
TARGET_S, HELP_TARGET_MS = 2.0, 150.0
TOOLS = ("openvino", "opencv-python", "numpy", "scipy", "torch")


@dataclass(frozen=True, kw_only=True)
class Row:
    """Seconds from the start of the process: its imports, the loop's first moment, the first embedding."""

    name: str
    imported_s: float
    first_frame_s: float | None
    first_embedding_s: float
    worst_s: float


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="bench_cold_start", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"starts of each (default: {ROUNDS})")
    parser.add_argument("--detector", type=Path, default=DETECTOR, metavar="FILE", help="YOLOX-nano as ONNX")
    parser.add_argument("--engine", type=Path, action="append", default=[], metavar="FOLDER", help="one more to start")
    args = parser.parse_args(argv)

    from engines.errors import run_script

    return run_script("bench_cold_start", lambda: measure(args))


def measure(args: argparse.Namespace) -> None:
    from engines.benchmark import cpu_name
    from engines.provenance import git_revision, tool_versions
    from tests.benchmarks.camera_material import build_engine, render, write_video

    write = sys.stdout.write
    helps = {script: median_help_ms(script, args.rounds) for script in scripts()}
    rows: list[Row] = []
    if args.detector.exists():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for modality in ("visible", "infrared"):
                write_video(render(modality, people=4), folder / f"{modality}.mp4", frames=96)
            (folder / "resnet50").mkdir()
            build_engine(folder / "resnet50")
            for engine in (folder / "resnet50", *args.engine):
                rows += [start(kind, engine, folder, args) for kind in ("cameras", "torch")]
    else:
        write(
            f"the cameras are left out: no {args.detector}; give --detector FILE (deploy/fetch_detector.py gets it)\n"
        )
    write(f"{cpu_name()}\n{'':28}{'imported':>10}{'first frame':>13}{'first embedding':>17}{'worst':>8}   seconds\n")
    for row in rows:
        frame = "" if row.first_frame_s is None else f"{row.first_frame_s:.2f}"
        write(f"{row.name:28}{row.imported_s:>10.2f}{frame:>13}{row.first_embedding_s:>17.2f}{row.worst_s:>8.2f}\n")
    slowest = max(helps, key=lambda script: helps[script])
    write(f"--help of {len(helps)} scripts: at most {helps[slowest]:.0f} ms ({slowest})\n")
    facts = {"bench": "cold_start", "commit": git_revision(), "cpu": cpu_name(), "tools": tool_versions(TOOLS)}
    targets = {"first_embedding_s": TARGET_S, "help_ms": HELP_TARGET_MS}
    write(json.dumps({**facts, "targets": targets, "rows": [asdict(row) for row in rows], "help_ms": helps}) + "\n")


def start(kind: str, engine: Path, folder: Path, args: argparse.Namespace) -> Row:
    """Start a process again and again; the first start is not counted."""
    command = [sys.executable, str(PROGRAM), kind, str(engine)]
    if kind == "cameras":
        sources = ["--rgb", str(folder / "visible.mp4"), "--ir", str(folder / "infrared.mp4")]
        out = ["--sightings", str(folder / "sightings.jsonl"), "--threshold", "0.6"]
        command += [*sources, "--detector", str(args.detector), "--precision", "int8", *out]
    turns = [_one_start(command) for _ in range(args.rounds + 1)][1:]
    moments = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    return Row(
        name=f"{kind if kind == 'torch' else 'run_cameras'}, {engine.name}",
        imported_s=moments["imported"],
        first_frame_s=moments.get("first frame"),
        first_embedding_s=moments["first embedding"],
        worst_s=max(turn["first embedding"] for turn in turns),
    )


def _one_start(command: Sequence[str]) -> dict[str, float]:
    started_s = time.time()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
    moments: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {name: at_s - started_s for name, at_s in moments.items()}


def scripts() -> list[str]:
    """Return the scripts of deploy and train."""
    files = sorted(path for folder in ("deploy", "train") for path in (ROOT / folder).glob("*.py"))
    return [str(path.relative_to(ROOT)) for path in files if '__name__ == "__main__"' in path.read_text("utf-8")]


def median_help_ms(script: str, rounds: int) -> float:
    """Return what `--help` takes, as a process."""
    taken_ms: list[float] = []
    for _ in range(rounds + 1):
        started_s = time.perf_counter()
        subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, check=True)
        taken_ms.append((time.perf_counter() - started_s) * 1e3)
    return statistics.median(taken_ms[1:])


if __name__ == "__main__":
    # As the scripts have it: a bare clone works too.
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
