"""Speaks to systemd (sd_notify(3)): ready, alive, stopping. Without systemd nothing happens.

The watchdog is fed by the loop itself, so that a loop that hangs is started anew.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger(__name__)


class Notifier:
    """The service's side of Type=notify; addresses beginning with @ are abstract sockets."""

    def __init__(self, clock: Callable[[], float], environ: Mapping[str, str] = os.environ) -> None:
        self._clock = clock
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = int(microseconds) / 2e6 if microseconds.isdigit() and mine else None
        self._due_s = float("-inf")
        self._status = ""

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str = "") -> None:
        """Feed the watchdog when half of its time is over; a changed status is sent along."""
        now_s = self._clock()
        lines: list[str] = []
        if self._every_s is not None and now_s >= self._due_s:
            self._due_s = now_s + self._every_s
            lines.append("WATCHDOG=1")
        if status and status != self._status:
            self._status = status
            lines.append(f"STATUS={status}")
        if lines:
            self._send("\n".join(lines))

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(0.2)
                channel.sendto(text.encode(), address)
        except OSError as error:
            log.warning("systemd: cannot be told how the run is doing (%s)", error)
            self._address = ""
