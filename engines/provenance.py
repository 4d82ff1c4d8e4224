"""What made an artefact: the revision of this repository and the versions of the tools."""

from __future__ import annotations

import datetime
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def git_revision() -> str:
    """Return the commit of this source tree, with "+changes" when files differ from it.

    Without git it is what a device bundle wrote into COMMIT, or "unknown".
    """
    root = Path(__file__).resolve().parents[1]
    try:
        head = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
        status = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        packed = root / "COMMIT"
        return packed.read_text(encoding="utf-8").strip() if packed.is_file() else "unknown"
    return f"{head}+changes" if status.strip() else head


def tool_versions(names: Iterable[str]) -> dict[str, str]:
    """Map each installed distribution out of names to its version; absent ones are left out."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def utc_now() -> str:
    """Return the time as ISO 8601 text, in UTC and whole seconds."""
    return datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0).isoformat()
