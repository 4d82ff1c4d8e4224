# PYTHON_ARGCOMPLETE_OK
"""Install Crosslight as a systemd service that runs the cameras of a site file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

SITE = Path("/etc/crosslight/site.yaml")
USER = "crosslight"
EXAMPLES = (
    "python deploy/install_service.py --print --site site.yaml",
    "sudo .venv/bin/python deploy/install_service.py --user crosslight --site /etc/crosslight/site.yaml",
    "sudo .venv/bin/python deploy/install_service.py --uninstall",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser

    parser = Parser("install_service", __doc__, examples=EXAMPLES)
    group = parser.add_argument_group("service")
    group.add_argument("--site", type=Path, metavar="FILE", default=SITE, help=f"YAML site file (default: {SITE})")
    group.add_argument("--user", metavar="NAME", default=USER, help=f"system user that runs it (default: {USER})")
    group.add_argument("--python", type=Path, metavar="FILE", default=Path(sys.executable), help="default: this one")
    group = parser.add_argument_group("what to do (default: install it; needs root)")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--print", action="store_true", help="write the unit to standard output and change nothing")
    either.add_argument("--uninstall", action="store_true", help="take a disabled service away; data and secrets stay")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> None:
        from deploy.systemd.install import SECRETS, expect_root, install, uninstall
        from deploy.systemd.plan import Request, plan_service

        if not args.print:
            expect_root()
        if args.uninstall:
            sys.stdout.write(uninstall())
            return
        # Not resolved: a virtual environment's interpreter is a link, and is another one at its end.
        site, python = (Path(os.path.abspath(path)) for path in (args.site, args.python))  # noqa: PTH100
        clone = Path(__file__).resolve().parents[1]
        service = plan_service(Request(clone=clone, python=python, site=site, user=args.user, secrets=SECRETS))
        if not args.print:
            sys.stdout.write(install(service))
            return
        sys.stdout.write(service.unit)
        for obstacle in service.obstacles:
            sys.stderr.write(f"install_service: to be done before it can be installed: {obstacle}\n")

    return run_script("install_service", body)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
