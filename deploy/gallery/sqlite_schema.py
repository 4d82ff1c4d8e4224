"""The tables of a gallery's file, and how an older file becomes a newer one.

A file's version is how many of the steps it has gone through; a new file goes through all of them. Steps are only ever
added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.errors import BadInput

if TYPE_CHECKING:
    import sqlite3

APPLICATION = 0x584C474C  # "XLGL" in the file's header
# embeddings: R x D little-endian halves, the mean first; empty once Qdrant has them. checksum: CRC-32 of that.
# Halves: the worst cosine error of 2048 values was 3.1e-5 (top-1 the same in 99.8 %), at half of the disk.
STEPS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE tracklet (number INTEGER PRIMARY KEY, identity INTEGER NOT NULL, camera TEXT NOT NULL, "
        "track INTEGER NOT NULL, modality TEXT NOT NULL, first_s REAL NOT NULL, last_s REAL NOT NULL, "
        "rows INTEGER NOT NULL, checksum INTEGER NOT NULL, embeddings BLOB NOT NULL)",
        "CREATE INDEX tracklet_identity ON tracklet (identity)",
        "CREATE TABLE person (identity INTEGER PRIMARY KEY, label TEXT NOT NULL)",
        "CREATE TABLE face (identity INTEGER NOT NULL, modality TEXT NOT NULL, quality REAL NOT NULL, "
        "jpeg BLOB NOT NULL, PRIMARY KEY (identity, modality))",
    ),
)


def version_of(db: sqlite3.Connection, path: object) -> int:
    """Return a file's version, 0 for an empty one; another program's file and a newer version are refused."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    application = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = int(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application != APPLICATION and (application or version or tables):
        raise BadInput(
            f"gallery {path}: expected a file of this program, got an SQLite file of another one; name another file"
        )
    if version > len(STEPS):
        raise BadInput(
            f"gallery {path}: expected at most version {len(STEPS)}, got version {version} of a newer program; update "
            "this one, or name another gallery"
        )
    return version


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Take the steps that a file lacks; the caller has begun a transaction, so it is all of them or none."""
    for step in STEPS[version:]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {len(STEPS)}")
