"""Which tests `make check` runs: all but those that took long when they were measured, and what keeps the others fast.

The others are listed in heavy_tests.txt, one function or file a line. A new test is fast until it is listed there.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "tests" / "project" / "heavy_tests.txt"
MARKER = "fast: not in tests/project/heavy_tests.txt; make check runs it"
OTHER_MARKERS = frozenset({"slow", "gpu", "trt"})

# Whole runs, and thousands of drawn cases: slow by their nature, so their tests are not listed one by one.
HEAVY_FOLDERS = ("tests/end_to_end/", "tests/fuzz/")

# Whoever asks for one of these first pays for all: engines are built, networks loaded.
HEAVY_FIXTURES = frozenset({"engine_of", "reference_of", "engine_folder"})
ALLOWED_PROGRAMS = frozenset({"git"})  # a commit's number is asked for in a few milliseconds


@lru_cache(maxsize=1)
def heavy_names() -> frozenset[str]:
    """Return the files, and the functions as FILE::NAME, that are listed as heavy."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def is_heavy(name: str) -> bool:
    """Say whether a test, as FILE::NAME, is left out by its name."""
    return name.startswith(HEAVY_FOLDERS) or name in heavy_names() or name.partition("::")[0] in heavy_names()


def is_fast(item: pytest.Item) -> bool:
    """Say whether make check runs a test."""
    if is_heavy(item.nodeid.partition("[")[0]):
        return False
    if any(mark.name in OTHER_MARKERS for mark in item.iter_markers()):
        return False
    return not HEAVY_FIXTURES.intersection(getattr(item, "fixturenames", ()))


class Watch:
    """Stops a fast test that starts a process or takes more than a few steps of training, so that it must be listed."""

    most_steps = 20

    def __init__(self) -> None:
        self.test = ""  # the fast test that runs; empty: nobody is watched
        self.steps = 0

    def begin(self, test: str) -> None:
        self.test, self.steps = test, 0

    def end(self) -> None:
        self.test = ""

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of what the interpreter does (sys.addaudithook)."""
        if not self.test or event not in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
            return
        program = Path(str(arguments[0])).name if arguments else "a process"
        if program not in ALLOWED_PROGRAMS:
            self._refuse(f"starts {program}")

    def step(self, *_: object) -> None:
        """Hear that an optimiser of PyTorch takes a step."""
        self.steps += 1
        if self.test and self.steps > self.most_steps:
            self._refuse(f"trains for more than {self.most_steps} steps")

    def _refuse(self, what: str) -> None:
        test, self.test = self.test, ""  # once is enough: what cleans up behind the test may start processes
        raise RuntimeError(f"{test} {what}, and is no fast test: list it in {LIST.relative_to(ROOT)}")
