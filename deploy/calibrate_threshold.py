# PYTHON_ARGCOMPLETE_OK
"""Measure on site, without labels, from which cosine on two tracks are one person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/calibrate_threshold.py --rgb 0 --ir 2 --minutes 20 --walker 30 75 --save-evidence evidence.npz",
    "python deploy/calibrate_threshold.py --evidence evidence.npz --walker 30 75 anna --walker 200 240 ben",
    "python deploy/calibrate_threshold.py --site site.yaml --engine engines/built/people --minutes 30",
)
NOTES = """People who are in one picture at the same time are different, a track is one person, and a person whom you
know tells the two kinds of cameras together. run_cameras.py --thresholds takes what this writes."""


def parser() -> Parser:
    """Return the command line; of the cameras and the model what is not typed is None, for a site file can say it."""
    from deploy.settings.arguments import SOURCES, add_cameras, add_model
    from engines.command_line import Parser
    from engines.option_values import measure

    parser = Parser("calibrate_threshold", __doc__, EXAMPLES, notes=f"{NOTES}\n\n{SOURCES}")
    add = add_cameras(parser)
    minutes, share = measure("a number of minutes"), measure("a share")
    add("--minutes", type=minutes, default=5.0, metavar="MINUTES", help="how long live cameras are watched")
    add("--evidence", type=Path, metavar="FILE", help="of --save-evidence, instead of cameras")
    add(
        "--walker", nargs="+", action="append", default=[], metavar="FROM TO [NAME]",
        help="seconds in which one known person was alone in the views; repeatable, NAME tells people apart "
        "(default: nobody)",
    )  # fmt: skip
    add_model(parser)
    add = parser.add_argument_group("matching").add_argument
    add(
        "--false-match-rate", type=share, default=0.01, metavar="SHARE",
        help="of searches with somebody unknown that may end in a match, 0 to 1",
    )  # fmt: skip
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, default=Path("thresholds.json"), metavar="FILE", help="thresholds")
    add("--picture", type=Path, metavar="FILE", help="histograms (default: --out with .png)")
    add("--save-evidence", type=Path, metavar="FILE", help="keep what was seen, without pictures, .npz")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

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
