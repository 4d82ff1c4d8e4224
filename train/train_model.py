# PYTHON_ARGCOMPLETE_OK
"""Train a visible-infrared re-identification method."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python train/train_model.py mcja --data ~/SYSU-MM01 --pretrained imagenet",
    "python train/train_model.py mpanet --dataset regdb --data ~/RegDB --all-splits --out runs/regdb",
    "torchrun --nproc-per-node 4 train/train_model.py mcja --data ~/SYSU-MM01 --precision bf16-mixed --out runs/four",
    "python train/train_model.py baseline --data demo/data --set backbone=resnet_small --out runs/small",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import DATASETS, whole
    from train.methods import METHODS

    parser = Parser("train_model", __doc__, EXAMPLES)
    add = parser.add_argument_group("model").add_argument
    add("method", choices=tuple(METHODS), metavar="METHOD", help="%(choices)s")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="recipe setting; repeatable (default: the recipe's)",
    )
    add("--recipe", type=Path, metavar="FILE", help="recipe.json of an earlier run (default: the method's)")
    add(
        "--pretrained", type=Path, metavar="FILE",
        help="ImageNet weights in torchvision's format, or imagenet to fetch them",
    )  # fmt: skip
    add = parser.add_argument_group("input").add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="dataset")
    add("--dataset", choices=DATASETS, default="sysu", metavar="NAME", help="its layout: %(choices)s")
    trial = whole("the number of a RegDB split")
    add("--trial", type=trial, metavar="N", help="RegDB split, 1 to 10 (default: 1)")
    add("--all-splits", action="store_true", help="train ten models, one on each RegDB split")
    _add_selection(parser)
    _add_hardware(parser)
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FOLDER", help="run folder (default: runs/METHOD-DATE)")
    add("--resume", action="store_true", help="go on behind the last complete epoch of --out")
    return parser


def _add_selection(parser: Parser) -> None:
    from engines.option_values import whole

    add = parser.add_argument_group("selection").add_argument
    add(
        "--select", choices=("last", "val", "test"), default="last", metavar="NAME",
        help="network to end with: of the last epoch, best on the validation identities (val), which are then not "
        "trained on, or best on the test set (test; to reproduce published codes, the results say so)",
    )  # fmt: skip
    epochs = whole("a whole number of epochs", least=0)
    add(
        "--evaluate-every",
        type=epochs,
        default=0,
        metavar="N",
        help="score every N epochs (default: 0, never; 5 with --select val or test)",
    )


def _add_hardware(parser: Parser) -> None:
    from engines.option_values import whole

    add = parser.add_argument_group("hardware").add_argument
    add("--accelerator", default="auto", metavar="NAME", help="Lightning Fabric's: auto, cpu, cuda")
    types = ("32-true", "bf16-mixed", "16-mixed")
    add("--precision", choices=types, default="32-true", metavar="NAME", help="of the arithmetic: %(choices)s")
    processes = whole("a whole number of processes", least=0)
    add("--workers", type=processes, default=2, metavar="N", help="processes that decode images")
    add(
        "--cache",
        choices=("auto", "ram", "none"),
        default="auto",
        metavar="NAME",
        help="keep resized images: auto (below 2 GB), ram, none",
    )
    add("--deterministic", action="store_true", help="the same bits on the same machine, slower")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script
    from train.training_run import run_training

    return run_script("train_model", lambda: run_training(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
