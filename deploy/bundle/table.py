"""What each kind of device installs: every package, its version, file and size, and the totals."""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deploy.bundle.contents import revision_of
from deploy.bundle.needs import needs_of
from deploy.bundle.target import OPENCVS, RUNTIMES, Target
from deploy.bundle.wheels import fetch_packages
from engines.atomic import write_text
from engines.provenance import utc_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from deploy.bundle.target import Platform
    from deploy.bundle.wheels import Package

PYTHONS = ("3.10", "3.12")
TARGET_MB = 250  # of wheels and of what they unpack to, without TensorRT
MARKS = "abcd"


@dataclass(frozen=True, kw_only=True)
class Installation:
    """What one kind of device is given."""

    target: Target
    packages: tuple[Package, ...]

    @property
    def carried_bytes(self) -> int:
        """Return the size of every file in the bundle's folder wheels."""
        return sum(package.size_bytes for package in self.packages)

    @property
    def installed_bytes(self) -> int:
        """Return what the installed wheels unpack to; a package that is built on the device is not in it."""
        return sum(package.unpacked_bytes or 0 for package in self.packages if package.installed)


def show_table(platform: Platform, cache: Path, folder: Path | None, json_file: Path | None, root: Path) -> int:
    """Print the table, and write it as JSON where a file is named."""
    found = measure(platform, cache, folder, root)
    sys.stdout.write(table_text(found))
    if json_file is not None:
        write_json(json_file, found, root)
    return 0


def measure(platform: Platform, cache: Path, folder: Path | None, root: Path) -> list[Installation]:
    """Fetch what every kind of device needs, and look at it."""
    targets = [
        Target(platform=platform, python=python, runtime=runtime, opencv=opencv)
        for python in PYTHONS
        for runtime in RUNTIMES
        for opencv in OPENCVS
    ]
    return [
        Installation(target=target, packages=tuple(fetch_packages(needs_of(root, target), target, cache, folder)))
        for target in targets
    ]


def table_text(installations: Sequence[Installation]) -> str:
    """Return a table of packages for each Python, and one of totals."""
    lines: list[str] = []
    for python in dict.fromkeys(found.target.python for found in installations):
        lines += [*_packages([found for found in installations if found.target.python == python]), ""]
    return "\n".join([*lines, *_totals(installations)]) + "\n"


def write_json(path: Path, installations: Sequence[Installation], root: Path) -> None:
    """Write the measured table with the commit and the time."""
    found: dict[str, Any] = {
        "bench": "device-wheels",
        "command": f"python deploy/make_bundle.py --table --platform {installations[0].target.platform}",
        "commit": revision_of(root).commit,
        "created": utc_now(),
        "target_mb": TARGET_MB,
        "installations": [_described(item) for item in installations],
    }
    write_text(path, json.dumps(found, indent=2) + "\n")


def _packages(installations: Sequence[Installation]) -> list[str]:
    target = installations[0].target
    marks = dict(zip(MARKS, installations, strict=False))
    lines = [f"{target}", *(f"  {mark}: {_kind(item.target)}" for mark, item in marks.items()), ""]
    lines.append(f"{'package':20} {'version':11} {'wheel MB':>8} {'unpacked':>8} {'in':5} licence; file")
    for package in _distinct(installations):
        where = "".join(mark if _holds(item, package) else "." for mark, item in marks.items())
        unpacked = (
            "built" if package.unpacked_bytes is None else _mb(package.unpacked_bytes) if package.installed else "-"
        )
        lines.append(
            f"{package.name:20} {package.version:11} {_mb(package.size_bytes):>8} {unpacked:>8} {where:5} "
            f"{package.licence}; {package.path.name}"
        )
    return [*lines, "-: carried for pip and for building, not installed. built: on the device, not measured here."]


def _totals(installations: Iterable[Installation]) -> list[str]:
    lines = [f"{'device':52} {'wheels MB':>9} {'unpacked MB':>11}   target {TARGET_MB} MB unpacked"]
    for item in installations:
        met = "met" if item.installed_bytes <= TARGET_MB * 1_000_000 else "missed"
        name = f"Python {item.target.python}, {_kind(item.target)}"
        lines.append(f"{name:52} {_mb(item.carried_bytes):>9} {_mb(item.installed_bytes):>11}   {met}")
    return lines


def _distinct(installations: Iterable[Installation]) -> list[Package]:
    """Return each version of each package once, as installed where any device installs it."""
    found: dict[tuple[str, str], Package] = {}
    for package in (package for item in installations for package in item.packages):
        key = package.name, package.version
        if key not in found or package.installed:
            found[key] = package
    return [found[key] for key in sorted(found)]


def _holds(item: Installation, package: Package) -> bool:
    return any((held.name, held.version) == (package.name, package.version) for held in item.packages)


def _kind(target: Target) -> str:
    return f"runtime {target.runtime}, OpenCV of the {target.opencv}"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f}"


def _described(item: Installation) -> dict[str, Any]:
    packages = [
        {key: value for key, value in dataclasses.asdict(package).items() if key != "path"}
        | {"file": package.path.name}
        for package in item.packages
    ]
    totals = {"carried_bytes": item.carried_bytes, "installed_bytes": item.installed_bytes}
    return dataclasses.asdict(item.target) | totals | {"packages": packages}
