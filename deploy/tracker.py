"""Boxes of one camera into tracks, after ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating
Every Detection Box", ECCV 2022), written from the paper.

Strong boxes are matched first to all tracks; the weak ones then only continue tracks that are left over, because a
weak box near a prediction is mostly an occluded person. Deviations: a gap is counted in seconds, and a step in
frames of the camera, since a live camera drops frames. Background subtraction scores every box 1, so that the
second stage has nothing to do.

Shapes: N detections, T tracks, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.assignment import assign
from deploy.detector import intersection, overlap
from deploy.motion_filter import Motion, correct, predict, start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.detector import Detections
    from deploy.frames import Frame

    Float = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class TrackerSettings:
    """The paper's values, but for the scores: YOLOX-nano gives people 0.5 to 0.9, the paper's YOLOX-x more."""

    strong_score: float = 0.5
    weak_score: float = 0.1
    new_score: float = 0.6
    strong_overlap: float = 0.2
    weak_overlap: float = 0.5
    new_overlap: float = 0.3
    keep_lost_s: float = 2.0  # paper: 30 frames at 30 a second; people who cross hide each other for up to 2 s
    duplicate_overlap: float = 0.85
    # Background subtraction makes one blob of two people who cross. Such a blob belongs to neither: followed, it drags
    # a track along with the other person (one swapped identity in 8 synthetic crossings).
    blobs: bool = False
    blob_growth: float = 1.15  # a blob of two is larger than the one it is matched to
    blob_cover: float = 0.6  # of the other one's prediction


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedBox:
    """Where a confirmed track was seen in this frame: the detector's box, not the filter's."""

    track: int
    box_4: Float
    score: float


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackerStep:
    seen: tuple[TrackedBox, ...]
    ended: tuple[int, ...]  # tracks that will not come back


@dataclass(kw_only=True, eq=False)
class _Track:
    motion: Motion
    box_4: Float
    score: float
    first_s: float
    last_s: float
    identifier: int = 0  # 0: not confirmed yet
    lost: bool = False


@dataclass(eq=False)
class Tracker:
    """Tracks of one camera, numbered from 1 in the order of their confirmation. Deterministic."""

    settings: TrackerSettings = field(default_factory=TrackerSettings)
    _tracks: list[_Track] = field(default_factory=list[_Track])
    _count: int = 0
    _index: int | None = None

    def update(self, detections: Detections, frame: Frame) -> TrackerStep:
        """Take the detections of the next frame and return what is tracked in it."""
        first_frame = self._index is None
        steps = 1 if self._index is None else max(1, frame.index - self._index)
        self._index = frame.index
        for track in self._tracks:
            track.motion = predict(track.motion, steps, hold_size=track.lost)
        seen = self._associate(detections, frame.time_s)
        self._start_tracks(detections, seen, frame.time_s, confirmed=first_frame)
        ended = self._drop(frame.time_s)
        boxes = tuple(
            TrackedBox(track=track.identifier, box_4=track.box_4, score=track.score)
            for track in self._tracks
            if track.identifier and not track.lost
        )
        return TrackerStep(seen=boxes, ended=ended)

    def finish(self) -> tuple[int, ...]:
        """End every track and return the confirmed ones."""
        ended = tuple(track.identifier for track in self._tracks if track.identifier)
        self._tracks = []
        return ended

    def _associate(self, detections: Detections, time_s: float) -> set[int]:
        settings, score_N = self.settings, detections.score_N
        strong = np.flatnonzero(score_N >= settings.strong_score).tolist()
        weak = np.flatnonzero((score_N >= settings.weak_score) & (score_N < settings.strong_score)).tolist()
        confirmed = [track for track in self._tracks if track.identifier]
        fresh = [track for track in self._tracks if not track.identifier]
        used: set[int] = set()

        def match(tracks: Sequence[_Track], candidates: Sequence[int], least_overlap: float) -> list[_Track]:
            pairs = _assign(tracks, detections.box_N4[list(candidates)], least_overlap)
            for row, column in pairs:
                self._see(tracks[row], detections, candidates[column], time_s)
                used.add(candidates[column])
            rows = {row for row, _ in pairs}
            return [track for row, track in enumerate(tracks) if row not in rows]

        if settings.blobs:
            merged = self._merged_blobs(confirmed, detections, strong)
            used |= merged
            strong = [index for index in strong if index not in merged]
        left = match(confirmed, strong, settings.strong_overlap)
        left_active = match([track for track in left if not track.lost], weak, settings.weak_overlap)
        unseen_fresh = match(fresh, [index for index in strong if index not in used], settings.new_overlap)
        for track in left_active:
            track.lost = True
        self._tracks = [track for track in self._tracks if track not in unseen_fresh]
        return used

    def _merged_blobs(self, tracks: Sequence[_Track], detections: Detections, strong: Sequence[int]) -> set[int]:
        """Return the boxes that hold two tracks, of which only one would get it."""
        place_T4 = _boxes(tracks)
        box_N4 = detections.box_N4[list(strong)]
        matched = {column: row for row, column in _assign(tracks, box_N4, self.settings.strong_overlap)}
        area_T, area_N = place_T4[:, 2] * place_T4[:, 3], box_N4[:, 2] * box_N4[:, 3]
        cover_TN = intersection(place_T4, box_N4) / np.maximum(area_T, 1e-6)[:, None]
        cover_TN[list(matched.values())] = 0  # who has a box of his own is not in this one
        return {
            strong[column]
            for column, row in matched.items()
            if area_N[column] > self.settings.blob_growth * area_T[row]
            and cover_TN[:, column].max(initial=0) > self.settings.blob_cover
        }

    def _see(self, track: _Track, detections: Detections, index: int, time_s: float) -> None:
        track.box_4 = detections.box_N4[index]
        track.score = float(detections.score_N[index])
        track.motion = correct(track.motion, track.box_4.astype(np.float64))
        track.last_s, track.lost = time_s, False
        if not track.identifier:
            self._count += 1
            track.identifier = self._count

    def _start_tracks(self, detections: Detections, used: set[int], time_s: float, *, confirmed: bool) -> None:
        for index in np.flatnonzero(detections.score_N >= self.settings.new_score).tolist():
            if index in used:
                continue
            box_4 = detections.box_N4[index]
            track = _Track(
                motion=start(box_4.astype(np.float64)),
                box_4=box_4,
                score=float(detections.score_N[index]),
                first_s=time_s,
                last_s=time_s,
            )
            if confirmed:  # nobody can have been seen before the first frame
                self._count += 1
                track.identifier = self._count
            self._tracks.append(track)

    def _drop(self, time_s: float) -> tuple[int, ...]:
        gone = [t for t in self._tracks if t.lost and time_s - t.last_s > self.settings.keep_lost_s]
        gone += [t for t in self._duplicates() if t not in gone]
        self._tracks = [track for track in self._tracks if track not in gone]
        return tuple(track.identifier for track in gone)

    def _duplicates(self) -> list[_Track]:
        """A lost track over a seen one: the younger of the two is the copy."""
        lost = [track for track in self._tracks if track.identifier and track.lost]
        seen = [track for track in self._tracks if track.identifier and not track.lost]
        iou_TT = overlap(_boxes(lost), _boxes(seen))
        copies: list[_Track] = []
        for row, column in np.argwhere(iou_TT > self.settings.duplicate_overlap).tolist():
            older_first = sorted((lost[row], seen[column]), key=lambda track: (track.first_s, track.identifier))
            copies.append(older_first[1])
        return copies


def _assign(tracks: Sequence[_Track], box_N4: Float, least_overlap: float) -> list[tuple[int, int]]:
    """Match tracks to boxes one to one with the greatest summed overlap; pairs below least_overlap are no matches."""
    iou_TN = overlap(_boxes(tracks), box_N4)
    # Too little overlap counts as none: else a pair that is refused anyway could push a good one aside.
    return assign(np.where(iou_TN >= least_overlap, iou_TN, np.float32(0)))


def _boxes(tracks: Sequence[_Track]) -> Float:
    box_T4 = np.empty((len(tracks), 4), np.float32)
    for row, track in enumerate(tracks):
        box_T4[row] = track.motion.box_4
    return box_T4
