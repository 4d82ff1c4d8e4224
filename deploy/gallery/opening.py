"""A gallery by its name: "memory", a file (SQLite), "qdrant:FOLDER" or "qdrant+http://host:6333/collection"."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.gallery.ledger import Ledger
from deploy.gallery.memory import MemoryGallery
from deploy.gallery.protocol import GalleryError
from engines.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploy.gallery.edge import EdgeRows
    from deploy.gallery.ledger import Entry
    from deploy.gallery.protocol import Gallery
    from deploy.gallery.sqlite_record import SqliteRecord
    from deploy.gallery.stored import StoredGallery

log = logging.getLogger(__name__)

MANY_ROWS = 50_000  # a query takes about 26 ms at 40,000 rows of 2048 values, and they take 400 MB
PEOPLE_FILE = "people.sqlite"
MOST_TORN = 0.1  # of the tracklets: with so many without their rows, a person should look first


def open_gallery(where: str, model: str | None, dim: int | None, *, read_only: bool = False) -> Gallery:
    """Open a gallery for embeddings of one model, or make it. One for other embeddings is refused.

    With None the model is the stored one, and a gallery must be there. Reading only is for SQLite: another process may
    be writing meanwhile, and what it adds is not seen.
    """
    if where == "memory":
        return MemoryGallery(model=model or "", dim=dim)
    if where.startswith(("qdrant+http://", "qdrant+https://")):
        from deploy.gallery.server import open_server

        return open_server(where.removeprefix("qdrant+"), model, dim)
    if where.startswith("qdrant:"):
        return open_edge(Path(where.removeprefix("qdrant:")), model, dim)
    if not where or "://" in where:
        raise BadInput(
            f"gallery: expected memory, a file, qdrant:FOLDER or qdrant+http://host:6333/collection, got "
            f"{where.partition('://')[0]!r}"
        )
    return open_sqlite(Path(where), model, dim, read_only=read_only)


def open_sqlite(path: Path, model: str | None, dim: int | None, *, read_only: bool = False) -> StoredGallery:
    """Open the gallery in a file: SQLite and exact search in memory."""
    from deploy.gallery.matrix import Matrices
    from deploy.gallery.sqlite_record import SqliteRecord
    from deploy.gallery.stored import StoredGallery

    if model is None and not path.exists():
        raise BadInput(f"gallery {path}: expected a gallery, got nothing there; check the path")
    record = SqliteRecord(path, kind="numpy", model=model, dim=dim, read_only=read_only)
    try:
        ledger, matrices, rows = Ledger(), Matrices(record.dim), 0
        for entry, row_RD in record.load():
            ledger.add(entry)
            matrices.add(entry, row_RD)
            rows += entry.rows
        record.load_people(ledger)
        if rows > MANY_ROWS:
            log.warning("gallery %s: %d rows are searched one by one; qdrant:FOLDER is faster from here on", path, rows)
        gallery = StoredGallery(record, ledger, matrices)
        if not read_only:
            gallery.drop_abandoned()
    except BaseException:
        record.abort()
        raise
    return gallery


def open_edge(folder: Path, model: str | None, dim: int | None) -> StoredGallery:
    """Open the gallery in a folder: Qdrant Edge, and an SQLite file for all but the embeddings."""
    from deploy.gallery.edge_shard import require_edge
    from deploy.gallery.sqlite_record import SqliteRecord

    require_edge()
    file = folder / PEOPLE_FILE
    if model is None and not file.exists():
        raise BadInput(f"gallery qdrant:{folder}: expected a gallery, got nothing there; check the path")
    if not file.exists() and any(folder.glob("rows-*")):
        raise BadInput(
            f"gallery qdrant:{folder}: expected {PEOPLE_FILE} beside the rows, got none; restore it, or import the "
            "last export into a new folder"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"gallery qdrant:{folder}: expected a folder, got {error.strerror}; name another") from error
    record = SqliteRecord(file, kind="edge", model=model, dim=dim)
    try:
        return _with_rows(folder, record)
    except GalleryError as error:
        record.abort()
        raise BadInput(
            f"{error}; it was left as it is: move the folder away and import the last export "
            "(deploy/manage_gallery.py import)"
        ) from error
    except BaseException:
        record.abort()
        raise


def _with_rows(folder: Path, record: SqliteRecord) -> StoredGallery:
    from deploy.gallery.edge import EdgeRows
    from deploy.gallery.edge_shard import ask, create_shard, expect_space, next_place, remove_folder
    from deploy.gallery.stored import StoredGallery

    place = record.fact("place")
    if place is None:
        place = next_place("")
        expect_space(folder, "make its rows")
        ask(folder, "make its rows", lambda: create_shard(folder / place, record.dim).close())
        record.erase([], place)
    ledger = Ledger()
    unflushed: list[tuple[Entry, NDArray[np.float32]]] = []
    for entry, row_RD in record.load():
        ledger.add(entry)
        if len(row_RD):
            unflushed.append((entry, row_RD))
    record.load_people(ledger)
    rows = EdgeRows(folder, place, ledger, record.dim)
    try:
        for entry, row_RD in unflushed:
            rows.add(entry, row_RD)
        reconcile(record, ledger, rows)
        record.drop_embeddings(rows.flush())
        # What no commit names was being written, or erased, when the process ended.
        for stale in folder.glob("rows-*"):
            if stale.name != rows.place:
                remove_folder(stale)
        gallery = StoredGallery(record, ledger, rows)
        gallery.drop_abandoned()
    except BaseException:
        rows.close()
        raise
    return gallery


def reconcile(record: SqliteRecord, ledger: Ledger, rows: EdgeRows) -> None:
    """Take back tracklets without all of their rows, which only a damaged disk makes, and rows without a tracklet.

    The latter are of an enrolment that failed, or of a newer state than an older people.sqlite that was put back.
    """
    found = rows.numbers()
    torn = [number for number, entry in ledger.entries.items() if found.get(number) != entry.rows]
    if len(torn) > MOST_TORN * len(ledger.entries):
        raise GalleryError(
            f"gallery qdrant:{record.path.parent}: expected the rows of {len(ledger.entries)} tracklets, got those of "
            f"{len(ledger.entries) - len(torn)}"
        )
    if torn:
        record.take_back(torn)
        ledger.drop(torn)
        log.warning("gallery %s: %d tracklets are gone, their rows are damaged", record.path.parent, len(torn))
    orphans = [number for number in found if number not in ledger.entries]
    if orphans:
        place = rows.without(orphans)
        record.erase([], place)
        rows.remove(orphans)
