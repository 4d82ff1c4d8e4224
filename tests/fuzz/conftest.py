"""Profiles and the table of cases: `make test` tries few and always the same, `make fuzz` thousands and always others.

FUZZ_RESULTS=FILE keeps the table as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

# A device has the tests, but not what only developers need.
collect_ignore_glob = [] if find_spec("hypothesis") else ["test_*.py"]
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")

if not collect_ignore_glob:
    from hypothesis import HealthCheck, settings

    usual = settings(
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.filter_too_much,
            HealthCheck.data_too_large,
            HealthCheck.function_scoped_fixture,
        ],
        print_blob=True,
        report_multiple_bugs=False,
    )
    settings.register_profile("ci", usual, max_examples=60, derandomize=True, database=None)
    settings.register_profile("deep", usual, max_examples=2000)
    settings.load_profile(PROFILE)


@pytest.fixture(scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture
def file(_folder: Path) -> Callable[[bytes, str], Path]:
    """Return a function that puts bytes into a file of this name, over what was there."""

    def write(content: bytes, name: str) -> Path:
        path = _folder / name
        path.write_bytes(content)
        return path

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.fuzz.harness import TALLIES

    if not TALLIES:
        return
    total = sum(tally.cases for tally in TALLIES.values())
    terminalreporter.section(f"fuzz: {total:,} cases on {len(TALLIES)} parsers, profile {PROFILE}")
    if PROFILE == "ci":
        return
    for name, tally in sorted(TALLIES.items()):
        terminalreporter.write_line(
            f"{name:32}{tally.cases:9,} cases{tally.accepted:9,} accepted{tally.refused:9,} refused"
            f"{tally.slowest_ms:9.1f} ms at most"
        )
    if "FUZZ_RESULTS" in os.environ:
        _keep(Path(os.environ["FUZZ_RESULTS"]), {name: dataclasses.asdict(TALLIES[name]) for name in sorted(TALLIES)})


def _keep(path: Path, parsers: dict[str, dict[str, float]]) -> None:
    from engines.provenance import git_revision, tool_versions, utc_now

    about = {
        "bench": "fuzz",
        "command": "make fuzz",
        "date": utc_now(),
        "commit": git_revision(),
        "tools": tool_versions(("hypothesis", "numpy", "pyyaml", "pillow", "torch")),
        "cases": sum(int(parser["cases"]) for parser in parsers.values()),
        "parsers": parsers,
    }
    path.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
