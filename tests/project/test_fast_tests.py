"""The fast tests stay fast, every folder has some, and what is left out is named by functions that exist."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.project.fast_tests import HEAVY_FIXTURES, HEAVY_FOLDERS, LIST, ROOT, Watch, heavy_names, is_heavy
from tests.project.measure_tests import heavy_among, write_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@functools.lru_cache(maxsize=1)
def functions() -> dict[str, set[str]]:
    """Return the arguments of every test function, by FILE::NAME."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for name, arguments in re.findall(r"^def (test_\w+)\(([^)]*)\)", text, re.MULTILINE):
            found[f"{path.relative_to(ROOT).as_posix()}::{name}"] = set(re.findall(r"(\w+):", arguments))
    return found


def fast() -> Iterator[str]:
    for name, arguments in functions().items():
        if not is_heavy(name) and not arguments & HEAVY_FIXTURES:
            yield name


def test_every_name_on_the_list_is_a_test() -> None:
    files = {name.partition("::")[0] for name in functions()}
    gone = heavy_names() - files - set(functions())
    assert not gone, f"mend {LIST.relative_to(ROOT)}"


def test_every_folder_has_fast_tests_and_most_tests_are() -> None:
    folders = {name.rpartition("/")[0] for name in functions()}
    without = folders - {name.rpartition("/")[0] for name in fast()}
    assert without == {folder.rstrip("/") for folder in HEAVY_FOLDERS}
    assert len(list(fast())) > 3 / 5 * len(functions())


def test_heavy_fixtures_exist() -> None:
    conftest = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    assert all(f"def {name}(" in conftest for name in HEAVY_FIXTURES)


def test_this_test_is_marked_fast(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("fast")


def test_a_fast_test_that_starts_a_process_fails(request: pytest.FixtureRequest) -> None:
    """The watch of this run, which conftest.py told the interpreter of, looks at this very test."""
    if request.config.option.markexpr != "fast":
        pytest.skip("needs a run of the fast tests, which alone are watched: make check")
    with pytest.raises(RuntimeError, match=r"starts .*python.*, and is no fast test: list it in .*heavy_tests.txt"):
        subprocess.run([sys.executable, "-c", ""], check=False)


@pytest.mark.parametrize("event", ["os.fork", "os.posix_spawn", "subprocess.Popen"])
def test_every_way_to_start_a_process_is_seen(event: str) -> None:
    watch = Watch()
    watch.audit(event, ("/bin/true",))  # of a test that may
    watch.begin("tests/test_a.py::test_b")
    watch.audit("open", ("/bin/true",))
    watch.audit(event, ("/usr/bin/git",))
    with pytest.raises(RuntimeError, match=r"^tests/test_a.py::test_b starts "):
        watch.audit(event, ("/bin/true",) if event != "os.fork" else ())
    watch.end()
    watch.audit(event, ("/bin/true",))


def test_a_fast_test_that_trains_fails() -> None:
    watch = Watch()
    watch.begin("tests/test_a.py::test_b")
    for _ in range(Watch.most_steps):
        watch.step(None)
    with pytest.raises(RuntimeError, match="trains for more than 20 steps"):
        watch.step(None)


def test_what_took_long_is_listed_by_function() -> None:
    seconds = {
        "tests/test_a.py::test_quick": 0.01,
        "tests/test_a.py::test_other": 0.01,
        "tests/test_a.py::test_third": 0.01,
        "tests/test_a.py::test_long": 0.5,
        "tests/test_a.py::test_cases[0-x]": 0.05,
        "tests/test_a.py::test_cases[1-x::y]": 0.2,
        "tests/test_a.py::test_many[0]": 0.09,
        "tests/test_b.py::test_small": 0.09,
    }
    seconds |= {f"tests/test_b.py::test_sum[{number}]": 0.09 for number in range(12)}
    assert heavy_among(seconds) == {
        "tests/test_a.py::test_long",
        "tests/test_a.py::test_cases",
        "tests/test_b.py::test_sum",
    }


def test_a_file_of_heavy_tests_is_listed_as_one(tmp_path: Path) -> None:
    seconds = {f"tests/test_a.py::test_{number}": 1.0 for number in range(4)} | {"tests/test_a.py::test_quick": 0.0}
    assert heavy_among(seconds) == {"tests/test_a.py"}
    names = {"tests/test_a.py", "tests/test_a.py::test_1", "tests/test_b.py::test_2", "tests/fuzz/test_c.py::test_3"}
    write_list(names, tmp_path / "list.txt")
    lines = (tmp_path / "list.txt").read_text().splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == ["tests/test_a.py", "tests/test_b.py::test_2"]
