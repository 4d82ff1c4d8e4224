"""Boxes of one camera into tracks, after ByteTrack (Zhang et al., "ByteTrack: Multi-Object Tracking by Associating
Every Detection Box", ECCV 2022), written from the paper.

Strong boxes are matched first to all tracks; the weak ones then only continue tracks that are left over, because a
weak box near a prediction is mostly an occluded person. Deviations:
- a gap is counted in seconds, and a step in frames of the camera, since a live camera drops frames;
- tracks and strong boxes that the paper leaves over are matched once more, widened by how far a person walks since the
  last frame: at 5 frames a second a brisk walker's boxes overlap by less than the paper asks, and the filter needs
  some sights to learn a speed (reach_heights_per_s 0: as in the paper);
- the filter stops the aspect of a lost track beside its height;
- of a lost track over a seen one the younger goes, by the time of its first sight.
Background subtraction scores every box 1, so that the second stage has nothing to do.

Shapes: N detections, T tracks, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.detector import intersection, overlap
from deploy.tracking.assignment import assign
from deploy.tracking.motion_filter import boxes, correct, no_motion, predict, start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.detection.detector import Detections

    Float = NDArray[np.float32]
    Pairs = list[tuple[int, int]]  # track row, detection


LONGEST_REACH_S = 0.5  # behind a longer gap, nearness says too little


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
    reach_heights_per_s: float = 1.2  # 2 m/s at 1.7 m
    # Background subtraction makes one blob of two people who cross. Such a blob belongs to neither: followed, it drags
    # a track along with the other person (one swapped identity in 8 synthetic crossings).
    blobs: bool = False
    blob_growth: float = 1.15  # a blob of two is larger than the one it is matched to
    blob_cover: float = 0.6  # of the other one's prediction


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackedBox:
    """Where a confirmed track is in this frame: the detector's box, or the filter's where it was not looked for."""

    track: int
    box_4: Float
    score: float
    coasted: bool = False  # nobody looked: the box is where the track should be


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackerStep:
    seen: tuple[TrackedBox, ...]
    ended: tuple[int, ...]  # tracks that will not come back


@dataclass(kw_only=True, eq=False)
class _Track:
    box_4: Float
    score: float
    first_s: float
    last_s: float
    identifier: int = 0  # 0: not confirmed yet
    lost: bool = False


@dataclass(eq=False)
class Tracker:
    """Tracks of one camera, numbered from 1 in the order of their confirmation. Deterministic.

    Each frame goes to one of update, coast and hold, in order of time.
    """

    settings: TrackerSettings = field(default_factory=TrackerSettings)
    _tracks: list[_Track] = field(default_factory=list[_Track])
    _motion_5T4: NDArray[np.float64] = field(default_factory=no_motion)  # a row for each of _tracks
    _count: int = 0
    _index: int = 0  # of the last frame that moved the tracks
    _time_s: float = float("-inf")  # of the last frame
    _updated_s: float = float("-inf")
    _held_s: float = 0.0  # since then
    _shown: tuple[TrackedBox, ...] = ()

    def update(self, detections: Detections, frame: Frame) -> TrackerStep:
        """Take the detections of the next frame and return what is tracked in it."""
        # Nobody looked for longer than a lost track is kept: who stands there now may be another.
        away = frame.time_s - self._updated_s - self._held_s > self.settings.keep_lost_s
        ended = self.finish() if away else ()
        self._advance(frame)
        used = self._associate(detections, frame.time_s)
        # Nobody can have been seen before the first frame, so that one confirms at once.
        self._start_tracks(detections, used, frame.time_s, confirmed=away)
        ended += self._drop(frame.time_s)
        self._updated_s, self._held_s = frame.time_s, 0.0
        self._shown = tuple(
            TrackedBox(track=track.identifier, box_4=track.box_4, score=track.score)
            for track in self._tracks
            if track.identifier and not track.lost
        )
        return TrackerStep(seen=self._shown, ended=ended)

    def coast(self, frame: Frame) -> TrackerStep:
        """Move the tracks on to a frame in which nobody looked for people; none is lost or ended by it."""
        self._advance(frame)
        place_T4 = boxes(self._motion_5T4)
        self._shown = tuple(
            TrackedBox(track=track.identifier, box_4=place_T4[row], score=track.score, coasted=True)
            for row, track in enumerate(self._tracks)
            # A track may be carried on blindly for as long as a lost one is kept.
            if track.identifier and not track.lost and frame.time_s - track.last_s <= self.settings.keep_lost_s
        )
        return TrackerStep(seen=self._shown, ended=())

    def hold(self, frame: Frame) -> TrackerStep:
        """Keep everything as it is over a picture that repeats the last one, the time of lost tracks too.

        People walk on behind a frozen picture: its frames count as steps when the next true one comes.
        """
        if self._tracks:
            passed_s = frame.time_s - self._time_s
            self._held_s += passed_s
            for track in self._tracks:
                track.last_s += passed_s
        self._time_s = frame.time_s
        self._shown = tuple(dataclasses.replace(box, coasted=True) for box in self._shown)
        return TrackerStep(seen=self._shown, ended=())

    def finish(self) -> tuple[int, ...]:
        """End every track and return the confirmed ones."""
        ended = tuple(track.identifier for track in self._tracks if track.identifier)
        self._tracks, self._motion_5T4, self._shown = [], no_motion(), ()
        return ended

    def _advance(self, frame: Frame) -> None:
        if self._tracks:
            lost = [row for row, track in enumerate(self._tracks) if track.lost]
            self._motion_5T4 = predict(self._motion_5T4, max(1, frame.index - self._index), lost)
        self._index, self._time_s = frame.index, frame.time_s

    def _associate(self, detections: Detections, time_s: float) -> set[int]:
        """Match tracks and boxes in the stages of the paper; return the boxes that are taken."""
        settings, score_N = self.settings, detections.score_N
        strong = np.flatnonzero(score_N >= settings.strong_score).tolist()
        weak = np.flatnonzero((score_N >= settings.weak_score) & (score_N < settings.strong_score)).tolist()
        place_T4 = boxes(self._motion_5T4)
        iou_TN = overlap(place_T4, detections.box_N4)
        confirmed = [row for row, track in enumerate(self._tracks) if track.identifier]
        fresh = [row for row, track in enumerate(self._tracks) if not track.identifier]
        taken: set[int] = set()
        if settings.blobs:
            taken = self._merged_blobs(confirmed, place_T4, iou_TN, detections.box_N4, strong)
        strong = _without(strong, taken)
        pairs = _match(iou_TN, confirmed, strong, settings.strong_overlap)
        active = [row for row in _unmatched(confirmed, pairs) if not self._tracks[row].lost]
        pairs += _match(iou_TN, active, weak, settings.weak_overlap)
        strong = _without(strong, {column for _, column in pairs})
        pairs += _match(iou_TN, fresh, strong, settings.new_overlap)
        active, fresh = _unmatched(active, pairs), _unmatched(fresh, pairs)
        strong = _without(strong, {column for _, column in pairs})
        pairs += self._match_walkers(place_T4, detections.box_N4, active + fresh, strong, time_s)
        for row in _unmatched(active, pairs):
            self._tracks[row].lost = True
        self._see(pairs, detections, time_s)
        self._keep([row for row, track in enumerate(self._tracks) if track.identifier])
        return taken | {column for _, column in pairs}

    def _match_walkers(
        self, place_T4: Float, box_N4: Float, rows: Sequence[int], columns: Sequence[int], time_s: float
    ) -> Pairs:
        """Match what is left by boxes that are widened by half the way of a walker on every side."""
        reach = self.settings.reach_heights_per_s * min(time_s - self._updated_s, LONGEST_REACH_S)
        if not rows or not columns or reach <= 0:
            return []
        wide_TN = overlap(_widen(place_T4, reach), _widen(box_N4, reach))
        return _match(wide_TN, rows, columns, self.settings.strong_overlap)

    def _merged_blobs(
        self, rows: Sequence[int], place_T4: Float, iou_TN: Float, box_N4: Float, strong: Sequence[int]
    ) -> set[int]:
        """Return the boxes that hold two tracks, of which only one would get it."""
        pairs = _match(iou_TN, rows, strong, self.settings.strong_overlap)
        area_T, area_N = place_T4[:, 2] * place_T4[:, 3], box_N4[:, 2] * box_N4[:, 3]
        cover_TN = intersection(place_T4, box_N4) / np.maximum(area_T, 1e-6)[:, None]
        cover_TN[_without(range(len(place_T4)), set(rows))] = 0
        cover_TN[[row for row, _ in pairs]] = 0  # who has a box of his own is not in this one
        return {
            column
            for row, column in pairs
            if area_N[column] > self.settings.blob_growth * area_T[row]
            and cover_TN[:, column].max(initial=0) > self.settings.blob_cover
        }

    def _see(self, pairs: Pairs, detections: Detections, time_s: float) -> None:
        if not pairs:
            return
        rows, columns = [row for row, _ in pairs], [column for _, column in pairs]
        correct(self._motion_5T4, rows, detections.box_N4[columns])
        for row, column in pairs:
            track = self._tracks[row]
            track.box_4, track.score = detections.box_N4[column], float(detections.score_N[column])
            track.last_s, track.lost = time_s, False
            if not track.identifier:
                self._count += 1
                track.identifier = self._count

    def _start_tracks(self, detections: Detections, used: set[int], time_s: float, *, confirmed: bool) -> None:
        new = _without(np.flatnonzero(detections.score_N >= self.settings.new_score).tolist(), used)
        if not new:
            return
        self._motion_5T4 = np.concatenate([self._motion_5T4, start(detections.box_N4[new])], axis=1)
        for index in new:
            track = _Track(
                box_4=detections.box_N4[index],
                score=float(detections.score_N[index]),
                first_s=time_s,
                last_s=time_s,
            )
            if confirmed:
                self._count += 1
                track.identifier = self._count
            self._tracks.append(track)

    def _drop(self, time_s: float) -> tuple[int, ...]:
        lost = [row for row, track in enumerate(self._tracks) if track.lost]
        if not lost:
            return ()
        gone = {row for row in lost if time_s - self._tracks[row].last_s > self.settings.keep_lost_s}
        gone |= self._duplicates(lost)
        ended = tuple(self._tracks[row].identifier for row in sorted(gone))
        self._keep(_without(range(len(self._tracks)), gone))
        return ended

    def _duplicates(self, lost: Sequence[int]) -> set[int]:
        """A lost track over a seen one: the younger of the two is the copy."""
        seen = [row for row, track in enumerate(self._tracks) if track.identifier and not track.lost]
        place_T4 = boxes(self._motion_5T4)
        iou_LS = overlap(place_T4[lost], place_T4[seen])
        copies: set[int] = set()
        for left, right in np.argwhere(iou_LS > self.settings.duplicate_overlap).tolist():
            pair = (lost[left], seen[right])
            copies.add(max(pair, key=lambda row: (self._tracks[row].first_s, self._tracks[row].identifier)))
        return copies

    def _keep(self, rows: Sequence[int]) -> None:
        if len(rows) < len(self._tracks):
            self._tracks = [self._tracks[row] for row in rows]
            self._motion_5T4 = self._motion_5T4[:, rows]


def _match(iou_TN: Float, rows: Sequence[int], columns: Sequence[int], least_overlap: float) -> Pairs:
    """Match rows to columns one to one with the greatest summed overlap; pairs below least_overlap are no matches."""
    if not rows or not columns:
        return []
    part_RC = iou_TN[np.ix_(rows, columns)]
    # Too little overlap counts as none: else a pair that is refused anyway could push a good one aside.
    found = assign(np.where(part_RC >= least_overlap, part_RC, np.float32(0)))
    return [(rows[row], columns[column]) for row, column in found]


def _unmatched(rows: Sequence[int], pairs: Pairs) -> list[int]:
    matched = {row for row, _ in pairs}
    return [row for row in rows if row not in matched]


def _without(items: Sequence[int], used: set[int]) -> list[int]:
    return [item for item in items if item not in used]


def _widen(box_N4: Float, heights: float) -> Float:
    margin_N1 = np.asarray(heights / 2 * box_N4[:, 3:], np.float32)
    return np.concatenate([box_N4[:, :2] - margin_N1, box_N4[:, 2:] + 2 * margin_N1], axis=1)
