"""Train a visible-infrared re-identification method."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python train/train_model.py mcja --data ~/SYSU-MM01
  python train/train_model.py baseline --data demo/data --set backbone=resnet_small --set epochs=20 --out runs/small
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="mcja or baseline")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", default="sysu", choices=["sysu"], help="layout of --data (default: sysu)")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a recipe setting")
    recipe.add_argument("--recipe", type=Path, metavar="FILE", help="recipe.json of an earlier run")
    recipe.add_argument("--pretrained", type=Path, metavar="FILE", help="ImageNet weights in torchvision's format")
    hardware = parser.add_argument_group("hardware")
    hardware.add_argument("--accelerator", default="auto", help="auto, cpu, cuda (default: auto)")
    hardware.add_argument(
        "--precision", default="32-true", choices=["32-true", "bf16-mixed", "16-mixed"], help="default: 32-true"
    )
    hardware.add_argument("--workers", type=int, default=2, help="decoding processes (default: 2)")
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/METHOD-DATE)")
    output.add_argument("--resume", action="store_true", help="go on behind the last complete epoch of --out")
    output.add_argument("--evaluate-every", type=int, default=0, metavar="N", help="score the val split every N epochs")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script
    from train.training_run import run_training

    return run_script("train_model", lambda: run_training(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
