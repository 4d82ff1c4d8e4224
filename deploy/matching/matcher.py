"""Who is who: the tracks of all cameras into identities.

Whenever there is news (a crop, a track that comes back, one that ends), the live tracks of every ground are put into
groups of one person each (`matching_groups`), and the groups get identities (`matching_names`): the one they hold,
one from the gallery that is similar enough (`matching_recall`), or a new one. Standing decisions have a small
advantage, so that noise does not make identities flicker. What the site's rules forbid (`rules`) never gets one
identity: nobody is twice in one camera or in two places at once. A track's identity may be revised while it lives and
is final when it ends; every revision, split and merge is returned to be recorded, and following them from the start
gives the final identities. Without thresholds there are similarities and no identities.

Memory is bounded by the live tracks and the gallery. With 16 live tracks on two grounds and 1,000 stored tracklets of
5 rows of 2048 values, a decision takes 0.01 CPU-ms without news, 1 after a look at positions, 2.4 after one crop (1.8
of it the search) and 9 after 16 crops (one thread).

Shapes: D embedding, N crops, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deploy.gallery import GalleryError
from deploy.matching.groups import link, note_matches, partition
from deploy.matching.live_tracks import LiveTrack
from deploy.matching.names import Linked, MatchSettings, Naming
from deploy.matching.past import Pasts
from deploy.matching.position import Positions
from deploy.matching.recall import Recall
from deploy.sightings import Merge, Revision, Split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.gallery import Gallery
    from deploy.matching.position import AlignmentLookup
    from deploy.matching.rules import SiteRules
    from deploy.sightings import TrackKey
    from deploy.thresholds.thresholds import Direction, Thresholds
    from engines.manifest import Modality

    Float = NDArray[np.float32]
    Change = Revision | Merge | Split

log = logging.getLogger(__name__)

__all__ = ["Decision", "MatchSettings", "Matcher"]

RETRY_S = 2.0  # before a gallery that failed is asked again: a server that is away may take seconds to say so
LOOK_S = 1.0  # between looks whether somebody else changed the gallery; one asks a server


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is believed of a track. `similarity` is the cosine with `matched`, or the best with anybody beside it."""

    identity: int | None = None
    similarity: float | None = None
    matched: TrackKey | None = None


class Matcher:
    """Identities of one run; times are seconds of the run, which began at origin_s."""

    def __init__(
        self,
        gallery: Gallery,
        thresholds: Thresholds | None,
        rules: SiteRules,
        *,
        origin_s: float = 0.0,
        alignment: AlignmentLookup | None = None,
        settings: MatchSettings | None = None,
    ) -> None:
        self._gallery, self._thresholds, self._rules, self._origin_s = gallery, thresholds, rules, origin_s
        self._settings = settings or MatchSettings()
        self._pasts, self._recall = Pasts(gallery, rules), Recall(gallery)
        self._naming = Naming(gallery=gallery, pasts=self._pasts, recall=self._recall, settings=self._settings)
        self._positions = Positions(rules, alignment)
        self._live: dict[TrackKey, LiveTrack] = {}
        self._standing: dict[TrackKey, int] = {}
        self._pending: list[Change] = []
        self._meetings: tuple[tuple[TrackKey, ...], bytes] = ((), b"")
        self._watched: set[TrackKey] = set()
        self._changed = False
        self._time_s = self._look_due_s = self._retry_due_s = float("-inf")
        self._least: dict[tuple[Direction, int], float] = {}

    def see(self, key: TrackKey, modality: Modality, time_s: float, box_4: Float | None = None) -> None:
        """Note that a track is in the picture, and where."""
        absolute_s = self._origin_s + time_s
        track = self._live.get(key)
        if track is None:
            track = LiveTrack(key=key, modality=modality, first_s=absolute_s, last_s=absolute_s)
            self._live[key] = track
        track.last_s, track.box_4 = max(track.last_s, absolute_s), box_4
        self._changed = self._changed or key in self._watched

    def add(self, key: TrackKey, embedding_D: Float, quality: float = 1.0) -> None:
        """Add the embedding of one crop to a track that was seen."""
        self._live[key].evidence.add(embedding_D, quality)
        self._changed = True

    def decision(self, key: TrackKey) -> Decision:
        track = self._live.get(key)
        if track is None:
            return Decision()
        return Decision(identity=track.identity, similarity=track.similarity, matched=track.matched)

    def decide(self, time_s: float) -> list[Change]:
        """Judge the live tracks again where there is news, and return what changed since the last call."""
        self._time_s = max(self._time_s, time_s)
        known = sorted((t for t in self._live.values() if len(t.evidence)), key=lambda track: track.key)
        looked = self._positions.look(known)
        meetings = _meetings(known)
        if self._thresholds is not None:
            self._tend_gallery()
        if self._changed or looked or meetings != self._meetings:
            self._meetings = meetings
            self._decide(known)
        changes, self._pending = self._pending, []
        return changes

    def end(self, key: TrackKey) -> Decision:
        """Forget a track and keep its person in the gallery; the decision returned is final.

        Changes that this brought are returned by the next decide(): call it once more after the last track.
        """
        track = self._live.get(key)
        if track is not None and track.identity is not None and len(track.evidence):
            self._part_if_impossible(track, track.identity)
        decision = self.decision(key)
        self._live.pop(key, None)
        self._standing.pop(key, None)
        self._recall.forget(key)
        self._positions.forget(key)
        if track is not None and track.identity is not None and len(track.evidence):
            self._pasts.keep(track.tracklet(track.identity))
            self._recall.change += 1
            self._changed = True
        return decision

    def forget(self, identity: int) -> None:
        """Drop all that live tracks know of an identity that was erased; they go on as somebody new, without a past."""
        self._pasts.erase(identity)
        self._recall.forget_all()
        held = sorted((t for t in self._live.values() if t.identity == identity), key=lambda track: track.key)
        number = self._gallery.new_identity() if held else 0
        for track in held:
            track.evidence.clear()
            track.similarity = track.matched = None
            self._rename(track, number, gone=True)
        self._changed = True

    def follow(self, kept: int, absorbed: int) -> None:
        """Take note of a merge that somebody else made in the gallery."""
        self._pasts.follow(kept, absorbed)
        self._recall.forget_all()
        held = [track for track in self._live.values() if track.identity == absorbed]
        for track in held:
            track.identity = kept
        if held:
            self._pending.append(Merge(time_s=self._time_s, kept=kept, absorbed=absorbed, similarity=None))
        self._changed = True

    def _decide(self, known: Sequence[LiveTrack]) -> None:
        self._changed = False
        self._least.clear()
        linked = self._group(known)
        if self._thresholds is None:
            return
        if self._time_s < self._retry_due_s:
            self._changed = True
            return
        try:
            for identity in self._naming.lost(self._live.values()):
                self.forget(identity)
            remaining = [Linked([t for t in item.tracks if len(t.evidence)], item.links) for item in linked]
            live = sorted(self._live.values(), key=lambda track: track.key)
            now_s = self._origin_s + self._time_s
            linked = [item for item in remaining if item.tracks]
            self._pending += self._naming.name(linked, live, self._cosine, self._time_s, now_s)
            self._watched = self._find_watched(live)
        except GalleryError as error:
            self._put_off(error)

    def _group(self, known: Sequence[LiveTrack]) -> list[Linked]:
        grounds: dict[str, list[LiveTrack]] = {}
        for track in known:
            grounds.setdefault(self._rules.ground(track.key.camera) or f"camera {track.key.camera}", []).append(track)
        found: list[Linked] = []
        standing: dict[TrackKey, int] = {}
        for ground in sorted(grounds):
            links = link(grounds[ground], self._cosine, self._positions, self._standing, self._settings.hysteresis)
            groups = partition(links)
            note_matches(groups, links, self._live)
            for group in groups:
                standing.update(dict.fromkeys((track.key for track in group), len(found)))
                found.append(Linked(group, links))
        self._standing = standing
        return found

    def _tend_gallery(self) -> None:
        """See whether somebody else changed the gallery, or what waited has been written."""
        if self._time_s < max(self._look_due_s, self._retry_due_s):
            return
        self._look_due_s = self._time_s + LOOK_S
        try:
            if self._pasts.changed_elsewhere():
                self._recall.forget_all()
                self._changed = True
        except GalleryError as error:
            self._put_off(error)

    def _put_off(self, error: GalleryError) -> None:
        log.warning("gallery: %s; nobody new is named until it answers", error)
        self._retry_due_s = self._time_s + RETRY_S
        self._changed = True

    def _part_if_impossible(self, track: LiveTrack, identity: int) -> None:
        """Give a track that ends another identity where what it was called meanwhile cannot be, or was erased."""
        try:
            self._pasts.refresh(identity)
            if self._naming.lost([track]):
                self.forget(identity)
            elif not self._pasts.fits([track], identity):
                self._rename(track, self._gallery.new_identity(), gone=False)
        except GalleryError as error:
            log.warning("gallery: %s; a track of the %s camera ends unchecked", error, track.key.camera)

    def _rename(self, track: LiveTrack, identity: int, *, gone: bool) -> None:
        if track.identity is not None:
            kind = Revision if gone else Split
            self._pending.append(kind(time_s=self._time_s, track=track.key, before=track.identity, after=identity))
        track.identity = identity

    def _find_watched(self, live: Sequence[LiveTrack]) -> set[TrackKey]:
        """Return the tracks whose identity was seen elsewhere after them: impossible as soon as they come back."""
        holders: dict[int, list[LiveTrack]] = {}
        for track in live:
            if track.identity is not None:
                holders.setdefault(track.identity, []).append(track)
        watched: set[TrackKey] = set()
        for identity, tracks in holders.items():
            latest_s = max(stay.first_s for stay in (*(track.stay for track in tracks), *self._pasts.of(identity)))
            watched.update(track.key for track in tracks if track.last_s < latest_s)
        return watched

    def _cosine(self, direction: Direction, people: int) -> float:
        if self._thresholds is None:
            return -1.0  # the most plausible pairs are reported
        if (direction, people) not in self._least:
            self._least[direction, people] = self._thresholds.least(direction, people)
        return self._least[direction, people]


def _meetings(tracks: Sequence[LiveTrack]) -> tuple[tuple[TrackKey, ...], bytes]:
    """Return who overlaps with whom in time."""
    first_T = np.array([track.first_s for track in tracks])
    last_T = np.array([track.last_s for track in tracks])
    return tuple(track.key for track in tracks), (first_T[:, None] <= last_T[None, :]).tobytes()
