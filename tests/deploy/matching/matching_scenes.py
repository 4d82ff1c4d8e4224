"""Sites, and a matcher whose every record is followed and compared with what it believes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.gallery import MemoryGallery
from deploy.matching.matcher import Matcher
from deploy.matching.rules import SiteRules, Stay
from deploy.settings.site_plan import CameraSite
from deploy.sightings import Merge, Revision, Split, TrackKey
from deploy.thresholds.thresholds import Thresholds, fixed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from deploy.gallery import Gallery
    from deploy.matching.position import AlignmentLookup
    from deploy.settings.site_plan import Transit
    from engines.manifest import Modality

    Change = Revision | Merge | Split


def kind(camera: str) -> Modality:
    return "infrared" if "infrared" in camera else "visible"


def camera(name: str, place: str = "door") -> CameraSite:
    return CameraSite(name=name, uri="synthetic:", modality=kind(name), place=place)


DOOR = (camera("visible"), camera("infrared"))


def thresholds(together: float = 0.6, across: float | None = None, same: float | None = None) -> Thresholds:
    """Fixed cosines; those that are not said as --threshold would choose them."""
    across = together if across is None else across
    same = (together + 1) / 2 if same is None else same
    return Thresholds(
        fixed={
            "together": together,
            "visible->infrared": across,
            "infrared->visible": across,
            "visible->visible": same,
            "infrared->infrared": same,
        }
    )


@dataclass
class Scene:
    """Drives a matcher as the loop does. `names` holds what a reader of the records believes of every track."""

    cameras: Sequence[CameraSite] = DOOR
    thresholds: Thresholds | None = field(default_factory=lambda: fixed(0.6))
    transits: Sequence[Transit] = ()
    gallery: Gallery = field(default_factory=MemoryGallery)
    alignment: AlignmentLookup | None = None
    origin_s: float = 0.0
    changes: list[Change] = field(default_factory=list)
    names: dict[TrackKey, int | None] = field(default_factory=dict)
    stays: dict[TrackKey, Stay] = field(default_factory=dict)
    final: dict[TrackKey, int | None] = field(default_factory=dict)  # the tracks' last lines, merges followed
    live: dict[TrackKey, None] = field(default_factory=dict)
    erased: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rules = SiteRules(self.cameras, self.transits)
        self.matcher = Matcher(
            self.gallery, self.thresholds, self.rules, origin_s=self.origin_s, alignment=self.alignment
        )

    def step(
        self,
        time_s: float,
        seen: Mapping[TrackKey, np.ndarray | None],
        boxes: Mapping[TrackKey, np.ndarray] | None = None,
        quality: float = 1.0,
    ) -> list[Change]:
        """Let tracks be seen at a time, with an embedding or without one."""
        for key, embedding in seen.items():
            self.matcher.see(key, kind(key.camera), time_s, (boxes or {}).get(key))
            self.live[key] = None
            before = self.stays.get(key)
            first_s = time_s if before is None else before.first_s
            self.stays[key] = Stay(key.camera, first_s, time_s)
            if embedding is not None:
                self.matcher.add(key, embedding, quality)
        return self._follow(time_s)

    def end(self, *keys: TrackKey) -> None:
        for key in keys:
            self.final[key] = self.matcher.end(key).identity
            self.live.pop(key, None)

    def finish(self) -> None:
        """End every track and take the last records."""
        self.end(*self.live)
        self._follow(1e6)

    def ids(self, *keys: TrackKey) -> list[int | None]:
        return [self.matcher.decision(key).identity for key in keys]

    def _follow(self, time_s: float) -> list[Change]:
        """Apply the records in their order and compare with the matcher."""
        changes = self.matcher.decide(time_s)
        self.changes += changes
        for change in changes:
            if isinstance(change, Merge):
                for names in (self.names, self.final):
                    moved = [key for key, identity in names.items() if identity == change.absorbed]
                    names.update(dict.fromkeys(moved, change.kept))
            else:
                assert self.names[change.track] == change.before, "a record must begin where the last one ended"
                assert change.before != change.after
                self.names[change.track] = change.after
        for key in self.live:
            believed = self.matcher.decision(key).identity
            if self.names.get(key) is None:
                self.names[key] = believed  # the first name of a track is in its sighting
            assert self.names[key] == believed, f"{key}: believed {believed}, told {self.names[key]}"
        for key, identity in self.final.items():
            assert self.names.get(key) == identity, f"{key}: ended as {identity}, told {self.names.get(key)}"
        return changes
