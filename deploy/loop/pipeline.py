"""The loop: frames of all cameras to detections, tracks, crops, embeddings, identities and records.

Everything here runs on one thread, which alone touches the gallery, the matcher and the engines. Parts that fail cost
pictures and are told; they end nothing.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deploy.detection.detector import no_detections
from deploy.loop.load import LoadGovernor
from deploy.loop.run_state import Newest, RunState, SinkState
from deploy.sightings import CameraChanged, LoadChanged, RunEnd, TrackKey, Trouble
from engines.errors import first_line
from engines.preprocess import batch_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.cameras.pairing import Moment
    from deploy.detection.detector import Detections, Detector
    from deploy.gallery.patient import PatientGallery
    from deploy.loop.healing import Healing
    from deploy.loop.lane import Lane
    from deploy.loop.reporting import Reporter
    from deploy.loop.stage_clock import StageClock
    from deploy.matching.matcher import Decision, Matcher
    from deploy.sightings import Sink
    from deploy.tracking.crops import Crop
    from deploy.tracking.tracker import TrackedBox
    from engines.backend import Backend
    from engines.manifest import Manifest, Modality

    Float = NDArray[np.float32]

log = logging.getLogger(__name__)

STATE_EVERY_S = 1.0
EXPIRE_EVERY_S = 3600.0
GONE_S = 5.0  # without a picture; a tracker that gets pictures keeps the lost for 2 s
AGAIN_S = 1.0  # between attempts with crops on which the engine failed
MOST_OVERDUE_S = 6 * 3600.0  # a place that is never empty


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """What came of one frame."""

    frame: Frame
    boxes: Mapping[TrackKey, TrackedBox]
    crops: Sequence[Crop]
    embeddings: Mapping[TrackKey, Float]


class Onlooker(Protocol):
    """Looks at what the loop did; one that raises is told and sent away."""

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None: ...

    def end(self, key: TrackKey, decision: Decision) -> None:
        """Hear that a track has ended; the decision is final."""
        ...


@dataclass(kw_only=True, eq=False)
class Pipeline:
    """One run. `run` consumes moments and returns the totals; every record goes to the sink."""

    lanes: Mapping[str, Lane]
    backend: Healing[Backend]
    manifest: Manifest
    matcher: Matcher
    gallery: PatientGallery
    reporter: Reporter
    sink: Sink
    timing: StageClock
    clock: Callable[[], float]  # the frames' own: seconds of the run, monotonic
    governor: LoadGovernor = field(default_factory=LoadGovernor)
    live: bool = False
    max_frames: int | None = None
    keep_s: float | None = None  # how long the gallery keeps whom nobody enrolled; None: for ever
    origin_s: float = 0.0  # of the gallery's times
    onlookers: list[Onlooker] = field(default_factory=list[Onlooker])
    attendants: Sequence[Callable[[], object]] = ()  # called at least every 0.2 s: mailbox, watchdog
    sinks: Callable[[], dict[str, SinkState]] = dict[str, SinkState]
    threshold: str = ""
    newest: Newest = field(default_factory=Newest)
    _time_s: float = 0.0
    _crops: int = 0
    _failed: dict[TrackKey, Crop] = field(default_factory=dict["TrackKey", "Crop"])  # each live track's best crop
    _failed_due_s: float = float("-inf")
    _ended: list[tuple[TrackKey, Decision]] = field(default_factory=list["tuple[TrackKey, Decision]"])
    _gallery_trouble: str = ""
    _state_due_s: float = float("-inf")
    _expire_due_s: float = 0.0
    _work_ended_s: float | None = None

    def run(self, moments: Iterable[Moment], stopped: Callable[[], bool]) -> RunEnd:
        """Work until the moments end, stopped() is true or max_frames of a camera are done."""
        reason = "failed"
        try:
            reason = self._loop(moments, stopped)
        finally:
            for lane in self.lanes.values():
                for track in lane.tracker.finish():
                    self._end_track(lane, track)
            self.reporter.changes(self.matcher.decide(self._time_s))
            self._tell_ended()
            self.gallery.flush()
            self._tell_troubles()
            self._tell_cameras()
            self._refresh()
            end = self._totals(reason)
            self.sink.write(end)
        return end

    def tend(self) -> None:
        """Do what is due besides the pictures; also called while no picture comes."""
        for attend in self.attendants:
            attend()
        if self.live:
            self._time_s = max(self._time_s, self.clock())
            self._end_unseen()
        self._tell_cameras()
        self._tell_troubles()
        now_s = max(self.clock(), self._time_s)  # a recording may run faster than the clock
        if now_s >= self._state_due_s:
            self._state_due_s = now_s + STATE_EVERY_S
            self._refresh()
        overdue_s = self._time_s - self._expire_due_s
        if self.keep_s is not None and (overdue_s > MOST_OVERDUE_S or (overdue_s >= 0 and self._nobody)):
            self._expire_due_s = self._time_s + EXPIRE_EVERY_S
            self.gallery.expire(self.origin_s + self._time_s - self.keep_s)
        self.gallery.tend()
        if self._nobody:
            self.gallery.rest()

    @property
    def _nobody(self) -> bool:
        """True where no track lives; what takes long can be done then."""
        return not any(lane.states for lane in self.lanes.values())

    def _loop(self, moments: Iterable[Moment], stopped: Callable[[], bool]) -> str:
        self._work_ended_s = self.clock()
        for moment in moments:
            begun_s = self.clock()
            self._work(moment)
            self.timing.count_round()
            if self.live:
                self._govern(moment, waited_s=begun_s - self._work_ended_s)
            self._work_ended_s = self.clock()
            self.tend()
            if stopped():
                return "stopped"
            if self.max_frames is not None and max(lane.taken for lane in self.lanes.values()) >= self.max_frames:
                return "max frames"
        return "stopped" if stopped() else "end of the streams"

    def _work(self, moment: Moment) -> None:
        self._time_s = max(self._time_s, moment.time_s)
        tracked = self._track(self._admit(moment))
        due: dict[Modality, list[tuple[TrackKey, Crop]]] = {}
        crops: dict[str, list[Crop]] = {}
        for frame, boxes in tracked:
            lane = self.lanes[frame.camera]
            with self.timing.stage("crop"):
                lane.selector.stretch = self.governor.crop_stretch
                # A track gives a few crops only: not to an engine that will not look at them.
                cut = [] if self.backend.resting else lane.selector.select(frame, list(boxes.values()))
            crops[frame.camera] = cut
            new = [(TrackKey(frame.camera, crop.track), crop) for crop in cut]
            due.setdefault(frame.modality, []).extend([*new, *self._take_failed(frame.camera)])
        embeddings: dict[TrackKey, Float] = {}
        for modality, waiting in due.items():
            embeddings.update(self._embed(modality, waiting))
        with self.timing.stage("match"):
            changes = self.matcher.decide(self._time_s)
        with self.timing.stage("report"):
            self.reporter.changes(changes)
            for frame, boxes in tracked:
                self.reporter.sightings(self.lanes[frame.camera], frame, boxes)
        with self.timing.stage("show"):
            seen = [Seen(frame=f, boxes=b, crops=crops[f.camera], embeddings=embeddings) for f, b in tracked]
            self._show(lambda onlooker: onlooker.look(seen, self.matcher.decision, self.newest.state))
            self._tell_ended()

    def _admit(self, moment: Moment) -> list[Frame]:
        """Return the frames that are worked on; the highest level of load leaves every second one out."""
        frames: list[Frame] = []
        for frame in moment.frames:
            lane = self.lanes[frame.camera]
            lane.taken += 1
            if not self.live or self.governor.takes(lane.taken):
                lane.frames += 1
                frames.append(frame)
        return frames

    def _track(self, frames: Sequence[Frame]) -> list[tuple[Frame, dict[TrackKey, TrackedBox]]]:
        with self.timing.stage("detect"):
            found = self._detect([frame for frame in frames if self._is_detected(frame)])
        tracked: list[tuple[Frame, dict[TrackKey, TrackedBox]]] = []
        for frame in frames:
            lane = self.lanes[frame.camera]
            with self.timing.stage("track"):
                if frame.frozen:
                    step = lane.tracker.hold(frame)
                elif frame.camera in found:
                    step = lane.tracker.update(found[frame.camera], frame)
                else:
                    step = lane.tracker.coast(frame)
            for track in step.ended:
                self._end_track(lane, track)
            boxes = {TrackKey(frame.camera, box.track): box for box in step.seen}
            for key, box in boxes.items():
                # A predicted box is no evidence of where somebody stands.
                self.matcher.see(key, frame.modality, frame.time_s, None if box.coasted else box.box_4)
            self.reporter.see(lane, frame, boxes)
            tracked.append((frame, boxes))
        return tracked

    def _is_detected(self, frame: Frame) -> bool:
        return not frame.frozen and (not self.live or self.governor.detects(self.lanes[frame.camera].frames))

    def _detect(self, frames: Sequence[Frame]) -> dict[str, Detections]:
        """Return every camera's people; frames that share a detector go to it together. Nobody where it fails."""
        groups: dict[int, list[Frame]] = {}
        detectors: dict[int, Healing[Detector]] = {}
        for frame in frames:
            detector = self.lanes[frame.camera].detector
            detectors[id(detector)] = detector
            groups.setdefault(id(detector), []).append(frame)
        found: dict[str, Detections] = {}
        for name, group in groups.items():
            answers = detectors[name].ask(lambda part, group=group: list(zip(group, part.detect(group), strict=True)))
            for frame, detections in answers or [(frame, no_detections()) for frame in group]:
                found[frame.camera] = detections
        return found

    def _take_failed(self, camera: str) -> list[tuple[TrackKey, Crop]]:
        """Return a camera's crops that the engine failed on and may try again: somebody who stays may give no other."""
        if not self._failed or self.backend.resting or self._time_s < self._failed_due_s:
            return []
        return [(key, self._failed.pop(key)) for key in sorted(self._failed) if key.camera == camera]

    def _keep_failed(self, due: Sequence[tuple[TrackKey, Crop]]) -> None:
        self._failed_due_s = self._time_s + AGAIN_S
        for key, crop in due:
            self._failed[key] = max(self._failed.get(key, crop), crop, key=lambda item: item.quality)

    def _embed(self, modality: Modality, due: Sequence[tuple[TrackKey, Crop]]) -> dict[TrackKey, Float]:
        if not due:
            return {}
        size = self.manifest.height_px, self.manifest.width_px
        with self.timing.stage("prepare"):
            batch_BHWC = batch_crops([crop.image_HWC for _, crop in due], *size)
        with self.timing.stage("embed"):
            embedding_BD = self.backend.ask(lambda part: _embed(part, batch_BHWC, modality))
        if embedding_BD is None:
            self._keep_failed(due)
            return {}
        self._crops += len(due)
        for (key, crop), embedding_D in zip(due, embedding_BD, strict=True):
            self.matcher.add(key, embedding_D, crop.quality)
        return {key: embedding_D for (key, _), embedding_D in zip(due, embedding_BD, strict=True)}

    def _end_track(self, lane: Lane, track: int) -> None:
        key = TrackKey(lane.camera.name, track)
        self._failed.pop(key, None)
        self._ended.append((key, self.reporter.end(lane, track)))

    def _end_unseen(self) -> None:
        """End the tracks of a camera that is gone, so that its people are stored now and not when it is back."""
        for lane in self.lanes.values():
            newest_s = max((state.last_s for state in lane.states.values()), default=self._time_s)
            if self._time_s - newest_s > GONE_S:
                for track in lane.tracker.finish():
                    self._end_track(lane, track)
                self._tell_ended()

    def _tell_gallery(self) -> None:
        trouble = self.gallery.trouble
        if bool(trouble) != bool(self._gallery_trouble):
            reason = trouble or self._gallery_trouble
            self.sink.write(Trouble(time_s=self._time_s, part="gallery", reason=reason, over=not trouble))
        self._gallery_trouble = trouble

    def _govern(self, moment: Moment, *, waited_s: float) -> None:
        dropped = 0
        for lane in self.lanes.values():
            if lane.camera.live:
                dropped += lane.camera.dropped - lane.dropped
                lane.dropped = lane.camera.dropped
        if self.governor.note(self.clock(), taken=len(moment.frames), dropped=dropped, waited_s=waited_s):
            log.warning("load: %s", self.governor.meaning)
            level, meaning = self.governor.level, self.governor.meaning
            self.sink.write(LoadChanged(time_s=self._time_s, level=level, meaning=meaning))

    def _show(self, call: Callable[[Onlooker], None]) -> None:
        for onlooker in list(self.onlookers):
            try:
                call(onlooker)
            except Exception as error:  # a window or a disk that fails may not end the run
                log.exception("%s: %s; it is left out from here on", type(onlooker).__name__, first_line(error))
                self.onlookers.remove(onlooker)

    def _tell_ended(self) -> None:
        ended, self._ended = self._ended, []
        for key, decision in ended:
            self._show(lambda onlooker, key=key, decision=decision: onlooker.end(key, decision))

    def _tell_cameras(self) -> None:
        for lane in self.lanes.values():
            for change in lane.camera.changes():
                state, reason, time_s = change.state, change.reason, max(change.time_s, 0.0)
                level = logging.INFO if state in ("running", "ended", "opening") else logging.WARNING
                log.log(level, "%s camera: %s", lane.camera.name, f"{state} ({reason})" if reason else state)
                self.sink.write(CameraChanged(time_s=time_s, camera=change.camera, state=state, reason=reason))

    def _tell_troubles(self) -> None:
        self._tell_gallery()
        for part in self._parts():
            for reason, over in part.take_changes():
                self.sink.write(Trouble(time_s=self._time_s, part=part.name, reason=reason, over=over))

    def _parts(self) -> list[Healing[Backend] | Healing[Detector]]:
        detectors = {id(lane.detector): lane.detector for lane in self.lanes.values()}
        return [self.backend, *detectors.values()]

    def _refresh(self) -> None:
        troubles = {part.name: part.reason for part in self._parts() if part.reason}
        if self._gallery_trouble:
            troubles["gallery"] = self._gallery_trouble
        lanes = self.lanes
        self.newest.state = RunState(
            round_s=self.clock(),
            time_s=self._time_s,
            rounds=self.timing.rounds,
            frames_per_s=self.timing.rate,
            cameras=tuple(lane.camera.health() for lane in lanes.values()),
            level=self.governor.level,
            meaning=self.governor.meaning,
            live_tracks=sum(len(lane.states) for lane in lanes.values()),
            tracks={name: lane.tracks for name, lane in lanes.items()},
            skipped={name: lane.taken - lane.frames for name, lane in lanes.items()},
            rejects={name: {str(k): v for k, v in lane.selector.rejects.items()} for name, lane in lanes.items()},
            crops=self._crops,
            embed_failures=self.backend.failures,
            detect_failures=sum(part.failures for part in self._parts()[1:]),
            identities=self.reporter.people.identities,
            matched_identities=self.reporter.people.matched,
            people=self.gallery.count_people(),
            tracklets=len(self.gallery),
            sinks=self.sinks(),
            troubles=troubles,
            threshold=self.threshold,
        )

    def _totals(self, reason: str) -> RunEnd:
        lanes, state = self.lanes, self.newest.state
        rejects = Counter[str]()
        for counts in state.rejects.values():
            rejects.update(counts)
        return RunEnd(
            reason=reason,
            seconds=self.timing.elapsed_s,
            moments=self.timing.rounds,
            frames={name: lane.frames for name, lane in lanes.items()},
            dropped={name: lane.camera.dropped + lane.taken - lane.frames for name, lane in lanes.items()},
            reconnects={name: lane.camera.health().reconnects for name, lane in lanes.items()},
            tracks={name: lane.tracks for name, lane in lanes.items()},
            identities=state.identities,
            matched_identities=state.matched_identities,
            rejects=dict(rejects),
            embed_failures=state.embed_failures,
            detect_failures=state.detect_failures,
            lost_records={name: sink.lost for name, sink in state.sinks.items()},
            stage_ms=self.timing.stage_ms(),
        )


def _embed(backend: Backend, batch_BHWC: NDArray[np.uint8], modality: Modality) -> Float:
    embedding_BD = backend.embed(batch_BHWC, modality)
    if len(embedding_BD) != len(batch_BHWC):
        raise ArithmeticError(f"expected {len(batch_BHWC)} embeddings, got {len(embedding_BD)}")
    if not np.isfinite(embedding_BD).all():
        raise ArithmeticError("the embeddings are not finite")  # one NaN would spoil every later comparison
    return embedding_BD
