"""Records into a file, one JSON object a line, written through at once; the file turns over when it is full."""

from __future__ import annotations

import errno
import tempfile
from typing import TYPE_CHECKING

from deploy.sightings import RunStart, to_json
from engines.errors import BadInput

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path

    from deploy.sightings import Record

MOST_MB = 100.0
KEEP_MB = 1000.0  # all files together
MOST_FILES = 1000  # a service that cannot start comes to this many


class JsonlFile:
    """A file of records. Earlier files are NAME.1 (the newest), NAME.2 ...; each begins with its run's first record.

    A write that fails (disk full) raises OSError, and the record may be given again: what was cut short stays as a line
    of its own, and the whole line follows.
    """

    name = "jsonl"

    def __init__(self, path: Path, *, most_mb: float = MOST_MB, keep_mb: float = KEEP_MB) -> None:
        self._path, self._most_bytes, self._keep_bytes = path, round(most_mb * 1e6), round(keep_mb * 1e6)
        self._torn = False
        self._bytes = 0
        self._headed = False  # the file has its first record
        self._run: RunStart | None = None
        self._file: FileIO | None = None  # opened by the first record: a start that fails leaves earlier files alone
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "is a folder")
            if path.exists() and not path.is_file():
                path.open("ab").close()  # a device, such as /dev/null
            else:
                with tempfile.TemporaryFile(dir=path.parent):
                    pass
        except OSError as error:
            raise BadInput(f"--sightings: expected a file that can be written, got {path}: {error.strerror}") from error

    def deliver(self, record: Record) -> None:
        if isinstance(record, RunStart):
            self._run = record
        file = self._file
        if file is None or self._bytes >= self._most_bytes:
            file = self._turn_over(file)
        if not self._headed and self._run is not None:
            self._put(file, self._run)
        self._headed = True
        if record is not self._run:
            self._put(file, record)

    def idle(self) -> None: ...

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _put(self, file: FileIO, record: Record) -> None:
        line = to_json(record).encode() + b"\n"
        if self._torn:
            line = b"\n" + line  # ends the line that a full disk cut short
        written = file.write(line) or 0
        self._bytes += written
        if written != len(line):
            self._torn = written > 0 or self._torn
            raise OSError(f"wrote {written} of {len(line)} bytes to {self._path}")
        self._torn = False

    def _turn_over(self, full: FileIO | None) -> FileIO:
        if full is not None:
            full.close()
        # Where the names were turned before and there was no room for a new file, there is nothing to turn.
        if self._path.is_file() and self._path.stat().st_size:
            self._turn_names()
        # Unbuffered: a line is in the file once it is written, so a kill leaves whole lines.
        self._file = self._path.open("wb", buffering=0)
        self._bytes, self._headed, self._torn = 0, False, False
        return self._file

    def _turn_names(self) -> None:
        """Move every file to the next number, and leave out the oldest beyond the room that they may take."""
        files = [self._path]
        while len(files) <= MOST_FILES and self._numbered(len(files)).is_file():
            files.append(self._numbered(len(files)))
        room = self._keep_bytes
        kept = 0
        for file in files[:MOST_FILES]:
            room -= file.stat().st_size
            if room < 0 and kept:  # the run before is kept whatever it takes
                break
            kept += 1
        for file in files[kept:]:
            file.unlink()
        for number in range(kept, 0, -1):
            files[number - 1].replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
