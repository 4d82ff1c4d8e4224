"""Which boxes become evidence of who somebody is: cut out, judged, and not too often.

One crop per track every 10 frames, 8 at most, costs 5 to 7 CPU-ms a frame; every crop of every frame costs 95. A
rejected crop does not use up the cadence: the next frame is tried.

Shapes: N boxes, 4 box (left, top, width, height) in pixels, H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from deploy.detector import intersection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.frames import Frame
    from deploy.tracker import TrackedBox

    Pixels = NDArray[np.uint8]

Reject = Literal["edge", "small", "aspect", "covered"]
REJECTS: tuple[Reject, ...] = get_args(Reject)


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    every_frames: int = 10
    most_crops: int = 8
    margin: float = 0.05  # of the box's size on every side: detectors cut hands and feet
    least_height_px: int = 48
    least_aspect: float = 1.2  # height to width; below it is half a person or two
    most_aspect: float = 5.0
    edge_px: int = 2
    most_covered: float = 0.4  # of the box that another person's box hides


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    track: int
    image_HWC: Pixels


@dataclass(kw_only=True)
class TrackEvidence:
    """What was cut out of one track so far."""

    crops: int = 0
    next_index: int = 0
    rejects: Counter[Reject] = field(default_factory=Counter[Reject])


@dataclass(eq=False)
class CropSelector:
    """Decides for the tracks of one camera."""

    settings: CropSettings = field(default_factory=CropSettings)
    rejects: Counter[Reject] = field(default_factory=Counter[Reject])
    _tracks: dict[int, TrackEvidence] = field(default_factory=dict[int, TrackEvidence])

    def select(self, frame: Frame, boxes: Sequence[TrackedBox]) -> list[Crop]:
        """Return the crops of this frame that are due and good enough."""
        crops: list[Crop] = []
        box_N4 = np.array([box.box_4 for box in boxes], np.float32).reshape(-1, 4)
        for index, box in enumerate(boxes):
            evidence = self._tracks.setdefault(box.track, TrackEvidence())
            if evidence.crops >= self.settings.most_crops or frame.index < evidence.next_index:
                continue
            fault = judge(box_N4, index, frame.image_HWC.shape[:2], self.settings)
            if fault is not None:
                evidence.rejects[fault] += 1
                self.rejects[fault] += 1
                continue
            evidence.crops += 1
            evidence.next_index = frame.index + self.settings.every_frames
            crops.append(Crop(track=box.track, image_HWC=cut(frame.image_HWC, box.box_4, self.settings.margin)))
        return crops

    def finish(self, track: int) -> TrackEvidence:
        """Return what a track gave and forget it."""
        return self._tracks.pop(track, TrackEvidence())


def judge(
    box_N4: NDArray[np.float32], index: int, frame_size: tuple[int, ...], settings: CropSettings
) -> Reject | None:
    """Return why box `index` of a frame with height and width frame_size is no evidence, or None if it is."""
    left, top, width, height = box_N4[index].tolist()
    edge = settings.edge_px
    if left <= edge or top <= edge or left + width >= frame_size[1] - edge or top + height >= frame_size[0] - edge:
        return "edge"
    if height < settings.least_height_px:
        return "small"
    if not settings.least_aspect <= height / max(width, 1e-6) <= settings.most_aspect:
        return "aspect"
    shared_N = intersection(box_N4[index : index + 1], box_N4)[0]
    shared_N[index] = 0
    return "covered" if shared_N.max(initial=0) > settings.most_covered * width * height else None


def cut(image_HWC: Pixels, box_4: NDArray[np.float32], margin: float) -> Pixels:
    """Return a copy of the box with a margin, cut at the frame."""
    left, top, width, height = box_4.tolist()
    x0, y0 = max(0, round(left - margin * width)), max(0, round(top - margin * height))
    x1, y1 = round(left + width * (1 + margin)), round(top + height * (1 + margin))
    return image_HWC[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].copy()
