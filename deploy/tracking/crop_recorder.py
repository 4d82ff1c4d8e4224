"""Keep crops that the engine embeds, as pictures for calibration on the customer's own cameras.

    DIR/<modality>/<start of the run>-<camera>-<track>/<seconds since the start>.png

A thread of its own writes; a full queue drops crops, and a full disk or budget ends the recording, never the run.
These are pictures of people: only the user who records can enter the folders that are made.

PNG, because calibration then reads the pixels that the engine saw: 22 KB and 0.85 ms for a crop of 236 x 94 pixels,
against 7 KB and 0.06 ms for JPEG at quality 95, which is off by 0.8 grey levels in the mean (100 crops, one thread).
"""

from __future__ import annotations

import logging
import queue
import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

import cv2

from deploy.sightings import TrackKey
from engines.atomic import atomic_path
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.tracking.crops import Crop

log = logging.getLogger(__name__)

MB = 1_000_000
STOP_TIMEOUT_S = 2.0  # a disk that hangs may not hold up the end of the run
PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 1)  # 3 takes 1.14 ms instead of 0.85 and saves 5 %


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    most_per_track: int = 8
    gap_s: float = 0.3  # between crops of a track; the default of --embed-every is 0.33 s at 30 frames a second
    most_crops: int = 5000  # in the folder, those of earlier runs included
    most_mb: float = 1000.0
    least_free_mb: float = 500.0  # the sightings need the disk too
    queue_crops: int = 32  # a crop out of a 4K picture is up to 5 MB


class _Item(NamedTuple):
    path: Path
    image_HWC: NDArray[np.uint8]


class CropRecorder:
    """A folder of crops. Entering starts the thread; leaving writes what waits and logs what was stored."""

    def __init__(
        self, folder: Path, settings: RecordSettings | None = None, *, started: datetime | None = None
    ) -> None:
        self.stored = self.dropped = self.lost = 0  # written; not taken (writer behind, recording over); taken and lost
        self._folder, self._settings = folder, settings or RecordSettings()
        # Track numbers start anew in every run.
        self._run = (started or datetime.now(timezone.utc)).strftime("%Y%m%dT%H%M%S")
        self._tracks: dict[TrackKey, tuple[int, float]] = {}  # crops kept, time from which the next may come
        self._queue: queue.Queue[_Item | None] = queue.Queue(self._settings.queue_crops)
        self._ended = self._behind = False
        self._prepare()
        present = [path.stat().st_size for path in folder.rglob("*.png")]
        self._crops, self._bytes = len(present), sum(present)
        self._thread = threading.Thread(target=self._work, name="crop recorder", daemon=True)

    def offer(self, frame: Frame, crop: Crop) -> None:
        """Take a crop unless its track gave enough, gave one just now, or the writer is behind; never waits."""
        key = TrackKey(frame.camera, crop.track)
        kept, next_s = self._tracks.get(key, (0, frame.time_s))
        if kept >= self._settings.most_per_track or frame.time_s < next_s:
            return
        if self._ended:
            self.dropped += 1
            return
        track = f"{self._run}-{frame.camera}-{crop.track:05d}"
        path = self._folder / frame.modality / track / f"{frame.time_s:010.3f}.png"
        try:
            self._queue.put_nowait(_Item(path, crop.image_HWC))
        except queue.Full:
            self.dropped += 1
            if not self._behind:
                log.warning("--record-crops: %s is too slow; crops are left out until it catches up", self._folder)
            self._behind = True
            return
        self._behind = False
        self._tracks[key] = kept + 1, frame.time_s + self._settings.gap_s

    def finish(self, key: TrackKey) -> None:
        """Forget a track that ended."""
        self._tracks.pop(key, None)

    def __enter__(self) -> CropRecorder:
        log.info(
            "--record-crops: storing pictures of people in %s (%d there), at most %d a track, %d or %.0f MB in all",
            self._folder, self._crops, self._settings.most_per_track, self._settings.most_crops, self._settings.most_mb,
        )  # fmt: skip
        self._thread.start()
        return self

    def __exit__(self, *failure: object) -> None:
        with suppress(queue.Full):
            self._queue.put(None, timeout=STOP_TIMEOUT_S)
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            log.error("--record-crops: %s does not answer; what waits to be written is lost", self._folder)
        log.info(
            "--record-crops: %d crops stored in %s, %d left out, %d lost",
            self.stored, self._folder, self.dropped, self.lost,
        )  # fmt: skip

    def _prepare(self) -> None:
        """Make the folder and write into it once, so that what cannot work is refused before the cameras open."""
        folder = self._folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise BadInput(
                f"--record-crops: expected a folder that can be written, got {folder}: {error.strerror}; name another"
            ) from error

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if self._ended:
                self.lost += 1
                continue
            try:
                self._store(item)
            except (OSError, cv2.error) as error:
                self.lost += 1
                self._ended = True
                log.error("--record-crops: %s (%s); the recording ends here, the run goes on", self._folder, error)

    def _store(self, item: _Item) -> None:
        settings = self._settings
        encoded = cv2.imencode(".png", cv2.cvtColor(item.image_HWC, cv2.COLOR_RGB2BGR), PNG_SETTINGS)[1].tobytes()
        full = self._crops >= settings.most_crops or self._bytes + len(encoded) > settings.most_mb * MB
        if full or shutil.disk_usage(self._folder).free < settings.least_free_mb * MB + len(encoded):
            self.lost += 1
            self._ended = True
            log.warning(
                "--record-crops: %s holds %d crops, %.0f MB, and %s; the recording ends here, the run goes on",
                self._folder, self._crops, self._bytes / MB,
                "may hold no more" if full else f"less than {settings.least_free_mb:.0f} MB of the disk are free",
            )  # fmt: skip
            return
        for place in (item.path.parent.parent, item.path.parent):
            place.mkdir(mode=0o700, exist_ok=True)
        with atomic_path(item.path) as temporary:
            temporary.write_bytes(encoded)
        self.stored += 1
        self._crops += 1
        self._bytes += len(encoded)
