"""Measure how long every test takes, and list those that `make check` leaves out, in heavy_tests.txt beside this file.

Runs the whole suite (minutes); with --fast only what make check runs now, and adds what has become slow. On a machine
with nothing else to do: with other work beside it more tests look slow than are.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
MOST_CASE_S = 0.1  # of one test
MOST_FUNCTION_S = 1.0  # of all cases of a parametrised one
LEAST_FAST = 3  # in a file with fewer fast functions than heavy ones and than this, all are heavy
HEADER = "# Tests that make check leaves out: made by python tests/project/measure_tests.py\n"


class Stopwatch:
    """A pytest plugin that adds up set-up, call and teardown of every test."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration


def heavy_among(seconds: Mapping[str, float]) -> set[str]:
    """Return the files and functions that are heavy, of tests by their pytest names."""
    functions: defaultdict[str, list[float]] = defaultdict(list)
    for name, taken_s in seconds.items():
        functions[name.partition("[")[0]].append(taken_s)
    heavy = {name for name, taken in functions.items() if max(taken) > MOST_CASE_S or sum(taken) > MOST_FUNCTION_S}
    for file in {name.partition("::")[0] for name in heavy}:
        listed = {name for name in heavy if name.startswith(f"{file}::")}
        others = {name for name in functions if name.startswith(f"{file}::")} - listed
        if len(others) < min(LEAST_FAST, len(listed)):
            heavy = heavy - listed | {file}
    return heavy


def write_list(names: set[str], path: Path) -> None:
    """Write the list, without functions whose file is listed or whose folder is heavy as a whole."""
    from engines.atomic import write_text
    from tests.project.fast_tests import HEAVY_FOLDERS

    named = {name for name in names if not name.startswith(HEAVY_FOLDERS)}
    kept = sorted(name for name in named if "::" not in name or name.partition("::")[0] not in named)
    write_text(path, HEADER + "".join(f"{name}\n" for name in kept))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="measure_tests", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="measure the fast tests only and add to the list")
    args = parser.parse_args(argv)

    from tests.project.fast_tests import LIST, heavy_names

    stopwatch = Stopwatch()
    wanted = "fast" if args.fast else "not slow and not gpu and not trt"
    code = pytest.main(["-q", "-m", wanted, "--rootdir", str(ROOT), str(ROOT / "tests")], plugins=[stopwatch])
    heavy = heavy_among(stopwatch.seconds)
    write_list(heavy | heavy_names() if args.fast else heavy, LIST)
    sys.stdout.write(f"{LIST}: {len(heavy)} {'more' if args.fast else 'in all'}\n")
    return int(code)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
