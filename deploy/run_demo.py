# PYTHON_ARGCOMPLETE_OK
"""Run the whole road on synthetic people: data, training, engine, parity, two camera streams, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = ("make demo", "python deploy/run_demo.py", "python deploy/run_demo.py --out trial --quick")


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser

    parser = Parser("run_demo", __doc__, EXAMPLES)
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, default=Path("demo"), metavar="FOLDER", help="folder that is filled")
    add("--quick", action="store_true", help="few people, two epochs: shows only that every stage works")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.demo.road import FULL, QUICK, run_demo

        return run_demo(args.out, QUICK if args.quick else FULL)

    return run_script("run_demo", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
