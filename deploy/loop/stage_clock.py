"""How long each stage of the loop takes."""

from __future__ import annotations

from collections import defaultdict, deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

RATE_WINDOW = 30


class StageClock:
    """Sums the time of named stages, tells a listener of each, and knows the loop's present rate."""

    def __init__(self, clock: Callable[[], float], heard: Callable[[str, float], None] | None = None) -> None:
        self._clock, self._heard = clock, heard
        self._start_s = clock()
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self._recent_s: deque[float] = deque(maxlen=RATE_WINDOW)
        self.rounds = 0

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        begin_s = self._clock()
        try:
            yield
        finally:
            spent_s = self._clock() - begin_s
            self._spent_s[name] += spent_s
            if self._heard is not None:
                self._heard(name, spent_s)

    def count_round(self) -> None:
        self.rounds += 1
        self._recent_s.append(self._clock())

    @property
    def rate(self) -> float:
        """Rounds a second over the last 30."""
        if len(self._recent_s) < 2:
            return 0.0
        return (len(self._recent_s) - 1) / max(self._recent_s[-1] - self._recent_s[0], 1e-9)

    @property
    def elapsed_s(self) -> float:
        return self._clock() - self._start_s

    def stage_ms(self) -> dict[str, float]:
        """Return the mean milliseconds of each stage per round."""
        return {name: 1000 * spent_s / max(self.rounds, 1) for name, spent_s in self._spent_s.items()}
