"""Align a visible and an infrared camera that stand side by side, from views of a board of ArUco markers."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """The board must be seen by both cameras, at many places and distances, over the distances at which people
walk; for a thermal camera it is warmed (a lamp, the sun) or made of two materials. NAME_visible.png and
NAME_infrared.png (or NAME_thermal.png) are one view.

examples:
  python deploy/align_cameras.py views/ --marker-mm 60 --out door.alignment.json
  python deploy/align_cameras.py --rgb 0 --ir 2 --marker-mm 120 --out door.alignment.json --picture door.png"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="align_cameras", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("views", type=Path, nargs="?", metavar="FOLDER", help="pairs of pictures")
    group = parser.add_argument_group("cameras, instead of a folder")
    group.add_argument("--rgb", metavar="SOURCE", help="visible camera or recording")
    group.add_argument("--ir", metavar="SOURCE", help="infrared camera or recording")
    group.add_argument("--views-wanted", type=int, default=20, metavar="N", help="stop after N views (20)")
    group.add_argument("--save-views", type=Path, metavar="DIR", help="keep the views that were used, as a folder")
    group = parser.add_argument_group("board")
    group.add_argument(
        "--marker-mm", type=float, required=True, metavar="MM", help="side of a marker, black edge to edge"
    )
    group.add_argument("--dictionary", default="DICT_ARUCO_ORIGINAL", metavar="NAME", help="(DICT_ARUCO_ORIGINAL)")
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, default=Path("alignment.json"), metavar="FILE", help="(alignment.json)")
    group.add_argument("--picture", type=Path, metavar="FILE", help="residuals (default: --out with .png)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.alignment.run import AlignOptions, align

        return align(AlignOptions(**vars(args)))

    return run_script("align_cameras", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
