"""Measure on site, without labels, from which cosine on two tracks are one person."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """people who are in one picture at the same time are different, a track is one person, and a person whom you
know tells the two kinds of cameras together:
  python deploy/calibrate_threshold.py --rgb 0 --ir 2 --minutes 20 --walker 30 75 --save-evidence evidence.npz
  python deploy/calibrate_threshold.py --evidence evidence.npz --walker 30 75 anna --walker 200 240 ben
  python deploy/run_cameras.py --rgb 0 --ir 2 --thresholds thresholds.json"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    from deploy.run_cameras import add_cameras, add_model  # standard library only, as here

    parser = argparse.ArgumentParser(
        prog="calibrate_threshold",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("input")
    add_cameras(group)
    group.add_argument("--minutes", type=float, default=5.0, help="how long live cameras are watched (5)")
    group.add_argument("--evidence", type=Path, metavar="FILE", help="what was saved before, instead of cameras")
    group.add_argument(
        "--walker", nargs="+", action="append", default=[], metavar=("FROM TO", "NAME"),
        help="seconds in which one known person alone was in the views; repeatable, a name tells people apart",
    )  # fmt: skip
    add_model(parser.add_argument_group("model"))
    group = parser.add_argument_group("output")
    group.add_argument(
        "--false-match-rate", type=float, default=0.01, metavar="SHARE",
        help="of searches with somebody unknown that may end in a match (0.01)",
    )  # fmt: skip
    group.add_argument("--out", type=Path, default=Path("thresholds.json"), metavar="FILE", help="thresholds.json")
    group.add_argument("--picture", type=Path, metavar="FILE", help="histograms (default: --out with .png)")
    group.add_argument("--save-evidence", type=Path, metavar="FILE", help="keep what was seen, without pictures, .npz")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.thresholds.run import run

        return run(args)

    return run_script("calibrate_threshold", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
