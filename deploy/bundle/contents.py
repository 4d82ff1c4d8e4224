"""What of this tree goes into a bundle: what git tracks of the code, and an engine folder whose hashes hold."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME, load_manifest, sha256_of, verified_path
from engines.plan_target import FLAVOURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.manifest import Manifest

log = logging.getLogger(__name__)

FOLDERS = ("calib", "deploy", "docs", "engines", "train")
FILES = ("CHANGELOG.md", "LICENSE", "README.md", "constraints.txt", "pyproject.toml")
CODE = "code"
# Where run_cameras.py looks for an engine that is not named.
BUILT = f"{CODE}/engines/built"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a bundle."""

    name: str  # with slashes, below the bundle's folder
    data: Path | bytes
    executable: bool = False

    @property
    def size_bytes(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The commit that the code is of."""

    commit: str  # with +changes where tracked files differ from it
    time_s: int  # since 1970: what every file of the archive is dated


def revision_of(root: Path) -> Revision:
    """Return the commit of the tree at root."""
    commit, seconds = _git(root, "log", "-1", "--format=%H %ct").split()
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *FOLDERS, *FILES).strip()
    if changed:
        log.warning("tracked files differ from commit %s: the bundle takes them as they are here", commit[:12])
    return Revision(commit=commit + ("+changes" if changed else ""), time_s=int(seconds))


def code_entries(root: Path) -> list[Entry]:
    """Return the files that git tracks, as they are in the working tree; nothing untracked, so no artefact."""
    entries: list[Entry] = []
    for line in filter(None, _git(root, "ls-files", "--stage", "-z", "--", *FOLDERS, *FILES).split("\0")):
        described, name = line.split("\t", 1)
        mode, path = described.split()[0], root / name
        if mode not in {"100644", "100755"} or not path.is_file():
            raise BadInput(f"{path}: git tracks it; expected a plain file, got none; commit, or restore it")
        entries.append(Entry(name=f"{CODE}/{name}", data=path, executable=mode == "100755"))
    if not any(entry.name == f"{CODE}/deploy/doctor.py" for entry in entries):
        raise BadInput(f"expected the tree of Crosslight, got {root}, where git does not track deploy/doctor.py")
    return entries


def engine_entries(folder: Path, *, with_plans: bool) -> list[Entry]:
    """Return an engine folder's files, each compared with its hash in the manifest; what no manifest names stays here.

    Left out: programs for PyTorch, which no device has; the list of calibration images, which names them; and plans,
    which are code, and run only where they were built, unless asked for.
    """
    manifest = load_manifest(folder)
    unwanted = {"torch", *(() if with_plans else FLAVOURS)}
    kept = tuple(graph for graph in manifest.graphs if graph.form not in unwanted)
    if not kept:
        raise BadInput(
            f"{folder}: expected ONNX graphs, got none that a device can read; build it with deploy/build_engine.py"
        )
    paths = {graph.file: verified_path(folder, graph) for graph in kept}
    for name, sha256 in _named_beside(manifest):
        paths[name] = _same(folder, name, sha256)
    place = f"{BUILT}/{folder.resolve().name}"
    described = Entry(name=f"{place}/{MANIFEST_NAME}", data=_as_bytes(dataclasses.replace(manifest, graphs=kept)))
    return [described, *(Entry(name=f"{place}/{name}", data=path) for name, path in sorted(paths.items()))]


def _named_beside(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield name and hash of the reference embeddings (check_parity.py) and the calibration tables (plans)."""
    if "file" in manifest.reference:
        yield manifest.reference["file"], manifest.reference.get("sha256", "")
    tables: dict[str, Any] = manifest.calibration.get("tables", {})
    for name, described in tables.items():
        yield name, described.get("sha256", "")


def _same(folder: Path, name: str, sha256: str) -> Path:
    path = folder / name
    if path.name != name:
        raise BadInput(
            f"{folder}: expected file names inside the folder in its manifest, got {name!r}; rebuild the engine"
        )
    found = sha256_of(path) if path.is_file() else "no file"
    if found != sha256:
        raise BadInput(
            f"{path}: expected SHA-256 {sha256[:12]}..., got {found[:12]}; copy the engine again or rebuild it"
        )
    return path


def _as_bytes(manifest: Manifest) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        manifest.save(Path(name))
        return (Path(name) / MANIFEST_NAME).read_bytes()


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError as error:
        raise BadInput("expected git, which says what belongs to the code, got none; install git") from error
    except subprocess.SubprocessError as error:
        raise BadInput(f"expected a git clone of Crosslight with a commit, got {root}; clone it with git") from error
