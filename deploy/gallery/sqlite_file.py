"""Open a gallery's SQLite file, and say in one line why not. A file that cannot be opened is never changed."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from deploy.gallery.lock import WriterLock
from deploy.gallery.sqlite_schema import version_of
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"SQLite format 3\0"
WAIT_S = 0.5  # for another process's transaction to end; the camera loop stands still meanwhile
DAMAGE = (sqlite3.Error, UnicodeDecodeError)  # the second: its message quotes damaged bytes of the file
KEPT = "it was left as it is: move it away and import the last export (deploy/manage_gallery.py import)"


def prepare(path: Path) -> WriterLock:
    """Make the file, for its owner only, and become its writer."""
    if path.is_dir():
        raise BadInput(
            f"gallery {path}: expected a file, got a folder; name a file, or qdrant:{path} for a folder of Qdrant Edge"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _expect_sqlite(path)
        lock = WriterLock(path.with_name(path.name + ".lock"), path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise BadInput(
            f"gallery {path}: expected a file that can be written, got {error.strerror}; name one in a folder of yours"
        ) from error
    return lock


def _expect_sqlite(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        with path.open("rb") as file:
            start = file.read(len(MAGIC))
        if start != MAGIC:
            raise BadInput(f"gallery {path}: expected an SQLite file, got something else or a damaged file; {KEPT}")


def connect(path: Path, read_only: bool) -> sqlite3.Connection:
    if read_only:
        if not path.is_file():
            raise BadInput(f"gallery {path}: expected a gallery, got nothing there; check the path")
        _expect_sqlite(path)
        return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=WAIT_S, isolation_level=None)
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        version_of(db, path)  # before anything is written into another program's file
        if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise BadInput(f"gallery {path}: expected a disk that SQLite's WAL works on, got another; use a local disk")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
    except BaseException:
        db.close()
        raise
    return db


def refusal(path: Path, error: Exception) -> BadInput:
    reason = first_line(error)
    if isinstance(error, sqlite3.OperationalError):  # the disk, the permissions, a lock: not the file's content
        return BadInput(
            f"gallery {path}: expected to open it, got: {reason}; free the disk or the lock, or name another"
        )
    return BadInput(f"gallery {path}: expected a whole file, got a damaged one ({reason}); {KEPT}")
