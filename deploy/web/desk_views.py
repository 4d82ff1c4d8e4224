"""What the desk answers: people, their stays, and what a picture resembles, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deploy.sightings import Box
    from deploy.web.timeline import Stay
    from engines.manifest import Modality


class Picture(NamedTuple):
    """An uploaded picture, RGB uint8 (H, W, 3). `person`: which of the people found in it, the biggest is 0."""

    image_HWC: NDArray[np.uint8]
    modality: Modality
    person: int = 0


@dataclass(frozen=True, kw_only=True)
class PersonView:
    """One identity. Times are absolute seconds. The faces are digits that change with the picture; None: no picture."""

    identity: int
    label: str
    enrolled: bool
    first_s: float
    last_s: float
    cameras: tuple[str, ...]
    modalities: tuple[Modality, ...]
    tracklets: int
    here: tuple[str, ...]  # cameras that see him now
    similarity: float | None  # newest cosine of a visible and an infrared track of his
    visible_face: str | None
    infrared_face: str | None


@dataclass(frozen=True, kw_only=True)
class PersonDetail:
    person: PersonView
    stays: tuple[Stay, ...]  # newest first
    across: float | None  # best cosine of a visible and an infrared tracklet of his, as stored


@dataclass(frozen=True, kw_only=True)
class People:
    people: tuple[PersonView, ...]
    total: int  # before the limit


@dataclass(frozen=True, kw_only=True)
class SearchHit:
    """How much a person resembles the picture: the best cosine with what each kind of camera saw of him."""

    person: PersonView
    visible: float | None
    infrared: float | None
    above: bool | None  # None: nothing was calibrated

    @property
    def best(self) -> float:
        return max(value for value in (self.visible, self.infrared) if value is not None)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """`boxes` are the people found, biggest first, in pixels of the picture; empty: all of it was taken for one."""

    width_px: int
    height_px: int
    boxes: tuple[Box, ...]
    chosen: int | None
    hits: tuple[SearchHit, ...]
    least_visible: float | None  # the thresholds that `above` is about
    least_infrared: float | None
    people: int  # that were searched


@dataclass(frozen=True, kw_only=True)
class Enrolled:
    person: PersonView
    similar: tuple[SearchHit, ...]  # others above the threshold: perhaps he is known already


@dataclass(frozen=True, kw_only=True)
class Erased:
    identity: int
    tracklets: int
    stays: int
