"""What lies in a data set's folders, kept in an index so that a second start asks for their times only.

The index is `.crosslight-index.json` in the data set's own folder; where that cannot be written, there is none. A
folder is taken from it only while its times are those of when it was listed, and whatever comes or goes changes them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from engines.atomic import write_text
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

INDEX_NAME = ".crosslight-index.json"
FORMAT = 1
# The coarsest clock of a file system in use (FAT): what changed a moment ago may change again and keep its time.
SETTLING_NS = 2_000_000_000


class Listed(NamedTuple):
    """One folder: what is in it, in ascending order, and its times when it was listed."""

    mtime_ns: int
    ctime_ns: int  # a copying tool can set mtime back; nobody can set this one
    folders: tuple[str, ...]
    files: tuple[str, ...]


def list_tree(root: Path, levels: Mapping[str, int]) -> dict[str, Listed]:
    """Map each folder's path below root, with slashes, to what is in it; levels says how deep each top folder goes.

    A folder that does not exist is left out.
    """
    known = _read_index(root / INDEX_NAME)
    settled_ns = time.time_ns() - SETTLING_NS
    tree: dict[str, Listed] = {}
    pending = list(levels.items())
    while pending:
        relative, level = pending.pop()
        listed = _list_folder(root / relative, known.get(relative))
        if listed is None:
            continue
        tree[relative] = listed
        if level > 1:
            pending += [(f"{relative}/{name}", level - 1) for name in listed.folders]
    # Some network file systems call every folder's time 0; that tells nothing.
    settled = {relative: listed for relative, listed in tree.items() if 0 < listed.mtime_ns < settled_ns}
    if settled != known:
        _write_index(root / INDEX_NAME, settled)
    return tree


def missing_files(tree: Mapping[str, Listed], wanted: Iterable[tuple[str, str]]) -> list[str]:
    """Return the paths out of (folder, file name) that the tree lacks."""
    present = {folder: set(listed.files) for folder, listed in tree.items()}
    return [f"{folder}/{name}" for folder, name in wanted if name not in present.get(folder, ())]


def _list_folder(path: Path, known: Listed | None) -> Listed | None:
    folders: list[str] = []
    files: list[str] = []
    try:
        state = path.stat()
        if known is not None and (known.mtime_ns, known.ctime_ns) == (state.st_mtime_ns, state.st_ctime_ns):
            return known
        with os.scandir(path) as entries:
            for entry in entries:
                (folders if entry.is_dir() else files).append(entry.name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"{path}: expected a folder to list, got {error.strerror!r}; check its permissions") from error
    return Listed(state.st_mtime_ns, state.st_ctime_ns, tuple(sorted(folders)), tuple(sorted(files)))


def _read_index(path: Path) -> dict[str, Listed]:
    """Return what the index holds; nothing if it is missing, damaged or of another format."""
    try:
        index = json.loads(path.read_bytes())
        if index["format"] != FORMAT or index["sha256"] != _digest(index["folders"]):
            return {}
        return {
            relative: Listed(mtime_ns, ctime_ns, tuple(folders), tuple(files))
            for relative, (mtime_ns, ctime_ns, folders, files) in index["folders"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _write_index(path: Path, tree: dict[str, Listed]) -> None:
    index = {"format": FORMAT, "sha256": _digest(tree), "folders": tree}
    try:
        write_text(path, json.dumps(index, separators=(",", ":")))
    except OSError as error:
        log.info("%s: not written (%s); every start lists the folders again", path, error.strerror)


def _digest(folders: object) -> str:
    return hashlib.sha256(json.dumps(folders, separators=(",", ":")).encode()).hexdigest()
