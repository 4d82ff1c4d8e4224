"""The text of a unit: systemd's quoting, and the shipped unit with other values in it.

Sources: systemd.service(5), "Command lines"; systemd.unit(5), "Specifiers"; systemd.syntax(7), "Quoting".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHIPPED = Path(__file__).with_name("crosslight.service")  # for a clone in /opt/crosslight
MARK = "# Crosslight as a service, by deploy/install_service.py, whose --uninstall takes it away.\n"
PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")


def quoted(word: str) -> str:
    """Return one word of ExecStart= or of a list of paths; % begins a specifier and is doubled.

    A $ stays as it is: a command begins with a colon, and lists of paths know no variables.
    """
    if not word.isprintable():
        raise BadInput(f"systemd: expected a path without control characters, got {word!r}; rename it")
    if PLAIN.fullmatch(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def command(program: str, *arguments: str) -> str:
    """Return what ExecStart= takes. systemd 252 refuses a program whose path has quotes or backslashes in it."""
    if set(program) & set("\"'\\"):
        raise BadInput(f"systemd: expected a program's path without quotes and backslashes, got {program}; rename it")
    return ":" + " ".join(quoted(word) for word in (program, *arguments))


def filled(unit: str, settings: Mapping[str, Sequence[str]]) -> str:
    """Return the unit with other values: a line for each, where the setting stood; without values it is left out."""
    lines: list[str] = []
    left = dict(settings)
    for line in unit.splitlines():
        name = line.partition("=")[0]
        if name in settings:
            lines += [f"{name}={value}" for value in left.pop(name, ())]
        else:
            lines.append(line)
    if left:
        raise ValueError(f"the unit has no {', '.join(left)}")
    return "\n".join(lines) + "\n"
