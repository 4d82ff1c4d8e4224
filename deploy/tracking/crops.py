"""Which boxes become evidence of who somebody is: cut out, judged, and not too often.

One crop per track every 10 frames, 8 at most, costs 5 to 7 CPU-ms a frame; every crop of every frame costs 95. A
rejected crop does not use up the cadence: the next frame is tried. A track that gave its 8 is looked at four times as
rarely, and a crop that is half as good again as its worst takes that one's place: somebody who came from far away is
known by the pictures from near. A worst crop of 0.05 can grow by half 7 times at most, so that this ends.

Shapes: N boxes, 4 box (left, top, width, height) in pixels, H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.tracking.crop_quality import Reject, assess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.settings.site_plan import CameraSite
    from deploy.tracking.tracker import TrackedBox

    Pixels = NDArray[np.uint8]

MOST_CROPS = 8
LEAST_HEIGHT_PX = 48
LEAST_HEIGHT_LWIR_PX = 24  # a Lepton's picture is 120 high


@dataclass(frozen=True, kw_only=True)
class CropSettings:
    every_frames: int = 10
    most_crops: int = MOST_CROPS
    margin: float = 0.05  # of the box's size on every side: detectors cut hands and feet
    least_height_px: int = LEAST_HEIGHT_PX
    least_aspect: float = 1.2  # height to width; below it is half a person or two
    most_aspect: float = 5.0
    edge_px: int = 2
    most_covered: float = 0.4  # of the box that another person's box hides
    least_contrast: float = 4.0  # standard deviation in grey levels
    least_sharpness: float = 0.004  # a blur of 4 % of the height
    thermal: bool = False  # warm against cold: who does not stand out from the surroundings is no evidence
    least_relief: float = 6.0  # grey levels
    replace_gain: float = 1.5
    replace_stretch: int = 4


def crop_settings(site: CameraSite, *, every_frames: int = 10, most_crops: int = MOST_CROPS) -> CropSettings:
    """Return what holds for a camera of a site."""
    thermal = site.band == "lwir"
    usual_px = LEAST_HEIGHT_LWIR_PX if thermal else LEAST_HEIGHT_PX
    return CropSettings(
        every_frames=every_frames,
        most_crops=most_crops,
        least_height_px=usual_px if site.least_height_px is None else site.least_height_px,
        thermal=thermal,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Crop:
    track: int
    image_HWC: Pixels
    quality: float = 1.0  # 0 to 1


@dataclass(kw_only=True)
class TrackEvidence:
    """What was cut out of one track so far."""

    crops: int = 0
    rejects: Counter[Reject] = field(default_factory=Counter[Reject])
    qualities: list[float] = field(default_factory=list[float])  # of the crops that stand
    last_index: int | None = None  # frame of the last crop or, where all are there, of the last look


@dataclass(eq=False)
class CropSelector:
    """Decides for the tracks of one camera. `stretch` multiplies the cadence where the loop cannot keep up."""

    settings: CropSettings = field(default_factory=CropSettings)
    rejects: Counter[Reject] = field(default_factory=Counter[Reject])
    stretch: int = 1
    _tracks: dict[int, TrackEvidence] = field(default_factory=dict[int, TrackEvidence])

    def select(self, frame: Frame, boxes: Sequence[TrackedBox]) -> list[Crop]:
        """Return the crops of this frame that are due and good enough; none of a frozen picture or a guessed box."""
        if frame.frozen:
            return []
        crops: list[Crop] = []
        box_N4 = np.array([box.box_4 for box in boxes], np.float32).reshape(-1, 4)
        for index, box in enumerate(boxes):
            evidence = self._tracks.setdefault(box.track, TrackEvidence())
            if box.coasted or not self._is_due(evidence, frame.index):
                continue
            verdict = assess(frame.image_HWC, box_N4, index, box.score, self.settings)
            if self._take(evidence, verdict, frame.index):
                image_HWC = cut(frame.image_HWC, box.box_4, self.settings.margin)
                crops.append(Crop(track=box.track, image_HWC=image_HWC, quality=evidence.qualities[-1]))
        return crops

    def finish(self, track: int) -> TrackEvidence:
        """Return what a track gave and forget it."""
        return self._tracks.pop(track, TrackEvidence())

    def _is_due(self, evidence: TrackEvidence, index: int) -> bool:
        if evidence.last_index is None:
            return True
        wait = self.settings.every_frames * self.stretch
        if len(evidence.qualities) >= self.settings.most_crops:
            wait *= self.settings.replace_stretch
        return index - evidence.last_index >= wait

    def _take(self, evidence: TrackEvidence, verdict: Reject | float, index: int) -> bool:
        """Note a verdict; True where the crop is wanted. Its quality is then the last of the track's."""
        full = len(evidence.qualities) >= self.settings.most_crops
        if full:
            evidence.last_index = index
        if isinstance(verdict, str):
            evidence.rejects[verdict] += 1
            self.rejects[verdict] += 1
            return False
        if full:
            worst = min(evidence.qualities)
            if verdict < self.settings.replace_gain * worst:
                return False
            evidence.qualities.remove(worst)
        evidence.qualities.append(verdict)
        evidence.crops += 1
        evidence.last_index = index
        return True


def cut(image_HWC: Pixels, box_4: NDArray[np.float32], margin: float) -> Pixels:
    """Return a copy of the box with a margin, cut at the frame."""
    left, top, width, height = box_4.tolist()
    x0, y0 = max(0, round(left - margin * width)), max(0, round(top - margin * height))
    x1, y1 = round(left + width * (1 + margin)), round(top + height * (1 + margin))
    return image_HWC[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)].copy()
