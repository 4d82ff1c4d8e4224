# PYTHON_ARGCOMPLETE_OK
"""Write one self-contained HTML page about a training run, or one that sets runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python train/report.py runs/mcja --data ~/SYSU-MM01",
    "python train/report.py runs/mcja/checkpoint.pt --data ~/SYSU-MM01 --out last.html",
    "python train/report.py --compare runs/baseline runs/mcja --data ~/SYSU-MM01 --out comparison.html",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import DATASETS

    parser = Parser("report", __doc__, EXAMPLES)
    add = parser.add_argument_group("model").add_argument
    add(
        "run", nargs="?", type=Path, metavar="RUN",
        help="run folder (its best.pt if there is one) or checkpoint (default: those of --compare)",
    )  # fmt: skip
    add("--compare", nargs="+", type=Path, metavar="RUN", help="two or more of one dataset, instead")
    add = parser.add_argument_group("input").add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="dataset")
    add("--dataset", choices=DATASETS, metavar="NAME", help="its layout: %(choices)s (default: the run's own)")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FILE", help="page (default: RUN/report.html; comparison.html with --compare)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script
    from train.reports.build import run_report

    return run_script("report", lambda: run_report(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
