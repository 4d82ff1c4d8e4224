"""Two cameras on one clock: the frames of both in time order, those of the same moment together.

A moment holds at most one frame of each camera. Recordings are merged completely, and frames are paired with the
nearest frame of the other stream within the tolerance. Live cameras give their newest frames, as they come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.camera import Camera, wait_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from deploy.frames import Frame

TOLERANCE_S = 0.05  # half a frame interval at 10 frames a second: a person walks 7 cm
WAIT_S = 0.2  # how long a wait for frames may hide a request to stop


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """One or two frames taken at about the same time, the visible one first."""

    frames: tuple[Frame, ...]

    @property
    def time_s(self) -> float:
        return max(frame.time_s for frame in self.frames)


def moments(
    visible: Camera, infrared: Camera, *, stopped: Callable[[], bool], tolerance_s: float = TOLERANCE_S
) -> Iterator[Moment]:
    """Yield the moments of two opened cameras until both have ended or stopped() is true."""
    if visible.live or infrared.live:
        yield from _newest(visible, infrared, stopped, tolerance_s)
    else:
        yield from merge(_drain(visible, stopped), _drain(infrared, stopped), tolerance_s)


def merge(visible: Iterable[Frame], infrared: Iterable[Frame], tolerance_s: float = TOLERANCE_S) -> Iterator[Moment]:
    """Yield every frame of two recordings once, in time order, paired with the nearest of the other recording."""
    ahead = (_Ahead(iter(visible)), _Ahead(iter(infrared)))
    while True:
        first, second = ahead[0].peek(0), ahead[1].peek(0)
        if first is None or second is None:
            break
        early, late = (0, 1) if first.time_s <= second.time_s else (1, 0)
        gap_s = abs(first.time_s - second.time_s)
        successor = ahead[early].peek(1)
        target_s = max(first.time_s, second.time_s)
        # The early frame waits for no partner that its own successor is nearer to: 30 against 10 frames a second.
        nearer = successor is not None and abs(successor.time_s - target_s) < gap_s
        if gap_s > tolerance_s or nearer:
            yield Moment(frames=(ahead[early].pop(),))
        else:
            taken = {early: ahead[early].pop(), late: ahead[late].pop()}
            yield Moment(frames=(taken[0], taken[1]))
    for stream in ahead:
        while stream.peek(0) is not None:
            yield Moment(frames=(stream.pop(),))


def _newest(visible: Camera, infrared: Camera, stopped: Callable[[], bool], tolerance_s: float) -> Iterator[Moment]:
    cameras = (visible, infrared)
    while not stopped() and not all(camera.ended for camera in cameras):
        wait_any(cameras, WAIT_S)
        frames = tuple(frame for camera in cameras if (frame := camera.take(0.0)) is not None)
        if len(frames) == 2 and abs(frames[0].time_s - frames[1].time_s) > tolerance_s:
            for frame in sorted(frames, key=lambda frame: frame.time_s):
                yield Moment(frames=(frame,))
        elif frames:
            yield Moment(frames=frames)


def _drain(camera: Camera, stopped: Callable[[], bool]) -> Iterator[Frame]:
    while not stopped() and not camera.ended:
        frame = camera.take(WAIT_S)
        if frame is not None:
            yield frame


class _Ahead:
    """An iterator that can be looked into."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._seen: list[Frame] = []

    def peek(self, distance: int) -> Frame | None:
        while len(self._seen) <= distance:
            frame = next(self._frames, None)
            if frame is None:
                return None
            self._seen.append(frame)
        return self._seen[distance]

    def pop(self) -> Frame:
        return self._seen.pop(0)
