"""Recordings: a video file, a folder of images, one image.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from deploy.sources.opencv_capture import CaptureSource, letters, open_ffmpeg
from deploy.sources.pixels import to_pixels
from deploy.sources.source import Pixels, failure

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.settings.site_plan import CameraSite

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
PAGED_SUFFIXES = frozenset({".tif", ".tiff"})  # thermal cameras record many pictures into one TIFF
FOLDER_FPS = 10.0
GRAY16 = "Y1\0\x10"  # FFmpeg's tag of gray16le


class VideoSource(CaptureSource):
    """A recorded video: every frame, in order. Grey of 16 bits (FFV1) comes as it was recorded."""

    def __init__(self, path: Path, site: CameraSite) -> None:
        super().__init__(site)
        self._path = path

    def open(self) -> None:
        capture = open_ffmpeg(str(self._path))
        if not capture.isOpened():
            capture.release()
            raise self._refusal()
        # OpenCV would give 8-bit BGR in silence; set for any other pixel format it gives the luma plane alone.
        if letters(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) == GRAY16:
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        self._accept(capture, default_fps=25.0)

    def grab(self) -> bool:
        if super().grab():
            return True
        if not self._site.loop or self._capture is None:
            return False
        self.close()
        self.open()
        return super().grab()

    def _refusal(self) -> Exception:
        if not self._path.exists():
            return failure(self._site, "no such file any more; restore it", "not-found")
        try:
            self._path.open("rb").close()
        except OSError as error:
            return failure(self._site, f"cannot be read ({error.strerror}); check its permissions", "permission")
        reason = (
            "expected a video that OpenCV can decode, got a file that is no video or is cut off "
            "(a recording that was not finished cannot be opened); try to play it with another program"
        )
        return failure(self._site, reason, "codec", permanent=True)


class ImagesSource:
    """Images in the order of their names, as a recording of the site's fps (10 where it gives none).

    path is a folder, or one image; the pages of a TIFF are images. 16-bit images stay 16-bit.
    """

    live = False

    def __init__(self, path: Path, site: CameraSite) -> None:
        self.fps = site.fps or FOLDER_FPS
        self._path, self._site = path, site
        self._images: list[tuple[Path, int]] = []  # file and page, the next one last
        self._current: tuple[Path, int] | None = None

    def open(self) -> None:
        self._images = self._list()[::-1]
        if not self._images:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise failure(
                self._site, f"expected a folder of images ({suffixes}), found none", "not-found", permanent=True
            )

    def grab(self) -> bool:
        if not self._images and self._current is not None and self._site.loop:
            self._images = self._list()[::-1]
        self._current = self._images.pop() if self._images else None
        return self._current is not None

    def retrieve(self) -> Pixels | None:
        if self._current is None:
            return None
        path, page = self._current
        if page:
            found, pages = cv2.imreadmulti(str(path), start=page, count=1, flags=cv2.IMREAD_UNCHANGED)
            image = pages[0] if found else None
        else:
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if image is None:
            reason = f"expected an image, got {path.name}, which cannot be decoded; remove it"
            raise failure(self._site, reason, "codec", permanent=True)
        return to_pixels(image, self._site)

    def close(self) -> None:
        self._images, self._current = [], None

    def _list(self) -> list[tuple[Path, int]]:
        try:
            paths = sorted(self._path.iterdir()) if self._path.is_dir() else [self._path]
        except OSError as error:
            raise failure(
                self._site, f"cannot be read ({error.strerror}); check its permissions", "permission"
            ) from None
        images = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
        # Pages are counted in a file that was named alone: to count them in a folder would read all of it first.
        return [(path, page) for path in images for page in range(self._pages(path))]

    def _pages(self, path: Path) -> int:
        if self._path.is_dir() or path.suffix.lower() not in PAGED_SUFFIXES:
            return 1
        return max(1, cv2.imcount(str(path)))
