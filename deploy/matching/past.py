"""What is known of identities besides their looks: when and where they were, and who cannot be whom.

Stays come from the gallery, which also knows what waits to be written (`deploy.gallery.patient`). A gallery that
somebody else changes is noticed by its size; what it lost is not known here either.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.matching.live_tracks import stay_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.gallery import Gallery, Tracklet
    from deploy.matching.live_tracks import LiveTrack
    from deploy.matching.rules import SiteRules, Stay

MOST_CACHED = 256


@dataclass(eq=False)
class Pasts:
    """The stays of identities that ended."""

    gallery: Gallery
    rules: SiteRules
    _stays: dict[int, tuple[Stay, ...]] = field(default_factory=dict[int, "tuple[Stay, ...]"])
    _size: int = 0

    def __post_init__(self) -> None:
        self._size = len(self.gallery)

    def of(self, identity: int) -> tuple[Stay, ...]:
        """Return an identity's stays; none where it has no past."""
        if identity not in self._stays:
            self.refresh(identity)
        return self._stays[identity]

    def refresh(self, identity: int) -> None:
        """Ask the gallery about an identity."""
        stays = tuple(stay_of(tracklet) for tracklet in self.gallery.tracklets(identity))
        if len(self._stays) >= MOST_CACHED:
            self._stays.clear()
        self._stays[identity] = stays

    def fits(self, tracks: Sequence[LiveTrack], identity: int, others: Iterable[LiveTrack] = ()) -> bool:
        """Return whether tracks can be of an identity that has its past and those other live tracks.

        Two who are in the pictures at the same time and are not one group are two people.
        """
        rivals = [other for other in others if other not in tracks]
        if any(track.overlaps(rival) for track in tracks for rival in rivals):
            return False
        past = self.of(identity)
        known = (*past, *(rival.stay for rival in rivals))
        return self.rules.compatible([track.stay for track in tracks], known, settled=past)

    def anchors(self, tracks: Iterable[LiveTrack], identity: int) -> bool:
        """Return whether a track that ended with this identity was in the pictures together with one of these."""
        past = self.of(identity)
        return any(t.first_s <= stay.last_s and stay.first_s <= t.last_s for t in tracks for stay in past)

    def keep(self, tracklet: Tracklet) -> None:
        """Enrol a tracklet that ended."""
        self.gallery.enrol(tracklet)
        self._stays.pop(tracklet.identity, None)
        self._size = len(self.gallery)

    def merge(self, kept: int, absorbed: int) -> None:
        """Give everything of one identity to another, in the gallery too."""
        self.gallery.merge(kept, absorbed)
        self.follow(kept, absorbed)

    def follow(self, kept: int, absorbed: int) -> None:
        """Take note that one identity is now another."""
        self._stays.pop(kept, None)
        self._stays.pop(absorbed, None)

    def erase(self, identity: int) -> None:
        """Forget an identity that was erased from the gallery."""
        self._stays.pop(identity, None)

    def changed_elsewhere(self) -> bool:
        """Return whether somebody else stored or erased something since the last look; forget what was read before."""
        size = len(self.gallery)
        if size == self._size:
            return False
        self._size = size
        self._stays.clear()
        return True
