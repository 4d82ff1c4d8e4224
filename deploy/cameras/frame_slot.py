"""Where frames wait for their consumer, and whether the next one is worth decoding."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.cameras.frames import Frame

QUEUE_FRAMES = 4  # decoding ahead of a recording; 4 frames of 1080p are 25 MB
MARGIN = 1.3  # of the time between two pictures, for their jitter and the decoding


class FrameSlot:
    """A queue of QUEUE_FRAMES for a recording; for a live camera room for one, where the newest wins.

    The consumer comes at its own pace. Decoding to RGB is 1.9 CPU-ms of a 1080p H.264 picture (beside 2.2 to keep up
    with the stream) and 2.7 of a Motion-JPEG one, so pictures that will not be taken stay undecoded: those that a
    newer one replaces before the consumer can be back. It never comes back sooner than the shortest of its last
    rounds; waiting for pictures is no part of a round. So nobody waits longer than when every picture is decoded,
    and the frame that is taken is as new.
    """

    def __init__(self) -> None:
        self.frames: deque[Frame] = deque()
        self.dropped = 0
        self._grabbed_s: float | None = None
        self._interval_s = 0.0  # between pictures
        self._taken_s: float | None = None  # None: the consumer waits, or has never come
        self._rounds_s: deque[float] = deque(maxlen=8)  # of the consumer, from taking a frame to asking for the next

    @property
    def full(self) -> bool:
        return len(self.frames) >= QUEUE_FRAMES

    def grabbed(self, now_s: float) -> None:
        """Note that a live picture came."""
        if self._grabbed_s is not None:
            passed_s = now_s - self._grabbed_s
            self._interval_s += (passed_s - self._interval_s) / (4 if self._interval_s else 1)
        self._grabbed_s = now_s

    def in_vain(self, now_s: float) -> bool:
        """True where the consumer will not be back before the next live picture."""
        if self._taken_s is None or not self._rounds_s:
            return False
        return now_s + MARGIN * self._interval_s < self._taken_s + min(self._rounds_s)

    def put(self, frame: Frame, *, live: bool) -> None:
        if live:
            self.dropped += len(self.frames)
            self.frames.clear()
        self.frames.append(frame)

    def asked(self, now_s: float) -> None:
        """Note that the consumer is free for a frame."""
        if self._taken_s is not None:
            self._rounds_s.append(now_s - self._taken_s)
            self._taken_s = None

    def take(self, now_s: float) -> Frame | None:
        self.asked(now_s)
        if not self.frames:
            return None
        self._taken_s = now_s
        return self.frames.popleft()
