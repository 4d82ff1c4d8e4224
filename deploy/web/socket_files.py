"""What is read from a connection and written to it, under deadlines and within sizes.

A time-out of a socket is for one call: whoever sends, or takes, a byte every few seconds would keep a thread for ever.
"""

from __future__ import annotations

import io
import time
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket


class TooMuch(HTTPException):
    """More was sent than is read."""


class Patient(io.RawIOBase):
    """Reads a socket up to a moment and a number of bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.until_s = 0.0
        self.left = 0  # bytes

    def allow(self, seconds: float, count: int) -> None:
        self.until_s, self.left = time.monotonic() + seconds, count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the request took too long")
        if self.left <= 0:
            raise TooMuch
        self._connection.settimeout(left_s)
        count = self._connection.recv_into(buffer)
        self.left -= count
        return count


class Prompt(io.BufferedIOBase):
    """Gathers what is written and sends it at flush(), within so many seconds or not at all."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds
        self._waiting: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        if self._waiting:
            content, self._waiting = b"".join(self._waiting), []
            self._connection.settimeout(self._seconds)
            self._connection.sendall(content)  # its time-out is for all of it

    def close(self) -> None:
        self._waiting = []
        super().close()
