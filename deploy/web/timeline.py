"""Who was where when, for the page: the records of a run as stays, bounded, newest first.

A stay is one track: one person (or nobody yet) before one camera from its first to its last picture. Revisions, splits
and merges are followed, so that an old stay always shows what is believed now. Times are absolute seconds: the run's
clock plus origin_s.
"""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.sightings import CameraChanged, Merge, Revision, RunEnd, Sighting, Split, TrackEnd, TrackKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deploy.sightings import Record
    from engines.manifest import Modality

MOST_STAYS = 5000
MOST_LIVE = 1000
MOST_GAPS = 500
SEEN_WELL = frozenset({"running", "holding"})


@dataclass(frozen=True, kw_only=True)
class Stay:
    """One track of one camera. `similarity` is the best cosine with a track of the other modality, if there was any."""

    camera: str
    modality: Modality
    track: int
    identity: int | None
    first_s: float
    last_s: float
    similarity: float | None = None
    live: bool = True

    @property
    def key(self) -> TrackKey:
        return TrackKey(self.camera, self.track)


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A time in which a camera gave no pictures that could be used; last_s None: it lasts."""

    camera: str
    state: str
    reason: str
    first_s: float
    last_s: float | None = None


@dataclass(eq=False)
class Timeline:
    """A sink. Written by the loop, asked by any thread."""

    origin_s: float = 0.0
    most_stays: int = MOST_STAYS
    _live: dict[TrackKey, Stay] = field(default_factory=dict[TrackKey, Stay])
    _past: deque[Stay] = field(default_factory=deque[Stay])
    _open: dict[str, Gap] = field(default_factory=dict[str, Gap])
    _gaps: deque[Gap] = field(default_factory=lambda: deque[Gap](maxlen=MOST_GAPS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, record: Record) -> None:
        with self._lock:
            if isinstance(record, Sighting):
                self._see(record)
            elif isinstance(record, Revision | Split):
                stay = self._live.get(record.track)
                if stay is not None:
                    self._live[record.track] = dataclasses.replace(stay, identity=record.after)
            elif isinstance(record, Merge):
                self._rename(record.absorbed, record.kept)
            elif isinstance(record, TrackEnd):
                self._end(record)
            elif isinstance(record, CameraChanged):
                self._change(record)
            elif isinstance(record, RunEnd):
                for stay in list(self._live.values()):
                    self._close(stay)

    def remember(self, stays: Iterable[Stay]) -> None:
        """Begin with what the gallery knows of earlier runs (`deploy.web.desk_people.recent_stays`)."""
        with self._lock:
            for stay in sorted(stays, key=_age, reverse=True)[: self.most_stays][::-1]:
                self._keep(stay)

    def stays(
        self,
        *,
        since_s: float = float("-inf"),
        until_s: float = float("inf"),
        identity: int | None = None,
        live: bool | None = None,
        limit: int = MOST_STAYS,
    ) -> list[Stay]:
        """Return the stays that touch the time from since_s to until_s, newest first."""
        with self._lock:
            every = [*self._live.values(), *self._past]
        found = [
            stay
            for stay in every
            if stay.last_s >= since_s
            and stay.first_s <= until_s
            and identity in (None, stay.identity)
            and live in (None, stay.live)
        ]
        return sorted(found, key=_age, reverse=True)[:limit]

    def gaps(self, since_s: float = float("-inf")) -> list[Gap]:
        """Return the times since since_s in which a camera was blind, newest first."""
        with self._lock:
            every = [*self._gaps, *self._open.values()]
        found = [gap for gap in every if gap.last_s is None or gap.last_s >= since_s]
        return sorted(found, key=lambda gap: (gap.first_s, gap.camera), reverse=True)

    def here(self) -> dict[int, list[Stay]]:
        """Return the people who are in the pictures now, by identity."""
        people: dict[int, list[Stay]] = {}
        for stay in self.stays(live=True):
            if stay.identity is not None:
                people.setdefault(stay.identity, []).append(stay)
        return people

    def similarities(self) -> dict[int, float]:
        """Return the newest similarity of every person who has one."""
        newest: dict[int, float] = {}
        for stay in self.stays():
            if stay.identity is not None and stay.similarity is not None:
                newest.setdefault(stay.identity, stay.similarity)
        return newest

    def erase(self, identity: int) -> int:
        """Forget where a person was and return how many stays that were; live tracks go on as nobody's."""
        with self._lock:
            kept = [stay for stay in self._past if stay.identity != identity]
            count = len(self._past) - len(kept)
            self._past = deque(kept)
            for key, stay in self._live.items():
                if stay.identity == identity:
                    count += 1
                    self._live[key] = dataclasses.replace(stay, identity=None, similarity=None)
        return count

    def _see(self, record: Sighting) -> None:
        key, time_s = TrackKey(record.camera, record.track), self.origin_s + record.time_s
        before = self._live.get(key)
        similarity = _similarity(record)
        if similarity is None and before is not None and before.identity == record.identity:
            similarity = before.similarity
        self._live[key] = Stay(
            camera=record.camera,
            modality=record.modality,
            track=record.track,
            identity=record.identity,
            first_s=time_s if before is None else before.first_s,
            last_s=time_s,
            similarity=similarity,
        )
        if len(self._live) > MOST_LIVE:  # tracks whose end never came
            self._close(next(iter(self._live.values())))

    def _end(self, record: TrackEnd) -> None:
        self._close(
            Stay(
                camera=record.camera,
                modality=record.modality,
                track=record.track,
                identity=record.identity,
                first_s=self.origin_s + record.first_s,
                last_s=self.origin_s + record.last_s,
                similarity=_similarity(record),
            )
        )

    def _close(self, stay: Stay) -> None:
        self._live.pop(stay.key, None)
        self._keep(dataclasses.replace(stay, live=False))

    def _keep(self, stay: Stay) -> None:
        self._past.append(stay)
        while len(self._past) > self.most_stays:
            self._past.popleft()

    def _rename(self, before: int, after: int) -> None:
        self._past = deque(dataclasses.replace(s, identity=after) if s.identity == before else s for s in self._past)
        for key, stay in self._live.items():
            if stay.identity == before:
                self._live[key] = dataclasses.replace(stay, identity=after)

    def _change(self, record: CameraChanged) -> None:
        time_s = self.origin_s + record.time_s
        before = self._open.pop(record.camera, None)
        if before is not None:
            self._gaps.append(dataclasses.replace(before, last_s=time_s))
        if record.state not in SEEN_WELL:
            self._open[record.camera] = Gap(
                camera=record.camera, state=record.state, reason=record.reason, first_s=time_s
            )


def _similarity(record: Sighting | TrackEnd) -> float | None:
    """Return the cosine with a track of the same person; of somebody who is matched with none it says nothing."""
    return record.similarity if record.matched_track is not None or record.identity is None else None


def _age(stay: Stay) -> tuple[float, float, str, int]:
    return stay.last_s, stay.first_s, stay.camera, stay.track
