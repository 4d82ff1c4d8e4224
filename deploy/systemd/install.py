"""Put the unit where systemd reads it, take it away again, and say what to do next."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.systemd.secrets_file import make_secrets
from deploy.systemd.unit import MARK
from engines.atomic import write_text
from engines.errors import BadInput

if TYPE_CHECKING:
    from deploy.systemd.plan import Service

UNITS = Path("/etc/systemd/system")
SECRETS = Path("/etc/crosslight/secrets")
NAME = "crosslight.service"


def expect_root() -> None:
    if os.geteuid() != 0:
        raise BadInput(
            f"expected root, who alone writes to {UNITS}, got a user; put sudo before it, or look with --print"
        )


def install(service: Service, secrets: Path = SECRETS, units: Path = UNITS) -> str:
    """Write the unit, and the file for secrets where there is none; return what was done and what is next."""
    if service.obstacles:
        more = len(service.obstacles) - 1
        raise BadInput(service.obstacles[0] + (f" (and {more} more; --print lists them)" if more else ""))
    unit = units / NAME
    _expect_ours(unit)
    made = make_secrets(secrets)
    write_text(unit, service.unit)
    told = [f"wrote {unit}", *([f"wrote {secrets}, mode 0600: put tokens and passwords there"] if made else [])]
    commands = ["systemctl daemon-reload", "systemctl enable --now crosslight", "journalctl -u crosslight -f"]
    return "\n".join([*told, "next:", *(f"  sudo {command}" for command in commands)]) + "\n"


def uninstall(units: Path = UNITS) -> str:
    """Take the unit away once it is stopped and disabled; what the cameras saw and the secrets stay."""
    unit = units / NAME
    if not unit.exists():
        raise BadInput(f"expected {unit}, got nothing there; the service is not installed")
    _expect_ours(unit)
    wanted = units / "multi-user.target.wants" / NAME
    if wanted.is_symlink():
        raise BadInput(
            f"{unit}: expected a disabled service, got an enabled one: sudo systemctl disable --now crosslight"
        )
    unit.unlink()
    return f"removed {unit}\nnext:\n  sudo systemctl daemon-reload\nleft: {SECRETS.parent}, /var/lib/crosslight\n"


def _expect_ours(unit: Path) -> None:
    if unit.exists() and not unit.read_text(encoding="utf-8").startswith(MARK):
        raise BadInput(f"{unit}: expected nothing or a unit of this script, got another one; move it away")
