"""A cv2.VideoCapture that one thread owns, and how it is opened.

Opening is safe from several threads: OpenCV lets one FFmpeg open at a time (measured with 5.0: three hanging hosts cost
1, 2 and 3 s, and a file behind them waited too), while grabbing elsewhere goes on. So a host that hangs is found by
our own probe before, and the lock here only keeps FFmpeg's options, which OpenCV reads from the environment, apart.
"""

from __future__ import annotations

import math
import os
import threading
from typing import TYPE_CHECKING, Protocol

import cv2

from deploy.sources.pixels import to_pixels

if TYPE_CHECKING:
    from deploy.settings.site_plan import CameraSite
    from deploy.sources.pixels import Decoded
    from deploy.sources.source import Pixels

OPEN_TIMEOUT_S = 5.0  # OpenCV waits 30 s by default
READ_TIMEOUT_S = 10.0  # after nobuffer the first grab waits for a key frame, and IP cameras send one in up to 5 s
OPTIONS_NAME = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# What OpenCV itself uses where the variable is not set.
PLAIN_OPTIONS = "rtsp_flags;prefer_tcp"
# Not for files: without delay a decoder may give frames in the order of the stream instead of that of time.
STREAM_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
SELECT_TIMEOUT_NAME = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"
SELECT_TIMEOUT_S = "5"  # OpenCV waits 10 s for a picture; a flat-field correction takes up to 1

opening = threading.Lock()


class Capture(Protocol):
    """What of cv2.VideoCapture is used; `deploy.sources.gi_capture` has it too."""

    def isOpened(self) -> bool: ...
    def grab(self) -> bool: ...
    def retrieve(self) -> tuple[bool, Decoded]: ...
    def get(self, propId: int, /) -> float: ...
    def set(self, propId: int, value: float, /) -> bool: ...
    def release(self) -> None: ...


class CaptureSource:
    """What sources over a capture share; they differ in how it is opened."""

    live = False

    def __init__(self, site: CameraSite) -> None:
        self.fps = 0.0
        self._site = site
        self._capture: Capture | None = None

    def grab(self) -> bool:
        return self._capture is not None and self._capture.grab()

    def retrieve(self) -> Pixels | None:
        if self._capture is None:
            return None
        found, image = self._capture.retrieve()
        return to_pixels(image, self._site) if found else None

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _accept(self, capture: Capture, default_fps: float) -> None:
        self._capture = capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        # Containers without a rate report 0, NaN or their 90000 Hz time base.
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else default_fps


def prepare_environment() -> None:
    """Make the variables that OpenCV reads, where the user has not set them.

    Called where sources are made, before threads run: adding a variable moves the table that getenv of another thread
    may be reading; changing the value of one that is there, as `open_ffmpeg` does, leaves the table in place.
    """
    os.environ.setdefault(OPTIONS_NAME, PLAIN_OPTIONS)
    os.environ.setdefault(SELECT_TIMEOUT_NAME, SELECT_TIMEOUT_S)


def open_ffmpeg(address: str, *, low_delay: bool = False) -> cv2.VideoCapture:
    """Open a file or an address with our timeouts; isOpened() tells whether that went well."""
    timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * OPEN_TIMEOUT_S)]
    timeouts += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * READ_TIMEOUT_S)]
    with opening:
        switch = low_delay and os.environ.get(OPTIONS_NAME) == PLAIN_OPTIONS  # else they are the user's own
        try:
            if switch:
                os.environ[OPTIONS_NAME] = STREAM_OPTIONS
            return cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)
        finally:
            if switch:
                os.environ[OPTIONS_NAME] = PLAIN_OPTIONS


def fourcc(code: str) -> int:
    """Return OpenCV's number of a four-letter code, which may be written without trailing blanks ("Y16")."""
    return cv2.VideoWriter.fourcc(*code.ljust(4)[:4])


def letters(number: float) -> str:
    """Return the four-letter code of OpenCV's number, blanks taken off."""
    return "".join(chr((int(number) >> shift) & 0xFF) for shift in (0, 8, 16, 24)).strip("\0 ")
