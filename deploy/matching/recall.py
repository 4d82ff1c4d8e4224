"""Who was met before and may be the people in the picture now: one search per stored modality and decision.

The gallery is searched for tracks whose evidence changed, and for tracks without a past whenever the gallery changed.
A track whose identity has a past is looked up again at its 1st, 2nd, 4th and 8th crop only: a mean moves less with
every crop. Live tracks that the tracker has lost sight of count too, as if they were stored already: somebody who
walks from one camera to the next keeps the number although the first track lives on for two seconds.

A group's tracks are searched one by one and in both modalities, and each search may err: the threshold is that of a
search among as many people, times the searches.

Shapes: Q tracks, D embedding, P rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deploy.thresholds.thresholds import direction_of
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from deploy.gallery import Gallery, Hit
    from deploy.matching.groups import Group, Least
    from deploy.matching.live_tracks import LiveTrack
    from deploy.sightings import TrackKey
    from engines.manifest import Modality

CANDIDATES = 5
LOOK_UP_AT = (1, 2, 4, 8)  # crops
ABSENT_S = 0.5  # unseen for this long: gone, as far as another camera is concerned


class Candidate(NamedTuple):
    """An identity that a group may have, and by how much its cosine exceeds what is asked for."""

    identity: int
    excess: float


@dataclass(kw_only=True, eq=False)
class _Found:
    version: int = -1  # of the evidence that was searched with
    change: int = -1  # of the gallery
    hits: dict[Modality, list[Hit]] = field(default_factory=dict["Modality", "list[Hit]"])


NOTHING = _Found()


@dataclass(eq=False)
class Recall:
    """What the gallery said of each live track. `change` counts how often the gallery changed."""

    gallery: Gallery
    change: int = 0
    _found: dict[TrackKey, _Found] = field(default_factory=dict["TrackKey", _Found])

    def search(self, tracks: Iterable[LiveTrack], settled: Collection[int]) -> None:
        """Look up whoever needs it; settled: the identities that have a past. GalleryError: nobody was looked up."""
        due = [track for track in tracks if self._is_due(track, settled)]
        if not due:
            return
        query_QD = np.stack([track.evidence.mean_D for track in due])
        found: list[list[list[Hit]]] = [self.gallery.search(query_QD, modality, CANDIDATES) for modality in MODALITIES]
        for row, track in enumerate(due):
            hits: dict[Modality, list[Hit]] = {m: hits_Q[row] for m, hits_Q in zip(MODALITIES, found, strict=True)}
            self._found[track.key] = _Found(version=track.evidence.version, change=self.change, hits=hits)

    def candidates(
        self, group: Group, departed: Sequence[LiveTrack], least: Least, people: int, held: int | None
    ) -> list[Candidate]:
        """Return who a group may be, without judging whether it is enough; held: an identity that must be among them.

        departed: live tracks that were lost before the group came, with an identity.
        """
        searches: list[tuple[LiveTrack, Modality, list[Hit]]] = []
        for track in group:
            found = self._hits(track)
            for modality in MODALITIES:
                if found.get(modality):
                    searches.append((track, modality, found[modality]))
        people = max(1, people) * max(1, len(searches))
        best: dict[int, float] = {}
        for track, modality, hits in searches:
            lowest = least(direction_of(track.modality, modality), people)
            for identity, similarity in hits:
                best[identity] = max(best.get(identity, -np.inf), similarity - lowest)
            if held is not None and len(hits) == CANDIDATES and all(hit.identity != held for hit in hits):
                # Not among the best: at most as similar as the last of them.
                best[held] = max(best.get(held, -np.inf), hits[-1].similarity - lowest)
        for other in departed:
            for track in group:
                lowest = least(direction_of(track.modality, other.modality), people)
                excess = float((other.evidence.row_PD @ track.evidence.mean_D).max()) - lowest
                if other.identity is not None:
                    best[other.identity] = max(best.get(other.identity, -np.inf), excess)
        return [Candidate(identity, excess) for identity, excess in sorted(best.items()) if np.isfinite(excess)]

    def best_return(self, track: LiveTrack, least: Least, people: int) -> Candidate | None:
        """Return whom a track resembles most among those who were met in its own modality."""
        hits = self._hits(track).get(track.modality)
        if not hits:
            return None
        lowest = least(direction_of(track.modality, track.modality), max(1, people))
        return Candidate(hits[0].identity, hits[0].similarity - lowest)

    def forget(self, key: TrackKey) -> None:
        self._found.pop(key, None)

    def forget_all(self) -> None:
        """Look everybody up again: the gallery was changed by somebody else, or people became one."""
        self._found.clear()

    def _hits(self, track: LiveTrack) -> dict[Modality, list[Hit]]:
        return self._found.get(track.key, NOTHING).hits

    def _is_due(self, track: LiveTrack, settled: Collection[int]) -> bool:
        found = self._found.get(track.key)
        if found is None:
            return True
        fresh = found.change == self.change
        if track.identity not in settled:
            return found.version != track.evidence.version or not fresh
        if found.version != track.evidence.version and len(track.evidence) in LOOK_UP_AT:
            return True
        # Its identity was stored after the track was looked up.
        return not fresh and all(hit.identity != track.identity for hits in found.hits.values() for hit in hits)
