"""An engine or a detector that may fall over: its failure costs pictures, never the run.

A part that fails is left alone for a while and opened anew after a few failures in a row, less and less often.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from deploy.cameras.redact import redact
from engines.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)


class Closable(Protocol):
    def close(self) -> None: ...


Part = TypeVar("Part", bound=Closable)
Answer = TypeVar("Answer")

FAILURES_BEFORE_REOPEN = 3
FIRST_WAIT_S = 2.0
MOST_WAIT_S = 60.0


@dataclass(eq=False)
class Healing(Generic[Part]):
    """Calls a part and survives it. `open_again` makes a new one; None: it can only be tried again."""

    name: str  # for people: "engine", "detector"
    part: Part
    clock: Callable[[], float]
    open_again: Callable[[], Part] | None = None
    failures: int = 0
    reason: str = ""  # of the failure that lasts; empty: it works
    changes: list[tuple[str, bool]] = field(default_factory=list[tuple[str, bool]])  # reason, over
    _in_a_row: int = 0
    _wait_s: float = FIRST_WAIT_S
    _not_before_s: float = 0.0

    @property
    def resting(self) -> bool:
        """True where it is left alone after failures: whatever it is asked, it will not be tried."""
        return bool(self.reason) and self.clock() < self._not_before_s

    def ask(self, question: Callable[[Part], Answer]) -> Answer | None:
        """Return the part's answer, or None where it failed now or rests after a failure."""
        if self.resting:
            return None
        now_s = self.clock()
        if self._in_a_row >= FAILURES_BEFORE_REOPEN and self.open_again is not None and not self._reopen(now_s):
            return None
        try:
            answer = question(self.part)
        except Exception as error:  # every runtime has its own; a GPU that falls over must not take the tracks along
            self._fail(error, now_s)
            return None
        if self.reason:
            log.info("%s: works again after %d failures", self.name, self._in_a_row)
            self.changes.append((self.reason, True))
            self.reason = ""
        self._in_a_row, self._wait_s = 0, FIRST_WAIT_S
        return answer

    def take_changes(self) -> list[tuple[str, bool]]:
        """Return what began (False) or ended (True) since the last call."""
        changes, self.changes = self.changes, []
        return changes

    def close(self) -> None:
        try:
            self.part.close()
        except Exception as error:  # a broken device may not hold up the end of the run
            log.warning("%s: %s while closing", self.name, redact(first_line(error)))

    def _reopen(self, now_s: float) -> bool:
        assert self.open_again is not None
        self.close()
        try:
            self.part = self.open_again()
        except Exception as error:
            self._fail(error, now_s)
            return False
        log.info("%s: opened anew", self.name)
        return True

    def _fail(self, error: Exception, now_s: float) -> None:
        self.failures += 1
        self._in_a_row += 1
        reason = redact(first_line(error))
        if self._in_a_row >= FAILURES_BEFORE_REOPEN:
            self._not_before_s = now_s + self._wait_s
            self._wait_s = min(2 * self._wait_s, MOST_WAIT_S)
        if not self.reason:
            log.error("%s: fails (%s); tracking goes on without it", self.name, reason)
            self.changes.append((reason, False))
        self.reason = reason
