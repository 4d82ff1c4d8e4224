"""Turn a checkpoint of MPANet's, MCJA's or AlignGAN's public code into a Crosslight checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python train/import_checkpoint.py mpanet model_best.pth --out mpanet.pt
  python train/import_checkpoint.py mcja sysu_model_best-90.pth --out mcja.pt --report keys.json
  python train/import_checkpoint.py aligngan AlignGAN/models --out aligngan.pt
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", help="mpanet, mcja or aligngan")
    parser.add_argument(
        "file", type=Path, help="its state dict; for aligngan the folder with model-0_STEP.pkl to model-7_STEP.pkl"
    )
    recipe = parser.add_argument_group("recipe")
    recipe.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting that its weights do not tell"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write; a new file")
    output.add_argument(
        "--report", type=Path, metavar="FILE", help="write every missing, unexpected and unfit key as JSON"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script
    from train.importing import run_import

    return run_script("import_checkpoint", lambda: run_import(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
