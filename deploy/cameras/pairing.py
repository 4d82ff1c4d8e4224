"""Cameras on one clock: the frames of all in time order, those of the same moment together.

A moment holds at most one frame of each camera. Recordings are merged completely: the earliest frame takes along the
next one of each other camera that is within the tolerance (of two cameras the larger one counts) of all that the moment
has so far, and to which none of their cameras has a nearer frame ahead; ties go to the earlier. Live cameras give their
newest frames, as they come; recordings beside them are played at the speed of life and count as live.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.cameras.camera import Camera, wait_any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from deploy.cameras.frames import Frame

WAIT_S = 0.2  # how long a wait for frames may hide a request to stop


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """Frames taken at about the same time, in the order of the cameras. time_s never falls from moment to moment."""

    frames: tuple[Frame, ...]
    time_s: float


def moments(
    cameras: Sequence[Camera], *, stopped: Callable[[], bool], idle: Callable[[], None] | None = None
) -> Iterator[Moment]:
    """Yield the moments of entered cameras, which share `arrival`, until stopped() is true or all are over.

    Where one is live the run goes on while all are lost or failed. idle() is called after each wait in vain, at
    least every WAIT_S while nothing comes.
    """
    rest = idle or _nothing
    if any(camera.live for camera in cameras):
        groups = _newest(cameras, stopped, rest)
    else:
        streams = [_drain(camera, stopped, rest) for camera in cameras]
        groups = merge(streams, [camera.site.tolerance_s for camera in cameras])
    order = {camera.name: place for place, camera in enumerate(cameras)}
    time_s = -math.inf
    for group in groups:
        time_s = max(time_s, *(frame.time_s for frame in group))
        yield Moment(frames=tuple(sorted(group, key=lambda frame: order[frame.camera])), time_s=time_s)


def merge(streams: Sequence[Iterable[Frame]], tolerances_s: Sequence[float]) -> Iterator[list[Frame]]:
    """Yield every frame of recordings once: the frames of one moment, the earliest first."""
    ahead = [_Ahead(iter(stream)) for stream in streams]
    while True:
        heads = [(frame.time_s, place) for place, stream in enumerate(ahead) if (frame := stream.peek(0)) is not None]
        if not heads:
            return
        members: list[tuple[float, int]] = []
        for time_s, place in sorted(heads):
            if all(
                time_s - member_s <= max(tolerances_s[place], tolerances_s[member])
                and not _prefers_next(ahead[member], time_s)
                for member_s, member in members
            ):
                members.append((time_s, place))
        yield [ahead[place].pop() for _, place in members]


def group_newest(frames: Sequence[Frame], tolerance_s: Callable[[Frame, Frame], float]) -> Iterator[list[Frame]]:
    """Yield frames of several cameras, at most one of each, in groups whose members are all of one moment."""
    group: list[Frame] = []
    for frame in sorted(frames, key=lambda frame: frame.time_s):
        if not all(frame.time_s - member.time_s <= tolerance_s(frame, member) for member in group):
            yield group
            group = []
        group.append(frame)
    if group:
        yield group


def _newest(cameras: Sequence[Camera], stopped: Callable[[], bool], rest: Callable[[], None]) -> Iterator[list[Frame]]:
    tolerance_s = {camera.name: camera.site.tolerance_s for camera in cameras}
    while not stopped() and not all(camera.over for camera in cameras):
        wait_any(cameras, WAIT_S)
        frames = [frame for camera in cameras if (frame := camera.take(0.0)) is not None]
        if not frames:
            rest()
        yield from group_newest(frames, lambda a, b: max(tolerance_s[a.camera], tolerance_s[b.camera]))


def _drain(camera: Camera, stopped: Callable[[], bool], rest: Callable[[], None]) -> Iterator[Frame]:
    while not stopped():
        frame = camera.take(WAIT_S)
        if frame is not None:
            yield frame
        elif camera.ended:  # asked once more after the last frame: now it is known to be the last
            return
        else:
            rest()


def _prefers_next(stream: _Ahead, time_s: float) -> bool:
    """True where the stream's next frame but one is nearer to a frame of another camera: 30 against 10 a second."""
    first, second = stream.peek(0), stream.peek(1)
    return first is not None and second is not None and abs(second.time_s - time_s) < time_s - first.time_s


def _nothing() -> None: ...


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
