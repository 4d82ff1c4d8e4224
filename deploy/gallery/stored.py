"""A gallery that outlives the run: an SQLite file beside rows that are searched in memory or in Qdrant Edge.

Every change is first committed to the file, then made in memory, so a change that fails has not happened.

Shapes: D embedding, R rows of a tracklet, Q queries.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from deploy.gallery.ledger import tracklet_of
from deploy.gallery.protocol import GalleryError, checked, checked_query

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deploy.gallery.ledger import Entry, Ledger
    from deploy.gallery.protocol import Hit, Person, Tracklet
    from deploy.gallery.sqlite_record import SqliteRecord
    from engines.manifest import Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

MOST_UNFLUSHED = 64  # tracklets, where nobody asks for a flush
RESERVED = 32  # identity numbers a commit; a killed run skips those that it did not give


class Rows(Protocol):
    """Where embeddings are searched. Everything here may raise GalleryError."""

    def add(self, entry: Entry, row_RD: Float) -> None: ...

    def rows(self, entries: Sequence[Entry]) -> list[Float]: ...

    def search(
        self, query_QD: Float, modality: Modality, limit: int, cameras: Collection[str] | None
    ) -> list[list[Hit]]: ...

    def assign(self, numbers: Collection[int], identity: int) -> None: ...

    def without(self, numbers: Collection[int]) -> str | None:
        """Prepare to go without tracklets; return the place that the record must name, or None."""
        ...

    def remove(self, numbers: Collection[int]) -> None:
        """Go without the tracklets that were prepared for, which nobody can find again."""
        ...

    def drop(self, numbers: Collection[int]) -> None:
        """Go without tracklets at once and cheaply; their bytes may stay until others are prepared for and removed."""
        ...

    def flush(self) -> list[int]:
        """Return the tracklets whose embeddings are safe here, so that the record need not have them."""
        ...

    def tidy(self) -> None: ...

    def check(self) -> list[str]: ...

    def close(self) -> None: ...


class StoredGallery:
    """A gallery on this device's disk; see deploy.gallery.opening."""

    def __init__(self, record: SqliteRecord, ledger: Ledger, rows: Rows) -> None:
        self._record, self._ledger, self._rows = record, ledger, rows
        self._reserved = ledger.last_identity
        self._unflushed = 0
        self._closed = False

    @property
    def model(self) -> str:
        return self._record.model

    @property
    def dim(self) -> int:
        return self._record.dim

    @property
    def last_identity(self) -> int:
        return self._ledger.last_identity

    def new_identity(self) -> int:
        self.skip(self._ledger.last_identity + 1)
        return self._ledger.last_identity

    def skip(self, last_identity: int) -> None:
        if last_identity > self._reserved:
            self._record.reserve(last_identity + RESERVED)
            self._reserved = last_identity + RESERVED
        self._ledger.last_identity = max(self._ledger.last_identity, last_identity)

    def enrol(self, tracklet: Tracklet) -> None:
        row_RD = checked(tracklet, self.dim)
        # As the disk has them, so that a search gives the same before and after a restart.
        row_RD = row_RD.astype("float16").astype("float32")
        entry = self._ledger.entry(tracklet, len(row_RD))
        # Whatever becomes of it, the number is not used again: Qdrant may hold a part of a tracklet that failed.
        self._ledger.last_number = entry.number
        self._record.add(entry, row_RD)
        try:
            self._rows.add(entry, row_RD)
        except GalleryError:
            self._take_back(entry)
            raise
        self._ledger.add(entry)
        self._reserved = max(self._reserved, entry.identity)
        self._unflushed += 1
        self._drop_surplus(entry)
        if self._unflushed >= MOST_UNFLUSHED:
            self._flush_quietly()

    def search(
        self, query_QD: Float, modality: Modality, limit: int, *, cameras: Collection[str] | None = None
    ) -> list[list[Hit]]:
        return self._rows.search(checked_query(query_QD, self.dim), modality, limit, cameras)

    def tracklets(self, identity: int) -> list[Tracklet]:
        entries = self._ledger.of(identity)
        return [tracklet_of(entry, row_RD) for entry, row_RD in zip(entries, self._rows.rows(entries), strict=True)]

    def people(self) -> list[Person]:
        return self._ledger.people()

    def count_people(self) -> int:
        return self._ledger.count_people()

    def merge(self, kept: int, absorbed: int) -> None:
        if kept == absorbed or not self._ledger.knows(absorbed):
            return
        labels = self._ledger.labels
        self._record.merge(
            kept,
            absorbed,
            label=labels.get(kept) or labels.get(absorbed, ""),
            better_faces=self._ledger.better_faces(kept, absorbed),
        )
        numbers = [entry.number for entry in self._ledger.of(absorbed)]
        self._ledger.merge(kept, absorbed)
        self._rows.assign(numbers, kept)

    def rename(self, identity: int, label: str) -> None:
        self._record.rename(identity, label)
        self._ledger.name(identity, label)

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        if quality > self._ledger.face_quality.get((identity, modality), -1.0):
            self._record.keep_face(identity, modality, jpeg, quality)
            self._ledger.face_quality[identity, modality] = quality

    def face(self, identity: int, modality: Modality) -> bytes | None:
        return self._record.face(identity, modality)

    def face_quality(self, identity: int, modality: Modality) -> float | None:
        return self._ledger.face_quality.get((identity, modality))

    def expire(self, before_s: float) -> int:
        identities, numbers = self._ledger.expired(before_s)
        if identities or numbers or self._record.unswept:
            count = self._remove(identities, numbers)
            if count:
                log.info("gallery %s: %d people expired, %d tracklets", self._record.path, len(identities), count)
        return len(identities)

    def erase(self, identity: int) -> int:
        if not self._ledger.knows(identity):
            return 0
        count = self._remove([identity])
        log.info("gallery %s: identity %d erased, %d tracklets", self._record.path, identity, count)
        return count

    def __len__(self) -> int:
        return len(self._ledger.entries)

    def flush(self) -> None:
        self._unflushed = 0
        self._record.flush()
        self._record.drop_embeddings(self._rows.flush())

    def tidy(self) -> None:
        self.flush()
        self._rows.tidy()

    def check(self) -> list[str]:
        return self._record.check() + self._rows.check()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._flush_quietly()
            self._rows.close()
            self._record.close(self._ledger.last_identity)

    def drop_abandoned(self) -> None:
        """Erase faces of people whose track never ended because the run was killed: nobody will ask for them."""
        identities = self._ledger.abandoned()
        if identities:
            self._remove(identities)
            log.info("gallery %s: faces of %d unfinished tracks erased", self._record.path, len(identities))

    def _remove(self, identities: Sequence[int], of_others: Sequence[int] = ()) -> int:
        """Erase people and single tracklets of others in one pass; return how many tracklets that were."""
        numbers = [entry.number for identity in identities for entry in self._ledger.of(identity)]
        numbers += of_others
        # Of nobody: only to sweep. Of somebody with no more than a face: needs no new rows, nor the disk for them.
        place = self._rows.without(numbers) if numbers or not identities else None
        self._record.erase(identities, place, numbers)
        self._ledger.drop(of_others)
        self._ledger.remove(identities)
        self._rows.remove(numbers)
        return len(numbers)

    def _drop_surplus(self, new: Entry) -> None:
        """Keep no more of a person than may be kept; where that fails, the next enrolment does it."""
        numbers = self._ledger.surplus(new)
        if not numbers:
            return
        try:
            self._record.drop(numbers)
            self._ledger.drop(numbers)
            self._rows.drop(numbers)
        except GalleryError as error:  # the new one is kept, so this must not say that it is not
            log.warning("%s", error)

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except GalleryError as error:  # nothing is lost: the record has what was enrolled
            log.warning("%s", error)

    def _take_back(self, entry: Entry) -> None:
        try:
            self._record.take_back([entry.number])
        except GalleryError as error:
            # It may be there when the gallery is opened again, whole, though nobody was told so.
            log.warning("%s", error)
