"""Check a change before it is handed in: format, lint, layers, types and the fast tests.

Types take one core for most of that time; everything else runs one after another beside them.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Part:
    """One check, and the command that makes it."""

    name: str
    command: tuple[str, ...]
    telling: str = r"(?!)"  # what matches in its output is shown although it passed


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a check; `shown` is its whole output where it failed."""

    name: str
    seconds: float
    shown: str
    passed: bool

    def __str__(self) -> str:
        told = f"{self.name:<8}{self.seconds:5.1f} s  {'passed' if self.passed else 'FAILED'}"
        return f"{self.shown}\n{told}" if self.shown else told


# Files without a fast test (tests/project/fast_tests.py) need not be read either.
HEAVY = (ROOT / "tests" / "project" / "heavy_tests.txt").read_text(encoding="utf-8").splitlines()
LEFT_OUT = ("--ignore=tests/end_to_end", "--ignore=tests/fuzz", *(f"--ignore={n}" for n in HEAVY if n.endswith(".py")))
LONGEST = Part(name="types", command=(str(BIN / "pyright"),))
OTHERS = (
    Part(name="format", command=(str(BIN / "ruff"), "format", "--check", "--quiet", ".")),
    Part(name="lint", command=(str(BIN / "ruff"), "check", "--quiet", ".")),
    Part(name="layers", command=(str(BIN / "lint-imports"),)),
    Part(
        name="tests",
        command=(sys.executable, "-m", "pytest", "-q", "--durations=5", "--durations-min=1", *LEFT_OUT, "-m", "fast"),
        telling=r"^\d+\.\d+s (?:setup|call) .*$|^\d+ passed.*$",
    ),
)


def run_part(part: Part) -> Result:
    """Run a check; one whose command is not there has failed."""
    began_s = time.monotonic()
    try:
        done = subprocess.run(part.command, cwd=ROOT, capture_output=True, text=True, check=False)
        code, output = done.returncode, done.stdout + done.stderr
    except OSError as error:
        code, output = 1, f"{part.command[0]}: {error.strerror}; make check sets the tools up"
    shown = "\n".join(re.findall(part.telling, output, re.MULTILINE)) if code == 0 else output.rstrip()
    return Result(name=part.name, seconds=time.monotonic() - began_s, shown=shown, passed=code == 0)


def run_parts(longest: Part, others: Sequence[Part]) -> Iterator[Result]:
    """Yield each check's result as soon as it is there, the longest one last."""
    with ThreadPoolExecutor(max_workers=1) as beside:
        waiting = beside.submit(run_part, longest)
        yield from (run_part(part) for part in others)
        yield waiting.result()


def check(longest: Part, others: Sequence[Part]) -> int:
    """Run all checks and tell; return 1 where one has failed."""
    began_s = time.monotonic()
    failed: list[str] = []
    for result in run_parts(longest, others):
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
        if not result.passed:
            failed.append(result.name)
    seconds = time.monotonic() - began_s
    sys.stdout.write(f"check: {', '.join(failed) + ' FAILED' if failed else 'all passed'} in {seconds:.0f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(check(LONGEST, OTHERS))
