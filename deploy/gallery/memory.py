"""A gallery that lives as long as the run.

Shapes: D embedding, Q queries.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.gallery.ledger import Ledger, tracklet_of
from deploy.gallery.matrix import Matrices
from deploy.gallery.protocol import checked, checked_query

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from deploy.gallery.protocol import Hit, Person, Tracklet
    from engines.manifest import Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

MOST_TRACKLETS = 5000  # 5 rows of 2048 floats each: 200 MB, and 8 ms a query


@dataclass(eq=False)
class MemoryGallery:
    """The oldest tracklets of people without a label leave when it is full, so that a long run's memory stays flat."""

    most_tracklets: int = MOST_TRACKLETS
    model: str = ""
    dim: int | None = None
    _ledger: Ledger = field(default_factory=Ledger)
    _matrices: Matrices | None = None
    _faces: dict[tuple[int, str], bytes] = field(default_factory=dict[tuple[int, str], bytes])

    @property
    def last_identity(self) -> int:
        return self._ledger.last_identity

    def new_identity(self) -> int:
        self._ledger.last_identity += 1
        return self._ledger.last_identity

    def skip(self, last_identity: int) -> None:
        self._ledger.last_identity = max(self._ledger.last_identity, last_identity)

    def enrol(self, tracklet: Tracklet) -> None:
        row_RD = checked(tracklet, self.dim)
        if self._matrices is None:
            self.dim = dim = int(row_RD.shape[1])
            self._matrices = Matrices(dim)
        entry = self._ledger.entry(tracklet, len(row_RD))
        self._ledger.add(entry)
        self._matrices.add(entry, row_RD)
        self._drop(self._ledger.surplus(entry))
        while len(self) > self.most_tracklets:
            self._let_go()

    def search(
        self, query_QD: Float, modality: Modality, limit: int, *, cameras: Collection[str] | None = None
    ) -> list[list[Hit]]:
        query_QD = checked_query(query_QD, self.dim)
        if self._matrices is None:
            return [[] for _ in query_QD]
        return self._matrices.search(query_QD, modality, limit, cameras)

    def tracklets(self, identity: int) -> list[Tracklet]:
        entries = self._ledger.of(identity)
        if self._matrices is None or not entries:
            return []
        rows = self._matrices.rows(entries)
        return [tracklet_of(entry, row_RD) for entry, row_RD in zip(entries, rows, strict=True)]

    def people(self) -> list[Person]:
        return self._ledger.people()

    def count_people(self) -> int:
        return self._ledger.count_people()

    def merge(self, kept: int, absorbed: int) -> None:
        if kept == absorbed:
            return
        for modality in self._ledger.better_faces(kept, absorbed):
            self._faces[kept, modality] = self._faces[absorbed, modality]
        self._drop_faces(absorbed)
        self._ledger.merge(kept, absorbed)
        if self._matrices is not None:
            self._matrices.assign([entry.number for entry in self._ledger.of(kept)], kept)

    def rename(self, identity: int, label: str) -> None:
        self._ledger.name(identity, label)

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        if quality > self._ledger.face_quality.get((identity, modality), -1.0):
            self._faces[identity, modality] = jpeg
            self._ledger.face_quality[identity, modality] = quality

    def face(self, identity: int, modality: Modality) -> bytes | None:
        return self._faces.get((identity, modality))

    def face_quality(self, identity: int, modality: Modality) -> float | None:
        return self._ledger.face_quality.get((identity, modality))

    def expire(self, before_s: float) -> int:
        before = len(self)
        identities, numbers = self._ledger.expired(before_s)
        for identity in identities:
            self._forget(identity)
        self._drop(numbers)
        if len(self) < before:
            log.info("gallery: %d people expired, %d tracklets", len(identities), before - len(self))
        return len(identities)

    def erase(self, identity: int) -> int:
        count = self._forget(identity)
        log.info("gallery: identity %d erased, %d tracklets", identity, count)
        return count

    def __len__(self) -> int:
        return len(self._ledger.entries)

    def flush(self) -> None:
        pass

    def tidy(self) -> None:
        if self._matrices is not None:
            self._matrices.tidy()

    def check(self) -> list[str]:
        return []

    def close(self) -> None:
        pass

    def _let_go(self) -> None:
        """Drop the oldest tracklet of somebody without a label, or the oldest of all."""
        entries = self._ledger.entries
        labels = self._ledger.labels
        number = next((n for n, entry in entries.items() if entry.identity not in labels), next(iter(entries)))
        identity = entries[number].identity
        self._drop([number])
        if not self._ledger.of(identity):
            self._forget(identity)

    def _drop(self, numbers: list[int]) -> None:
        if numbers:
            self._ledger.drop(numbers)
            self._remove_rows(numbers)

    def _forget(self, identity: int) -> int:
        numbers = [entry.number for entry in self._ledger.of(identity)]
        self._remove_rows(numbers)
        self._drop_faces(identity)
        self._ledger.remove([identity])
        return len(numbers)

    def _remove_rows(self, numbers: list[int]) -> None:
        if self._matrices is not None:
            self._matrices.remove(numbers)
            self._matrices.tidy()

    def _drop_faces(self, identity: int) -> None:
        for key in [key for key in self._faces if key[0] == identity]:
            del self._faces[key]
