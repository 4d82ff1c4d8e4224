"""Which source a camera's URI stands for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from deploy.sources.source import SourceError, failure
from engines.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings.site_plan import CameraSite
    from deploy.sources.source import Source

SCHEMES = ("rtsp", "rtsps", "http", "https", "csi", "file")
EXPECTED = (
    "expected a device (0, /dev/video2, /dev/v4l/by-id/...), an address (rtsp://, rtsps://, http://, https://), "
    "csi://0, gst:PIPELINE, synthetic:, a video file or a folder of images"
)


def make_source(
    site: CameraSite,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    start_s: float | None = None,
) -> Source:
    """Return the unopened source of a camera; raise SourceError for what can be known at once.

    start_s is when frame 0 of a recording with realtime=True is due, on clock; give one for all cameras of a run.
    realtime=None is taken as False.
    """
    # Here and not above: a source brings its libraries, and the device nodes' file needs this package.
    from deploy.sources.opencv_capture import prepare_environment
    from deploy.sources.pacing import PacedSource

    prepare_environment()
    source = _make(site, clock, sleep)
    if not site.realtime or (source.live and not site.uri.startswith(("http://", "https://"))):
        return source
    return PacedSource(source, site, clock=clock, sleep=sleep, start_s=start_s)


def _make(site: CameraSite, clock: Callable[[], float], sleep: Callable[[float], None]) -> Source:
    uri = site.uri
    if uri.isdigit() or uri.startswith("/dev/"):
        from deploy.sources.device import DeviceSource

        return DeviceSource(site)
    if uri.startswith("synthetic:"):
        from deploy.sources.synthetic import SyntheticSource

        return SyntheticSource(uri.removeprefix("synthetic:"), site.modality, clock=clock, sleep=sleep)
    if uri.startswith(("gst:", "csi://")):
        from deploy.sources.gstreamer import PipelineSource, csi_pipeline, user_pipeline

        return PipelineSource(csi_pipeline(site) if uri.startswith("csi") else user_pipeline(site), site)
    scheme = uri.split("://", 1)[0].lower() if "://" in uri else ""
    if scheme in ("", "file"):
        return _make_recording(site, Path(unquote(uri[7:]) if scheme else uri))
    return _make_stream(site, scheme, clock)


def _make_recording(site: CameraSite, path: Path) -> Source:
    from deploy.sources.recording import IMAGE_SUFFIXES, ImagesSource, VideoSource

    try:
        if path.is_dir() or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
            return ImagesSource(path, site)
        if path.is_file():
            return VideoSource(path, site)
    except OSError as error:  # a name too long, or a folder on the way that is closed to us
        raise failure(site, f"{EXPECTED}, got a path that cannot be read: {error.strerror}", "permission") from None
    raise failure(site, f"{EXPECTED}; there is no such file", "not-found", permanent=True)


def _make_stream(site: CameraSite, scheme: str, clock: Callable[[], float]) -> Source:
    from deploy.sources.stream import StreamSource

    if scheme not in SCHEMES:
        hint = did_you_mean(scheme, SCHEMES, shown="{}://".format)
        raise failure(site, f"{EXPECTED}, got a {scheme}:// address{hint}", "unsupported")
    if any(character.isspace() for character in site.uri):
        # Where the password ends could not be told, so nothing of it is shown.
        reason = "an address cannot hold white space; write a blank as %20"
        raise SourceError(f"camera {site.name!r} {scheme}://***: {reason}", kind="unsupported")
    return StreamSource(site, clock=clock)
