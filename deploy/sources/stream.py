"""Network cameras: RTSP, and HTTP with motion JPEG, a transport stream or a file.

The camera is asked by ourselves first (`deploy.sources.probes`), which tells refusals apart and finds a host that hangs
without holding up other cameras; FFmpeg opens what has answered.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import cv2

from deploy.sources.address import parse_address
from deploy.sources.gstreamer import has_nvdec, nvdec_pipeline, open_pipeline
from deploy.sources.opencv_capture import OPEN_TIMEOUT_S, READ_TIMEOUT_S, CaptureSource, open_ffmpeg
from deploy.sources.probes import probe_http, probe_rtsp
from deploy.sources.source import SourceError, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings.site_plan import CameraSite
    from deploy.sources.opencv_capture import Capture
    from deploy.sources.probes import StreamFacts

log = logging.getLogger(__name__)


class StreamSource(CaptureSource):
    """A stream of the network. `live` is known once it is open: a file behind http:// is a recording."""

    live = True

    def __init__(self, site: CameraSite, *, clock: Callable[[], float], timeout_s: float = OPEN_TIMEOUT_S) -> None:
        super().__init__(site)
        self._address = parse_address(site)
        self._clock, self._timeout_s = clock, timeout_s
        self._hardware = self._address.scheme.startswith("rtsp") and has_nvdec()

    def open(self) -> None:
        probe = probe_rtsp if self._address.scheme.startswith("rtsp") else probe_http
        facts = probe(self._site, self._address, self._timeout_s)
        self.live = not facts.recorded
        self._accept(self._open_hardware(facts) or self._open_software(facts), default_fps=25.0)

    def grab(self) -> bool:
        start_s = self._clock()
        if super().grab():
            return True
        if self._clock() - start_s >= 0.9 * READ_TIMEOUT_S:
            raise failure(self._site, f"no picture for {READ_TIMEOUT_S:g} s; check camera and network", "timeout")
        if self.live or not self._site.loop or self._capture is None:
            return False
        self.close()
        self.open()
        return super().grab()

    def _open_software(self, facts: StreamFacts) -> Capture:
        start_s = time.monotonic()
        capture = open_ffmpeg(self._address.full, low_delay=self.live)
        if capture.isOpened():
            return capture
        capture.release()
        if time.monotonic() - start_s >= 0.9 * OPEN_TIMEOUT_S:
            reason = (
                f"answers ({facts.codec}) but sends no picture in {OPEN_TIMEOUT_S:g} s; does another player show it?"
            )
            raise failure(self._site, reason, "timeout")
        if not facts.login:
            reason = "wants a SHA-256 login, which FFmpeg does not know; allow basic or MD5 digest on the camera"
            raise failure(self._site, reason, "unsupported")
        reason = (
            f"answers, but this opencv-python {cv2.__version__} finds no picture that it can decode in what comes "
            f"({facts.codec}); set the camera to H.264, H.265 or MJPEG"
        )
        raise failure(self._site, reason, "codec", permanent=False)

    def _open_hardware(self, facts: StreamFacts) -> Capture | None:
        pipeline = nvdec_pipeline(self._address, facts.codec) if self._hardware else None
        if pipeline is None:
            return None
        try:
            return open_pipeline(pipeline, self._site)
        except SourceError as error:
            self._hardware = False
            log.warning("%s; decoding on the CPU instead", error)
            return None
