"""Whether two tracks of an aligned pair of cameras stand on the same spot.

Looks are taken a fifth of a second apart, while both are in their pictures, and averaged over the last 8 or so: a box
that loses its feet for a moment forbids nothing. Below 0 the two cannot be one person. Above, agreement is evidence,
and what it may lower the threshold by follows from the threshold itself. Where a pair of different people reaches a
cosine with the chance f and stands on one spot with the chance p, it does both with f * p; so a cosine that lets
through 1 / p as many keeps the promised rate. p is taken as 1 in 10, however long the two agree: people who walk side
by side agree for as long as they walk. What a tenth costs in cosine is read off the measured curve, between a search
among all and one among ten times as many (the curve is steeper on the other side, so that this is the cautious one).
A fixed threshold has no curve and is not lowered.

Shapes: 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deploy.matching.live_tracks import LiveTrack
    from deploy.matching.rules import SiteRules
    from deploy.sightings import TrackKey

    Float = NDArray[np.float32]

LOOK_EVERY_S = 0.2
MOST_LOOKS = 8  # in the average
POSITION_WEIGHT = 0.1  # cosine: two who look alike are told apart by where they stand
LESS_LIKELY = 10  # 1 / p


class Aligned(Protocol):
    """The map between the pictures of two cameras (`deploy.alignment.alignment.Alignment`)."""

    def agreement(self, visible_box_4: Float, infrared_box_4: Float) -> float:
        """Return 1 for the same spot, less for others, and below 0 where it cannot be one person."""
        ...


# Visible camera, infrared camera.
AlignmentLookup = Callable[[str, str], "Aligned | None"]


@dataclass(kw_only=True)
class _Looks:
    mean: float = 0.0
    count: int = 0
    last_s: float = float("-inf")

    def take(self, agreement: float, time_s: float) -> None:
        self.count = min(self.count + 1, MOST_LOOKS)
        self.mean += (agreement - self.mean) / self.count
        self.last_s = time_s


@dataclass(eq=False)
class Positions:
    """The agreements of live tracks, by visible and infrared track."""

    rules: SiteRules
    lookup: AlignmentLookup | None = None
    _aligned: dict[tuple[str, str], Aligned | None] = field(default_factory=dict[tuple[str, str], "Aligned | None"])
    _looks: dict[tuple[TrackKey, TrackKey], _Looks] = field(default_factory=dict["tuple[TrackKey, TrackKey]", _Looks])

    def look(self, tracks: Sequence[LiveTrack]) -> bool:
        """Compare where tracks are now, where a look is due; True where one was taken."""
        if self.lookup is None:
            return False
        taken = False
        visible = [track for track in tracks if track.modality == "visible" and track.box_4 is not None]
        infrared = [track for track in tracks if track.modality == "infrared" and track.box_4 is not None]
        for a in visible:
            for b in infrared:
                taken = self._look(a, b) or taken
        return taken

    def impossible(self, a: LiveTrack, b: LiveTrack) -> bool:
        looks = self._of(a, b)
        return looks is not None and looks.mean < 0

    def confidence(self, a: LiveTrack, b: LiveTrack) -> float:
        """Return from 0, nothing known, to 1, always on the same spot."""
        looks = self._of(a, b)
        return 0.0 if looks is None else max(looks.mean, 0.0) * looks.count / (looks.count + 2)

    def forget(self, key: TrackKey) -> None:
        for pair in [pair for pair in self._looks if key in pair]:
            del self._looks[pair]

    def _of(self, a: LiveTrack, b: LiveTrack) -> _Looks | None:
        if not self._looks or a.modality == b.modality:
            return None
        return self._looks.get((a.key, b.key) if a.modality == "visible" else (b.key, a.key))

    def _look(self, a: LiveTrack, b: LiveTrack) -> bool:
        aligned = self._alignment(a.key.camera, b.key.camera)
        margin_s = self.rules.margin_s(a.key.camera, b.key.camera)
        if aligned is None or a.box_4 is None or b.box_4 is None or abs(a.last_s - b.last_s) > margin_s:
            return False
        looks = self._looks.setdefault((a.key, b.key), _Looks())
        now_s = max(a.last_s, b.last_s)
        if now_s - looks.last_s < LOOK_EVERY_S:
            return False
        looks.take(aligned.agreement(a.box_4, b.box_4), now_s)
        return True

    def _alignment(self, visible: str, infrared: str) -> Aligned | None:
        if (visible, infrared) not in self._aligned:
            known = self.lookup(visible, infrared) if self.lookup is not None else None
            self._aligned[visible, infrared] = known
        return self._aligned[visible, infrared]
