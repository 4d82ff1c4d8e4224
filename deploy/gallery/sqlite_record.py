"""What must outlive a run, in one SQLite file: tracklets, labels, faces and which numbers were given.

WAL with synchronous=FULL: what was committed survives a killed process and a power cut (0.44 ms a commit, measured).
secure_delete writes zeros over what is deleted, and erasing empties the write-ahead log too. One process writes;
others may read. The connection is used by the thread that opened it.

Shapes: R rows, D embedding.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import zlib
from typing import TYPE_CHECKING

import numpy as np

from deploy.gallery.protocol import GalleryError, wrong_model
from deploy.gallery.sqlite_file import DAMAGE, KEPT, connect, prepare, refusal
from deploy.gallery.sqlite_rows import COLUMNS, LARGEST_DIM, entry_of, is_face, is_label, whole_number
from deploy.gallery.sqlite_schema import STEPS, migrate, version_of
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.gallery.ledger import Entry, Ledger
    from engines.manifest import Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

HALF = np.dtype("<f2")


class SqliteRecord:
    """A gallery's file. `kind` says where the embeddings are: "numpy" (here) or "edge"."""

    def __init__(self, path: Path, *, kind: str, model: str | None, dim: int | None, read_only: bool = False) -> None:
        self.path, self._kind = path, kind
        self._read_only, self._unscrubbed = read_only, False
        self._dropped = False  # something since the last scrub
        self.unswept = False  # whether Qdrant's files have bytes of tracklets that were dropped
        self._lock = None if read_only else prepare(path)
        try:
            self._db = connect(path, read_only)
            try:
                self._open(kind, model, dim)
            except BaseException:
                self._db.close()
                raise
        except BaseException as error:
            if self._lock is not None:
                self._lock.release()
            if isinstance(error, DAMAGE):
                raise refusal(path, error) from error
            raise

    def load(self) -> Iterator[tuple[Entry, Float]]:
        """Yield every tracklet by number, with its embeddings where they are here."""
        try:
            for checksum, blob, entry in self._tracklets():
                if zlib.crc32(blob) != checksum or len(blob) not in (0, entry.rows * self.dim * HALF.itemsize):
                    raise BadInput(
                        f"gallery {self.path}: expected whole embeddings, got a damaged tracklet {entry.number}; {KEPT}"
                    )
                yield entry, np.frombuffer(blob, HALF).reshape(-1, self.dim).astype(np.float32)
        except DAMAGE as error:
            raise refusal(self.path, error) from error

    def load_people(self, ledger: Ledger) -> None:
        """Fill in labels, the quality of faces and the highest number given."""
        try:
            for person in self._db.execute("SELECT identity, label FROM person"):
                self._expect(is_label(person), "a name")
                ledger.labels[person[0]] = person[1]
            for face in self._db.execute("SELECT identity, modality, quality FROM face"):
                self._expect(is_face(face), "a face")
                ledger.face_quality[face[0], face[1]] = face[2]
            ledger.last_identity = max(ledger.last_identity, self._number("last_identity"))
        except DAMAGE as error:
            raise refusal(self.path, error) from error

    def fact(self, name: str) -> str | None:
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _number(self, name: str) -> int:
        number = whole_number(self.fact(name))
        self._expect(number is not None, name)
        return number or 0

    def _expect(self, sound: bool, what: str) -> None:
        if not sound:
            raise self._damage(what)

    def _damage(self, what: str) -> BadInput:
        return BadInput(f"gallery {self.path}: expected a whole file, got a damaged one ({what}); {KEPT}")

    def add(self, entry: Entry, row_RD: Float) -> None:
        """Keep a tracklet; it is on the disk when this returns."""
        blob = row_RD.astype(HALF).tobytes()
        values = (entry.number, entry.identity, entry.camera, entry.track, entry.modality, entry.first_s, entry.last_s)
        with self._writing("keep a tracklet"):
            self._db.execute(
                "INSERT INTO tracklet VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, entry.rows, zlib.crc32(blob), blob),
            )
            self._raise_last_identity(entry.identity)

    def take_back(self, numbers: Iterable[int]) -> None:
        with self._writing("take tracklets back"):
            self._delete(numbers)

    def drop(self, numbers: Iterable[int]) -> None:
        """Delete tracklets; the next flush() scrubs, and Qdrant's files are unswept until its rows are written anew."""
        with self._writing("drop old tracklets"):
            self._delete(numbers)
            if self._kind == "edge":
                self._db.execute("INSERT OR REPLACE INTO fact VALUES ('unswept', '1')")
        self._dropped, self.unswept = True, self._kind == "edge"

    def drop_embeddings(self, numbers: Collection[int]) -> None:
        """Go without the embeddings of tracklets that Qdrant has safely."""
        if numbers:
            with self._writing("tidy up"):
                self._db.executemany(
                    "UPDATE tracklet SET embeddings = x'', checksum = 0 WHERE number = ?", [(n,) for n in numbers]
                )

    def reserve(self, last_identity: int) -> None:
        """Note that numbers up to this one may be given."""
        with self._writing("reserve identity numbers"):
            self._raise_last_identity(last_identity)

    def rename(self, identity: int, label: str) -> None:
        with self._writing("keep a label"):
            self._db.execute("DELETE FROM person WHERE identity = ?", (identity,))
            if label:
                self._db.execute("INSERT INTO person VALUES (?, ?)", (identity, label))

    def merge(self, kept: int, absorbed: int, *, label: str, better_faces: Iterable[Modality]) -> None:
        """Give what one identity has to another, whose label is from now on this one."""
        with self._writing("merge two people"):
            self._db.execute("UPDATE tracklet SET identity = ? WHERE identity = ?", (kept, absorbed))
            self._db.execute("DELETE FROM person WHERE identity IN (?, ?)", (kept, absorbed))
            if label:
                self._db.execute("INSERT INTO person VALUES (?, ?)", (kept, label))
            for modality in better_faces:
                self._db.execute("DELETE FROM face WHERE identity = ? AND modality = ?", (kept, modality))
                self._db.execute(
                    "UPDATE face SET identity = ? WHERE identity = ? AND modality = ?", (kept, absorbed, modality)
                )
            self._db.execute("DELETE FROM face WHERE identity = ?", (absorbed,))

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        with self._writing("keep a face"):
            self._db.execute("INSERT OR REPLACE INTO face VALUES (?, ?, ?, ?)", (identity, modality, quality, jpeg))

    def face(self, identity: int, modality: Modality) -> bytes | None:
        try:
            row = self._db.execute(
                "SELECT jpeg FROM face WHERE identity = ? AND modality = ?", (identity, modality)
            ).fetchone()
        except DAMAGE as error:
            raise GalleryError(f"gallery {self.path}: cannot read a face ({first_line(error)})") from error
        return row[0] if row is not None and isinstance(row[0], bytes) else None

    def erase(self, identities: Iterable[int], place: str | None, numbers: Iterable[int] = ()) -> None:
        """Delete people and single tracklets, note in the same commit where Qdrant has the other rows, and scrub."""
        keys = [(identity,) for identity in identities]
        with self._writing("erase a person"):
            self._delete(numbers)
            for table in ("tracklet", "person", "face"):
                self._db.executemany(f"DELETE FROM {table} WHERE identity = ?", keys)
            if place is not None:
                self._db.execute("INSERT OR REPLACE INTO fact VALUES ('place', ?)", (place,))
                self._db.execute("DELETE FROM fact WHERE name = 'unswept'")
        self.unswept = self.unswept and place is None
        self.scrub()

    def scrub(self) -> None:
        """Bring the zeros to the disk and empty the log, which still has what was written before."""
        try:
            busy = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] != 0
            reason = "another process is reading the gallery"
        except DAMAGE as error:
            busy, reason = True, first_line(error)
        if busy and not self._unscrubbed:
            log.warning("gallery %s: erased bytes are on the disk until it can be tidied (%s)", self.path, reason)
        self._unscrubbed, self._dropped = busy, False

    def flush(self) -> None:
        """Scrub what was not scrubbed yet; everything else is on the disk already."""
        if self._unscrubbed or self._dropped:
            self.scrub()

    def check(self) -> list[str]:
        """Return what is wrong in the file, a line each."""
        found: list[str] = []
        try:
            lines = [str(line) for (line,) in self._db.execute("PRAGMA integrity_check(20)")]
            found += [" ".join(line.split()) for line in lines if line != "ok"]
            for checksum, blob, entry in self._tracklets():
                if zlib.crc32(blob) != checksum:
                    found.append(f"tracklet {entry.number} of identity {entry.identity}: its embeddings are damaged")
        except (*DAMAGE, BadInput) as error:
            found.append(first_line(error))
        return found

    def abort(self) -> None:
        """Close without a change, as a killed process does."""
        self._db.close()
        if self._lock is not None:
            self._lock.release()

    def close(self, last_identity: int) -> None:
        """Note the last number exactly, so that none is skipped, and let others write."""
        if self._read_only:
            self.abort()
            return
        try:
            with self._writing("close"):
                self._db.execute("INSERT OR REPLACE INTO fact VALUES ('last_identity', ?)", (str(last_identity),))
            self.scrub()
        except GalleryError as error:
            log.warning("%s; nothing that was kept is lost", error)
        finally:
            self.abort()

    def _open(self, kind: str, model: str | None, dim: int | None) -> None:
        version = version_of(self._db, self.path)
        if self._read_only and version < len(STEPS):
            raise BadInput(f"gallery {self.path}: expected version {len(STEPS)}, got {version}; open it once to write")
        if not self._read_only:
            if version == 0 and (model is None or dim is None):
                raise BadInput(f"gallery {self.path}: expected people in it, got an empty file; enrol somebody first")
            self._set_up(version, {"kind": kind, "model": model, "dim": dim})
        stored_kind, self.model, self.dim = self.fact("kind"), self.fact("model") or "", self._number("dim")
        self._expect(0 < self.dim <= LARGEST_DIM and bool(self.model), "no model")
        if stored_kind != kind:
            raise BadInput(
                f"gallery {self.path}: expected a {kind} gallery, got {stored_kind}; "
                f"{'write qdrant:FOLDER for it' if stored_kind == 'edge' else 'write its path without qdrant:'}"
            )
        if (model is not None and model != self.model) or (dim is not None and dim != self.dim):
            raise wrong_model(self.path, (self.model, self.dim), (model or self.model, dim or self.dim))
        damage = [str(line) for (line,) in self._db.execute("PRAGMA quick_check(1)") if line != "ok"]
        if damage:
            reason = " ".join(damage[0].split())
            raise self._damage(reason)
        self.unswept = self.fact("unswept") is not None
        if not self._read_only:
            self.scrub()

    def _set_up(self, version: int, facts: dict[str, str | int | None]) -> None:
        if version < len(STEPS):
            self._db.execute("BEGIN IMMEDIATE")
            migrate(self._db, version)
            if version == 0:
                self._db.executemany("INSERT INTO fact VALUES (?, ?)", [(k, str(v)) for k, v in facts.items()])
            self._db.execute("COMMIT")

    def _delete(self, numbers: Iterable[int]) -> None:
        self._db.executemany("DELETE FROM tracklet WHERE number = ?", [(number,) for number in numbers])

    def _raise_last_identity(self, last_identity: int) -> None:
        if last_identity > self._number("last_identity"):
            self._db.execute("INSERT OR REPLACE INTO fact VALUES ('last_identity', ?)", (str(last_identity),))

    def _tracklets(self) -> Iterator[tuple[int, bytes, Entry]]:
        for row in self._db.execute(f"SELECT {COLUMNS} FROM tracklet ORDER BY number"):
            if (found := entry_of(row)) is None:
                raise self._damage(f"tracklet {row[0]}")
            yield found

    @contextlib.contextmanager
    def _writing(self, what: str) -> Generator[None]:
        """Hold a transaction: all of the block's changes, or none and GalleryError."""
        if self._read_only:
            raise GalleryError(f"gallery {self.path}: cannot {what}, it was opened for reading only")
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            if isinstance(error, DAMAGE):
                raise GalleryError(f"gallery {self.path}: cannot {what} ({first_line(error)})") from error
            raise
