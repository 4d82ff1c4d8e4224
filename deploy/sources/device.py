"""A camera of this machine, by index or by path such as /dev/v4l/by-id/...

No test machine has one: what is tested is what is asked of OpenCV and of V4L2, in which order, and what is made of the
answers, over stand-ins for both. The order of the settings is that of OpenCV's V4L2 backend, in which size, format
and buffer count start the device anew and raw pictures must be asked for last.
"""

from __future__ import annotations

import errno
import logging
import os
from typing import TYPE_CHECKING

import cv2

from deploy.cameras.device_nodes import THIS_MACHINE, Machine, describe_devices, device_path, explain_refusal
from deploy.sources.opencv_capture import CaptureSource, fourcc, letters
from deploy.sources.pixels import from_y16, to_pixels
from deploy.sources.source import SourceError, failure
from deploy.sources.v4l2 import why_not_streaming

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.cameras.device_nodes import Device
    from deploy.settings.site_plan import CameraSite
    from deploy.sources.opencv_capture import Capture
    from deploy.sources.source import FailureKind, Pixels

log = logging.getLogger(__name__)

Y16 = "Y16"


class DeviceSource(CaptureSource):
    """A V4L2 camera with the format, size and rate that the site asks for; a long-wave camera gives Y16 if it can."""

    live = True

    def __init__(
        self,
        site: CameraSite,
        *,
        machine: Machine = THIS_MACHINE,
        open_capture: Callable[[str, int], Capture] = cv2.VideoCapture,
    ) -> None:
        super().__init__(site)
        self._machine, self._open_capture = machine, open_capture
        self._raw = self._grabbed = False

    def open(self) -> None:
        refusal = explain_refusal(self._site.name, self._site.uri, self._machine)
        if refusal is not None:
            raise SourceError(refusal.reason, kind=refusal.kind)
        if os.name == "posix":
            capture = self._open_capture(str(device_path(self._site.uri, self._machine.dev)), cv2.CAP_V4L2)
        else:
            capture = cv2.VideoCapture(int(self._site.uri), cv2.CAP_ANY)
        try:
            if not capture.isOpened():
                raise self._stopped("cannot be opened")
            self._configure(capture)
            if not capture.grab():  # streaming starts here, and here a full bus shows
                raise self._stopped("gives no picture")
        except BaseException:
            capture.release()
            raise
        self._grabbed = True
        self._accept(capture, default_fps=self._site.fps or 30.0)

    def grab(self) -> bool:
        if self._grabbed:
            self._grabbed = False
            return True
        return super().grab()

    def retrieve(self) -> Pixels | None:
        if self._capture is None:
            return None
        found, image = self._capture.retrieve()
        if not found:
            return None
        if not self._raw:
            return to_pixels(image, self._site)
        size_px = (int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        return from_y16(image, size_px, self._site)

    def stamp_s(self) -> float | None:
        """Return when the driver caught the picture, on the monotonic clock; None where it does not say."""
        milliseconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) if self._capture is not None else 0.0
        return milliseconds / 1000 if milliseconds > 0 else None

    def _configure(self, capture: Capture) -> None:
        device = self._device()
        wanted = (self._site.format or self._native(device)).strip().upper()
        if wanted:
            capture.set(cv2.CAP_PROP_FOURCC, fourcc(wanted))
            given = letters(capture.get(cv2.CAP_PROP_FOURCC))
            if given != wanted:
                offered = ", ".join(form.fourcc for form in device.formats) if device else ""
                reason = (
                    f"expected the format {wanted}, got {given or 'another'}; it offers {offered or 'unknown ones'}"
                )
                raise failure(self._site, reason, "unsupported")
        if self._site.size_px is not None:
            width, height = self._site.size_px
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
            given_px = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
            if given_px != (width, height):
                log.warning(
                    "camera %s: asked for %d x %d, the device gives %d x %d", self._site.name, width, height, *given_px
                )
        if self._site.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, self._site.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # V4L2 queues four pictures by default: up to 130 ms old at 30 fps
        self._raw = wanted == Y16
        if self._raw:
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)

    def _native(self, device: Device | None) -> str:
        """Return Y16 for a long-wave camera that offers it: its 8 bits are a picture for people."""
        offers = device is not None and any(form.fourcc == Y16 for form in device.formats)
        return Y16 if self._site.band == "lwir" and offers else ""

    def _device(self) -> Device | None:
        path = device_path(self._site.uri, self._machine.dev)
        return next((device for device in describe_devices(self._machine) if device.path == path), None)

    def _stopped(self, what: str) -> SourceError:
        path = device_path(self._site.uri, self._machine.dev)
        number = why_not_streaming(path, self._machine.ioctl)
        if number == errno.ENOSPC:
            device = self._device()
            return failure(
                self._site,
                f"the USB bus {device.bus if device and device.bus else 'of it'} has no bandwidth left. Not a disk "
                "problem: set format: MJPG, a lower size_px or fps, or plug it into another USB controller",
                "bandwidth",
            )
        table: dict[int, tuple[FailureKind, str]] = {
            errno.EBUSY: ("busy", "another program holds it; close that program"),
            errno.EACCES: ("permission", "permission denied; add the user to the group video and log in again"),
            errno.EPERM: ("permission", "not permitted; in a container, pass the device in"),
            errno.ENODEV: ("not-found", "it was unplugged; check its cable"),
            errno.ENOENT: ("not-found", "it was unplugged; check its cable"),
            errno.ENXIO: ("not-found", "it was unplugged; check its cable"),
        }
        kind, reason = table.get(
            number, ("connection", "another program may hold it, or its cable is loose; check both")
        )
        detail = f" ({os.strerror(number)})" if number else ""
        return failure(self._site, f"{path} {what}{detail}: {reason}", kind)
