"""Write one self-contained HTML page about a training run, or one that sets runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python train/report.py runs/mcja --data ~/SYSU-MM01
  python train/report.py runs/mcja/checkpoint.pt --data ~/SYSU-MM01 --out last.html
  python train/report.py --compare runs/baseline runs/mcja --data ~/SYSU-MM01 --out comparison.html
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    runs = parser.add_argument_group("runs")
    runs.add_argument(
        "run", nargs="?", type=Path, metavar="RUN", help="run folder (best.pt if there is one) or checkpoint"
    )
    runs.add_argument("--compare", nargs="+", type=Path, metavar="RUN", help="two or more runs of one dataset instead")
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", choices=["sysu", "regdb", "llcm"], help="layout of --data (default: the run's own)")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    output = parser.add_argument_group("output")
    output.add_argument(
        "--out", type=Path, metavar="FILE", help="the page (default: RUN/report.html; comparison.html with --compare)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script
    from train.reports.build import run_report

    return run_script("report", lambda: run_report(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
