"""A gallery on a Qdrant server or cluster, which several devices share.

Everything is on the server, so no device is needed to make sense of it: embeddings with who, when and where in the
collection NAME, labels, faces and the facts in NAME-people. A tracklet is one request; an incomplete one (a server that
died in the middle) is not seen. Several requests that belong together are in an order that a crash between them cannot
harm. Identity numbers are reserved in blocks by a conditional write, of which only one device's succeeds.

Erased points are gone for every search at once; their bytes leave the server's files when it next optimises its
segments, which no client can order. Use SQLite or Qdrant Edge where that is not enough.

Shapes: D embedding, Q queries.
"""

from __future__ import annotations

import base64
import logging
import uuid
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deploy.gallery.ledger import Entry, person_of, tracklet_of
from deploy.gallery.protocol import GalleryError, checked, checked_query, wrong_model
from deploy.gallery.ranking import search_rows
from deploy.gallery.retention import outdated, surplus
from deploy.gallery.server_points import BATCH, ServerPoints, connect, face_id, label_id, match
from engines.errors import BadInput
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from deploy.gallery.protocol import Hit, Person, Tracklet
    from engines.manifest import Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

EXACT_BELOW = 50_000  # points
RESERVED = 32  # identity numbers a request
ATTEMPTS = 50  # to reserve some while other devices do


def open_server(address: str, model: str | None, dim: int | None) -> QdrantServer:
    """Open the gallery in http(s)://host:port/collection, or make it."""
    client, collection = connect(address)
    points = ServerPoints(client, collection)
    try:
        return QdrantServer(points, model, dim)
    except GalleryError as error:
        points.close()
        raise BadInput(
            f"{error}; expected a Qdrant server at {address.rpartition('/')[0]}: check address and key"
        ) from error
    except BaseException:
        points.close()
        raise


class QdrantServer:
    """People on a server; what other devices do is seen at once in searches, and after flush() in count_people()."""

    def __init__(self, points: ServerPoints, model: str | None, dim: int | None) -> None:
        self._points = points
        facts = points.facts() if points.ready() else None
        if facts is None:
            if model is None or dim is None:
                raise BadInput(f"gallery {points.rows}: expected a gallery, got nothing there; check the address")
            points.create(dim)
            points.put_facts({"kind": "facts", "model": model, "dim": dim, "last_identity": 0})
            facts = points.facts() or {}
        self.model, self.dim = str(facts["model"]), int(facts["dim"])
        if (model is not None and model != self.model) or (dim is not None and dim != self.dim):
            raise wrong_model(points.rows, (self.model, self.dim), (model or self.model, dim or self.dim))
        self._given = self._reserved = 0  # numbers above the first up to the second are this device's
        self._waiting: dict[tuple[int, Modality], tuple[bytes, float]] = {}  # faces of people without a tracklet
        self._quality: dict[tuple[int, str], float] = {}
        self._people: set[int] | None = None
        self._exact: bool | None = None

    @property
    def last_identity(self) -> int:
        return int((self._points.facts() or {})["last_identity"])

    def new_identity(self) -> int:
        if self._given >= self._reserved:
            self._given, self._reserved = self._reserve(0)
        self._given += 1
        return self._given

    def skip(self, last_identity: int) -> None:
        if last_identity > self._given:
            self._given = min(last_identity, self._reserved)
            if self.last_identity < last_identity:
                self._given, self._reserved = self._reserve(last_identity)

    def enrol(self, tracklet: Tracklet) -> None:
        from qdrant_client import models

        row_RD = checked(tracklet, self.dim).astype(np.float16).astype(np.float32)
        if tracklet.identity > self._reserved:
            self.skip(tracklet.identity)
        name = uuid.uuid4()
        what = {
            "tracklet": str(name),
            "identity": tracklet.identity,
            "camera": tracklet.camera,
            "track": tracklet.track,
            "modality": tracklet.modality,
            "first_s": tracklet.first_s,
            "last_s": tracklet.last_s,
            "rows": len(row_RD),
        }
        points = [
            models.PointStruct(id=str(uuid.uuid5(name, str(row))), vector=row_D.tolist(), payload={**what, "row": row})
            for row, row_D in enumerate(row_RD)
        ]
        self._points.upsert(self._points.rows, points)
        if self._people is not None:
            self._people.add(tracklet.identity)
        for modality in MODALITIES:
            face = self._waiting.pop((tracklet.identity, modality), None)
            if face is not None:
                self._put_face(tracklet.identity, modality, *face)
        self._drop_surplus(str(name), tracklet)

    def search(
        self, query_QD: Float, modality: Modality, limit: int, *, cameras: Collection[str] | None = None
    ) -> list[list[Hit]]:
        query_QD = checked_query(query_QD, self.dim)
        if cameras is not None and not cameras:
            return [[] for _ in query_QD]
        if self._exact is None:
            self._exact = self._points.count() < EXACT_BELOW
        exact = self._exact

        def ask(queries_QD: Float, count: int) -> list[list[tuple[int, float]]]:
            return self._points.query(queries_QD, modality, cameras, count, exact=exact)

        return search_rows(query_QD, limit, ask)

    def tracklets(self, identity: int) -> list[Tracklet]:
        rows: dict[str, list[tuple[int, list[float], Entry]]] = {}
        for payload, vector in self._points.scroll(self._points.rows, match(identity=identity), vectors=True):
            row = (int(payload["row"]), vector, _entry(payload))
            rows.setdefault(str(payload["tracklet"]), []).append(row)
        whole = [sorted(found, key=lambda r: r[0]) for found in rows.values() if len(found) == found[0][2].rows]
        whole.sort(key=lambda found: _by_time(found[0][2]))
        return [tracklet_of(found[0][2], np.asarray([r[1] for r in found], np.float32)) for found in whole]

    def people(self) -> list[Person]:
        labels = self._labels()
        entries, _ = self._entries()
        return [
            person_of(sorted(entries[identity], key=_by_time), labels.get(identity, "")) for identity in sorted(entries)
        ]

    def count_people(self) -> int:
        return len(self._identities())

    def merge(self, kept: int, absorbed: int) -> None:
        if kept == absorbed:
            return
        labels = self._labels()
        # What the kept one gets first, then the rows, then what is left: a crash between leaves nobody without.
        if labels.get(absorbed) and not labels.get(kept):
            self.rename(kept, labels[absorbed])
        for modality in MODALITIES:
            face, quality = self.face(absorbed, modality), self.face_quality(absorbed, modality)
            if face is not None and quality is not None:
                self.keep_face(kept, modality, face, quality)
        self._points.give_to(kept, absorbed)
        if self._people is not None and absorbed in self._people:
            self._people.add(kept)
        self._drop_person(absorbed)

    def rename(self, identity: int, label: str) -> None:
        from qdrant_client import models

        if label:
            payload = {"kind": "label", "identity": identity, "label": label}
            point = models.PointStruct(id=label_id(identity), vector={}, payload=payload)
            self._points.upsert(self._points.people, [point])
        else:
            self._points.delete(self._points.people, match(kind="label", identity=identity))

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        kept = self.face_quality(identity, modality)
        if kept is not None and quality <= kept:
            return
        if identity in self._identities():
            self._put_face(identity, modality, jpeg, quality)
        else:  # a track that goes on: a face without a tracklet would stay for ever if this process were killed
            self._waiting[identity, modality] = (jpeg, quality)

    def face(self, identity: int, modality: Modality) -> bytes | None:
        if (identity, modality) in self._waiting:
            return self._waiting[identity, modality][0]
        found = self._points.payloads([face_id(identity, modality)])
        return base64.b64decode(found[0]["jpeg"]) if found else None

    def face_quality(self, identity: int, modality: Modality) -> float | None:
        if (identity, modality) in self._waiting:
            return self._waiting[identity, modality][1]
        if (identity, modality) not in self._quality:
            found = self._points.payloads([face_id(identity, modality)])
            self._quality[identity, modality] = float(found[0]["quality"]) if found else -1.0
        quality = self._quality[identity, modality]
        return None if quality < 0 else quality

    def expire(self, before_s: float) -> int:
        labels = self._labels()
        entries, names = self._entries()
        people, old = 0, 0
        dropped: list[str] = []
        for identity, of in entries.items():
            gone = outdated(of, before_s, labelled=bool(labels.get(identity)))
            old += len(gone)
            if len(gone) == len(of):
                self._remove(identity)
                people += 1
            else:
                dropped += [names[entry.number] for entry in gone]
        self._drop(dropped)
        if old:
            log.info("gallery %s: %d people expired, %d tracklets", self._points.rows, people, old)
        return people

    def erase(self, identity: int) -> int:
        count = self._remove(identity)
        log.info("gallery %s: identity %d erased, %d tracklets", self._points.rows, identity, count)
        return count

    def __len__(self) -> int:
        return self._points.count(match(row=0))

    def flush(self) -> None:
        self._people, self._exact = None, None
        self._quality.clear()

    def tidy(self) -> None:
        self.flush()

    def check(self) -> list[str]:
        count: dict[str, int] = {}
        rows: dict[str, int] = {}
        for payload, _ in self._points.scroll(self._points.rows, match()):
            name = str(payload["tracklet"])
            count[name], rows[name] = count.get(name, 0) + 1, int(payload["rows"])
        return [f"tracklet {n}: expected {rows[n]} rows, got {count[n]}" for n in count if count[n] != rows[n]]

    def close(self) -> None:
        self._points.close()

    def _entries(self, **values: str | int) -> tuple[dict[int, list[Entry]], list[str]]:
        """Return the tracklets by identity, and their names by their numbers, which last as long as this answer."""
        entries: dict[int, list[Entry]] = {}
        names: list[str] = []
        for payload, _ in self._points.scroll(self._points.rows, match(row=0, **values)):
            entry = _entry(payload, len(names))
            entries.setdefault(entry.identity, []).append(entry)
            names.append(str(payload["tracklet"]))
        return entries, names

    def _drop_surplus(self, name: str, new: Tracklet) -> None:
        """Keep no more of a person than may be kept; where that fails, the next enrolment does it."""
        try:
            entries, names = self._entries(identity=new.identity, modality=new.modality)
            if name in names:
                of = entries[new.identity]
                mine = next(entry for entry in of if names[entry.number] == name)
                self._drop([names[entry.number] for entry in surplus(of, mine)])
        except GalleryError as error:  # the new one is kept, so this must not say that it is not
            log.warning("%s", error)

    def _drop(self, names: list[str]) -> None:
        for start in range(0, len(names), BATCH):
            self._points.delete(self._points.rows, match(tracklet=names[start : start + BATCH]))

    def _reserve(self, least: int) -> tuple[int, int]:
        """Return the ends of a block of numbers above least that no other device has."""
        for _ in range(ATTEMPTS):
            last = self.last_identity
            start = max(last, least)
            if self._points.swap_fact("last_identity", last, start + RESERVED):
                return start, start + RESERVED
        raise GalleryError(f"gallery {self._points.rows}: cannot reserve identity numbers, other devices are faster")

    def _identities(self) -> set[int]:
        if self._people is None:
            self._people = self._points.identities()
        return self._people

    def _labels(self) -> dict[int, str]:
        found = self._points.scroll(self._points.people, match(kind="label"))
        return {int(payload["identity"]): str(payload["label"]) for payload, _ in found}

    def _put_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        from qdrant_client import models

        text = base64.b64encode(jpeg).decode("ascii")
        payload = {"kind": "face", "identity": identity, "modality": modality, "quality": quality, "jpeg": text}
        point = models.PointStruct(id=face_id(identity, modality), vector={}, payload=payload)
        self._points.upsert(self._points.people, [point])
        self._quality[identity, modality] = quality

    def _remove(self, identity: int) -> int:
        count = self._points.count(match(identity=identity, row=0))
        self._points.delete(self._points.rows, match(identity=identity))
        self._drop_person(identity)
        return count

    def _drop_person(self, identity: int) -> None:
        self._points.delete(self._points.people, match(identity=identity))
        if self._people is not None:
            self._people.discard(identity)
        for modality in MODALITIES:
            self._waiting.pop((identity, modality), None)
            self._quality.pop((identity, modality), None)


def _entry(payload: dict[str, Any], number: int = 0) -> Entry:
    return Entry(
        number=number,  # tracklets of a server have names
        identity=int(payload["identity"]),
        camera=str(payload["camera"]),
        track=int(payload["track"]),
        modality=cast("Modality", payload["modality"]),
        first_s=float(payload["first_s"]),
        last_s=float(payload["last_s"]),
        rows=int(payload["rows"]),
    )


def _by_time(entry: Entry) -> tuple[float, float, str, int]:
    return entry.first_s, entry.last_s, entry.camera, entry.track
