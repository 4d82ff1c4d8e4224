"""Who is who: tracks of both cameras into identities.

Every decision looks at the live tracks anew. Tracks of the two modalities that overlap in time are paired
(`pair_tracks`; a standing pair has a small advantage, so that noise does not make identities flicker). A pair, or a
track alone, then takes the identity that it holds already, or one from the gallery that is similar enough, or a new
one. Nobody is twice in one camera at the same moment. A track's identity may be revised while it lives and is final
when it ends; two identities with a past that turn out to be one person are merged, and every such change is returned
to be recorded. Without a threshold there are similarities and no identities.

Shapes: D embedding, N crops, V visible tracks, I infrared tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.assignment import pair_tracks
from deploy.gallery import Tracklet, choose_prototypes
from deploy.sightings import Merge, Revision, TrackKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from deploy.gallery import Gallery
    from engines.manifest import Modality

    Float = NDArray[np.float32]

HYSTERESIS = 0.05  # cosine; a mean over crops moves by about this much with one more crop
CANDIDATES = 5


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    threshold: float | None = None
    recall_threshold: float | None = None  # across modalities, of somebody met earlier; None: threshold
    same_modality_threshold: float | None = None
    hysteresis: float = HYSTERESIS

    @property
    def return_threshold(self) -> float:
        """Least similarity of somebody who comes back to a camera of the same modality.

        Two pictures of one camera resemble each other whoever is in them, so this asks for more than a match across
        modalities does. Where it was not measured: half of the way from the threshold to 1.
        """
        if self.same_modality_threshold is not None:
            return self.same_modality_threshold
        return ((self.threshold or 0.0) + 1) / 2


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What is believed of a track. `similarity` is the best cosine with a track of the other camera."""

    identity: int | None = None
    similarity: float | None = None
    matched: TrackKey | None = None


@dataclass(kw_only=True, eq=False)
class _Live:
    key: TrackKey
    modality: Modality
    first_s: float
    last_s: float
    embeddings: list[Float] = field(default_factory=list["Float"])
    identity: int | None = None
    similarity: float | None = None
    matched: TrackKey | None = None

    @property
    def mean_D(self) -> Float:
        sum_D = np.sum(self.embeddings, axis=0)
        return np.asarray(sum_D / max(float(np.linalg.norm(sum_D)), 1e-12), np.float32)


class Matcher:
    """Identities are numbered from 1 in the order of their appearance."""

    def __init__(self, gallery: Gallery, settings: MatchSettings) -> None:
        self._gallery, self._settings = gallery, settings
        self._live: dict[TrackKey, _Live] = {}
        self._count = 0
        self._changed = False

    def see(self, key: TrackKey, modality: Modality, time_s: float) -> None:
        """Note that a track is in the picture."""
        track = self._live.get(key)
        if track is None:
            self._live[key] = _Live(key=key, modality=modality, first_s=time_s, last_s=time_s)
        else:
            track.last_s = time_s

    def add(self, key: TrackKey, embedding_D: Float) -> None:
        """Add the embedding of one crop to a track that was seen."""
        self._live[key].embeddings.append(embedding_D)
        self._changed = True

    def decision(self, key: TrackKey) -> Decision:
        track = self._live.get(key)
        if track is None:
            return Decision()
        return Decision(identity=track.identity, similarity=track.similarity, matched=track.matched)

    def decide(self, time_s: float) -> list[Revision | Merge]:
        """Judge the live tracks again where there is new evidence, and return what changed."""
        if not self._changed:
            return []
        self._changed = False
        known = [track for track in self._live.values() if track.embeddings]
        groups = self._group(known)
        return [] if self._settings.threshold is None else self._name(groups, time_s)

    def end(self, key: TrackKey) -> Decision:
        """Forget a track and keep its person in the gallery; the decision returned is final."""
        decision = self.decision(key)
        track = self._live.pop(key, None)
        if track is not None and track.identity is not None:
            self._gallery.enrol(
                Tracklet(
                    identity=track.identity,
                    camera=key.camera,
                    track=key.track,
                    modality=track.modality,
                    first_s=track.first_s,
                    last_s=track.last_s,
                    mean_D=track.mean_D,
                    prototype_PD=choose_prototypes(np.stack(track.embeddings)),
                )
            )
        return decision

    def _group(self, known: Sequence[_Live]) -> list[list[_Live]]:
        visible = [track for track in known if track.modality == "visible"]
        infrared = [track for track in known if track.modality == "infrared"]
        if not visible or not infrared:
            return [[track] for track in known]
        similarity_VI = np.stack([t.mean_D for t in visible]) @ np.stack([t.mean_D for t in infrared]).T
        preferred_VI = similarity_VI.copy()
        for v, a in enumerate(visible):
            for i, b in enumerate(infrared):
                if not _overlap(a, b):
                    similarity_VI[v, i] = preferred_VI[v, i] = -np.inf
                elif a.matched == b.key:
                    preferred_VI[v, i] += self._settings.hysteresis
        threshold = self._settings.threshold
        # Without a threshold the most plausible pairs are reported, and no identities.
        pairs = pair_tracks(preferred_VI, -1.0 if threshold is None else threshold)
        for v, track in enumerate(visible):
            _note(track, similarity_VI[v])
        for i, track in enumerate(infrared):
            _note(track, similarity_VI[:, i])
        for v, i in pairs:
            visible[v].matched, infrared[i].matched = infrared[i].key, visible[v].key
            visible[v].similarity = infrared[i].similarity = float(similarity_VI[v, i])
        paired = {visible[v].key for v, _ in pairs} | {infrared[i].key for _, i in pairs}
        self._part(known, paired)
        return [[visible[v], infrared[i]] for v, i in pairs] + [[t] for t in known if t.key not in paired]

    def _part(self, known: Sequence[_Live], paired: set[TrackKey]) -> None:
        """Forget the match of a single whose partner lives on without it; a partner that has ended stays its match."""
        for track in known:
            if track.key not in paired and track.matched in self._live:
                track.matched = None

    def _name(self, groups: list[list[_Live]], time_s: float) -> list[Revision | Merge]:
        # The oldest identity chooses first; after a split, the side with more evidence keeps it.
        groups.sort(key=lambda g: (min(_held(g), default=1 << 60), -max(len(t.embeddings) for t in g), g[0].first_s))
        taken: set[int] = set()
        chosen: list[int] = []
        for group in groups:
            identity = self._choose(group, taken)
            taken.add(identity)
            chosen.append(identity)
        changes: list[Revision | Merge] = []
        for group, identity in zip(groups, chosen, strict=True):
            for old in sorted(_held(group) - {identity} - taken):
                changes += self._merge(old, identity, group, time_s)
            for track in group:
                if track.identity not in (None, identity):
                    revision = Revision(time_s=time_s, track=track.key, before=track.identity, after=identity)
                    changes.append(revision)
                track.identity = identity
        return changes

    def _choose(self, group: list[_Live], taken: set[int]) -> int:
        """Return a group's identity: one that it holds and that has a past, one met before, one held, or a new one."""
        held = [identity for identity in sorted(_held(group)) if self._possible(group, identity, taken)]
        settled = [identity for identity in held if self._gallery.tracklets(identity)]
        if settled:
            return settled[0]
        met = self._recall(group, taken, self._settings.hysteresis if held else 0.0)
        if met is not None:
            return met
        if held:
            return held[0]
        self._count += 1
        return self._count

    def _recall(self, group: list[_Live], taken: set[int], margin: float) -> int | None:
        """Return the gallery's identity that exceeds its threshold by most, or None."""
        settings = self._settings
        across = (settings.threshold or 0.0) if settings.recall_threshold is None else settings.recall_threshold
        best: tuple[float, int] | None = None
        for track in group:
            for modality in ("visible", "infrared"):
                least = settings.return_threshold if modality == track.modality else across
                for hit in self._gallery.search(track.mean_D, modality, CANDIDATES):
                    excess = hit.similarity - least - margin
                    better = best is None or excess > best[0]
                    if excess >= 0 and better and self._possible(group, hit.identity, taken):
                        best = (excess, hit.identity)
        return None if best is None else best[1]

    def _possible(self, group: Iterable[_Live], identity: int, taken: set[int]) -> bool:
        """Nobody is twice in one camera at the same moment."""
        past = self._gallery.tracklets(identity)
        clash = any(t.key.camera == old.camera and _overlap(t, old) for t in group for old in past)
        return identity not in taken and not clash

    def _merge(self, absorbed: int, kept: int, group: list[_Live], time_s: float) -> list[Revision | Merge]:
        past = self._gallery.tracklets(absorbed)
        others = self._gallery.tracklets(kept)
        clash = any(a.camera == b.camera and _overlap(a, b) for a in past for b in others)
        if not past or clash or not self._possible(group, absorbed, set()):
            return []
        self._gallery.merge(kept, absorbed)
        return [Merge(time_s=time_s, kept=kept, absorbed=absorbed, similarity=group[0].similarity)]


def _held(group: Iterable[_Live]) -> set[int]:
    return {track.identity for track in group if track.identity is not None}


def _overlap(a: _Live | Tracklet, b: _Live | Tracklet) -> bool:
    return a.first_s <= b.last_s and b.first_s <= a.last_s


def _note(track: _Live, similarity_N: Float) -> None:
    """Keep the best similarity with whom the track overlaps; an earlier one stays where nobody is there now."""
    best = float(similarity_N.max())
    if np.isfinite(best):
        track.similarity = best
