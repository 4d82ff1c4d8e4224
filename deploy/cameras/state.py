"""How a camera is doing: its state, why, since when, and every change of it.

| state | the camera |
|---|---|
| opening | has given no picture yet |
| running | gives pictures |
| holding | repeats one picture, as a thermal camera does during a flat-field correction |
| frozen | repeats one picture for longer than that |
| silent | is in a driver's call that does not come back; nothing can be done from outside |
| reconnecting | was lost and is tried again, less and less often |
| failed | cannot work until somebody changes something |
| ended | was a recording and is over |
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, NamedTuple

State = Literal["opening", "running", "holding", "frozen", "silent", "reconnecting", "failed", "ended"]

RATE_FRAMES = 30  # the measured frames a second are of so many
MOST_CHANGES = 100  # kept for a consumer that does not ask


@dataclass(frozen=True, kw_only=True)
class CameraHealth:
    """One camera at this moment. Times are on the run's clock; no text holds credentials."""

    camera: str
    state: State
    reason: str = ""
    since_s: float = 0.0  # when it came into this state
    reconnects: int = 0  # times it came back
    frames: int = 0  # pictures that the device gave
    dropped: int = 0  # of those, not taken
    age_s: float | None = None  # since the newest picture; None: there was none
    fps: float = 0.0  # measured
    notes: tuple[str, ...] = ()  # about the pictures: deploy.cameras.picture_check


@dataclass(frozen=True, kw_only=True)
class CameraChange:
    """A camera came into a state. time_s is on the run's clock; of recordings that of the newest picture."""

    camera: str
    time_s: float
    state: State
    reason: str = ""


class _Dated(NamedTuple):
    frame: int
    change: CameraChange


class HealthLog:
    """State and counts of one camera. Its two threads call it under the camera's lock."""

    def __init__(self, camera: str, now_s: float) -> None:
        self.state: State = "opening"
        self.reason = ""
        self.reconnects = 0
        self.frames = 0
        self._camera, self._since_s = camera, now_s
        self._changes: deque[_Dated] = deque(maxlen=MOST_CHANGES)
        self._grabs_s: deque[float] = deque(maxlen=RATE_FRAMES)
        self._lost = False

    @property
    def final(self) -> bool:
        return self.state in ("failed", "ended")

    def turn(self, state: State, reason: str, time_s: float) -> None:
        """Come into a state, or stay there with another reason, which is no change."""
        self.reason = reason
        if state == self.state:
            return
        if self._lost and state in ("running", "holding", "frozen"):
            self.reconnects += 1
        # A camera that was silent while it reconnected is still lost.
        self._lost = state == "reconnecting" or (self._lost and state == "silent")
        self.state, self._since_s = state, time_s
        change = CameraChange(camera=self._camera, time_s=time_s, state=state, reason=reason)
        # The end comes after the newest frame, anything else with it.
        self._changes.append(_Dated(self.frames - (not self.final), change))

    def grabbed(self, now_s: float) -> None:
        """Count a picture."""
        self.frames += 1
        if self._lost:  # the time without it is no interval between pictures
            self._grabs_s.clear()
        self._grabs_s.append(now_s)

    def drain(self, up_to_frame: int | None) -> list[CameraChange]:
        """Return the changes since the last call; those after frame up_to_frame wait. None: all."""
        found: list[CameraChange] = []
        while self._changes and (up_to_frame is None or self._changes[0].frame <= up_to_frame):
            found.append(self._changes.popleft().change)
        return found

    def interval_s(self) -> float:
        """Return the mean time between the newest pictures; 0 where there are none."""
        count = len(self._grabs_s) - 1
        return (self._grabs_s[-1] - self._grabs_s[0]) / count if count > 0 else 0.0

    def report(self, *, now_s: float, dropped: int, notes: tuple[str, ...]) -> CameraHealth:
        age_s = now_s - self._grabs_s[-1] if self._grabs_s else None
        interval_s = self.interval_s()
        delivers = self.state in ("running", "holding", "frozen") and interval_s > 0
        return CameraHealth(
            camera=self._camera,
            state=self.state,
            reason=self.reason,
            since_s=self._since_s,
            reconnects=self.reconnects,
            frames=self.frames,
            dropped=dropped,
            age_s=age_s,
            fps=1 / interval_s if delivers else 0.0,
            notes=notes,
        )
