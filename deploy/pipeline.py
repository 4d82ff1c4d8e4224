"""The loop: frames of both cameras to detections, tracks, crops, embeddings, identities and records.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.display import Display, Status
from deploy.sightings import Merge, RunEnd, Sighting, TrackedFrame, TrackEnd, TrackKey
from engines.errors import BadInput
from engines.preprocess import batch_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from deploy.camera import Camera
    from deploy.crop_recorder import CropRecorder
    from deploy.crops import Crop, CropSelector
    from deploy.detector import Detector
    from deploy.frames import Frame
    from deploy.matching import Matcher
    from deploy.pairing import Moment
    from deploy.sightings import Box, Sink
    from deploy.stage_clock import StageClock
    from deploy.tracker import TrackedBox, Tracker
    from deploy.viewers import Viewer
    from engines.backend import Backend
    from engines.manifest import Modality

log = logging.getLogger(__name__)

STALL_S = 2.0  # a live camera that is silent for this long beside the other


@dataclass(kw_only=True, eq=False)
class Lane:
    """What works for one camera, and its counts."""

    camera: Camera
    detector: Detector
    tracker: Tracker
    selector: CropSelector
    frames: int = 0
    tracks: int = 0
    stalls: int = 0
    last_s: float | None = None
    stalled: bool = False
    reported: bool = False


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
class Pipeline:
    """One run over two lanes. `run` consumes moments and returns the totals; every record goes to the sink."""

    lanes: Mapping[str, Lane]
    backend: Backend
    matcher: Matcher
    sink: Sink
    timing: StageClock
    report_every: int
    every_box: bool = False
    max_frames: int | None = None
    display: Display | None = None
    viewers: Sequence[Viewer] = ()
    legend: str = ""
    recorder: CropRecorder | None = None
    _tracks: dict[TrackKey, TrackState] = field(default_factory=dict["TrackKey", TrackState])
    _people: dict[int, set[str]] = field(default_factory=dict[int, set[str]])
    _embed_failures: int = 0
    _embed_failing: bool = False

    def run(self, moments: Iterable[Moment], stopped: Callable[[], bool], lost_records: Callable[[], int]) -> RunEnd:
        """Work until the moments end, stopped() is true or max_frames of a camera are done."""
        reason = "failed"
        try:
            reason = self._loop(moments, stopped)
        finally:
            for lane in self.lanes.values():
                for track in lane.tracker.finish():
                    self._end_track(lane, track)
            self._watch_ends()
            end = self._totals(reason, lost_records())
            self.sink.write(end)
        return end

    def _loop(self, moments: Iterable[Moment], stopped: Callable[[], bool]) -> str:
        for moment in moments:
            self._work(moment)
            self.timing.count_round()
            if stopped():
                return "stopped"
            if self.max_frames is not None and max(lane.frames for lane in self.lanes.values()) >= self.max_frames:
                return "max frames"
        return "stopped" if stopped() else "end of the streams"

    def _work(self, moment: Moment) -> None:
        seen: list[tuple[Frame, dict[TrackKey, TrackedBox]]] = []
        due: dict[Modality, list[tuple[TrackKey, Crop]]] = {}
        for frame in moment.frames:
            boxes = self._track(frame)
            seen.append((frame, boxes))
            with self.timing.stage("crop"):
                crops = self.lanes[frame.camera].selector.select(frame, list(boxes.values()))
                if self.recorder is not None:
                    for crop in crops:
                        self.recorder.offer(frame, crop)
            due.setdefault(frame.modality, []).extend((TrackKey(frame.camera, crop.track), crop) for crop in crops)
        for modality, crops in due.items():
            self._embed(modality, crops)
        with self.timing.stage("match"):
            changes = self.matcher.decide(moment.time_s)
        with self.timing.stage("report"):
            for change in changes:
                self.sink.write(change)
                if isinstance(change, Merge):
                    self._people.setdefault(change.kept, set()).update(self._people.pop(change.absorbed, set()))
            for frame, boxes in seen:
                self._report(frame, boxes)
        self._watch_stalls(moment.time_s)
        self._watch_ends()
        with self.timing.stage("display"):
            self._show(seen, moment.time_s)

    def _track(self, frame: Frame) -> dict[TrackKey, TrackedBox]:
        lane = self.lanes[frame.camera]
        lane.frames += 1
        lane.last_s = frame.time_s
        with self.timing.stage("detect"):
            detections = lane.detector.detect(frame)
        with self.timing.stage("track"):
            step = lane.tracker.update(detections, frame)
        for track in step.ended:
            self._end_track(lane, track)
        boxes = {TrackKey(frame.camera, box.track): box for box in step.seen}
        for key in boxes:
            self.matcher.see(key, frame.modality, frame.time_s)
            state = self._tracks.get(key)
            if state is None:
                lane.tracks += 1
                state = self._tracks[key] = TrackState(
                    modality=frame.modality,
                    first_s=frame.time_s,
                    first_frame=frame.index,
                    last_s=frame.time_s,
                    last_frame=frame.index,
                )
            state.last_s, state.last_frame = frame.time_s, frame.index
        return boxes

    def _embed(self, modality: Modality, due: Sequence[tuple[TrackKey, Crop]]) -> None:
        if not due:
            return
        manifest = self.backend.manifest
        with self.timing.stage("embed"):
            batch_BHWC = batch_crops([crop.image_HWC for _, crop in due], manifest.height_px, manifest.width_px)
            try:
                embedding_BD = self.backend.embed(batch_BHWC, modality)
            except BadInput:
                raise
            except (
                Exception
            ) as error:  # every runtime has its own; a GPU that falls over must not take the tracks along
                self._embed_failures += 1
                if not self._embed_failing:
                    log.error("%s: no embeddings (%s); tracking goes on without identities", self.backend.name, error)
                self._embed_failing = True
                return
        self._embed_failing = False
        for (key, _), embedding_D in zip(due, embedding_BD, strict=True):
            self.matcher.add(key, embedding_D)

    def _report(self, frame: Frame, boxes: Mapping[TrackKey, TrackedBox]) -> None:
        for key, box in boxes.items():
            state, decision = self._tracks[key], self.matcher.decision(key)
            if decision.identity is not None:
                self._people.setdefault(decision.identity, set()).add(frame.modality)
            if frame.index >= state.next_report or decision.identity != state.reported:
                state.next_report = frame.index + self.report_every
                state.reported = decision.identity
                self.sink.write(
                    Sighting(
                        time_s=frame.time_s,
                        frame=frame.index,
                        camera=key.camera,
                        modality=frame.modality,
                        track=key.track,
                        identity=decision.identity,
                        box_px=_box(box),
                        similarity=decision.similarity,
                        matched_track=decision.matched,
                    )
                )
            if self.every_box:
                self.sink.write(
                    TrackedFrame(
                        frame=frame.index, camera=key.camera, track=key.track, box_px=_box(box), score=box.score
                    )
                )

    def _end_track(self, lane: Lane, track: int) -> None:
        key = TrackKey(lane.camera.name, track)
        evidence, decision = lane.selector.finish(track), self.matcher.end(key)
        if self.recorder is not None:
            self.recorder.finish(key)
        state = self._tracks.pop(key, None)
        if state is None:
            return
        self.sink.write(
            TrackEnd(
                camera=key.camera,
                modality=state.modality,
                track=track,
                identity=decision.identity,
                first_s=state.first_s,
                last_s=state.last_s,
                first_frame=state.first_frame,
                last_frame=state.last_frame,
                crops=evidence.crops,
                similarity=decision.similarity,
                matched_track=decision.matched,
                rejects={str(reason): count for reason, count in evidence.rejects.items()},
            )
        )

    def _watch_stalls(self, time_s: float) -> None:
        for lane in self.lanes.values():
            waiting = lane.camera.live and not lane.camera.ended
            silent = waiting and lane.last_s is not None and time_s - lane.last_s > STALL_S
            if silent and not lane.stalled:
                lane.stalls += 1
                log.warning("%s camera: no picture for %.0f s; the other goes on", lane.camera.name, STALL_S)
            lane.stalled = silent

    def _watch_ends(self) -> None:
        for lane in self.lanes.values():
            if lane.camera.ended and lane.camera.failure and not lane.reported:
                lane.reported = True
                log.error("%s", lane.camera.failure)

    def _show(self, seen: Sequence[tuple[Frame, dict[TrackKey, TrackedBox]]], time_s: float) -> None:
        if self.display is None or not self.viewers:
            return
        for frame, boxes in seen:
            self.display.update(frame, boxes, {key: self.matcher.decision(key) for key in boxes})
        matched = sum(len(modalities) > 1 for modalities in self._people.values())
        summary = f"identities {len(self._people)}    seen by both cameras {matched}    {self.legend}"
        status = Status(engine=self.backend.name, time_s=time_s, frames_per_s=self.timing.rate, summary=summary)
        image_HWC = self.display.compose(status)
        for viewer in self.viewers:
            viewer.show(image_HWC, time_s)

    def _totals(self, reason: str, lost_records: int) -> RunEnd:
        rejects: Counter[str] = Counter()
        for lane in self.lanes.values():
            rejects.update(lane.selector.rejects)
        return RunEnd(
            reason=reason,
            seconds=self.timing.elapsed_s,
            moments=self.timing.rounds,
            frames={name: lane.frames for name, lane in self.lanes.items()},
            dropped={name: lane.camera.dropped for name, lane in self.lanes.items()},
            stalls={name: lane.stalls for name, lane in self.lanes.items()},
            tracks={name: lane.tracks for name, lane in self.lanes.items()},
            identities=len(self._people),
            matched_identities=sum(len(modalities) > 1 for modalities in self._people.values()),
            rejects=dict(rejects),
            embed_failures=self._embed_failures,
            lost_records=lost_records,
            stage_ms=self.timing.stage_ms(),
        )


def _box(box: TrackedBox) -> Box:
    left, top, width, height = (float(value) for value in box.box_4)
    return left, top, width, height
