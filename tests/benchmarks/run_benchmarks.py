"""Run every benchmark, one behind the other; each prints a table and, last, one JSON line.

Speed needs nothing but this repository. What INT8 costs in accuracy and how hard a data set is take a trained model:
--data FOLDER --model RUN runs these too.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
SPEED = (
    "bench_engines.py",
    "bench_evaluation.py",
    "bench_training.py",
    "bench_methods.py",
    "bench_gallery.py",
    "bench_cameras.py",
    "bench_camera_memory.py",
    "bench_cold_start.py",
)
OF_A_MODEL = ("bench_dataset.py", "bench_quantization.py", "bench_calibration.py")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="run_benchmarks", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="what RUN was trained on")
    parser.add_argument("--model", type=Path, metavar="RUN", help="run folder")
    args = parser.parse_args(argv)
    if (args.data is None) != (args.model is None):
        parser.error("--data and --model go together")
    commands = [[name] for name in SPEED]
    if args.model is not None:
        commands += [[name, "--data", str(args.data), "--model", str(args.model)] for name in OF_A_MODEL]
    codes: list[int] = []
    for name, *options in commands:
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        codes.append(subprocess.run([sys.executable, str(HERE / name), *options], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
