"""What an operator can ask and do: people, a picture to search for, a name, one person out of two, erase.

All of it runs on the loop's thread, between two moments; `deploy.loop.mailbox` brings it there.

Shapes: H height, W width, C channel (3, RGB), B batch, D embedding.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deploy.gallery import Tracklet, choose_prototypes
from deploy.gallery.protocol import ENROLLED
from deploy.sightings import Merge
from deploy.thresholds.thresholds import direction_of
from deploy.web.desk_people import Survey, Unknown
from deploy.web.desk_views import Enrolled, Erased, People, PersonDetail, PersonView, SearchHit, SearchResult
from deploy.web.picture_people import cut_person, find_people
from engines.errors import BadInput
from engines.manifest import MODALITIES
from engines.preprocess import batch_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from deploy.detection.detector import Detector
    from deploy.gallery import Gallery
    from deploy.loop.healing import Healing
    from deploy.sightings import Box, Record, TrackKey
    from deploy.thresholds.thresholds import Thresholds
    from deploy.web.desk_views import Picture
    from deploy.web.faces import Faces
    from deploy.web.timeline import Timeline
    from engines.backend import Backend
    from engines.manifest import Manifest, Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

MOST_HITS = 20
MOST_PEOPLE = 200
LONGEST_NAME = 80
OPERATORS_CHOICE = 1.0  # quality of a picture that an operator gave: no camera's is better


class Unavailable(RuntimeError):
    """A part that the answer needs does not work at the moment."""


class LiveTracks(Protocol):
    """The matcher's side of what an operator decides about people who are in the pictures now."""

    def follow(self, kept: int, absorbed: int) -> None:
        """Give the live tracks of one identity to another, and report that as a merge if there are any."""
        ...

    def forget(self, identity: int) -> None:
        """Take identity and embeddings from its live tracks, so that they begin anew."""
        ...


class Evidence(Protocol):
    """What was embedded of a live track so far (deploy.web.feed)."""

    def __call__(self, key: TrackKey) -> tuple[Modality, Sequence[Float]] | None: ...


@dataclass(kw_only=True, eq=False)
class Desk:
    """`clock` is the run's; `origin_s` makes it absolute. `detector` finds people in single pictures: not by motion."""

    gallery: Gallery
    backend: Healing[Backend]
    manifest: Manifest
    faces: Faces
    timeline: Timeline
    clock: Callable[[], float]
    origin_s: float = 0.0
    detector: Healing[Detector] | None = None
    thresholds: Thresholds | None = None
    live: LiveTracks | None = None
    evidence: Evidence | None = None
    record: Callable[[Record], None] | None = None

    def people(self, text: str = "", limit: int = MOST_PEOPLE) -> People:
        """Return those whose name or number holds text: who is in the pictures now, then by last seen."""
        survey = self._survey()
        ranked = survey.ranked(text)
        return People(people=tuple(survey.view(identity) for identity in ranked[:limit]), total=len(ranked))

    def person(self, identity: int) -> PersonDetail:
        return self._survey().detail(identity)

    def face(self, identity: int, modality: Modality) -> bytes | None:
        return self.faces.face(identity, modality)

    def names(self) -> dict[int, str]:
        """Return the names that were given."""
        return {person.identity: person.label for person in self.gallery.people() if person.label}

    def search(self, picture: Picture) -> SearchResult:
        """Return whom the chosen person of a picture resembles, best first."""
        boxes = self._people_in(picture)
        embedding_BD = self._embed([cut_person(picture, boxes)], picture.modality)
        height_px, width_px = picture.image_HWC.shape[:2]
        least = self._least(picture.modality)
        return SearchResult(
            width_px=width_px,
            height_px=height_px,
            boxes=tuple(boxes),
            chosen=picture.person if boxes else None,
            hits=self._hits(embedding_BD[0], least),
            least_visible=least.get("visible"),
            least_infrared=least.get("infrared"),
            people=self.gallery.count_people(),
        )

    def enrol(self, name: str, pictures: Sequence[Picture], identity: int | None = None) -> Enrolled:
        """Make a person out of pictures, or add them to one; nothing is kept where one of them cannot be used."""
        label = checked_name(name, needed=identity is None)
        if not pictures:
            raise BadInput("expected at least one picture to enrol, got none")
        if identity is not None:
            self._survey().view(identity)
        crops: defaultdict[Modality, list[NDArray[np.uint8]]] = defaultdict(list)
        for picture in pictures:
            crops[picture.modality].append(cut_person(picture, self._people_in(picture)))
        embeddings: dict[Modality, Float] = {modality: self._embed(crops[modality], modality) for modality in crops}
        similar: dict[int, SearchHit] = {}
        for modality, rows_BD in embeddings.items():
            for hit in self._hits(unit_mean(rows_BD), self._least(modality)):
                if hit.above and hit.person.identity != identity:
                    similar.setdefault(hit.person.identity, hit)
        mine = self.gallery.new_identity() if identity is None else identity
        for modality, rows_BD in embeddings.items():
            self._store(mine, modality, rows_BD)
            best_HWC = max(crops[modality], key=lambda image_HWC: image_HWC.shape[0])
            self.faces.keep(mine, modality, best_HWC, OPERATORS_CHOICE)
        if label:
            self.gallery.rename(mine, label)
        log.info("identity %d: enrolled from %d pictures", mine, len(pictures))
        return Enrolled(person=self._survey().view(mine), similar=tuple(similar.values()))

    def enrol_track(self, key: TrackKey, name: str) -> Enrolled:
        """Name whom a live track shows; one that has no identity becomes a person with what was seen of it so far."""
        label = checked_name(name, needed=True)
        stay = next((stay for stay in self.timeline.stays(live=True) if stay.key == key), None)
        if stay is None:
            raise Unknown(f"expected a track that is in the picture, got {key.track} of {key.camera}; it has ended")
        identity = stay.identity
        if identity is None:
            identity = self._make_person(key)
        elif all(person.identity != identity for person in self.gallery.people()):
            self._store_track(key, identity)  # a name needs somebody in the gallery to hang on
        self.gallery.rename(identity, label)
        return Enrolled(person=self._survey().view(identity), similar=())

    def rename(self, identity: int, name: str) -> PersonView:
        """Give a person a name; an empty one takes it away."""
        label = checked_name(name, needed=False)
        if self._survey().view(identity).tracklets == 0:
            key = next(stay.key for stay in self.timeline.stays(identity=identity, live=True))
            self._store_track(key, identity)
        self.gallery.rename(identity, label)
        return self._survey().view(identity)

    def merge(self, kept: int, absorbed: int) -> PersonView:
        """Make one person of two: the operator says that they are. The kept one's name wins, if he has one."""
        if kept == absorbed:
            raise BadInput(f"expected two people to merge, got {kept} twice")
        survey = self._survey()
        first, second = survey.view(kept), survey.view(absorbed)
        self.gallery.merge(kept, absorbed)
        if second.label and not first.label:
            self.gallery.rename(kept, second.label)
        if self.live is not None:
            self.live.follow(kept, absorbed)
        self.faces.change(kept, absorbed)
        if self.record is not None and not (self.live is not None and second.here):
            self.record(Merge(time_s=self.clock(), kept=kept, absorbed=absorbed, similarity=None))
        log.info("identity %d: is identity %d from now on, the operator says", absorbed, kept)
        return self._survey().view(kept)

    def erase(self, identity: int) -> Erased:
        """Remove embeddings, faces, name and stays of a person; live tracks of his begin anew."""
        self._survey().view(identity)
        tracklets = self.gallery.erase(identity)
        if self.live is not None:
            self.live.forget(identity)
        self.faces.forget_live(identity)
        self.faces.change(identity)
        stays = self.timeline.erase(identity)
        log.info("identity %d: erased, %d tracklets and %d stays", identity, tracklets, stays)
        return Erased(identity=identity, tracklets=tracklets, stays=stays)

    def _survey(self) -> Survey:
        return Survey(self.gallery, self.timeline, self.faces)

    def _people_in(self, picture: Picture) -> list[Box]:
        if self.detector is None:
            return []
        # A detector that fails leaves the whole picture.
        return self.detector.ask(lambda part: find_people(part, picture)) or []

    def _embed(self, crops: Sequence[NDArray[np.uint8]], modality: Modality) -> Float:
        batch_BHWC = batch_crops(crops, self.manifest.height_px, self.manifest.width_px)
        embedding_BD = self.backend.ask(lambda part: part.embed(batch_BHWC, modality))
        if embedding_BD is None:
            raise Unavailable(f"the engine does not work at the moment ({self.backend.reason}); it is tried again")
        return embedding_BD

    def _make_person(self, key: TrackKey) -> int:
        identity = self.gallery.new_identity()
        self._store_track(key, identity)
        return identity

    def _store_track(self, key: TrackKey, identity: int) -> None:
        found = None if self.evidence is None else self.evidence(key)
        if found is None or not found[1]:
            raise BadInput(f"track {key.track} of {key.camera}: nothing good enough was seen of it yet; wait a little")
        self._store(identity, found[0], np.stack(found[1]))
        self.faces.keep_live(key, identity)

    def _store(self, identity: int, modality: Modality, embedding_BD: Float) -> None:
        now_s = self.origin_s + self.clock()
        self.gallery.enrol(
            Tracklet(
                identity=identity,
                camera=ENROLLED,
                track=0,
                modality=modality,
                first_s=now_s,
                last_s=now_s,
                mean_D=unit_mean(embedding_BD),
                prototype_PD=choose_prototypes(embedding_BD),
            )
        )

    def _least(self, query: Modality) -> dict[Modality, float]:
        """Return the least cosine of a match with what each kind of camera saw, where it is known."""
        if self.thresholds is None:
            return {}
        people = len(self.gallery)  # somebody with five tracklets has five chances to be mistaken
        least: dict[Modality, float] = {}
        for stored in MODALITIES:
            value = self.thresholds.least(direction_of(query, stored), people)
            if math.isfinite(value):
                least[stored] = value
        return least

    def _hits(self, query_D: Float, least: dict[Modality, float]) -> tuple[SearchHit, ...]:
        found: defaultdict[int, dict[Modality, float]] = defaultdict(dict)
        for stored in MODALITIES:
            for hit in self.gallery.search(query_D[None], stored, MOST_HITS)[0]:
                found[hit.identity][stored] = hit.similarity
        # Cosines of two directions are compared by how far they are above what each asks for; 2: nothing is known.
        unknown = 2.0 if least else 0.0
        excess = {
            identity: max(value - least.get(stored, unknown) for stored, value in similarity.items())
            for identity, similarity in found.items()
        }
        survey = self._survey()
        return tuple(
            SearchHit(
                person=survey.view(identity),
                visible=found[identity].get("visible"),
                infrared=found[identity].get("infrared"),
                above=excess[identity] >= 0 if least else None,
            )
            for identity in sorted(found, key=lambda identity: (-excess[identity], identity))[:MOST_HITS]
        )


def unit_mean(embedding_BD: Float) -> Float:
    sum_D = embedding_BD.sum(axis=0)
    return np.asarray(sum_D / max(float(np.linalg.norm(sum_D)), 1e-12), np.float32)


def checked_name(name: str, *, needed: bool) -> str:
    """Return a name in one line, or refuse it."""
    label = " ".join(name.split())
    if needed and not label:
        raise BadInput("expected a name, got none")
    if len(label) > LONGEST_NAME:
        raise BadInput(f"expected a name of {LONGEST_NAME} letters at most, got {len(label)}")
    if not label.isprintable():
        raise BadInput("expected a name of printable letters, got control characters")
    return label
