"""Qdrant Edge's shards as folders: make, open, fill and remove one; its failures as GalleryError.

qdrant-edge-py is a beta whose interface drifts, so one version is pinned and only this file and edge.py use it.
"""

from __future__ import annotations

import os
import re
import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from deploy.gallery.protocol import GalleryError
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from qdrant_edge import EdgeShard, Filter, Point, PointId

    from engines.manifest import Modality

T = TypeVar("T")

FILTERED = ("modality", "camera")  # an index of each before data: without one, filtered answers were wrong
LEAST_FREE = 96 * 1024 * 1024  # bytes: a new file of the log and one of vectors take 32 MB each
PLACE = re.compile(r"rows-(\d+)")


def require_edge() -> None:
    """Refuse where the package is missing."""
    if find_spec("qdrant_edge") is None:
        raise BadInput(
            "gallery: expected the package qdrant-edge-py, got none installed; pip install 'crosslight[qdrant]', or "
            "name a file for a gallery without it"
        )


def create_shard(path: Path, dim: int) -> EdgeShard:
    """Make an empty shard. Halves: as in the SQLite gallery. Dot: the rows are unit vectors, and stay as they are."""
    from qdrant_edge import (
        Distance,
        EdgeConfig,
        EdgeShard,
        EdgeVectorParams,
        PayloadSchemaType,
        UpdateOperation,
        VectorStorageDatatype,
    )

    remove_folder(path)
    path.mkdir(mode=0o700)
    vectors = EdgeVectorParams(size=dim, distance=Distance.Dot, datatype=VectorStorageDatatype.Float16)
    shard = EdgeShard.create(str(path), EdgeConfig(vectors=vectors))
    for key in FILTERED:
        shard.update(UpdateOperation.create_field_index(key, PayloadSchemaType.Keyword))
    shard.flush()
    fsync_folder(path.parent)
    return shard


def load_shard(path: Path) -> EdgeShard:
    from qdrant_edge import EdgeShard

    return EdgeShard.load(str(path))


def upsert(shard: EdgeShard, points: list[Point]) -> None:
    from qdrant_edge import UpdateOperation

    shard.update(UpdateOperation.upsert_points(points))


def delete(shard: EdgeShard, ids: list[PointId]) -> None:
    """Let no search find points any more; their bytes stay in the shard's files."""
    from qdrant_edge import UpdateOperation

    shard.update(UpdateOperation.delete_points(ids))


def filter_of(modality: Modality, cameras: Collection[str] | None) -> Filter:
    from qdrant_edge import FieldCondition, Filter, MatchAny, MatchValue

    conditions = [FieldCondition("modality", match=MatchValue(modality))]
    if cameras is not None:
        conditions.append(FieldCondition("camera", match=MatchAny(sorted(cameras))))
    return Filter(must=[*conditions])


def ask(folder: Path, what: str, call: Callable[[], T]) -> T:
    """Return what a call into Qdrant Edge gives, or raise GalleryError."""
    try:
        return call()
    except BaseException as error:
        # A panic in Rust is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise GalleryError(f"gallery {folder}: cannot {what} ({first_line_of(error)})") from error
        raise


def expect_space(folder: Path, what: str, more_bytes: int = 0) -> None:
    """Refuse to write where the disk is nearly full: Qdrant maps its files, and a full disk then ends the process."""
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE + more_bytes:
        raise GalleryError(
            f"gallery {folder}: cannot {what} (expected {(LEAST_FREE + more_bytes) / 1e6:.0f} MB of free disk, got "
            f"{free / 1e6:.0f} MB)"
        )


def size_of(folder: Path) -> int:
    """Return the bytes that a folder's files take on the disk; they have holes."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def first_line_of(error: BaseException) -> str:
    return first_line(Exception(*error.args))


def next_place(place: str) -> str:
    """Return the name of the folder after rows-N."""
    match = PLACE.fullmatch(place)
    return f"rows-{int(match[1]) + 1 if match else 1}"


def remove_folder(path: Path) -> None:
    """Remove a folder of rows, if it is there, and see to it that it does not come back."""
    if path.exists():
        shutil.rmtree(path)
        fsync_folder(path.parent)


def fsync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
