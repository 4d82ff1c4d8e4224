"""What the loop leaves out when it cannot keep up with live cameras, and when it takes it back.

| level | what is left out | how it shows |
|---|---|---|
| 0 | nothing | |
| 1 | two of three crops of a track | identities take three times as long to settle |
| 2 | and the detector on every second frame of a camera | boxes are predicted in between |
| 3 | and every second frame of a camera | half the frames are dropped unseen |

A live camera that had to throw pictures away is the sign of too much work; the loop waiting for pictures is the sign
of too little. Levels rise one at a time and fall one at a time after a quiet spell, which grows while the level
above is needed again at once. Recordings wait, so that nothing is ever left out of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

MEANINGS = (
    "everything is done",
    "embedding less: one crop of three",
    "detecting on every second frame",
    "dropping every second frame",
)
HIGHEST = len(MEANINGS) - 1
CROP_STRETCH = 3


@dataclass(frozen=True, kw_only=True)
class LoadSettings:
    window_s: float = 2.0  # over which drops and waiting are measured
    most_dropped: float = 0.10  # of the pictures that came; a camera's jitter alone drops 1 to 3 %
    least_idle: float = 0.35  # of the time waiting for pictures, before more work is taken on again
    calm_s: float = 10.0  # that idleness has to last
    most_calm_s: float = 300.0
    relapse_s: float = 15.0  # a level that is needed again so soon was left too early


@dataclass(frozen=True)
class _Round:
    time_s: float
    taken: int
    dropped: int
    waited_s: float


@dataclass(eq=False)
class LoadGovernor:
    """Watches rounds of the loop; `level` is what holds for the next one."""

    settings: LoadSettings = field(default_factory=LoadSettings)
    level: int = 0
    _rounds: deque[_Round] = field(default_factory=deque[_Round])
    _calm_since_s: float | None = None
    _changed_s: float | None = None
    _lowered_s: float | None = None
    _calm_s: float = 0.0

    def __post_init__(self) -> None:
        self._calm_s = self.settings.calm_s

    @property
    def meaning(self) -> str:
        return MEANINGS[self.level]

    @property
    def crop_stretch(self) -> int:
        """What multiplies the frames between two crops of a track."""
        return CROP_STRETCH if self.level >= 1 else 1

    def detects(self, frame_number: int) -> bool:
        """True where the detector sees a camera's frame of this number (counted as the loop takes them)."""
        return self.level < 2 or frame_number % 2 == 0

    def takes(self, frame_number: int) -> bool:
        """True where a camera's frame of this number is worked on at all."""
        return self.level < 3 or frame_number % 2 == 0

    def note(self, time_s: float, *, taken: int, dropped: int, waited_s: float) -> bool:
        """Take the counts of one round (live frames taken, thrown away since, time waited); True: the level changed."""
        settings = self.settings
        self._rounds.append(_Round(time_s, taken, dropped, waited_s))
        # The oldest is where the span begins: there is one even where a single round takes longer than the window.
        while len(self._rounds) > 2 and self._rounds[1].time_s <= time_s - settings.window_s:
            self._rounds.popleft()
        span_s = time_s - self._rounds[0].time_s
        settled = self._changed_s is None or time_s - self._changed_s >= settings.window_s
        if span_s < 0.75 * settings.window_s or not settled:
            return False
        rounds = list(self._rounds)[1:]
        came = sum(item.taken + item.dropped for item in rounds)
        lost = sum(item.dropped for item in rounds) / max(came, 1)
        idle = sum(item.waited_s for item in rounds) / max(span_s, 1e-9)
        if lost > settings.most_dropped:
            self._calm_since_s = None
            return self.level < HIGHEST and self._raise(time_s)
        if self.level == 0 or idle < settings.least_idle:
            self._calm_since_s = None
            return False
        if self._calm_since_s is None:
            self._calm_since_s = time_s
        return time_s - self._calm_since_s >= self._calm_s and self._lower(time_s)

    def _raise(self, time_s: float) -> bool:
        settings = self.settings
        relapsed = self._lowered_s is not None and time_s - self._lowered_s < settings.relapse_s
        self._calm_s = min(2 * self._calm_s, settings.most_calm_s) if relapsed else settings.calm_s
        self.level += 1
        self._changed_s = time_s
        return True

    def _lower(self, time_s: float) -> bool:
        self.level -= 1
        self._changed_s = self._lowered_s = time_s
        self._calm_since_s = None
        return True
