# PYTHON_ARGCOMPLETE_OK
"""Write two synthetic camera streams that see the same people at the same time, and the truth of who is where."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from engines.command_line import Parser

log = logging.getLogger(__name__)

EXAMPLES = (
    "python train/make_streams.py --out streams",
    "python train/make_streams.py --out thermal --infrared thermal --people 12 --seed 3",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import whole

    parser = Parser("make_streams", __doc__, EXAMPLES)
    add = parser.add_argument_group("content").add_argument
    add("--people", type=whole("a whole number of people"), default=8, metavar="N", help="who walk through")
    add("--infrared", choices=("nir", "thermal"), default="nir", metavar="NAME", help="near or long wave: %(choices)s")
    seed = whole("a whole number", least=0)
    add(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="same number, same bytes; give the dataset's for people of its kind",
    )
    add = parser.add_argument_group("output").add_argument
    add(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="new folder that receives visible.mp4, infrared.mp4 and truth.json",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    return run_script("make_streams", lambda: make(args))


def make(args: argparse.Namespace) -> None:
    from train.datasets.synthetic_stream_files import write_streams
    from train.datasets.synthetic_streams import StreamShape

    shape = StreamShape(people=args.people)
    frames = write_streams(args.out, shape, seed=args.seed, infrared=args.infrared)
    log.info(
        "wrote two videos of %d frames (%.0f s, %d people) to %s", frames, frames / shape.fps, shape.people, args.out
    )


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
