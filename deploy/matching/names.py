"""Which identity each group of live tracks has, and what changes by that.

In this order, each only where the site's rules allow it:
1. a group keeps the identity of a partner whose track ended while they were in the pictures together;
2. groups take identities met before, the clearest case first; one that a group holds counts for more by the
   hysteresis, and a group that has a number of its own needs so much more to give it up;
3. a group keeps the number it has, or gets a new one where there is enough evidence of it.

Two identities with a past become one person on record, for good, where a group holds both, or where it has the one
and the other is whom its second track resembles most: somebody met in visible cameras alone is the one met in infrared
cameras alone, now that both see them. That asks for more than standing side by side: two crops on either side and a
cosine above the threshold by the hysteresis. Until then each keeps its own, and two people whom an operator named
differently are never merged. Identities without a past belong to live tracks alone and go with them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from deploy.gallery import GalleryError
from deploy.matching.recall import ABSENT_S
from deploy.sightings import Merge, Revision, Split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deploy.gallery import Gallery, Person
    from deploy.matching.groups import Group, Least, Links
    from deploy.matching.live_tracks import LiveTrack
    from deploy.matching.past import Pasts
    from deploy.matching.recall import Recall

    Change = Revision | Merge | Split

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    hysteresis: float = 0.05  # cosine; a mean over crops moves by about this much with one more crop
    least_evidence: float = 0.3  # summed quality of the crops, for a new number: one fair crop or two poor ones
    merge_crops: int = 2


class Linked(NamedTuple):
    """A group and what links its tracks."""

    tracks: Group
    links: Links


class _Merger(NamedTuple):
    kept: int
    absorbed: int
    similarity: float | None


@dataclass(kw_only=True, eq=False)
class Naming:
    """Gives identities to live tracks. Chooses first and changes then, so that a gallery that fails halves nothing."""

    gallery: Gallery
    pasts: Pasts
    recall: Recall
    settings: MatchSettings
    _settled: set[int] = field(default_factory=set[int])  # held and with a past, when it was last asked

    def lost(self, live: Iterable[LiveTrack]) -> list[int]:
        """Return the identities of live tracks whose past is gone: erased or expired."""
        return sorted(identity for identity in self._settled & _held(live) if not self.pasts.of(identity))

    def name(
        self, groups: Sequence[Linked], live: Sequence[LiveTrack], least: Least, time_s: float, now_s: float
    ) -> list[Change]:
        """Name the groups and return what changed; live tracks in no group keep what they have."""
        self._settled = {identity for identity in _held(live) if self.pasts.of(identity)}
        divided = [Linked(part, linked.links) for linked in groups for part in self._divide(linked)]
        parts = sorted(divided, key=lambda part: _priority(part.tracks))
        self.recall.search((track for part in parts for track in part.tracks), self._settled)
        # Tracklets, not people: somebody with five of them has five chances to be mistaken.
        people = len(self.gallery) + len(_held(live) - self._settled)
        names = _Names(parts, live, self.pasts, least, people)
        self._keep_anchored(names)
        self._take_recalled(names, now_s)
        self._keep_own(names)
        return self._apply(names, time_s)

    def _divide(self, linked: Linked) -> list[Group]:
        """Split off a group who holds, or must have, another identity, until it is clear that they are one person."""
        held = sorted(_held(linked.tracks) & self._settled)
        if not held:
            return [linked.tracks]
        lead = self._by_seniority(held)[0]
        core = [track for track in linked.tracks if track.identity == lead]
        joined, parts = list(core), list[list["LiveTrack"]]()
        blocks = [[track for track in linked.tracks if track.identity == identity] for identity in held]
        blocks += [[track] for track in linked.tracks if track.identity not in held]
        for block in blocks:
            if block[0].identity == lead:
                continue
            contested = block[0].identity in self._settled or not self.pasts.fits(block, lead)
            if contested and not self._confirmed(core, block, lead, linked.links):
                parts.append(block)
            else:
                joined += block
        return [sorted(joined, key=lambda track: track.key), *parts]

    def _confirmed(self, core: Group, block: Group, lead: int, links: Links) -> bool:
        if not self.pasts.fits(block, lead) and self.pasts.anchors(core, lead):
            return False
        crops = min(sum(len(track.evidence) for track in side) for side in (core, block))
        return crops >= self.settings.merge_crops and links.excess(core, block) >= self.settings.hysteresis

    def _keep_anchored(self, names: _Names) -> None:
        for index, (tracks, _) in enumerate(names.parts):
            held = self._by_seniority(_held(tracks) & self._settled)
            for identity in held:  # of several, which were confirmed to be one person, one stays
                if (len(held) > 1 or self.pasts.anchors(tracks, identity)) and names.take(index, identity):
                    break

    def _take_recalled(self, names: _Names, now_s: float) -> None:
        gone = [t for t in names.live if t.identity is not None and len(t.evidence) and now_s - t.last_s >= ABSENT_S]
        offers: list[tuple[float, int, int]] = []
        for index, (tracks, _) in enumerate(names.parts):
            if index in names.chosen:
                continue
            held = _held(tracks)
            came_s = min(track.first_s for track in tracks)
            departed = [track for track in gone if track.last_s < came_s]
            met = min(held & self._settled, default=None)
            for identity, excess in self.recall.candidates(tracks, departed, names.least, names.people, met):
                if identity in held & self._settled:
                    excess += self.settings.hysteresis
                elif held:
                    excess -= self.settings.hysteresis
                if excess >= 0:
                    offers.append((-excess, identity, index))
        for _, identity, index in sorted(offers):
            # A stored number without a past was erased since it was looked up.
            known = self.pasts.of(identity) or any(track.identity == identity for track in gone)
            if index not in names.chosen and known:
                names.take(index, identity)

    def _keep_own(self, names: _Names) -> None:
        for index, (tracks, _) in enumerate(names.parts):
            if index in names.chosen:
                continue
            held = _held(tracks)
            if any(names.take(index, identity) for identity in sorted(held - self._settled)):
                continue
            enough = sum(track.evidence.weight for track in tracks) >= self.settings.least_evidence
            if held or enough:
                try:
                    names.take(index, self.gallery.new_identity())
                except GalleryError as error:
                    log.warning("gallery: %s; somebody new gets no number yet", error)

    def _apply(self, names: _Names, time_s: float) -> list[Change]:
        mergers = self._find_mergers(names)
        absorbed = {merger.absorbed: merger.kept for merger in mergers}
        moves: list[tuple[LiveTrack, int]] = []
        for index, (tracks, _) in enumerate(names.parts):
            identity = names.chosen.get(index)
            if identity is not None:
                moves += [(t, identity) for t in tracks if absorbed.get(t.identity or 0) != identity]
        moved = {track.key for track, _ in moves}
        staying = (track for track in names.live if track.key not in moved)
        going_on = self._settled | {identity for _, identity in moves} | _held(staying)
        changes: list[Change] = []
        for track, identity in moves:
            before, track.identity = track.identity, identity
            if before not in (None, identity):
                kind = Split if before in going_on else Revision
                changes.append(kind(time_s=time_s, track=track.key, before=before, after=identity))
        for merger in mergers:
            changes += self._merge(merger, names.live, time_s)
        self._settled = {identity for identity in _held(names.live) if self.pasts.of(identity)}
        return changes

    def _find_mergers(self, names: _Names) -> list[_Merger]:
        mergers: list[_Merger] = []
        for index, part in enumerate(names.parts):
            kept, held = names.chosen.get(index), _held(part.tracks) & self._settled
            if kept is None or not self.pasts.of(kept):
                continue
            others = held - {kept} if kept in held else set[int]()
            taken = {identity for other, identity in names.chosen.items() if other != index}
            taken.update(merger.absorbed for merger in mergers)
            for absorbed in sorted((others | self._complements(part, kept, names)) - taken):
                if self._mergeable(kept, absorbed, part.tracks, names.live):
                    cosines = [t.similarity for t in part.tracks if t.similarity is not None]
                    mergers.append(_Merger(kept, absorbed, max(cosines, default=None)))
                    break  # another one, if at all, at the next decision
        return mergers

    def _complements(self, part: Linked, kept: int, names: _Names) -> set[int]:
        """Return the identity, met in the other modality alone, that a track of this group clearly is."""
        found: set[int] = set()
        for track in part.tracks if len(part.tracks) > 1 else ():
            rest = [other for other in part.tracks if other.modality != track.modality]
            best = self.recall.best_return(track, names.least, names.people * len(part.tracks))
            if best is None or best.identity == kept or best.excess < self.settings.hysteresis or not rest:
                continue
            if self._confirmed(rest, [track], kept, part.links):
                people = self._people()
                one, other = people.get(kept), people.get(best.identity)
                if one is not None and other is not None and not set(one.modalities) & set(other.modalities):
                    found.add(best.identity)
        return found

    def _mergeable(self, kept: int, absorbed: int, part: Group, live: Sequence[LiveTrack]) -> bool:
        people = self._people()
        named = {people[identity].label for identity in (kept, absorbed) if identity in people} - {""}
        if len(named) > 1:
            return False
        keeping = [t.stay for t in live if t in part or t.identity == kept]
        coming = [t.stay for t in live if t.identity == absorbed and t not in part]
        past, other = self.pasts.of(kept), self.pasts.of(absorbed)
        settled = (*past, *other)
        return self.pasts.rules.compatible((*past, *keeping), (*other, *coming), settled=settled)

    def _merge(self, merger: _Merger, live: Iterable[LiveTrack], time_s: float) -> list[Change]:
        try:
            self.pasts.merge(merger.kept, merger.absorbed)
        except GalleryError as error:
            log.warning("gallery: %s; identities %d and %d stay two", error, merger.kept, merger.absorbed)
            return []
        self.recall.forget_all()
        for track in live:
            if track.identity == merger.absorbed:
                track.identity = merger.kept
        kept, absorbed = merger.kept, merger.absorbed
        return [Merge(time_s=time_s, kept=kept, absorbed=absorbed, similarity=merger.similarity)]

    def _by_seniority(self, identities: Iterable[int]) -> list[int]:
        """Sort identities: those with a name first, then the older."""
        known = sorted(identities)
        if len(known) < 2:
            return known
        people = self._people()
        return sorted(known, key=lambda identity: (identity not in people or not people[identity].label, identity))

    def _people(self) -> Mapping[int, Person]:
        # Rarely asked for: only where two people with a past seem to be one.
        return {person.identity: person for person in self.gallery.people()}


@dataclass(eq=False)
class _Names:
    """Who has which identity so far in one decision, and what it is decided by."""

    parts: Sequence[Linked]
    live: Sequence[LiveTrack]
    pasts: Pasts
    least: Least
    people: int  # whom a search is among
    chosen: dict[int, int] = field(default_factory=dict[int, int])  # by number of the part
    _holders: dict[int, list[LiveTrack]] = field(default_factory=dict[int, "list[LiveTrack]"])

    def __post_init__(self) -> None:
        named = {track.key for part in self.parts for track in part.tracks}
        for track in self.live:
            if track.identity is not None and track.key not in named:
                self._holders.setdefault(track.identity, []).append(track)

    def take(self, index: int, identity: int) -> bool:
        """Give an identity to a part where that is possible."""
        holders = self._holders.get(identity, [])
        tracks = self.parts[index].tracks
        if index in self.chosen or not self.pasts.fits(tracks, identity, holders):
            return False
        self.chosen[index] = identity
        self._holders.setdefault(identity, []).extend(tracks)
        return True


def _held(tracks: Iterable[LiveTrack]) -> set[int]:
    return {track.identity for track in tracks if track.identity is not None}


def _priority(part: Group) -> tuple[int, int, float, object]:
    """The oldest identity first; after a split, the side with more evidence."""
    crops = max(len(track.evidence) for track in part)
    return min(_held(part), default=1 << 62), -crops, min(track.first_s for track in part), part[0].key
