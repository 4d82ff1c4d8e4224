"""Where annotated pictures go: a video file, a window.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

log = logging.getLogger(__name__)

MOST_REPEATS_S = 2.0
STOP_KEYS = frozenset({ord("q"), 27})


class Viewer(Protocol):
    def show(self, image_HWC: Pixels, time_s: float) -> None: ...

    def close(self) -> None: ...


class VideoRecorder:
    """An MPEG-4 video at a constant rate: pictures are repeated or left out so that it runs at the speed of life.

    mp4v, because the wheels of OpenCV open neither avc1 nor AV1 for writing; 1.8 CPU-ms a picture.
    """

    def __init__(self, path: Path, fps: float, size_px: tuple[int, int]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._fps = path, fps
        self._first_s: float | None = None
        self._written = 0
        code = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size_px)
        if not self._writer.isOpened():
            raise BadInput(f"--save: expected an .mp4 file in a folder that can be written, got {path}")

    def show(self, image_HWC: Pixels, time_s: float) -> None:
        if self._first_s is None:
            self._first_s = time_s
        due = round((time_s - self._first_s) * self._fps) + 1 - self._written
        if due > MOST_REPEATS_S * self._fps:  # both cameras stalled: the video jumps rather than grows
            self._first_s += (due - 1) / self._fps
            due = 1
        if due > 0:
            image_BGR = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR)
            for _ in range(due):
                self._writer.write(image_BGR)
            self._written += due

    def close(self) -> None:
        """Write the index that makes the file playable; FFmpeg says nothing where the disk was full."""
        self._writer.release()
        if self._written and not cv2.VideoCapture(str(self._path)).isOpened():
            log.error("--save: %s cannot be played: was the disk full?", self._path)


class Window:
    """A window on the desktop; q or Escape asks for the end."""

    def __init__(self, title: str, stop: Callable[[], None]) -> None:
        self._title, self._stop = title, stop

    def show(self, image_HWC: Pixels, time_s: float) -> None:
        cv2.imshow(self._title, cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))
        if cv2.waitKey(1) & 0xFF in STOP_KEYS:
            self._stop()

    def close(self) -> None:
        cv2.destroyAllWindows()


def open_window(title: str, stop: Callable[[], None], environ: Mapping[str, str] = os.environ) -> Window | None:
    """Return a window, or None with one logged line where there is no display to show it on."""
    if sys.platform.startswith("linux") and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        # imshow would abort the process (exit 134), not raise.
        log.warning("--show: no display here (DISPLAY and WAYLAND_DISPLAY are empty); running without a window")
        return None
    try:
        cv2.namedWindow(title, cv2.WINDOW_NORMAL)
    except cv2.error:
        log.warning("--show: this OpenCV is built without windows (opencv-python-headless?); running without a window")
        return None
    return Window(title, stop)
