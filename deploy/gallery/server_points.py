"""The requests that a gallery sends to a Qdrant server, each as one call; failures as GalleryError.

Shapes: Q queries, D embedding.
"""

from __future__ import annotations

import os
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from deploy.gallery.protocol import GalleryError
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client import QdrantClient
    from qdrant_client.models import Condition, Filter, PointStruct

    from engines.manifest import Modality

    Payload = dict[str, Any]
    Float = NDArray[np.float32]

T = TypeVar("T")

KEY_VARIABLE = "QDRANT_API_KEY"
TIMEOUT_S = 2  # one question to a server that is silent may not hold up a loop that has to end within 5 s
BATCH = 256  # points a request
SPACE = uuid.UUID("6d1bb1f0-6a3f-4b0e-9a6a-4a3c5c0a1b9e")  # of the numbers of points that have a name
FACTS = str(uuid.uuid5(SPACE, "facts"))


def face_id(identity: int, modality: str) -> str:
    return str(uuid.uuid5(SPACE, f"face {identity} {modality}"))


def label_id(identity: int) -> str:
    return str(uuid.uuid5(SPACE, f"label {identity}"))


def match(**values: str | int | Collection[str]) -> Filter:
    """Return the filter of points whose payload has these values, or one out of a collection of values."""
    from qdrant_client import models

    conditions: list[Condition] = []
    for key, value in values.items():
        if isinstance(value, str | int):
            conditions.append(models.FieldCondition(key=key, match=models.MatchValue(value=value)))
        else:
            conditions.append(models.FieldCondition(key=key, match=models.MatchAny(any=sorted(value))))
    return models.Filter(must=conditions)


def connect(address: str) -> tuple[QdrantClient, str]:
    """Return a client for http(s)://host:port/collection, and the collection."""
    try:
        parts = urlsplit(address)
        port = parts.port or 6333
    except ValueError as error:
        raise BadInput(
            f"gallery: expected qdrant+http://host:6333/collection, got an address that cannot be read ({error})"
        ) from error
    collection = parts.path.strip("/")
    if parts.username or parts.password or parts.query:
        raise BadInput(
            f"gallery qdrant+{parts.scheme}://{parts.hostname}: expected an address without credentials, got some in "
            f"it; put the API key into the environment variable {KEY_VARIABLE}"
        )
    if not parts.hostname or not collection or "/" in collection:
        raise BadInput(f"gallery: expected qdrant+http://host:6333/collection, got qdrant+{address}; name a collection")
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise BadInput(
            "gallery: expected the package qdrant-client, got none installed; pip install 'crosslight[qdrant]', or "
            "name a file for a gallery without it"
        ) from error
    url = f"{parts.scheme}://{parts.hostname}:{port}"
    key = os.environ.get(KEY_VARIABLE)
    try:
        return QdrantClient(url=url, api_key=key, timeout=TIMEOUT_S, check_compatibility=False), collection
    except ValueError as error:  # a host's name that is none
        raise BadInput(
            f"gallery: expected qdrant+http://host:6333/collection, got an address that cannot be read ({error})"
        ) from error


class ServerPoints:
    """Two collections: rows with embeddings, and `-people` with none."""

    def __init__(self, client: QdrantClient, collection: str) -> None:
        self._client = client
        self.rows, self.people = collection, f"{collection}-people"

    def ready(self) -> bool:
        """Say whether the gallery is there."""
        return self.do("reach the server", lambda: self._client.collection_exists(self.people))

    def create(self, dim: int) -> None:
        """Make what is missing of both collections, the indexes before any data."""
        from qdrant_client import models

        rows = models.VectorParams(size=dim, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16)
        keyword, integer = models.PayloadSchemaType.KEYWORD, models.PayloadSchemaType.INTEGER
        indexes = {"modality": keyword, "camera": keyword, "tracklet": keyword, "identity": integer, "row": integer}
        self._create(self.rows, rows, indexes)
        self._create(self.people, {}, {"kind": keyword, "identity": integer, "modality": keyword})

    def facts(self) -> Payload | None:
        found = self.payloads([FACTS])
        return found[0] if found else None

    def put_facts(self, payload: Payload) -> None:
        """Write the facts of a new gallery; another device's stay."""
        from qdrant_client import models

        point = models.PointStruct(id=FACTS, vector={}, payload=payload)
        self.do(
            "make the gallery",
            lambda: self._client.upsert(self.people, [point], update_mode=models.UpdateMode.INSERT_ONLY),
        )

    def swap_fact(self, name: str, before: int, after: int) -> bool:
        """Change a fact from before to after; False where another device changed it first."""
        from qdrant_client import models

        owner = str(uuid.uuid4())
        condition = match(**{name: before})
        here = models.Filter(must=[models.HasIdCondition(has_id=[FACTS]), *cast("list[Condition]", condition.must)])
        self.do(
            "reserve identity numbers",
            lambda: self._client.set_payload(
                self.people, {name: after, "owner": owner}, points=here, ordering=models.WriteOrdering.STRONG
            ),
        )
        facts = self.facts()
        return facts is not None and facts.get("owner") == owner

    def upsert(self, collection: str, points: list[PointStruct]) -> None:
        self.do("keep something", lambda: self._client.upsert(collection, points, wait=True))

    def payloads(self, ids: list[str]) -> list[Payload]:
        found = self.do("read", lambda: self._client.retrieve(self.people, cast("Any", ids), with_payload=True))
        return [record.payload or {} for record in found]

    def scroll(
        self, collection: str, wanted: Filter, *, vectors: bool = False, payload: bool | list[str] = True
    ) -> Iterator[tuple[Payload, list[float]]]:
        """Yield payload and vector of every point that the filter lets through."""
        offset: Any = None
        while True:
            page = partial(self._client.scroll, collection, wanted, limit=BATCH, offset=offset, with_payload=payload)
            records, offset = self.do("read", partial(page, with_vectors=vectors))
            for record in records:
                yield record.payload or {}, cast("list[float]", record.vector or [])
            if offset is None:
                return

    def count(self, wanted: Filter | None = None) -> int:
        return self.do("count", lambda: self._client.count(self.rows, wanted, exact=True).count)

    def identities(self) -> set[int]:
        """Return who has a tracklet."""
        facet = self.do("count", lambda: self._client.facet(self.rows, "identity", limit=1 << 20, exact=True))
        return {int(hit.value) for hit in facet.hits}

    def query(
        self, query_QD: Float, modality: Modality, cameras: Collection[str] | None, count: int, *, exact: bool
    ) -> list[list[tuple[int, float]]]:
        """Return identity and score of the count best rows per query."""
        from qdrant_client import models

        wanted = match(modality=modality) if cameras is None else match(modality=modality, camera=cameras)
        requests = [
            models.QueryRequest(
                query=query_D.tolist(),
                filter=wanted,
                limit=count,
                with_payload=["identity"],
                params=models.SearchParams(exact=exact),
            )
            for query_D in query_QD
        ]
        found = self.do("search", lambda: self._client.query_batch_points(self.rows, requests)) if requests else []
        return [[(int((p.payload or {})["identity"]), p.score) for p in answer.points] for answer in found]

    def give_to(self, kept: int, absorbed: int) -> None:
        """Give the rows of one identity to another."""
        self.do(
            "merge two people",
            lambda: self._client.set_payload(self.rows, {"identity": kept}, points=match(identity=absorbed)),
        )

    def delete(self, collection: str, wanted: Filter) -> None:
        self.do("erase", lambda: self._client.delete(collection, wanted, wait=True))

    def close(self) -> None:
        self._client.close()

    def do(self, what: str, call: Callable[[], T]) -> T:
        """Return what the client gives, or raise GalleryError; its errors have no common class."""
        try:
            return call()
        except Exception as error:
            raise GalleryError(f"gallery {self.rows}: cannot {what} ({first_line(error)})") from error

    def _create(self, collection: str, vectors: Any, indexes: dict[str, Any]) -> None:
        client = self._client
        if not self.do("reach the server", lambda: client.collection_exists(collection)):
            try:
                self.do("make a collection", lambda: client.create_collection(collection, vectors_config=vectors))
            except GalleryError:
                if not client.collection_exists(collection):  # else: another device was faster
                    raise
        for key, schema in indexes.items():
            self.do(
                "make an index",
                lambda key=key, schema=schema: client.create_payload_index(collection, key, schema, wait=True),
            )
