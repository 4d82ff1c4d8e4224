"""The packages that an installation holds: installed ones, or the wheels in a folder, and what needs what."""

from __future__ import annotations

import re
import sys
import sysconfig
import zipfile
from importlib.metadata import Distribution, PathDistribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engines.errors import BadInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[2]
OURS = "crosslight"


def installed(folders: Sequence[Path] = ()) -> dict[str, Distribution]:
    """Return what is installed by its name as on PyPI; without folders, what this environment itself holds.

    An environment that was made with --system-site-packages also sees the system's packages. They are not ours.
    """
    paths = [str(folder) for folder in folders] or [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    return {canonicalize_name(item.name): item for item in distributions(path=paths)}


def wheels_in(folder: Path) -> dict[str, tuple[Distribution, Path]]:
    """Return the wheels of a folder, which are of one installation, by the name as on PyPI."""
    found: dict[str, tuple[Distribution, Path]] = {}
    for path in sorted(folder.rglob("*.whl")):
        with zipfile.ZipFile(path) as archive:
            # At the top only: setuptools has other packages inside, with metadata of their own.
            metadata = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        if len(metadata) != 1:
            raise BadInput(f"{path}: expected a wheel with one METADATA, got {len(metadata)}; download it again")
        at = zipfile.Path(path, metadata[0].removesuffix("METADATA"))
        wheel = PathDistribution(cast("Path", at))  # typed for Path; a path in a zip file is meant to work
        name = canonicalize_name(wheel.name)
        if name in found:
            raise BadInput(f"{folder}: expected the wheels of one Python, got {found[name][1].name} and {path.name}")
        found[name] = wheel, path
    if not found:
        raise BadInput(f"{folder}: expected wheels (*.whl), got none; make device-bundle downloads them")
    return found


def project() -> dict[str, object]:
    """Return the project table of pyproject.toml; what pip noted at the last installation may be older."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(extras: Iterable[str]) -> list[Requirement]:
    """Return what pyproject.toml asks for: the base, and these extras."""
    table = project()
    groups = cast("Mapping[str, list[str]]", table["optional-dependencies"])
    unknown = [extra for extra in extras if extra not in groups]
    if unknown:
        raise BadInput(f"expected extras out of {', '.join(groups)}, got {unknown[0]!r}")
    lines = [*cast("list[str]", table["dependencies"]), *(line for extra in extras for line in groups[extra])]
    return [Requirement(line) for line in lines]


def field(package: Distribution, name: str) -> str:
    """Return a field of a package's metadata, empty where it has none."""
    return (package.metadata.get_all(name) or [""])[0]


def needs(package: Distribution, extras: Iterable[str] = ()) -> list[Requirement]:
    """Return what a package needs on this Python and machine."""
    wanted = [Requirement(line) for line in package.requires or []]
    return [
        item
        for item in wanted
        if item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in ("", *extras))
    ]


def closure(
    wanted: Iterable[Requirement], packages: Mapping[str, Distribution]
) -> tuple[dict[str, Distribution], list[str]]:
    """Return the packages that are wanted and all that they need, and the names of those that are not there."""
    found: dict[str, Distribution] = {}
    missing: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(item.name), frozenset(item.extras)) for item in wanted if _here(item)]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in packages:
            missing.add(name)
            continue
        found[name] = packages[name]
        waiting += [(canonicalize_name(item.name), frozenset(item.extras)) for item in needs(packages[name], extras)]
    return dict(sorted(found.items())), sorted(missing)


def _here(item: Requirement) -> bool:
    return item.marker is None or item.marker.evaluate({"extra": ""})
