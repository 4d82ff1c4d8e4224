"""What the loop tells the sinks: sightings at their cadence, ended tracks, totals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.loop.lane import TrackState
from deploy.sightings import Merge, Sighting, TrackedFrame, TrackEnd, TrackKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deploy.cameras.frames import Frame
    from deploy.loop.lane import Lane
    from deploy.matching.matcher import Decision, Matcher
    from deploy.sightings import Box, Record, Sink
    from deploy.tracking.tracker import TrackedBox
    from engines.manifest import Modality

SEEN: dict[Modality, int] = {"visible": 1, "infrared": 2}
BOTH = 3
MOST_PEOPLE = 50_000  # whose kinds of cameras are remembered; the counts go on


@dataclass(eq=False)
class PeopleCount:
    """How many identities a run named, and how many of them both kinds of cameras saw. Bounded."""

    identities: int = 0
    matched: int = 0
    _seen: dict[int, int] = field(default_factory=dict[int, int])

    def see(self, identity: int, modality: Modality) -> None:
        before = self._seen.get(identity)
        if before is None:
            self.identities += 1
            if len(self._seen) >= MOST_PEOPLE:
                del self._seen[next(iter(self._seen))]
        after = (before or 0) | SEEN[modality]
        self._seen[identity] = after
        self.matched += after == BOTH != before

    def merge(self, kept: int, absorbed: int) -> None:
        past = self._seen.pop(absorbed, None)
        if past is None:
            return
        self.identities -= 1
        self.matched -= past == BOTH
        before = self._seen.get(kept, 0)
        if not before:
            self.identities += 1
        self._seen[kept] = before | past
        self.matched += (before | past) == BOTH != before


@dataclass(kw_only=True, eq=False)
class Reporter:
    """Writes the records of tracks. `report_every` counts frames of a camera."""

    sink: Sink
    matcher: Matcher
    report_every: int
    every_box: bool = False
    people: PeopleCount = field(default_factory=PeopleCount)

    def changes(self, changes: Iterable[Record]) -> None:
        """Write what the matcher revised."""
        for change in changes:
            self.sink.write(change)
            if isinstance(change, Merge):
                self.people.merge(change.kept, change.absorbed)

    def see(self, lane: Lane, frame: Frame, boxes: Mapping[TrackKey, TrackedBox]) -> None:
        """Note the tracks of a frame before anything is decided about them."""
        for key in boxes:
            state = lane.states.get(key.track)
            if state is None:
                lane.tracks += 1
                state = lane.states[key.track] = TrackState(
                    modality=frame.modality,
                    first_s=frame.time_s,
                    first_frame=frame.index,
                    last_s=frame.time_s,
                    last_frame=frame.index,
                )
            state.last_s, state.last_frame = frame.time_s, frame.index

    def sightings(self, lane: Lane, frame: Frame, boxes: Mapping[TrackKey, TrackedBox]) -> None:
        """Write what is believed of a frame's tracks: at the cadence, and at once where it changed."""
        for key, box in boxes.items():
            state, decision = lane.states[key.track], self.matcher.decision(key)
            if decision.identity is not None:
                self.people.see(decision.identity, frame.modality)
            if frame.index >= state.next_report or decision.identity != state.reported:
                state.next_report = frame.index + self.report_every
                state.reported = decision.identity
                self.sink.write(_sighting(key, frame, box, decision))
            if self.every_box:
                self.sink.write(
                    TrackedFrame(
                        frame=frame.index, camera=key.camera, track=key.track, box_px=box_of(box), score=box.score
                    )
                )

    def end(self, lane: Lane, track: int) -> Decision:
        """Write a track's last word, which is returned; the matcher keeps its person."""
        key = TrackKey(lane.camera.name, track)
        evidence, decision = lane.selector.finish(track), self.matcher.end(key)
        state = lane.states.pop(track, None)
        if state is None:
            return decision
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
        return decision


def box_of(box: TrackedBox) -> Box:
    left, top, width, height = (float(value) for value in box.box_4)
    return left, top, width, height


def _sighting(key: TrackKey, frame: Frame, box: TrackedBox, decision: Decision) -> Sighting:
    return Sighting(
        time_s=frame.time_s,
        frame=frame.index,
        camera=key.camera,
        modality=frame.modality,
        track=key.track,
        identity=decision.identity,
        box_px=box_of(box),
        similarity=decision.similarity,
        matched_track=decision.matched,
    )
