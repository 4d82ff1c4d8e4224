"""make check runs every part, tells each one's time, and fails where one has failed."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from tests.project.run_checks import LONGEST, OTHERS, ROOT, Part, check

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def part(name: str, code: str) -> Part:
    return Part(name=name, command=(sys.executable, "-c", code))


GOOD = part("good", "print('nobody reads this')")
BAD = part("bad", "import sys; print('what is wrong'); sys.exit(3)")


def test_all_parts_passed_is_one_line_each_and_exit_code_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(part("types", ""), [GOOD]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert re.fullmatch(r"good +\d+\.\d s  passed", lines[0])
    assert re.fullmatch(r"types +\d+\.\d s  passed", lines[1])
    assert re.fullmatch(r"check: all passed in \d+ s", lines[2])


def test_a_part_that_fails_shows_what_it_said_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(part("types", "raise SystemExit(1)"), [BAD, GOOD]) == 1
    told = capsys.readouterr().out
    assert "what is wrong\nbad " in told
    assert "nobody reads this" not in told
    assert re.search(r"^good .* passed$", told, re.MULTILINE)
    assert told.splitlines()[-1].startswith("check: bad, types FAILED in ")


def test_what_is_worth_telling_is_shown_although_it_passed(capsys: pytest.CaptureFixture[str]) -> None:
    command = (sys.executable, "-c", "print('3.10s call tests/test_a.py::test_b'); print('....')")
    slow = Part(name="tests", command=command, telling=OTHERS[-1].telling)
    assert check(GOOD, [slow]) == 0
    told = capsys.readouterr().out
    assert told.startswith("3.10s call tests/test_a.py::test_b\ntests ")
    assert "...." not in told


def test_a_tool_that_is_not_there_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    missing = Part(name="lint", command=(str(ROOT / "no such tool"),))
    assert check(GOOD, [missing]) == 1
    assert "make check sets the tools up" in capsys.readouterr().out


def test_the_longest_part_runs_beside_the_others(tmp_path: Path) -> None:
    """Each waits for the other's file; one after another neither would end."""
    wait = "import pathlib, time, sys, os\npathlib.Path(sys.argv[1]).touch()\n"
    wait += "end = time.monotonic() + 20\n"
    wait += "while not os.path.exists(sys.argv[2]):\n    time.sleep(0.01)\n    assert time.monotonic() < end\n"
    one = Part(name="one", command=(sys.executable, "-c", wait, str(tmp_path / "a"), str(tmp_path / "b")))
    two = Part(name="two", command=(sys.executable, "-c", wait, str(tmp_path / "b"), str(tmp_path / "a")))
    assert check(one, [two]) == 0


def test_the_parts_are_those_that_are_promised() -> None:
    assert [item.name for item in (*OTHERS, LONGEST)] == ["format", "lint", "layers", "tests", "types"]
    assert OTHERS[-1].command[-2:] == ("-m", "fast")
