"""Run the whole road on synthetic people: data, training, engine, parity, two camera streams, report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_demo",
        description=__doc__,
        epilog="examples:\n  make demo\n  python deploy/run_demo.py --out trial --quick",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="folder that is filled (default: demo)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few people, two epochs: shows only that every stage works"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

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
