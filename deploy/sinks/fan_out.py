"""Every record to every sink."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from deploy.sinks.worker import SinkWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.loop.run_state import SinkState
    from deploy.sightings import Record, Sink
    from deploy.sinks.worker import Destination

FLUSH_S = 2.0  # of the five seconds that an end may take


class FanOut:
    """A sink of sinks: destinations get a thread each, `direct` ones (in memory) are written at once."""

    def __init__(self, destinations: Sequence[Destination], direct: Sequence[Sink] = ()) -> None:
        self._workers = [SinkWorker(destination) for destination in destinations]
        self._direct = list(direct)

    def write(self, record: Record) -> None:
        for sink in (*self._workers, *self._direct):
            sink.write(record)

    def states(self) -> dict[str, SinkState]:
        return {worker.name: worker.state() for worker in self._workers}

    def close(self, within_s: float = FLUSH_S) -> None:
        """Deliver what waits, all sinks at the same time, and end."""
        until_s = time.monotonic() + within_s
        for worker in self._workers:
            worker.ask_stop(until_s)
        for worker in self._workers:
            worker.join()

    def __enter__(self) -> FanOut:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
