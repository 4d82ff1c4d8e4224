# PYTHON_ARGCOMPLETE_OK
"""Turn a checkpoint of MPANet's, MCJA's or AlignGAN's public code into a Crosslight checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python train/import_checkpoint.py mpanet model_best.pth --out mpanet.pt",
    "python train/import_checkpoint.py mcja sysu_model_best-90.pth --out mcja.pt --report keys.json",
    "python train/import_checkpoint.py aligngan AlignGAN/models --out aligngan.pt",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from train.methods import METHODS

    parser = Parser("import_checkpoint", __doc__, EXAMPLES)
    add = parser.add_argument_group("model").add_argument
    add("method", choices=tuple(METHODS), metavar="METHOD", help="mpanet, mcja or aligngan")
    add(
        "file", type=Path, metavar="WEIGHTS",
        help="its state dict; of aligngan the folder with model-0_STEP.pkl to model-7_STEP.pkl",
    )  # fmt: skip
    add(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="recipe setting that its weights do not tell; repeatable (default: the recipe's)",
    )  # fmt: skip
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write, a new file")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="also write every missing, unexpected and unfit key as JSON",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script
    from train.importing import run_import

    return run_script("import_checkpoint", lambda: run_import(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
