"""One process writes to a gallery at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path


class WriterLock:
    """Held from here to release() or to the end of the process, however it ends; the file stays.

    Beside the gallery, not on it: closing any handle of SQLite's own file would drop SQLite's locks.
    """

    def __init__(self, path: Path, gallery: object) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise BadInput(
                f"gallery {gallery}: expected to be the only writer, got one that is in use by process {holder}; stop "
                "that process, or name another gallery"
            ) from error
        os.ftruncate(self._handle, 0)
        with contextlib.suppress(OSError):  # a full disk; the number is for people
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
