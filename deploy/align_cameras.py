# PYTHON_ARGCOMPLETE_OK
"""Align a visible and an infrared camera that stand side by side, from views of a board of ArUco markers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/align_cameras.py views/ --marker-mm 60 --out door.alignment.json",
    "python deploy/align_cameras.py --rgb 0 --ir 2 --marker-mm 120 --out door.alignment.json --picture door.png",
)
NOTES = """The board must be seen by both cameras, at many places and distances, over the distances at which people
walk; for a thermal camera it is warmed (a lamp, the sun) or made of two materials. NAME_visible.png and
NAME_infrared.png (or NAME_thermal.png) are one view."""


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import measure, whole

    parser = Parser("align_cameras", __doc__, EXAMPLES, notes=NOTES)
    add = parser.add_argument_group("input").add_argument
    add("views", type=Path, nargs="?", metavar="FOLDER", help="pairs of pictures (default: --rgb and --ir)")
    add("--rgb", metavar="SOURCE", help="visible camera or recording, instead of FOLDER")
    add("--ir", metavar="SOURCE", help="infrared camera or recording, instead of FOLDER")
    add(
        "--views-wanted",
        type=whole("a whole number of views"),
        default=20,
        metavar="N",
        help="stop after N views of cameras",
    )
    add = parser.add_argument_group("board").add_argument
    side = measure("a length in millimetres")
    add("--marker-mm", type=side, required=True, metavar="MM", help="side of a marker, black edge to edge")
    add("--dictionary", default="DICT_ARUCO_ORIGINAL", metavar="NAME", help="OpenCV's name of the set of markers")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, default=Path("alignment.json"), metavar="FILE", help="alignment")
    add("--picture", type=Path, metavar="FILE", help="residuals (default: --out with .png)")
    add("--save-views", type=Path, metavar="FOLDER", help="keep the views that were used")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

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
