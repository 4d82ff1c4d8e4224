"""What the matcher keeps of a track as long as the tracker follows it: bounded, whoever stays for a week.

Times are absolute seconds. Shapes: N crops (8 at most), D embedding, P rows, 4 box (left, top, width, height).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calib.prototypes import choose_prototypes, unit_mean
from deploy.gallery import Tracklet
from deploy.matching.rules import Stay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.sightings import TrackKey
    from engines.manifest import Modality

    Float = NDArray[np.float32]

MOST_EMBEDDINGS = 8


@dataclass(eq=False)
class Evidence:
    """The embeddings of a track's crops and their qualities; `version` counts what came."""

    version: int = 0
    _rows: list[Float] = field(default_factory=list["Float"])
    _qualities: list[float] = field(default_factory=list[float])
    _mean_D: Float | None = None
    _row_PD: Float | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def weight(self) -> float:
        """How much there is: 1 for one perfect crop."""
        return sum(self._qualities)

    @property
    def mean_D(self) -> Float:
        if self._mean_D is None:
            self._mean_D = unit_mean(np.stack(self._rows), np.array(self._qualities))
        return self._mean_D

    @property
    def prototype_PD(self) -> Float:
        return self.row_PD[1:]

    @property
    def row_PD(self) -> Float:
        """The mean and the prototypes, as a gallery would keep them."""
        if self._row_PD is None:
            prototype_PD = choose_prototypes(np.stack(self._rows), np.array(self._qualities))
            self._row_PD = np.concatenate([self.mean_D[None], prototype_PD])
        return self._row_PD

    def add(self, embedding_D: Float, quality: float) -> None:
        """Take a crop's embedding; where all places are taken, that of the worst crop goes, of two the older."""
        if len(self._rows) >= MOST_EMBEDDINGS:
            worst = self._qualities.index(min(self._qualities))
            del self._rows[worst], self._qualities[worst]
        self._rows.append(np.array(embedding_D, np.float32))  # a copy: a row would keep its whole batch alive
        self._qualities.append(quality)
        self.version += 1
        self._mean_D = self._row_PD = None

    def clear(self) -> None:
        """Forget every picture."""
        self._rows.clear()
        self._qualities.clear()
        self.version += 1
        self._mean_D = self._row_PD = None


@dataclass(kw_only=True, eq=False)
class LiveTrack:
    """One track. `matched` is the track of another camera that is most likely the same person."""

    key: TrackKey
    modality: Modality
    first_s: float
    last_s: float
    box_4: Float | None = None  # of last_s
    evidence: Evidence = field(default_factory=Evidence)
    identity: int | None = None
    similarity: float | None = None
    matched: TrackKey | None = None

    @property
    def stay(self) -> Stay:
        return Stay(self.key.camera, self.first_s, self.last_s)

    def overlaps(self, other: LiveTrack) -> bool:
        """Return whether both were seen at one time."""
        return self.first_s <= other.last_s and other.first_s <= self.last_s

    def tracklet(self, identity: int) -> Tracklet:
        """Return what a gallery keeps of this track."""
        return Tracklet(
            identity=identity,
            camera=self.key.camera,
            track=self.key.track,
            modality=self.modality,
            first_s=self.first_s,
            last_s=self.last_s,
            mean_D=self.evidence.mean_D,
            prototype_PD=self.evidence.prototype_PD,
        )


def stay_of(tracklet: Tracklet) -> Stay:
    return Stay(tracklet.camera, tracklet.first_s, tracklet.last_s)
