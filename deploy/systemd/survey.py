"""What stands in the way of the service on this machine, one line each, and the folders that it writes to."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.systemd.account import ENTER, READ, WRITE, may
from deploy.systemd.unit import quoted
from engines.errors import BadInput

if TYPE_CHECKING:
    from deploy.systemd.account import Account

STATE = Path("/var/lib/crosslight")  # systemd makes it for the service's user (StateDirectory=)
# By the names that Python imports them by: what a run needs whatever its runtime.
PACKAGES = ("argcomplete", "cv2", "numpy", "paho", "PIL", "prometheus_client", "scipy", "tqdm", "yaml")


@dataclass(kw_only=True, eq=False)
class Survey:
    """Grows while one thing after the other is looked at. `account` None: there is no such user yet."""

    user: str
    account: Account | None
    obstacles: list[str] = field(default_factory=list[str])
    writable: list[Path] = field(default_factory=lambda: [STATE])

    def expect_readable(self, what: str, path: Path, wanted: int = READ) -> None:
        if not path.exists():
            self.obstacles.append(f"{what}: expected {path}, got nothing there; check the path")
        elif self.account is not None and not may(self.account, path, wanted):
            self.obstacles.append(
                f"{what}: expected that {self.user} can read {path}, got mode bits (there or on the way) "
                "that forbid it; change them, or name another --user"
            )

    def expect_writable(self, what: str, folder: Path) -> None:
        """Look at a folder that a run writes into; a relative one is below the state folder, which systemd makes."""
        folder = Path(os.path.normpath(folder))  # systemd ignores a path with .. in it
        if not folder.is_absolute() or folder.is_relative_to(STATE):
            return
        if folder not in self.writable:
            self.writable.append(folder)
        if not folder.is_dir():
            make = f"sudo install -d -m 0750 -o {self.user} {quoted(str(folder))}"
            self.obstacles.append(f"{what}: expected the folder {folder}, got nothing there; make it: {make}")
        elif self.account is not None and not may(self.account, folder, READ | WRITE | ENTER):
            self.obstacles.append(
                f"{what}: expected that {self.user} can write into {folder}, got mode bits that forbid it; "
                f"change them, or use {STATE}"
            )

    def expect_python(self, python: Path) -> None:
        """Look whether the interpreter runs and sees what a run imports."""
        self.expect_readable("--python", python, READ | ENTER)
        if python.exists():
            try:
                missing = _missing_packages(python)
            except BadInput as error:
                self.obstacles.append(str(error))
            else:
                self.obstacles += [f"--python: expected {name} in {python}, got none; install it" for name in missing]


def _missing_packages(python: Path) -> list[str]:
    if python == Path(sys.executable):
        return [name for name in PACKAGES if find_spec(name) is None]
    code = f"import importlib.util as u; print(*[n for n in {PACKAGES!r} if u.find_spec(n) is None])"
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise BadInput(f"--python: expected a Python interpreter, got {python}, which does not run: {error}") from error
    return done.stdout.split()
