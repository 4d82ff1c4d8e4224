"""Run every benchmark, one behind the other; each prints a table and, last, one JSON line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Speed only: how hard the synthetic dataset is takes a trained model (bench_dataset.py --data DIR --model RUN).
BENCHMARKS = ("bench_engines.py", "bench_evaluation.py", "bench_training.py", "bench_methods.py")


def main() -> int:
    codes = []
    for name in BENCHMARKS:
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        codes.append(subprocess.run([sys.executable, str(HERE / name)], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main())
