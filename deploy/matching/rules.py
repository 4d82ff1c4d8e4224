"""What nobody can do: be in two places at once, be twice in one picture, walk faster than the site allows.

A stay is the time from somebody's first to last picture in one camera. Cameras of one ground see the same people at
the same time; between two grounds one needs time, and the least that the site file knows (else none at all). What it
says of the most holds for the direct way: who was seen elsewhere in between took another.

Clocks of two cameras differ by up to their tolerances, which every comparison across cameras forgives. A camera that
the site does not know (an enrolled picture, a camera of last year) rules nothing out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.settings.site_plan import CameraSite, Transit


class Stay(NamedTuple):
    """A person in a camera, from the first picture to the last, in seconds of one clock."""

    camera: str
    first_s: float
    last_s: float


class SiteRules:
    """The rules of one site; they know no people."""

    def __init__(self, cameras: Sequence[CameraSite], transits: Sequence[Transit] = ()) -> None:
        self._ground = {camera.name: camera.ground for camera in cameras}
        self._tolerance_s = {camera.name: camera.tolerance_s for camera in cameras}
        self._transit: dict[frozenset[str], Transit] = {}
        for transit in transits:
            ways = frozenset(self._ground_of(place) for place in transit.places)
            if len(ways) == 1:
                raise BadInput(f"transit {' - '.join(transit.places)}: expected two places, got one ground twice")
            if ways in self._transit:
                raise BadInput(f"transit {' - '.join(transit.places)}: expected each way once, got it twice")
            self._transit[ways] = transit

    def ground(self, camera: str) -> str | None:
        """Return the ground that a camera sees; None for a camera that is not of this site."""
        return self._ground.get(camera)

    def possible(self, first: Stay, second: Stay, *, direct: bool = True) -> bool:
        """Return whether one person can have both stays; direct: with no other stay between them."""
        if first.camera == second.camera:
            return first.last_s < second.first_s or second.last_s < first.first_s
        grounds = self._ground.get(first.camera), self._ground.get(second.camera)
        if grounds[0] is None or grounds[1] is None or grounds[0] == grounds[1]:
            return True
        earlier, later = sorted((first, second), key=lambda stay: (stay.first_s, stay.last_s))
        gap_s = later.first_s - earlier.last_s
        margin_s = self.margin_s(first.camera, second.camera)
        transit = self._transit.get(frozenset((grounds[0], grounds[1])))
        if transit is None:
            return gap_s >= -margin_s
        late = direct and transit.most_s is not None and gap_s > transit.most_s + margin_s
        return gap_s >= transit.least_s - margin_s and not late

    def compatible(self, some: Sequence[Stay], others: Sequence[Stay], settled: Sequence[Stay] | None = None) -> bool:
        """Return whether one person can have all of these stays, where each side alone is possible.

        settled: the stays that count as lying in between, where not all do (one that may still be taken back).
        """
        between = (*some, *others) if settled is None else settled
        return all(
            self.possible(a, b, direct=False) and (self.possible(a, b) or _is_between(a, b, between))
            for a in some
            for b in others
        )

    def margin_s(self, first: str, second: str) -> float:
        """Return by how much the clocks of two cameras may differ."""
        return self._tolerance_s.get(first, 0.0) + self._tolerance_s.get(second, 0.0)

    def _ground_of(self, place: str) -> str:
        if place in self._ground.values():
            return place
        if place in self._ground:  # a camera that stands alone is its own place
            return self._ground[place]
        known = sorted({*self._ground.values(), *self._ground} - {f"camera {name}" for name in self._ground})
        raise BadInput(f"transit: expected places or cameras out of {', '.join(known)}, got {place!r}")


def _is_between(a: Stay, b: Stay, others: Iterable[Stay]) -> bool:
    """Return whether somebody was seen after the earlier stay ended and before the later one began."""
    first, second = (a, b) if a.first_s <= b.first_s else (b, a)
    return any(
        other.last_s > first.last_s and other.first_s < second.first_s
        for other in others
        if other not in (first, second)
    )
