"""Who looks at what the loop did: the picture for people, the recorders of crops and of evidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.drawing.display import Status
from deploy.sightings import TrackKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.drawing.display import Display
    from deploy.drawing.viewers import Viewer
    from deploy.loop.pipeline import Seen
    from deploy.loop.run_state import RunState
    from deploy.matching.matcher import Decision
    from deploy.thresholds.recorder import EvidenceRecorder
    from deploy.tracking.crop_recorder import CropRecorder


@dataclass(frozen=True)
class CropOnlooker:
    """Gives embedded crops to their recorder."""

    recorder: CropRecorder

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        for item in seen:
            for crop in item.crops:
                self.recorder.offer(item.frame, crop)

    def end(self, key: TrackKey, decision: Decision) -> None:
        self.recorder.finish(key)


@dataclass(frozen=True)
class EvidenceOnlooker:
    """Gives everything that a calibration on site needs to its recorder."""

    recorder: EvidenceRecorder

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        for item in seen:
            for key, box in item.boxes.items():
                left, top, width, height = (float(value) for value in box.box_4)
                place = None if box.coasted else (left, top, width, height)
                self.recorder.see(key, item.frame.modality, item.frame.time_s, place)
            for crop in item.crops:
                key = TrackKey(item.frame.camera, crop.track)
                if key in item.embeddings:
                    self.recorder.add(key, item.embeddings[key], crop.quality)

    def end(self, key: TrackKey, decision: Decision) -> None:
        self.recorder.end(key)


@dataclass(eq=False)
class PictureOnlooker:
    """Draws the annotated picture for a window and a video."""

    display: Display
    viewers: Sequence[Viewer]
    engine: str
    legend: str
    rate: Callable[[], float]
    _notes: dict[str, str] = field(default_factory=dict[str, str])

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        for item in seen:
            self.display.update(item.frame, item.boxes, {key: decide(key) for key in item.boxes})
        for camera in state.cameras:
            lost = camera.state not in ("running", "holding", "opening", "ended")
            self.display.note(camera.camera, f"{camera.state}: {camera.reason}"[:60].rstrip(": ") if lost else "")
        time_s = max((item.frame.time_s for item in seen), default=state.time_s)
        summary = f"identities {state.identities}    seen by both kinds {state.matched_identities}    {self.legend}"
        if state.level:
            summary += f"    load: {state.meaning}"
        status = Status(engine=self.engine, time_s=time_s, frames_per_s=self.rate(), summary=summary)
        image_HWC = self.display.compose(status)
        for viewer in self.viewers:
            viewer.show(image_HWC, time_s)

    def end(self, key: TrackKey, decision: Decision) -> None: ...
