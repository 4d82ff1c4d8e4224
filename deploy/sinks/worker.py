"""A thread between the loop and a place that may be slow, full or away.

The loop puts a record down and goes on. The thread delivers in order; where that fails it keeps the record and tries
again, less and less often. What does not fit into the bounded queue any more is lost, the oldest first, and counted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from deploy.cameras.redact import redact
from deploy.loop.run_state import SinkState
from engines.errors import first_line

if TYPE_CHECKING:
    from deploy.sightings import Record

log = logging.getLogger(__name__)

QUEUE_RECORDS = 5000  # about 2 MB; five minutes of four busy cameras
FIRST_WAIT_S, MOST_WAIT_S = 0.5, 15.0
IDLE_S = 1.0


class Destination(Protocol):
    """Where records go. It is used by one thread and may wait and raise."""

    @property
    def name(self) -> str: ...

    def deliver(self, record: Record) -> None:
        """Raise `Refused` for a record that will never be taken, anything else to be asked again."""
        ...

    def idle(self) -> None:
        """Do what is due when nothing is delivered; called about once a second."""
        ...

    def close(self) -> None: ...


class Refused(Exception):
    """This record cannot be delivered, now or later; the next one may."""


class SinkWorker:
    """Takes records for one destination. `write` never raises and never waits."""

    def __init__(self, destination: Destination, most_records: int = QUEUE_RECORDS) -> None:
        self.name = destination.name
        self.lost = 0
        self._destination, self._most = destination, most_records
        self._waiting: deque[Record] = deque()
        self._news = threading.Condition()
        self._closing_s: float | None = None  # until when what waits may still be delivered
        self._trouble = ""
        self._thread = threading.Thread(target=self._work, name=f"sink {self.name}", daemon=True)
        self._thread.start()

    def write(self, record: Record) -> None:
        with self._news:
            if len(self._waiting) >= self._most:
                self._waiting.popleft()
                self._lose(1)
            self._waiting.append(record)
            self._news.notify()

    def state(self) -> SinkState:
        with self._news:
            return SinkState(queued=len(self._waiting), lost=self.lost, trouble=self._trouble)

    def ask_stop(self, until_s: float) -> None:
        """Let the thread deliver what waits until the monotonic time until_s, then end."""
        with self._news:
            self._closing_s = until_s
            self._news.notify()

    def join(self) -> None:
        """Wait for the end that was asked for; what is left is lost and told."""
        until_s = time.monotonic() if self._closing_s is None else self._closing_s
        self._thread.join(max(0.0, until_s - time.monotonic()) + 0.2)
        with self._news:
            left = len(self._waiting)
            if left:
                self._lose(left)
                self._waiting.clear()
        if self._thread.is_alive() or left:
            log.error("%s: %d records could not be delivered before the end (%s)", self.name, left, self._trouble)

    def _work(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            record = self._next()
            if record is None:
                break
            try:
                self._destination.deliver(record)
            except Refused as error:
                self._note(str(error))
                self._done(record, lost=True)
            except Exception as error:  # a sink may not take the run along, whatever it raises
                self._note(first_line(error))
                with self._news:
                    if self._closing_s is None:
                        self._news.wait_for(lambda: self._closing_s is not None, wait_s)
                    elif time.monotonic() + 0.05 < self._closing_s:
                        self._news.wait(0.05)
                    else:
                        break
                wait_s = min(2 * wait_s, MOST_WAIT_S)
                continue
            else:
                self._note("")
                self._done(record, lost=False)
            wait_s = FIRST_WAIT_S
        try:
            self._destination.close()
        except Exception as error:
            log.error("%s: %s while closing", self.name, redact(first_line(error)))

    def _next(self) -> Record | None:
        """Return the oldest record, which stays in the queue; None at the end."""
        while True:
            with self._news:
                self._news.wait_for(lambda: self._waiting or self._closing_s is not None, IDLE_S)
                if self._waiting:
                    late = self._closing_s is not None and time.monotonic() > self._closing_s
                    return None if late else self._waiting[0]
                if self._closing_s is not None:
                    return None
            try:
                self._destination.idle()
            except Exception as error:
                self._note(first_line(error))

    def _done(self, record: Record, *, lost: bool) -> None:
        with self._news:
            # A full queue may have pushed it out meanwhile.
            if self._waiting and self._waiting[0] is record:
                self._waiting.popleft()
                if lost:
                    self._lose(1)

    def _lose(self, count: int) -> None:
        self.lost += count

    def _note(self, trouble: str) -> None:
        trouble = redact(trouble)
        if trouble and not self._trouble:
            log.error("%s: %s; records wait, tracking goes on", self.name, trouble)
        if self._trouble and not trouble:
            log.info("%s: works again, %d records were lost", self.name, self.lost)
        self._trouble = trouble
