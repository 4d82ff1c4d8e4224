"""Cameras through GStreamer: CSI sensors, hardware decoding, and pipelines of one's own.

An OpenCV from pip has no GStreamer. Then python3-gi (the system's, with Gst and GstApp) is used, and without both there
is a message. Checked here with GStreamer 1.22 through gi; OpenCV's own GStreamer backend and NVIDIA's elements
(nvarguscamerasrc, nvv4l2decoder, nvvidconv) exist on a Jetson only and were not run.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from deploy.sources.opencv_capture import CaptureSource
from deploy.sources.source import failure

if TYPE_CHECKING:
    from deploy.settings.site_plan import CameraSite
    from deploy.sources.address import Address
    from deploy.sources.opencv_capture import Capture

CSI_SIZE_PX = (1920, 1080)
CSI_FPS = 30.0
LATENCY_MS = 200  # of rtspsrc's buffer against jitter; its own default is 2000
DECODER_PLUGIN = "gstreamer-1.0/libgstnvvideo4linux2.so"
LIBRARY_FOLDERS = (Path("/usr/lib/aarch64-linux-gnu"), Path("/usr/lib"))
DEPAYLOADERS = {"H264": "rtph264depay ! h264parse", "H265": "rtph265depay ! h265parse"}
# One waiting picture, the newest: a live camera is not waited for.
SINK = "appsink name=pictures drop=true max-buffers=1 sync=false"


class PipelineSource(CaptureSource):
    """A live GStreamer pipeline that ends in an appsink."""

    live = True

    def __init__(self, pipeline: str, site: CameraSite) -> None:
        super().__init__(site)
        self._pipeline = pipeline
        check_gstreamer(site)

    def open(self) -> None:
        self._accept(open_pipeline(self._pipeline, self._site), default_fps=self._site.fps or CSI_FPS)


def check_gstreamer(site: CameraSite) -> None:
    """Raise SourceError where neither OpenCV nor this Python has GStreamer."""
    if opencv_has_gstreamer() or gi_has_gstreamer():
        return
    reason = (
        f"needs OpenCV with GStreamer; this opencv-python {cv2.__version__} has none. On Jetson: install python3-gi "
        "and gir1.2-gst-plugins-base-1.0 where this Python sees them, or use the OpenCV of NVIDIA's L4T image"
    )
    raise failure(site, reason, "unsupported")


def opencv_has_gstreamer() -> bool:
    """Tell whether this OpenCV was built with GStreamer."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


def gi_has_gstreamer() -> bool:
    """Tell whether this Python has python3-gi with Gst and GstApp."""
    if importlib.util.find_spec("gi") is None:
        return False
    from deploy.sources.gi_capture import load_gst

    return load_gst() is not None


def open_pipeline(pipeline: str, site: CameraSite) -> Capture:
    """Start a pipeline, through OpenCV where it can; raise SourceError with the reason where it does not run."""
    if not opencv_has_gstreamer():
        from deploy.sources.gi_capture import GiCapture

        return GiCapture(pipeline, site)
    capture = cv2.VideoCapture(pipeline, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        capture.release()
        reason = (
            f"GStreamer did not start the pipeline {pipeline!r}; try it with gst-launch-1.0, which gives the reason"
        )
        raise failure(site, reason, "connection")
    return capture


def csi_pipeline(site: CameraSite) -> str:
    """Return the pipeline of a Jetson's CSI sensor, scaled and converted by its video unit as far as it can."""
    sensor = site.uri.removeprefix("csi://").strip("/") or "0"
    if not sensor.isdigit():
        raise failure(site, f"expected csi:// and a sensor's number, such as csi://0, got {sensor!r}", "unsupported")
    width, height = site.size_px or CSI_SIZE_PX
    fps = round(site.fps or CSI_FPS)
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1 ! {_from_nvmm()} ! {SINK}"
    )


def user_pipeline(site: CameraSite) -> str:
    """Return the pipeline of a gst: URI; where it has no appsink, conversion and one are put behind it."""
    pipeline = site.uri.removeprefix("gst:").strip()
    if not pipeline:
        raise failure(
            site, "expected gst: and a pipeline, such as gst:v4l2src device=/dev/video0, got none", "unsupported"
        )
    if "appsink" in pipeline:
        return pipeline
    form = "GRAY16_LE" if (site.format or "").strip().upper() == "Y16" else "BGR"
    return f"{pipeline} ! videoconvert ! video/x-raw,format={form} ! {SINK}"


def nvdec_pipeline(address: Address, codec: str) -> str | None:
    """Return the pipeline that decodes an RTSP stream on a Jetson; None where the codec is not one that it decodes.

    No enable-max-performance: JetPack 7 has dropped the property, and a pipeline that names it does not start.
    """
    if codec not in DEPAYLOADERS:
        return None
    account = ""
    if address.user is not None:
        account = f"user-id={quoted(address.user)} user-pw={quoted(address.password)} "
    return (
        f"rtspsrc location={quoted(address.bare)} {account}protocols=tcp latency={LATENCY_MS} drop-on-latency=true ! "
        f"{DEPAYLOADERS[codec]} ! nvv4l2decoder ! {_from_nvmm()} ! {SINK}"
    )


def has_nvdec(folders: tuple[Path, ...] = LIBRARY_FOLDERS) -> bool:
    """Tell whether NVIDIA's decoder and a way to GStreamer are here."""
    return any((folder / DECODER_PLUGIN).exists() for folder in folders) and (
        opencv_has_gstreamer() or gi_has_gstreamer()
    )


def quoted(text: str) -> str:
    """Return text as one value of a pipeline's description."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _from_nvmm() -> str:
    # The video unit gives no 24 bits a pixel: it leaves BGRx, and the CPU drops the fourth byte.
    return "nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"
