"""A clean end on request: SIGINT and SIGTERM set a flag that the loop looks at between frames."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType


@contextmanager
def stop_on_signals() -> Generator[threading.Event]:
    """Yield the flag. A second signal interrupts at once, for whoever cannot wait."""
    stop = threading.Event()

    def ask(number: int, where: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
