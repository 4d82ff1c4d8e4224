"""Run every check and tell what it found."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.assembly.installation import quieten
from deploy.assembly.model_parts import BUILT, newest_engine
from deploy.diagnosis.checks import (
    Finding,
    check_cameras,
    check_clock,
    check_disk,
    check_engine,
    check_gallery,
    check_opencv,
    check_packages,
    check_python,
    check_runtimes,
)
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def examine(engine: Path | None, gallery: str | None, *, as_json: bool) -> int:
    """Print the findings; return 1 where one is a problem, else 0."""
    quieten()
    folder = engine or _newest()
    checks: list[Callable[[], list[Finding]]] = [
        check_python,
        check_packages,
        check_opencv,
        check_cameras,
        check_runtimes,
        lambda: check_engine(folder),
        lambda: check_gallery(gallery, folder),
        lambda: check_disk([Path.cwd()]),
        check_clock,
    ]
    findings = [finding for check in checks for finding in _survive(check)]
    sys.stdout.write(as_lines(findings) if not as_json else json.dumps(list(map(dataclasses.asdict, findings))) + "\n")
    return 1 if any(finding.state == "problem" for finding in findings) else 0


def as_lines(findings: Sequence[Finding]) -> str:
    """Return a line per finding, and one with what to do where there is something."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{MARKS[finding.state]} {finding.subject:<8} {finding.text}")
        if finding.advice:
            lines.append(f"{'':<16} -> {finding.advice}")
    problems = sum(finding.state == "problem" for finding in findings)
    lines.append(f"{problems} problem{'s' if problems != 1 else ''}" if problems else "no problem found")
    return "\n".join(lines) + "\n"


def _newest() -> Path | None:
    try:
        return newest_engine(BUILT)
    except BadInput:
        return None


def _survive(check: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return check()
    except Exception as error:  # a doctor who faints helps nobody
        name = getattr(check, "__name__", "check").removeprefix("check_")
        return [Finding(subject=name, state="problem", text=f"the check itself failed: {first_line(error)}")]
