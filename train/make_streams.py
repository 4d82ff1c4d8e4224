"""Write two synthetic camera streams that see the same people at the same time, and the truth of who is where."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    help_out = "new folder that receives visible.mp4, infrared.mp4 and truth.json"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=help_out)
    parser.add_argument("--people", type=int, default=8, metavar="N", help="who walks through (default: 8)")
    parser.add_argument(
        "--infrared", choices=("nir", "thermal"), default="nir", help="near or long wave (default: nir)"
    )
    parser.add_argument("--seed", type=int, default=0, help="give the data set's, for people of its kind (default: 0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("make_streams", lambda: make(args))


def make(args: argparse.Namespace) -> None:
    from engines.errors import BadInput
    from train.datasets.synthetic_stream_files import write_streams
    from train.datasets.synthetic_streams import StreamShape

    if args.seed < 0:
        raise BadInput(f"expected a --seed of 0 or more, got {args.seed}")
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
