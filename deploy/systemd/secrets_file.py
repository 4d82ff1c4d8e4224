"""The service's secrets: NAME=value lines, put into its environment by systemd (systemd.exec(5), EnvironmentFile=)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o600
TEMPLATE = """# Read by systemd for crosslight.service. Take the # away from what is needed; no blanks around the =.
#CROSSLIGHT_TOKEN=            the page's, where it listens for other machines (16 characters or more)
#CROSSLIGHT_MQTT_PASSWORD=
#CROSSLIGHT_WEBHOOK_TOKEN=
#QDRANT_API_KEY=
# And every ${NAME} of the site file, such as a camera's password:
#DOOR_PASSWORD=
"""


class ServiceEnvironment(Mapping[str, str]):
    """What the service will find in its environment; what is asked for and lacking is noted, and answered all the same.

    So a site file can be checked before its passwords are there.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.lacking: list[str] = []

    def __getitem__(self, name: str) -> str:
        if name not in self._values:
            self.lacking.append(name)
        return self._values.get(name, "unknown")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def read_secrets(path: Path) -> dict[str, str]:
    """Return what the file sets; nothing where there is none. Others than its owner must not read it."""
    if not path.exists():
        return {}
    if path.stat().st_mode & 0o077:
        raise BadInput(f"{path}: expected mode 0600, got {path.stat().st_mode & 0o777:04o}: chmod 600 {path}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: expected NAME=value lines, got a file that cannot be read: {error}") from error
    pairs = [line.partition("=") for line in lines if "=" in line and not line.startswith(("#", ";"))]
    return {name.strip(): _unquoted(value.strip()) for name, _, value in pairs}


def make_secrets(path: Path) -> bool:
    """Write the template where there is no file, readable by its owner only; return whether one was written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, MODE)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(TEMPLATE)
    return True


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
