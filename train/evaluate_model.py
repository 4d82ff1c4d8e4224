"""Score a trained model or an engine by SYSU-MM01's official protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python train/evaluate_model.py runs/mcja/checkpoint.pt --data ~/SYSU-MM01
  python train/evaluate_model.py engines/built/mcja --precision int8 --data ~/SYSU-MM01 --search indoor --shots 10
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_argument_group("model")
    model.add_argument("model", type=Path, help="checkpoint.pt, run folder, engine folder, or pixels (raw-pixel floor)")
    model.add_argument("--method", help="refuse a checkpoint of any other method")
    model.add_argument(
        "--backend", default="auto", help="for an engine folder: openvino, onnxruntime, torch (default: auto)"
    )
    model.add_argument("--precision", help="for an engine folder: fp32, fp16, int8 (default: the fastest there)")
    data = parser.add_argument_group("data and protocol")
    data.add_argument("--dataset", default="sysu", choices=["sysu"], help="layout of --data (default: sysu)")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    data.add_argument("--lineage", default="official", choices=["official"], help="whose protocol (default: official)")
    data.add_argument("--search", default="all", choices=["all", "indoor"], help="gallery cameras (default: all)")
    data.add_argument(
        "--shots", type=int, default=1, choices=[1, 10], help="images per identity and camera (default: 1)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script
    from train.evaluation_run import run_evaluation

    return run_script("evaluate_model", lambda: run_evaluation(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
