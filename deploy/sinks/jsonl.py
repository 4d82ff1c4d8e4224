"""Records into a file, one JSON object a line, written through at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from deploy.sightings import to_json
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.sightings import Record

log = logging.getLogger(__name__)


class JsonlSink:
    """A file of records. The file of an earlier run is kept once, as NAME.previous.

    A write that fails (disk full) loses its record, is counted in `lost`, and is logged once until one succeeds.
    """

    def __init__(self, path: Path) -> None:
        self.lost = 0
        self._path = path
        self._failing = self._torn = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.stat().st_size:
                path.replace(path.with_name(path.name + ".previous"))
            # Unbuffered: a line is in the file once write() returns, so a kill leaves whole lines.
            self._file = path.open("wb", buffering=0)
        except OSError as error:
            raise BadInput(f"--sightings: expected a file that can be written, got {path}: {error.strerror}") from error

    def write(self, record: Record) -> None:
        line = to_json(record).encode() + b"\n"
        if self._torn:
            line = b"\n" + line  # ends the line that a full disk cut short
        try:
            written = self._file.write(line)
        except (OSError, ValueError) as error:
            self._fail(str(error))
            return
        if written != len(line):
            self._torn = True
            self._fail(f"wrote {written} of {len(line)} bytes")
            return
        if self._failing:
            log.info("%s: writing again, %d records were lost", self._path, self.lost)
        self._failing = self._torn = False

    def __enter__(self) -> JsonlSink:
        return self

    def __exit__(self, *failure: object) -> None:
        try:
            self._file.close()
        except OSError as error:
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        self.lost += 1
        if not self._failing:
            log.error("%s: sightings are being lost (%s); tracking goes on", self._path, reason)
        self._failing = True
