"""The galleries that every store test runs over, and a slow model of what they must do."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.gallery import Hit, Person, Tracklet, open_gallery
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray
    from qdrant_client import QdrantClient

    from deploy.gallery import Gallery
    from engines.manifest import Modality

MODEL, DIM = "3f2a", 16
STORES = ("memory", "sqlite", "edge", "server")
DURABLE = STORES[1:]


@dataclass
class Store:
    """A place for a gallery; opening it again is what a restart does, but for the one in memory."""

    name: str
    folder: Path
    client: QdrantClient | None = None
    opened: list[Gallery] = field(default_factory=list)

    def open(self, model: str | None = MODEL, dim: int | None = DIM) -> Gallery:
        gallery = self._open(model, dim)
        self.opened.append(gallery)
        return gallery

    def _open(self, model: str | None, dim: int | None) -> Gallery:
        if self.name == "memory":
            return open_gallery("memory", model, dim)
        if self.name == "sqlite":
            return open_gallery(str(self.folder / "people.db"), model, dim)
        if self.name == "edge":
            pytest.importorskip("qdrant_edge", reason="needs qdrant-edge-py")
            return open_gallery(f"qdrant:{self.folder / 'people'}", model, dim)
        from deploy.gallery.server import QdrantServer
        from deploy.gallery.server_points import ServerPoints

        if self.client is None:
            self.client = local_client()
        return QdrantServer(ServerPoints(self.client, "people"), model, dim)

    def reopen(self, gallery: Gallery) -> Gallery:
        gallery.close()
        return self.open()


def local_client() -> QdrantClient:
    """The client's own store in memory in place of a server, which cannot be had here; it outlives a gallery."""
    qdrant_client = pytest.importorskip("qdrant_client", reason="needs qdrant-client")
    # It says that indexes and exact searches are a server's affair.
    warnings.filterwarnings("ignore", message="Payload indexes have no effect|Local mode performs exact")
    client = qdrant_client.QdrantClient(":memory:")
    client.close = lambda: None
    return client


def unit(*values: float) -> NDArray[np.float32]:
    """A unit vector of DIM values, the rest zero."""
    vector_D = np.zeros(DIM, np.float32)
    vector_D[: len(values)] = values
    return np.asarray(vector_D / np.linalg.norm(vector_D), np.float32)


def tracklet(
    identity: int,
    *rows: NDArray[np.float32],
    camera: str = "door",
    modality: Modality = "visible",
    first_s: float = 0.0,
    last_s: float | None = None,
    track: int = 1,
) -> Tracklet:
    row_RD = np.stack(rows) if rows else unit(1)[None]
    return Tracklet(
        identity=identity,
        camera=camera,
        track=track,
        modality=modality,
        first_s=first_s,
        last_s=first_s + 1.0 if last_s is None else last_s,
        mean_D=row_RD[0],
        prototype_PD=row_RD[1:],
    )


@dataclass
class SlowModel:
    """What a gallery must do, in the plainest way."""

    most_per_person: int = 50
    last_identity: int = 0
    kept: list[Tracklet] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    faces: dict[tuple[int, str], tuple[float, bytes]] = field(default_factory=dict)

    def enrol(self, new: Tracklet) -> None:
        self.kept.append(new)
        self.last_identity = max(self.last_identity, new.identity)
        while True:
            same = [t for t in self.kept if (t.identity, t.modality) == (new.identity, new.modality)]
            free = sorted((t for t in same if t is not new and t.camera != "enrolled"), key=by_end)
            if len(same) <= self.most_per_person or not free:
                return
            self.kept.remove(free[0])

    def search(
        self, query_QD: NDArray[np.float32], modality: str, limit: int, cameras: Collection[str] | None
    ) -> list[list[Hit]]:
        answers = []
        for query_D in query_QD:
            best: dict[int, float] = {}
            for t in self.kept:
                if t.modality == modality and (cameras is None or t.camera in cameras):
                    for row_D in t.row_RD:
                        score = round(sum(float(a) * float(b) for a, b in zip(query_D, row_D, strict=True)), 5)
                        best[t.identity] = max(best.get(t.identity, -1.0), score)
            ranked = sorted(best, key=lambda identity: (-best[identity], identity))[:limit]
            answers.append([Hit(identity, best[identity]) for identity in ranked])
        return answers

    def people(self) -> list[Person]:
        found = []
        for identity in sorted({t.identity for t in self.kept}):
            of = [t for t in self.kept if t.identity == identity]
            label = self.labels.get(identity, "")
            found.append(
                Person(
                    identity=identity,
                    label=label,
                    enrolled=label != "",
                    first_s=min(t.first_s for t in of),
                    last_s=max(t.last_s for t in of),
                    cameras=tuple(sorted({t.camera for t in of})),
                    modalities=tuple(m for m in MODALITIES if m in {t.modality for t in of}),
                    tracklets=len(of),
                )
            )
        return found

    def merge(self, kept: int, absorbed: int) -> None:
        if kept == absorbed:
            return
        self.kept = [replace(t, identity=kept) if t.identity == absorbed else t for t in self.kept]
        label = self.labels.pop(absorbed, "")
        if label and not self.labels.get(kept):
            self.labels[kept] = label
        for modality in MODALITIES:
            theirs = self.faces.pop((absorbed, modality), None)
            if theirs is not None and theirs[0] > self.faces.get((kept, modality), (-1.0, b""))[0]:
                self.faces[kept, modality] = theirs

    def rename(self, identity: int, label: str) -> None:
        self.labels[identity] = label

    def keep_face(self, identity: int, modality: str, jpeg: bytes, quality: float) -> None:
        if quality > self.faces.get((identity, modality), (-1.0, b""))[0]:
            self.faces[identity, modality] = (quality, jpeg)

    def erase(self, identity: int) -> int:
        count = sum(t.identity == identity for t in self.kept)
        self.kept = [t for t in self.kept if t.identity != identity]
        self.labels.pop(identity, None)
        for modality in MODALITIES:
            self.faces.pop((identity, modality), None)
        return count

    def expire(self, before_s: float) -> int:
        gone = [p.identity for p in self.people() if p.last_s < before_s and not p.enrolled]
        for identity in gone:
            self.erase(identity)
        for t in sorted(self.kept, key=by_end):
            if t.last_s < before_s and not self._needed(t):
                self.kept.remove(t)
        return len(gone)

    def _needed(self, one: Tracklet) -> bool:
        """Whether a named person would be unknown, or lose an operator's picture, without it."""
        same = [t for t in self.kept if (t.identity, t.modality) == (one.identity, one.modality)]
        return bool(self.labels.get(one.identity)) and (one.camera == "enrolled" or len(same) == 1)


def by_end(t: Tracklet) -> tuple[float, float, str, int]:
    return t.last_s, t.first_s, t.camera, t.track


def files_with(folder: Path, patterns: dict[str, bytes]) -> dict[str, list[str]]:
    """Return by name of a pattern the files below a folder that contain its bytes, where there are any."""
    found: dict[str, list[str]] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()  # Qdrant's log is 64 MB: once for all patterns
        for name, pattern in patterns.items():
            if pattern in content:
                found.setdefault(name, []).append(str(path.relative_to(folder)))
    return found
