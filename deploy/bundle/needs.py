"""What a device installs: requirements from pyproject.toml, versions from the two constraints files."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from packaging.requirements import Requirement

    from deploy.bundle.target import Target

PINS = ("constraints.txt", "deploy/bundle/constraints.txt")
# An OpenCV of the system was compiled for NumPy 1 (JetPack 6, Ubuntu 22.04 and 24.04) and does not load with NumPy 2:
# "A module that was compiled using NumPy 1.x cannot be run in NumPy 2". This is the last of NumPy 1, for 3.10 and 3.12.
SYSTEM_NUMPY = "numpy==1.26.4"
OPENCV = "opencv-python"
INSTALLER = "pip"


@dataclass(frozen=True, kw_only=True)
class SourceArchive:
    """A package without wheels, which the device builds."""

    name: str
    version: str
    file: str
    url: str
    sha256: str
    licence: str
    needs: tuple[str, ...]  # when it runs
    build_needs: tuple[str, ...]


# needs: those of its PKG-INFO, and NumPy, which it imports without saying so. build_needs: those of its pyproject.toml.
PYCUDA = SourceArchive(
    name="pycuda",
    version="2026.1",
    file="pycuda-2026.1.tar.gz",
    url="https://files.pythonhosted.org/packages/75/93/36ffd54430924dcb03a88c97519d56589e573d0dcc999c77a4c4d8a90306/"
    "pycuda-2026.1.tar.gz",
    sha256="759516160628ba06f32ce7e563e3f5b9214691dc9528a03ea99ea1073f4e14ba",
    licence="MIT License",
    needs=("mako", "numpy", "platformdirs>=2.2.0", "pytools>=2011.2"),
    build_needs=("numpy>=1.24", "setuptools", "wheel"),
)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What is resolved to wheels, the versions that this is held to, and what comes as source."""

    requirements: tuple[str, ...]
    tools: tuple[str, ...]  # carried, not installed: what installs and builds the others
    pins: tuple[str, ...]  # name==version
    sources: tuple[SourceArchive, ...]


def needs_of(root: Path, target: Target) -> Needs:
    """Return what a device of this kind needs of the tree at root."""
    project = project_of(root)
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    wanted: list[str] = [*project["dependencies"], *(extras["cpu"] if target.runtime == "cpu" else [])]
    tools = [INSTALLER]
    sources = (PYCUDA,) if target.runtime == "tensorrt" else ()
    for source in sources:
        wanted += source.needs
        tools += source.build_needs
    pins = {requirement.name.lower(): str(requirement) for requirement in _pins(root, target)}
    if target.opencv == "system":
        wanted = [text for text in wanted if parse_requirement(text).name != OPENCV]
        pins["numpy"] = SYSTEM_NUMPY
    return Needs(requirements=tuple(wanted), tools=tuple(tools), pins=tuple(sorted(pins.values())), sources=sources)


def project_of(root: Path) -> dict[str, Any]:
    """Return the [project] table of root's pyproject.toml."""
    # Python 3.10 has no tomllib; pip, which this folder runs anyway, carries the same parser.
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli")
    path = root / "pyproject.toml"
    try:
        return toml.loads(path.read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: expected the project's name, version and dependencies, got {error}") from error


def parse_requirement(text: str) -> Requirement:
    """Read one requirement, such as numpy>=1.24."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError as error:
        raise BadInput(f"expected the package packaging, got {error}; pip install packaging") from error
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise BadInput(f"expected a requirement such as numpy>=1.24, got {text!r}: {error}") from error


def _pins(root: Path, target: Target) -> list[Requirement]:
    """Return the versions that hold for the device; later ones replace earlier ones of the same name."""
    found: list[Requirement] = []
    for path in (root / name for name in PINS):
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        for line in filter(None, (line.split("#")[0].strip() for line in lines)):
            requirement = parse_requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(target.markers()):
                requirement.marker = None
                found.append(requirement)
    return found
