"""A GStreamer pipeline through python3-gi, with the methods of cv2.VideoCapture that are used.

gi has no type stubs; what it returns is annotated where it enters.

Shapes: H height, W width, C channel.
"""

from __future__ import annotations

import math
import warnings
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deploy.sources.opencv_capture import OPEN_TIMEOUT_S, READ_TIMEOUT_S
from deploy.sources.source import failure

if TYPE_CHECKING:
    from deploy.settings.site_plan import CameraSite
    from deploy.sources.pixels import Decoded
    from deploy.sources.source import FailureKind, SourceError

POLL_S = 0.1  # how soon trouble is noticed
BYTES_PER_PIXEL = {"BGR": 3, "RGB": 3, "BGRx": 4, "BGRA": 4, "RGBx": 4, "RGBA": 4, "GRAY8": 1, "GRAY16_LE": 2}


@cache
def load_gst() -> Any | None:
    """Return the Gst namespace, started once a process; None where it or GstApp is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # gi's importer is of the old kind
        return _import_gst()


def _import_gst() -> Any | None:
    try:
        gi: Any = import_module("gi")
        gi.require_version("Gst", "1.0")
        gi.require_version("GstApp", "1.0")
        gst: Any = import_module("gi.repository.Gst")
        import_module("gi.repository.GstApp")  # gives appsink its methods
    except (ImportError, ValueError):
        return None
    gst.init(None)
    return gst


class GiCapture:
    """A running pipeline; the first picture is waited for where it is made."""

    def __init__(self, pipeline: str, site: CameraSite) -> None:
        gst = load_gst()
        if gst is None:
            raise failure(site, "needs python3-gi with Gst and GstApp, which this Python does not see", "unsupported")
        self._gst: Any = gst
        self._site, self._fresh = site, False
        self._sample: Any = None
        try:
            self._pipeline = self._gst.parse_launch(pipeline)
        except Exception as error:  # GLib.Error, whose class only gi knows
            told = getattr(error, "message", error)
            reason = f"GStreamer does not understand the pipeline ({told}); try it with gst-launch-1.0"
            raise failure(site, reason, "unsupported") from None
        self._sink = self._find_sink()
        self._pipeline.set_state(self._gst.State.PLAYING)
        try:
            self._pull(OPEN_TIMEOUT_S)
        except BaseException:
            self.release()
            raise
        self._fresh = True

    def isOpened(self) -> bool:
        return self._sample is not None

    def get(self, propId: int, /) -> float:
        """Return the frame rate; 0 for anything else, as OpenCV does."""
        if propId != cv2.CAP_PROP_FPS or self._sample is None:
            return 0.0
        known, numerator, denominator = self._sample.get_caps().get_structure(0).get_fraction("framerate")
        return float(numerator / denominator) if known and denominator else 0.0

    def set(self, propId: int, value: float, /) -> bool:
        """Change nothing: the pipeline says all."""
        return False

    def grab(self) -> bool:
        if self._fresh:
            self._fresh = False
            return True
        self._pull(READ_TIMEOUT_S)
        return True

    def retrieve(self) -> tuple[bool, Decoded]:
        if self._sample is None:
            return False, np.empty((0, 0, 3), np.uint8)
        structure = self._sample.get_caps().get_structure(0)
        form, width, height = structure.get_value("format"), structure.get_value("width"), structure.get_value("height")
        if form not in BYTES_PER_PIXEL:
            known = ", ".join(BYTES_PER_PIXEL)
            raise failure(self._site, f"expected one of {known} before the appsink, got {form}", "unsupported")
        buffer = self._sample.get_buffer()
        # Copied out: mapping it is one thing with python3-gst-1.0 and another without.
        data: bytes = buffer.extract_dup(0, buffer.get_size())
        # Rows are padded to four bytes.
        rows_HW = np.frombuffer(data, np.uint8).reshape(height, -1)[:, : width * BYTES_PER_PIXEL[form]]
        return True, _as_opencv(np.ascontiguousarray(rows_HW), form)

    def release(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)
        self._sample = None

    def _pull(self, timeout_s: float) -> None:
        """Take the next sample; raise SourceError where the pipeline reports trouble, ends or is silent."""
        for _ in range(math.ceil(timeout_s / POLL_S)):
            sample = self._sink.emit("try-pull-sample", int(POLL_S * self._gst.SECOND))
            if sample is not None:
                self._sample = sample
                return
            trouble = self._trouble()
            if trouble is not None:
                raise trouble
            if self._sink.get_property("eos"):
                raise failure(self._site, "the pipeline has ended; check its source", "connection")
        raise failure(self._site, f"the pipeline gave no picture in {timeout_s:g} s; check its source", "timeout")

    def _find_sink(self) -> Any:
        # A description of one element gives that element, which has no sinks within.
        sinks: Any = self._pipeline.iterate_sinks() if hasattr(self._pipeline, "iterate_sinks") else None
        while sinks is not None:  # a Python loop over it needs the package python3-gst-1.0
            result, element = sinks.next()
            if result != self._gst.IteratorResult.OK:
                break
            if element.get_factory().get_name() == "appsink":
                return element
        raise failure(self._site, "expected a pipeline with an appsink at its end, got none", "unsupported")

    def _trouble(self) -> SourceError | None:
        """Return what the pipeline has reported, if it has."""
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return None
        error, _ = message.parse_error()
        return failure(
            self._site,
            f"GStreamer cannot go on ({error.message}); try the pipeline with gst-launch-1.0",
            _kind(self._gst, error),
        )


def _kind(gst: Any, error: Any) -> FailureKind:
    resource, stream, core = gst.ResourceError, gst.StreamError, gst.CoreError
    table: list[tuple[Any, Any, FailureKind]] = [
        (gst.resource_error_quark(), resource.NOT_FOUND, "not-found"),
        (gst.resource_error_quark(), resource.NOT_AUTHORIZED, "credentials"),
        (gst.resource_error_quark(), resource.BUSY, "busy"),
        (gst.resource_error_quark(), resource.NO_SPACE_LEFT, "bandwidth"),
        (gst.stream_error_quark(), stream.CODEC_NOT_FOUND, "codec"),
        (gst.stream_error_quark(), stream.DECODE, "codec"),
        (gst.stream_error_quark(), stream.WRONG_TYPE, "codec"),
        (gst.core_error_quark(), core.MISSING_PLUGIN, "codec"),
    ]
    found: list[FailureKind] = [kind for quark, code, kind in table if error.matches(quark, code)]
    return found[0] if found else "connection"


def _as_opencv(rows_HW: Decoded, form: str) -> Decoded:
    """Return rows of bytes as OpenCV would: BGR (H, W, C), grey (H, W), 16-bit grey (H, W)."""
    if form == "GRAY16_LE":
        return rows_HW.view("<u2")
    if form == "GRAY8":
        return rows_HW
    image_HWC = rows_HW.reshape(rows_HW.shape[0], -1, BYTES_PER_PIXEL[form])[:, :, :3]
    return image_HWC[:, :, ::-1] if form.startswith("RGB") else image_HWC
