"""What happens to a camera whose source fails: tried again later, given up, or simply over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from deploy.cameras.redact import redact
from deploy.sources import SourceError
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    import random

FIRST_WAIT_S = 1.0
MOST_WAIT_S = 30.0
JITTER = 0.2  # several cameras behind one switch do not come back in the same moment
STEADY_S = 10.0  # a connection that lasted so long was good: the next loss begins with a short wait


class Loss(NamedTuple):
    """Why a connection is over and what follows from it. The reason holds no credentials."""

    state: Literal["reconnecting", "failed", "ended"]
    reason: str


class BackOff:
    """Waits of 1, 2, 4 ... 30 s, each up to a fifth shorter or longer."""

    def __init__(self, rng: random.Random) -> None:
        self.tries = 0
        self._rng = rng

    def next_s(self) -> float:
        """Return the next wait."""
        plain_s = min(FIRST_WAIT_S * 2.0 ** min(self.tries, 16), MOST_WAIT_S)
        self.tries += 1
        return plain_s * self._rng.uniform(1 - JITTER, 1 + JITTER)

    def reset(self) -> None:
        self.tries = 0


def loss_of(error: Exception, *, live: bool) -> Loss:
    """Judge what a source raised. Live: only what cannot pass by itself is final; a recording is not tried again."""
    if isinstance(error, SourceError) and error.kind == "ended":
        return Loss("ended", "")
    known = isinstance(error, BadInput)
    # A driver may raise anything, and the consumer must hear of it.
    reason = redact(str(error) if known else f"{type(error).__name__}: {first_line(error)}")
    passing = not known or (isinstance(error, SourceError) and not error.permanent)
    return Loss("reconnecting" if live and passing else "failed", reason)


def loss_without_error(*, live: bool) -> Loss:
    """Judge a source that has no picture any more and says nothing else."""
    return Loss("reconnecting", "the device stopped delivering; check its cable") if live else Loss("ended", "")
