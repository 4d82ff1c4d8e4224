"""Gathers evidence for thresholds while the cameras run: the loop tells it what it tells the matcher.

Two tracks are apart at a moment when both are in pictures of it, at two places: in one camera with boxes that do not
cover each other (two boxes on one person would be a pair of different people that look the same), in cameras of two
grounds, or in two aligned cameras where the alignment says so. They are at one where the alignment says that.

Shapes: D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from deploy.thresholds.evidence import Evidence, EvidenceTrack, Meeting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from deploy.sightings import Box, TrackKey
    from engines.manifest import Modality

    Float = NDArray[np.float32]

MOST_TRACKS = 2000
MOST_EMBEDDINGS = 8  # of a track, as the cameras embed; with 2048 values a track is 64 kB
SAME_MOMENT_S = 0.2  # of two cameras
MOST_STEP_S = 0.5  # two who were not seen together for longer were not together in between
COVERED = 0.3  # share of the smaller box in the larger one
AT_ONE = 0.5  # agreement of an alignment; negative: impossible


class Aligned(Protocol):
    """Two cameras side by side, as deploy.alignment.alignment knows them."""

    def agreement(self, visible_box_4: Box, infrared_box_4: Box) -> float:
        """Return 1 for one spot, negative for two."""
        ...


@dataclass(kw_only=True, eq=False)
class _Seen:
    number: int
    key: TrackKey
    modality: Modality
    first_s: float
    last_s: float
    box_4: Box | None = None
    embeddings: list[Float] = field(default_factory=list["Float"])
    qualities: list[float] = field(default_factory=list[float])
    met: set[int] = field(default_factory=set[int])


@dataclass(kw_only=True)
class _Met:
    last_s: float
    apart_s: float = 0.0
    at_one_s: float = 0.0


class EvidenceRecorder:
    """Bounded: when it is full, the oldest finished track that met nobody leaves, else new tracks are left out."""

    def __init__(self, *, most_tracks: int = MOST_TRACKS) -> None:
        self.left_out = 0
        self._most_tracks = most_tracks
        self._grounds: dict[str, str] = {}
        self._alignment: Callable[[str, str], Aligned | None] | None = None
        self._about = {"model": "", "engine": "", "created": ""}
        self._tracks: dict[int, _Seen] = {}  # by number, the oldest first
        self._live: dict[TrackKey, _Seen] = {}
        self._refused: set[TrackKey] = set()
        self._met: dict[tuple[int, int], _Met] = {}
        self._count = 0
        self._span_s: tuple[float, float] | None = None

    def start(
        self,
        *,
        model: str,
        engine: str,
        created: str,
        grounds: Mapping[str, str],
        alignment: Callable[[str, str], Aligned | None] | None = None,
    ) -> None:
        """Say what is recorded before the first frame: grounds by camera; alignment by visible, infrared camera."""
        self._about = {"model": model, "engine": engine, "created": created}
        self._grounds, self._alignment = dict(grounds), alignment

    def see(self, key: TrackKey, modality: Modality, time_s: float, box_4: Box | None = None) -> None:
        """Note that a track is in the picture of a moment; box: left, top, width, height."""
        first_s, last_s = self._span_s or (time_s, time_s)
        self._span_s = (min(first_s, time_s), max(last_s, time_s))
        track = self._live.get(key)
        if track is None:
            track = self._begin(key, modality, time_s)
            if track is None:
                return
        track.last_s, track.box_4 = time_s, box_4
        for other in self._live.values():
            if other is not track and abs(time_s - other.last_s) <= SAME_MOMENT_S:
                self._meet(track, other, time_s)

    def add(self, key: TrackKey, embedding_D: Float, quality: float) -> None:
        """Add the embedding of a crop of a track that was seen; of more than the cameras use, the worst one leaves."""
        track = self._live.get(key)
        if track is None:
            return
        track.embeddings.append(np.array(embedding_D, np.float32))
        track.qualities.append(float(quality))
        if len(track.embeddings) > MOST_EMBEDDINGS:
            worst = int(np.argmin(track.qualities))
            del track.embeddings[worst], track.qualities[worst]

    def end(self, key: TrackKey) -> None:
        """Close a track; its number may be used again."""
        self._refused.discard(key)
        track = self._live.pop(key, None)
        if track is not None and not track.embeddings:
            self._forget(track)

    def evidence(self) -> Evidence:
        """Return what was gathered so far."""
        kept = [track for track in self._tracks.values() if track.embeddings]
        place = {track.number: index for index, track in enumerate(kept)}
        meetings = tuple(
            Meeting(first=place[a], second=place[b], apart_s=met.apart_s, at_one_s=met.at_one_s)
            for (a, b), met in sorted(self._met.items())
            if a in place and b in place
        )
        first_s, last_s = self._span_s or (0.0, 0.0)
        return Evidence(
            seconds=last_s - first_s,
            grounds={track.key.camera: self._ground(track.key.camera) for track in kept} | self._grounds,
            tracks=tuple(_finished(track) for track in kept),
            meetings=meetings,
            left_out=self.left_out,
            **self._about,
        )

    def _begin(self, key: TrackKey, modality: Modality, time_s: float) -> _Seen | None:
        if key in self._refused:
            return None
        if len(self._tracks) >= self._most_tracks:
            lonely = next((t for t in self._tracks.values() if not t.met and self._live.get(t.key) is not t), None)
            self.left_out += 1
            if lonely is None:
                self._refused.add(key)
                return None
            self._forget(lonely)
        self._count += 1
        track = _Seen(number=self._count, key=key, modality=modality, first_s=time_s, last_s=time_s)
        self._tracks[track.number] = self._live[key] = track
        return track

    def _meet(self, track: _Seen, other: _Seen, time_s: float) -> None:
        """Count the time since the two were seen like this before; both being seen in turn counts nothing twice."""
        if track.key.camera == other.key.camera and time_s != other.last_s:
            return  # the other is not in this picture, or its turn comes
        apart, at_one = self._places(track, other)
        if not apart and not at_one:
            return
        pair = (min(track.number, other.number), max(track.number, other.number))
        met = self._met.setdefault(pair, _Met(last_s=time_s))
        step_s = time_s - met.last_s
        if 0 < step_s <= MOST_STEP_S:
            met.apart_s += step_s * apart
            met.at_one_s += step_s * at_one
        met.last_s = time_s
        track.met.add(other.number)
        other.met.add(track.number)

    def _places(self, track: _Seen, other: _Seen) -> tuple[bool, bool]:
        """Return whether two tracks of a moment are certainly apart, and whether they are at one spot."""
        cameras = track.key.camera, other.key.camera
        if cameras[0] == cameras[1]:
            return not _covered(track.box_4, other.box_4), False
        if self._ground(cameras[0]) != self._ground(cameras[1]):
            return True, False
        if self._alignment is None or track.modality == other.modality:
            return False, False
        visible, infrared = (track, other) if track.modality == "visible" else (other, track)
        aligned = self._alignment(visible.key.camera, infrared.key.camera)
        if aligned is None or visible.box_4 is None or infrared.box_4 is None:
            return False, False
        agreement = aligned.agreement(visible.box_4, infrared.box_4)
        return agreement < 0, agreement >= AT_ONE

    def _ground(self, camera: str) -> str:
        return self._grounds.get(camera, f"camera {camera}")

    def _forget(self, track: _Seen) -> None:
        del self._tracks[track.number]
        for number in track.met:
            self._tracks[number].met.discard(track.number)
            del self._met[min(number, track.number), max(number, track.number)]


def _covered(first_4: Box | None, second_4: Box | None) -> bool:
    """Return whether two boxes may be of one person: one in the other, or legs under a body."""
    if first_4 is None or second_4 is None:
        return False
    width = min(first_4[0] + first_4[2], second_4[0] + second_4[2]) - max(first_4[0], second_4[0])
    height = min(first_4[1] + first_4[3], second_4[1] + second_4[3]) - max(first_4[1], second_4[1])
    stacked = width > 0.5 * min(first_4[2], second_4[2]) and -height < 0.5 * min(first_4[3], second_4[3])
    smaller = max(min(first_4[2] * first_4[3], second_4[2] * second_4[3]), 1e-9)
    return stacked or max(width, 0.0) * max(height, 0.0) > COVERED * smaller


def _finished(track: _Seen) -> EvidenceTrack:
    return EvidenceTrack(
        key=track.key,
        modality=track.modality,
        first_s=track.first_s,
        last_s=track.last_s,
        embedding_ND=np.stack(track.embeddings),
        quality_N=np.array(track.qualities, np.float32),
    )
