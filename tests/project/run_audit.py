"""Ask a public service for known vulnerabilities of every package that is installed, with pip-audit.

PyPI's own service is asked first, then OSV. Exit code 0: all were looked up and none is known; 1: some are; 3: no
service could be reached, so that nothing is known either way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVICES = ("pypi", "osv")
NOT_REACHED_EXIT = 3
MOST_UNKNOWN = 0.5  # of the packages: a mirror without the service's data answers "not found" to all of them


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a service said. `reason` is empty where it could be reached."""

    known: list[str] = field(default_factory=list[str])  # vulnerabilities, a line each
    looked_up: int = 0
    unknown: list[str] = field(default_factory=list[str])  # packages that the service does not have
    reason: str = ""


def read_answer(stdout: str, stderr: str) -> Answer:
    """Read what pip-audit printed; it exits with 1 both for a vulnerability and for a service out of reach."""
    try:
        packages = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in stderr.splitlines() if line.strip()]
        return Answer(reason=lines[-1].strip()[:200] if lines else "pip-audit said nothing")
    unknown = [item["name"] for item in packages if "skip_reason" in item]
    looked_up = len(packages) - len(unknown)
    if not packages or len(unknown) > MOST_UNKNOWN * len(packages):
        reason = f"it does not know {len(unknown)} of {len(packages)} packages, so a mirror answers in its place"
        return Answer(looked_up=looked_up, unknown=unknown, reason=reason)
    known = [
        f"{item['name']} {item['version']}: {flaw['id']}; fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for item in packages
        for flaw in item.get("vulns", ())
    ]
    return Answer(known=known, looked_up=looked_up, unknown=unknown)


def ask(service: str, timeout_s: int, options: Sequence[str] = ()) -> Answer:
    """Ask one service about this environment; the project itself is no package of it."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service, "--timeout", str(timeout_s)]
    command += ["--skip-editable", "--format", "json", "--progress-spinner", "off", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return read_answer(done.stdout, done.stderr)


def tell(service: str, answer: Answer) -> str:
    """Return the answer of a service that was reached, for people."""
    lines = [f"  {line}" for line in answer.known]
    if answer.unknown:
        lines.append(f"  not known to {service}, so not looked up: {', '.join(answer.unknown)}")
    found = f"{len(answer.known)} known vulnerabilities" if answer.known else "no known vulnerability"
    return "\n".join([*lines, f"audit: {found} in {answer.looked_up} packages, by {service}"]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="run_audit", description=__doc__)
    parser.add_argument("--service", action="append", choices=SERVICES, help="ask this one only")
    parser.add_argument("--timeout-s", type=int, default=15, metavar="S", help="of one request (15)")
    parser.add_argument("--osv-url", metavar="URL", help="of another OSV service")
    args = parser.parse_args(argv)
    options = ["--osv-url", args.osv_url] if args.osv_url else []
    reasons: list[str] = []
    for service in args.service or SERVICES:
        answer = ask(service, args.timeout_s, options)
        if not answer.reason:
            sys.stdout.write(tell(service, answer))
            return 1 if answer.known else 0
        reasons.append(f"{service}: {answer.reason}")
    sys.stderr.write("".join(f"  {reason}\n" for reason in reasons))
    sys.stderr.write("audit: NOT DONE, no service could be reached; run it where pypi.org or api.osv.dev can be\n")
    return NOT_REACHED_EXIT


if __name__ == "__main__":
    raise SystemExit(main())
