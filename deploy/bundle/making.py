"""Make a bundle: gather what goes in, check it, write one archive."""

from __future__ import annotations

import hashlib
import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.bundle.archive import SUMS, sums_of, write_archive
from deploy.bundle.contents import CODE, Entry, code_entries, engine_entries, revision_of
from deploy.bundle.needs import needs_of, project_of
from deploy.bundle.target import Target
from deploy.bundle.wheels import fetch_packages
from engines.errors import BadInput
from engines.manifest import sha256_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.bundle.contents import Revision
    from deploy.bundle.wheels import Package

log = logging.getLogger(__name__)

INSTALLER = Path(__file__).with_name("install.sh")
CACHE = Path("dist/wheels")
WHEELS = "wheels"
# What must load before an installer switches to a release; pycuda.driver would need the GPU's driver too.
IMPORTS: dict[str, tuple[str, ...]] = {
    "cpu": ("cv2", "scipy.optimize", "openvino", "onnxruntime"),
    "tensorrt": ("cv2", "scipy.optimize", "tensorrt", "pycuda"),
}


@dataclass(frozen=True, kw_only=True)
class BundleRequest:
    """What make_bundle.py was asked for."""

    target: Target = field(default_factory=Target)
    engine: Path | None = None
    with_plans: bool = False
    cache: Path = CACHE
    wheels_from: Path | None = None  # instead of the package index
    out: Path | None = None  # default: dist/crosslight-VERSION-DEVICE.tar.gz


def make_bundle(request: BundleRequest, root: Path) -> Path:
    """Write the archive for the tree at root and return its path."""
    version: str = project_of(root)["version"]
    stem = f"crosslight-{version}-{request.target.stem}"
    out = request.out or Path("dist") / f"{stem}.tar.gz"
    if not out.name.endswith(".tar.gz"):
        raise BadInput(f"--out: expected a name that ends in .tar.gz, got {out.name!r}")
    revision = revision_of(root)
    entries = code_entries(root)
    if request.engine is not None:
        entries += engine_entries(request.engine, with_plans=request.with_plans)
    else:
        log.warning("no --engine: the device keeps the one that it has, or needs one beside the bundle")
    packages = fetch_packages(needs_of(root, request.target), request.target, request.cache, request.wheels_from)
    entries += [Entry(name=f"{WHEELS}/{package.path.name}", data=package.path) for package in packages]
    entries += _described(request, version, revision, packages, entries)
    entries.append(Entry(name=SUMS, data=sums_of(entries).encode()))
    write_archive(out, stem, entries, revision.time_s)
    return out


def announce(made: Path) -> int:
    """Write the archive's hash and path to stdout, as sha256sum does, and what to do with it to stderr."""
    sys.stdout.write(f"{sha256_of(made)}  {made}\n")
    sys.stderr.write(
        f"{made.stat().st_size / 1e6:.0f} MB; on the device: tar xzf {made.name}, then sudo sh install.sh\n"
    )
    return 0


def _described(
    request: BundleRequest, version: str, revision: Revision, packages: Sequence[Package], entries: Sequence[Entry]
) -> list[Entry]:
    """Return the installer and what it reads: the device, the packages by hash, and how much room they take."""
    wheels = [package for package in packages if package.installed and package.unpacked_bytes is not None]
    sources = [package for package in packages if package.unpacked_bytes is None]
    added = [
        Entry(name=f"{CODE}/COMMIT", data=f"{revision.commit}\n".encode()),
        Entry(name="install.sh", data=INSTALLER, executable=True),
        Entry(name="requirements.txt", data=_locked(wheels)),
        Entry(name="sources.txt", data=_locked(sources)),
    ]
    # Two bundles that differ in any byte are two releases on a device.
    digest = hashlib.sha256(sums_of([*entries, *added]).encode()).hexdigest()[:8]
    unpacked_bytes = sum(package.unpacked_bytes or 0 for package in wheels)
    unpacked_bytes += sum(entry.size_bytes for entry in entries if not entry.name.startswith(f"{WHEELS}/"))
    target = request.target
    described = {
        "release": f"{version}-{digest}",
        "commit": revision.commit,
        "platform": target.platform,
        "wanted_python": target.python,
        "glibc": max((package.glibc for package in packages), key=_minor),
        "runtime": target.runtime,
        "opencv": target.opencv,
        "sees_system": "yes" if target.sees_system else "no",
        "engine": request.engine.resolve().name if request.engine else "",
        "imports": " ".join(IMPORTS[target.runtime]),
        "unpacked_mb": str(-(-unpacked_bytes // 1_000_000)),
    }
    lines = "".join(f"{name}='{_plain(value)}'\n" for name, value in described.items())
    added.append(Entry(name="bundle.env", data=lines.encode()))
    added.append(Entry(name="README.txt", data=_readme(described).encode()))
    return added


def _locked(packages: Sequence[Package]) -> bytes:
    """Return requirements that pip takes as these files only."""
    lines = [f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n" for package in packages]
    return "".join(lines).encode()


def _minor(glibc: str) -> int:
    return int(glibc[2:] or "0")


def _plain(value: str) -> str:
    """Return value where a shell can read it between single quotes."""
    if "'" in value or "\n" in value:
        raise BadInput(f"expected a name without quotes and line ends, got {value!r}; rename the engine folder")
    return value


def _readme(described: dict[str, str]) -> str:
    opencv = "the device's own OpenCV" if described["opencv"] == "system" else "OpenCV from a wheel"
    runtime = (
        "the device's TensorRT, pycuda built there" if described["runtime"] == "tensorrt" else "OpenVINO, ONNX Runtime"
    )
    return f"""Crosslight {described["release"]}, commit {described["commit"][:12]}
For: {described["platform"]}, Python {described["wanted_python"]}, glibc from {described["glibc"]}; {runtime}; {opencv}
Engine: {described["engine"] or "none; the device keeps the one that it has"}

Install, no network needed:          sudo sh install.sh
Elsewhere, or without root:          sh install.sh --prefix DIR
Check only, change nothing:          sh install.sh --check
Back to the release before this one: sudo sh install.sh --previous
Then:  /opt/crosslight/current/.venv/bin/python /opt/crosslight/current/deploy/run_cameras.py --help
More:  code/docs/offline-install.md
"""
