"""Where pictures come from: a device, a video file, a folder of images.

A source is used by one thread only: releasing a capture while another thread reads it is a segmentation fault
(3 of 3 runs with OpenCV 5.0), so `Camera` opens, grabs, retrieves and closes on its own thread.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from deploy.device_nodes import explain_refusal
from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
FOLDER_FPS = 10.0
OPEN_TIMEOUT_MS = 5000  # OpenCV waits 30 s by default
READ_TIMEOUT_MS = 3000


class Source(Protocol):
    """Pictures one after another. `fps` and `live` are right once it is open."""

    @property
    def live(self) -> bool:
        """True where pictures pass whether or not somebody takes them."""
        ...

    @property
    def fps(self) -> float: ...

    def open(self) -> None:
        """Raise BadInput with the reason where it cannot be opened."""
        ...

    def grab(self) -> bool:
        """Wait for the next picture without decoding it; False: there is none any more."""
        ...

    def retrieve(self) -> Pixels | None:
        """Return the grabbed picture as RGB uint8 (H, W, C); None: it could not be decoded."""
        ...

    def close(self) -> None: ...


class CaptureSource:
    """A cv2.VideoCapture; device and video file differ only in how it is opened."""

    live = False

    def __init__(self) -> None:
        self.fps = 0.0
        self._capture: cv2.VideoCapture | None = None

    def grab(self) -> bool:
        return self._capture is not None and self._capture.grab()

    def retrieve(self) -> Pixels | None:
        if self._capture is None:
            return None
        found, image_HWC = self._capture.retrieve()
        if not found:
            return None
        return np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _accept(self, capture: cv2.VideoCapture, default_fps: float) -> None:
        self._capture = capture
        fps = capture.get(cv2.CAP_PROP_FPS)
        # Containers without a rate report 0, NaN or their 90000 Hz time base.
        self.fps = fps if math.isfinite(fps) and 0 < fps <= 1000 else default_fps


class DeviceSource(CaptureSource):
    """A camera of this machine, by index or by path such as /dev/v4l/by-id/..."""

    live = True

    def __init__(self, device: str, flag: str) -> None:
        super().__init__()
        self._device, self._flag = device, flag

    def open(self) -> None:
        reason = explain_refusal(self._device, self._flag)
        if reason:
            raise BadInput(reason)
        backend = cv2.CAP_V4L2 if os.name == "posix" else cv2.CAP_ANY
        index_or_path = int(self._device) if self._device.isdigit() else str(Path(self._device).resolve())
        capture = cv2.VideoCapture(index_or_path, backend)
        if not capture.isOpened():
            capture.release()
            raise BadInput(
                f"camera {self._device!r} ({self._flag}) is there but cannot be opened; another program may hold it: "
                "close that program or try another device"
            )
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # V4L2 queues four pictures by default: up to 130 ms old at 30 fps
        self._accept(capture, default_fps=30.0)


class VideoSource(CaptureSource):
    """A recorded video: every frame, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def open(self) -> None:
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_TIMEOUT_MS]
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, timeouts)
        if not capture.isOpened():
            capture.release()
            raise BadInput(
                f"{self._path}: expected a video that OpenCV can decode, got a file that is no video or is cut off "
                "(a recording that was not finished cannot be opened); try to play it with another program"
            )
        self._accept(capture, default_fps=25.0)


class FolderSource:
    """Images in the order of their names, as a recording of FOLDER_FPS frames a second."""

    live = False
    fps = FOLDER_FPS

    def __init__(self, path: Path) -> None:
        self._path = path
        self._remaining: list[Path] = []
        self._current: Path | None = None

    def open(self) -> None:
        self._remaining = sorted((p for p in self._path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES), reverse=True)
        if not self._remaining:
            raise BadInput(
                f"{self._path}: expected a folder of images ({', '.join(sorted(IMAGE_SUFFIXES))}), found none"
            )

    def grab(self) -> bool:
        self._current = self._remaining.pop() if self._remaining else None
        return self._current is not None

    def retrieve(self) -> Pixels | None:
        if self._current is None:
            return None
        image = cv2.imread(str(self._current), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise BadInput(f"{self._current}: expected an image, got a file that cannot be decoded; remove it")
        if image.dtype != np.uint8:
            raise BadInput(f"{self._current}: expected 8 bits a pixel, got {image.dtype}; convert the images to 8 bits")
        if image.ndim == 2:
            return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
        return np.asarray(cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        self._remaining = []


def make_source(text: str, flag: str) -> Source:
    """Return the unopened source that the command line's text names; flag is for messages, such as "--ir"."""
    if text.isdigit() or text.startswith("/dev/"):
        return DeviceSource(text, flag)
    if "://" in text:
        # The address may hold a password: it is not repeated.
        scheme = text.split("://", 1)[0]
        raise BadInput(
            f"{flag}: expected a device index, a video file or a folder of images, got a {scheme}:// address"
        )
    path = Path(text)
    if path.is_dir():
        return FolderSource(path)
    if path.is_file():
        return VideoSource(path)
    raise BadInput(f"{flag}: expected a device index, a video file or a folder of images, got {text!r}: no such file")
