"""Questions from other threads to the loop's, answered between two moments.

Gallery, matcher, engine and detector belong to the loop's thread. Whoever else needs them (the web page) leaves a
question here and waits; the loop never waits for anybody.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Answer = TypeVar("Answer")

MOST_WAITING = 32
SERVE_S = 0.05  # of a moment, spent on questions; the rest of them waits for the next


class NoAnswer(RuntimeError):
    """The loop did not answer. `begun`: it was at work on the question and may still carry it out."""

    def __init__(self, reason: str, *, begun: bool = False) -> None:
        super().__init__(reason)
        self.begun = begun


class Mailbox:
    """`ask` from any thread, `serve` by the loop's alone, `close` when the loop ends."""

    def __init__(self, *, most_waiting: int = MOST_WAITING, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_waiting, self._clock = most_waiting, clock
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._closed = False

    def ask(self, question: Callable[[], Answer], timeout_s: float) -> Answer:
        """Return the answer, or raise what the question raised, or NoAnswer.

        A question that nobody began within timeout_s is withdrawn: it is not carried out later.
        """
        future: Future[Answer] = Future()
        with self._lock:
            if self._closed:
                raise NoAnswer("the camera loop has ended")
            if len(self._waiting) >= self._most_waiting:
                raise NoAnswer(f"{self._most_waiting} questions wait for the camera loop already; try again")
            self._waiting.append((future, question))
        if not wait([future], timeout_s).done:
            if future.cancel():
                self._withdraw(future)
                raise NoAnswer(f"the camera loop did not answer within {timeout_s:g} s; nothing was done")
            if not future.done():
                raise NoAnswer(f"the camera loop began, and did not finish within {timeout_s:g} s", begun=True)
        return future.result()

    def serve(self, most_s: float = SERVE_S) -> int:
        """Answer what waits, oldest first, and return how many; no new one is begun after most_s."""
        until_s, served = self._clock() + most_s, 0
        while (entry := self._take()) is not None:
            future, question = entry
            if future.set_running_or_notify_cancel():
                served += 1
                _answer(future, question)
            if self._clock() >= until_s:
                break
        return served

    def close(self) -> None:
        """Refuse what waits and what comes later."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(NoAnswer("the camera loop has ended"))

    def _take(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _withdraw(self, future: Future[Any]) -> None:
        """A loop that is stuck for good must not fill the box with questions that nobody waits for."""
        with self._lock:
            self._waiting = deque(entry for entry in self._waiting if entry[0] is not future)


def _answer(future: Future[Any], question: Callable[[], Any]) -> None:
    try:
        answer = question()
    except Exception as error:  # travels to whoever asked; the loop goes on
        future.set_exception(error)
    except BaseException:  # the loop is being ended
        future.set_exception(NoAnswer("the camera loop has ended"))
        raise
    else:
        future.set_result(answer)
