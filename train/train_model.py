"""Train a visible-infrared re-identification method."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python train/train_model.py mcja --data ~/SYSU-MM01 --pretrained imagenet
  python train/train_model.py mpanet --dataset regdb --data ~/RegDB --all-splits --out runs/regdb
  torchrun --nproc-per-node 4 train/train_model.py mcja --data ~/SYSU-MM01 --precision bf16-mixed --out runs/four
  python train/train_model.py baseline --data demo/data --set backbone=resnet_small --set epochs=20 --out runs/small
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="mcja, mpanet, aligngan, imfe or baseline")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", default="sysu", choices=["sysu", "regdb", "llcm"], help="layout (default: sysu)")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    data.add_argument("--trial", type=int, metavar="N", help="RegDB split 1 to 10 (default: 1)")
    data.add_argument("--all-splits", action="store_true", help="train ten models, one on each RegDB split")
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="override a recipe setting")
    recipe.add_argument("--recipe", type=Path, metavar="FILE", help="recipe.json of an earlier run")
    recipe.add_argument(
        "--pretrained",
        type=Path,
        metavar="FILE",
        help="ImageNet weights in torchvision's format, or imagenet to fetch them",
    )
    hardware = parser.add_argument_group("hardware")
    hardware.add_argument("--accelerator", default="auto", help="auto, cpu, cuda (default: auto)")
    hardware.add_argument(
        "--precision", default="32-true", choices=["32-true", "bf16-mixed", "16-mixed"], help="default: 32-true"
    )
    hardware.add_argument("--workers", type=int, default=2, help="decoding processes (default: 2)")
    hardware.add_argument(
        "--cache",
        default="auto",
        choices=["auto", "ram", "none"],
        help="keep resized images (default: auto, below 2 GB)",
    )
    hardware.add_argument("--deterministic", action="store_true", help="the same bits on the same machine, slower")
    choice = parser.add_argument_group("selection")
    choice.add_argument(
        "--select",
        default="last",
        choices=["last", "val", "test"],
        help="network to end with: last epoch (default), best on the validation identities, which are then not trained "
        "on, or best on the test set (to reproduce published codes; the results say so)",
    )
    choice.add_argument(
        "--evaluate-every", type=int, default=0, metavar="N", help="score every N epochs (default: 0, or 5)"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, metavar="DIR", help="run folder (default: runs/METHOD-DATE)")
    output.add_argument("--resume", action="store_true", help="go on behind the last complete epoch of --out")
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
