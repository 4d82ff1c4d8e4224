"""Everybody the gallery knows or the cameras see now, as the desk shows them. Made anew for every question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deploy.web.desk_views import PersonDetail, PersonView
from deploy.web.timeline import Stay
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.gallery import Gallery, Person, Tracklet
    from deploy.web.faces import Faces
    from deploy.web.timeline import Timeline

MOST_STAYS = 200
MOST_RECENT = 500  # people; their embeddings are read along with the times: 8 kB each


class Unknown(BadInput):
    """Nobody has this number."""


@dataclass(eq=False)
class Survey:
    """People at one moment; the loop's thread only."""

    gallery: Gallery
    timeline: Timeline
    faces: Faces

    def __post_init__(self) -> None:
        self._known = {person.identity: person for person in self.gallery.people()}
        self._here = self.timeline.here()
        self._similarity = self.timeline.similarities()

    def view(self, identity: int) -> PersonView:
        """Return a person as the page shows him."""
        known, here = self._known.get(identity), self._here.get(identity, [])
        if known is None and not here:
            raise Unknown(f"expected a person, got the number {identity}; he may have been merged, erased or expired")
        times_s = [stay.first_s for stay in here] + [stay.last_s for stay in here]
        times_s += [] if known is None else [known.first_s, known.last_s]
        seen = [stay.modality for stay in here] + list(known.modalities if known else ())
        return PersonView(
            identity=identity,
            label=known.label if known else "",
            enrolled=known is not None and known.enrolled,
            first_s=min(times_s),
            last_s=max(times_s),
            cameras=_distinct([stay.camera for stay in here], known.cameras if known else ()),
            modalities=tuple(modality for modality in ("visible", "infrared") if modality in seen),
            tracklets=known.tracklets if known else 0,
            here=_distinct([stay.camera for stay in here]),
            similarity=self._similarity.get(identity),
            visible_face=self.faces.version(identity, "visible"),
            infrared_face=self.faces.version(identity, "infrared"),
        )

    def ranked(self, text: str) -> list[int]:
        """Return those whose name or number holds text: who is in the pictures now, then by last seen."""
        wanted = [identity for identity in {*self._known, *self._here} if self._fits(identity, text.strip().casefold())]
        return sorted(wanted, key=lambda i: (i not in self._here, -self._last_s(i), i))

    def detail(self, identity: int) -> PersonDetail:
        """Return a person with his stays: what the gallery kept, and what this run saw."""
        tracklets = self.gallery.tracklets(identity)
        stays = {_place(stay): stay for stay in map(stay_of, tracklets)}
        stays.update({_place(stay): stay for stay in self.timeline.stays(identity=identity)})
        newest = sorted(stays.values(), key=lambda stay: (-stay.last_s, stay.camera, stay.track))
        return PersonDetail(
            person=self.view(identity), stays=tuple(newest[:MOST_STAYS]), across=_best_across(tracklets)
        )

    def _fits(self, identity: int, text: str) -> bool:
        known: Person | None = self._known.get(identity)
        return text in f"id {identity}" or (known is not None and text in known.label.casefold())

    def _last_s(self, identity: int) -> float:
        known = self._known.get(identity)
        return known.last_s if known else 0.0


def stay_of(tracklet: Tracklet) -> Stay:
    """Return a stored tracklet as a stay that is over."""
    return Stay(
        camera=tracklet.camera,
        modality=tracklet.modality,
        track=tracklet.track,
        identity=tracklet.identity,
        first_s=tracklet.first_s,
        last_s=tracklet.last_s,
        live=False,
    )


def recent_stays(gallery: Gallery, most_people: int = MOST_RECENT) -> list[Stay]:
    """Return the stays of those whom a gallery saw last, for `Timeline.remember` at the start of a run."""
    newest = sorted(gallery.people(), key=lambda person: (-person.last_s, person.identity))[:most_people]
    return [stay_of(tracklet) for person in newest for tracklet in gallery.tracklets(person.identity)]


def _place(stay: Stay) -> tuple[str, str, int, float]:
    """Return what tells stays apart: numbers of tracks begin anew with every run."""
    return stay.camera, stay.modality, stay.track, round(stay.first_s, 1)


def _best_across(tracklets: Sequence[Tracklet]) -> float | None:
    visible = [tracklet.mean_D for tracklet in tracklets if tracklet.modality == "visible"]
    infrared = [tracklet.mean_D for tracklet in tracklets if tracklet.modality == "infrared"]
    return float((np.stack(visible) @ np.stack(infrared).T).max()) if visible and infrared else None


def _distinct(*lists: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({name for names in lists for name in names}))
