"""What works for one camera, and what the records need of its live tracks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.cameras.camera import Camera
    from deploy.detection.detector import Detector
    from deploy.loop.healing import Healing
    from deploy.tracking.crops import CropSelector
    from deploy.tracking.tracker import Tracker
    from engines.manifest import Modality


@dataclass(kw_only=True)
class TrackState:
    """What the records need of a live track."""

    modality: Modality
    first_s: float
    first_frame: int
    last_s: float
    last_frame: int
    next_report: int = 0
    reported: int | None = None


@dataclass(kw_only=True, eq=False)
class Lane:
    """One camera's parts and counts. Lanes may share a detector."""

    camera: Camera
    detector: Healing[Detector]
    tracker: Tracker
    selector: CropSelector
    taken: int = 0  # frames that the camera gave
    frames: int = 0  # of those, worked on
    tracks: int = 0
    dropped: int = 0  # the camera's count when the loop last looked
    states: dict[int, TrackState] = field(default_factory=dict[int, TrackState])
