"""What the loop gives the page while it works: pictures, best crops, evidence of live tracks, records.

Nothing here draws, encodes or waits. Shapes: D embedding.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.gallery import GalleryError
from deploy.sightings import Merge, Split, TrackKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deploy.loop.pipeline import Seen
    from deploy.loop.run_state import RunState
    from deploy.matching.matcher import Decision
    from deploy.sightings import Record
    from deploy.web.faces import Faces
    from deploy.web.tiles import Tiles
    from deploy.web.timeline import Timeline
    from engines.manifest import Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

MOST_EVIDENCE = 8  # embeddings of a live track: what a track gives at most by default


@dataclass(frozen=True, eq=False)
class _Evidence:
    modality: Modality
    embeddings: list[Float]


@dataclass(eq=False)
class PageFeed:
    """An onlooker of the loop and a sink of its records, both called by the loop's thread."""

    tiles: Tiles
    faces: Faces
    timeline: Timeline
    _evidence: dict[TrackKey, _Evidence] = field(default_factory=dict["TrackKey", "_Evidence"])

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        for item in seen:
            decisions = {key: decide(key) for key in item.boxes}
            self.tiles.update(item.frame, item.boxes, decisions)
            for key, decision in decisions.items():
                self.faces.hold(key, decision.identity)
            for crop in item.crops:
                key = TrackKey(item.frame.camera, crop.track)
                self.faces.offer(key, item.frame.modality, crop.image_HWC, crop.quality)
                if key in item.embeddings:
                    known = self._evidence.setdefault(key, _Evidence(item.frame.modality, []))
                    known.embeddings.append(item.embeddings[key])
                    del known.embeddings[:-MOST_EVIDENCE]

    def end(self, key: TrackKey, decision: Decision) -> None:
        self._evidence.pop(key, None)
        try:
            self.faces.end(key, decision.identity)
        except GalleryError as error:  # the pipeline sends an onlooker away that raises; a face is not worth the page
            log.warning("the picture of track %d of %s was not kept: %s", key.track, key.camera, error)

    def write(self, record: Record) -> None:
        self.timeline.write(record)
        if isinstance(record, Merge):
            self.faces.change(record.kept, record.absorbed)
        elif isinstance(record, Split):
            self.faces.change(record.before, record.after)

    def evidence(self, key: TrackKey) -> tuple[Modality, Sequence[Float]] | None:
        """Return what was embedded of a live track, or None."""
        known = self._evidence.get(key)
        return None if known is None else (known.modality, known.embeddings)
