"""Rows in Qdrant Edge, in this process: for galleries above what fits a search in memory.

Beside the shard stands an SQLite file with all but the embeddings, because it commits several changes at once, which
Qdrant cannot. A tracklet is committed there with its embeddings, which go when Qdrant has flushed them: one
synchronised file a tracklet instead of ten. Opening compares the two, and gives Qdrant what it has not got. A point's
number holds tracklet and row, and who that tracklet is stands in the SQLite file only, so a merge touches no point.

What is deleted in Qdrant stays in its segments and its log, so erasing writes the others into a new folder; the commit
that deletes the person names that folder, and what no commit names is removed when the gallery is opened. What a person
has too much of (`deploy.gallery.retention`) is only deleted: its bytes go when that is next done, by expiry or erasure.

Shapes: D embedding, R rows of a tracklet, Q queries.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from deploy.gallery.edge_shard import (
    ask,
    create_shard,
    delete,
    expect_space,
    filter_of,
    fsync_folder,
    load_shard,
    next_place,
    remove_folder,
    size_of,
    upsert,
)
from deploy.gallery.protocol import LONGEST, MOST_ROWS, GalleryError
from deploy.gallery.ranking import search_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from qdrant_edge import EdgeShard, Filter, Point, PointId, QueryRequest, ScoredPoint

    from deploy.gallery.ledger import Entry, Ledger
    from deploy.gallery.protocol import Hit
    from engines.manifest import Modality

    Float = NDArray[np.float32]

T = TypeVar("T")
log = logging.getLogger(__name__)

EXACT_BELOW = 50_000  # points; an exact search of so many takes about 20 ms
UNINDEXED_SHARE = 0.2  # of the points, from which on building the index again is worth minutes
BATCH = 256  # points an operation; one operation of 10,000 made the next opening take 4 s
MOST_CACHED = 256  # tracklets; reading one takes 1 ms, and its rows never change


class EdgeRows:
    """The shard in folder / place."""

    def __init__(self, folder: Path, place: str, ledger: Ledger, dim: int) -> None:
        self.place = place
        self._folder, self._ledger, self._dim = folder, ledger, dim
        self._shard = ask(folder, "open its rows", lambda: load_shard(folder / place))
        self._next: tuple[str, EdgeShard] | None = None
        self._cached: dict[int, Float] = {}
        self._unflushed: list[int] = []

    def numbers(self) -> dict[int, int]:
        """Return how many rows there are of each tracklet."""
        from qdrant_edge import ScrollRequest

        found: dict[int, int] = {}
        limit = self._shard.info().points_count + 1
        request = ScrollRequest(limit=limit, with_payload=False, with_vector=False)
        for record in self._do("read", lambda: self._shard.scroll(request))[0]:
            number = int(record.id) // MOST_ROWS
            found[number] = found.get(number, 0) + 1
        return found

    def add(self, entry: Entry, row_RD: Float) -> None:
        from qdrant_edge import Point

        expect_space(self._folder, "keep a tracklet")
        payload = {"camera": entry.camera, "modality": entry.modality}
        points = [Point(entry.number * MOST_ROWS + r, row_D.tolist(), payload) for r, row_D in enumerate(row_RD)]
        self._do("keep a tracklet", lambda: upsert(self._shard, points))
        self._unflushed.append(entry.number)

    def rows(self, entries: Sequence[Entry]) -> list[Float]:
        return [self._row(entry) for entry in entries]

    def search(
        self, query_QD: Float, modality: Modality, limit: int, cameras: Collection[str] | None
    ) -> list[list[Hit]]:
        if cameras is not None and not cameras:
            return [[] for _ in query_QD]
        wanted = filter_of(modality, cameras)
        return search_rows(query_QD, limit, lambda queries_QD, count: self._query(queries_QD, wanted, count))

    def assign(self, numbers: Collection[int], identity: int) -> None:
        pass

    def without(self, numbers: Collection[int]) -> str | None:
        # Also those of nobody: a deletion that failed.
        left_out = {*numbers, *(self.numbers().keys() - self._ledger.entries.keys())}
        expect_space(self._folder, "write the others anew", size_of(self._folder / self.place))
        place = next_place(self.place)
        if self._next is not None:
            self._next[1].close()
        shard = self._do("write the others anew", lambda: create_shard(self._folder / place, self._dim))
        self._next = place, shard
        for points in self._batches(left_out):
            self._do("write the others anew", lambda points=points: upsert(shard, points))
        self._do("write the others anew", shard.flush)
        fsync_folder(self._folder)
        return place

    def remove(self, numbers: Collection[int]) -> None:
        if self._next is None:
            return
        old = self._folder / self.place
        self._shard.close()
        self.place, self._shard = self._next
        self._next = None
        for number in numbers:
            self._cached.pop(number, None)
        remove_folder(old)

    def drop(self, numbers: Collection[int]) -> None:
        for number in numbers:
            self._cached.pop(number, None)
        expect_space(self._folder, "drop old tracklets")
        ids: list[PointId] = [number * MOST_ROWS + r for number in numbers for r in range(MOST_ROWS)]
        self._do("drop old tracklets", lambda: delete(self._shard, ids))

    def flush(self) -> list[int]:
        # Ten synchronised files, 6 ms and on a busy disk 115: not for every tracklet.
        if self._unflushed:
            expect_space(self._folder, "flush")
            self._do("flush", self._shard.flush)
        flushed, self._unflushed = self._unflushed, []
        return flushed

    def tidy(self) -> None:
        info = self._shard.info()
        if info.points_count >= EXACT_BELOW:
            unindexed = info.points_count - info.indexed_vectors_count
            if unindexed > UNINDEXED_SHARE * info.points_count:
                log.info("gallery %s: building the index of %d rows", self._folder, info.points_count)
                self._do("optimise", self._shard.optimize)

    def check(self) -> list[str]:
        expected = {number: entry.rows for number, entry in self._ledger.entries.items()}
        found = self.numbers()
        wrong = sorted(n for n in {*expected, *found} if expected.get(n) != found.get(n))
        lines = [
            f"tracklet {n}: expected {expected.get(n, 0)} rows in Qdrant, got {found.get(n, 0)}" for n in wrong[:20]
        ]
        for points in self._batches(set()):
            row_ND = np.asarray([point.vector for point in points], np.float32)
            bad_N = np.flatnonzero(~(np.linalg.norm(row_ND, axis=1) <= LONGEST))
            lines += [f"tracklet {int(points[i].id) // MOST_ROWS}: its embeddings are damaged" for i in bad_N.tolist()]
        return lines

    def close(self) -> None:
        for shard in [self._shard, *([self._next[1]] if self._next else [])]:
            try:
                self._do("close", shard.close)
            except GalleryError as error:
                log.warning("%s", error)

    def _query(self, query_QD: Float, wanted: Filter, limit: int) -> list[list[tuple[int, float]]]:
        from qdrant_edge import Query, QueryBatchRequest, QueryRequest, SearchParams

        params = SearchParams(exact=self._shard.info().points_count < EXACT_BELOW)
        requests: list[QueryRequest] = [
            QueryRequest(
                limit=limit,
                query=Query.Nearest(query_D.tolist()),
                filter=wanted,
                with_payload=False,
                with_vector=False,
                params=params,
            )
            for query_D in query_QD
        ]
        found = self._do("search", lambda: self._shard.query_batch(QueryBatchRequest(requests)))
        return [[(self._identity(point), point.score) for point in scored] for scored in found]

    def _identity(self, point: ScoredPoint) -> int:
        entry = self._ledger.entries.get(int(point.id) // MOST_ROWS)
        return 0 if entry is None else entry.identity

    def _row(self, entry: Entry) -> Float:
        if entry.number not in self._cached:
            while len(self._cached) >= MOST_CACHED:
                del self._cached[next(iter(self._cached))]
            self._cached[entry.number] = self._read(entry)
        return self._cached[entry.number]

    def _read(self, entry: Entry) -> Float:
        ids: list[PointId] = [entry.number * MOST_ROWS + r for r in range(entry.rows)]
        records = self._do("read", lambda: self._shard.retrieve(ids, with_payload=False, with_vector=True))
        ordered = sorted(records, key=lambda record: int(record.id))
        return np.asarray([record.vector for record in ordered], np.float32)

    def _batches(self, left_out: set[int]) -> Iterator[list[Point]]:
        """Yield the points of all tracklets but these."""
        from qdrant_edge import Point, ScrollRequest

        offset = None
        while True:
            request = ScrollRequest(offset=offset, limit=BATCH, with_payload=True, with_vector=True)
            records, offset = self._do("read", lambda request=request: self._shard.scroll(request))
            kept = [r for r in records if int(r.id) // MOST_ROWS not in left_out and r.vector is not None]
            if kept:
                yield [Point(record.id, record.vector or [], record.payload) for record in kept]
            if offset is None:
                return

    def _do(self, what: str, call: Callable[[], T]) -> T:
        return ask(self._folder, what, call)
