"""Where a run's records, pictures and numbers go, put together from its options."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.assembly.onlookers import CropOnlooker, PictureOnlooker
from deploy.drawing.display import Display
from deploy.drawing.viewers import VideoRecorder, open_window
from deploy.loop.health import Health
from deploy.loop.metrics import Metrics
from deploy.settings.options import secret
from deploy.sinks.fan_out import FanOut
from deploy.sinks.jsonl import JsonlFile
from deploy.tracking.crop_recorder import CropRecorder
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.cameras.camera import Camera
    from deploy.drawing.viewers import Viewer
    from deploy.loop.pipeline import Onlooker
    from deploy.loop.run_state import Newest
    from deploy.settings.options import Options
    from deploy.sightings import Sink
    from deploy.sinks.worker import Destination

log = logging.getLogger(__name__)

LIVE_VIDEO_FPS = 15.0


@dataclass(kw_only=True, eq=False)
class Outputs:
    """What a run writes to; `onlookers` and `direct` are called by the loop's thread."""

    sink: FanOut
    metrics: Metrics
    health: Health
    onlookers: list[Onlooker] = field(default_factory=list["Onlooker"])


def open_outputs(
    options: Options,
    stack: ExitStack,
    newest: Newest,
    clock: Callable[[], float],
    direct: Sequence[Sink],
    *,
    live: bool,
) -> Outputs:
    """Open the sinks and the recorder of crops; the stack closes them."""
    destinations: list[Destination] = [JsonlFile(options.sightings)]
    if options.mqtt is not None:
        from deploy.sinks.mqtt import MqttDestination

        password = os.environ.get("CROSSLIGHT_MQTT_PASSWORD")
        destinations.append(MqttDestination(options.mqtt, lambda: newest.state, password))
    if options.webhook is not None:
        from deploy.sinks.webhook import Webhook

        destinations.append(Webhook(options.webhook, os.environ.get("CROSSLIGHT_WEBHOOK_TOKEN")))
    sink = stack.enter_context(FanOut(destinations, direct))
    metrics = Metrics(lambda: newest.state, clock, live=live)
    outputs = Outputs(sink=sink, metrics=metrics, health=Health(lambda: newest.state, clock), onlookers=[metrics])
    if options.record_crops is not None:
        outputs.onlookers.append(CropOnlooker(stack.enter_context(CropRecorder(options.record_crops))))
    return outputs


def open_picture(
    options: Options,
    stack: ExitStack,
    cameras: Sequence[Camera],
    engine: str,
    legend: str,
    rate: Callable[[], float],
    stop: Callable[[], None],
) -> list[Onlooker]:
    """Return who draws the annotated picture, where a window or a video was asked for and can be had."""
    display = Display([(camera.name, camera.size_px) for camera in cameras])
    viewers: list[Viewer] = []
    if options.save is not None:
        live = any(camera.live for camera in cameras)
        fps = LIVE_VIDEO_FPS if live else max(camera.fps for camera in cameras)
        viewers.append(VideoRecorder(options.save, fps, display.size_px))
    window = open_window("Crosslight", stop) if options.show else None
    if window is not None:
        viewers.append(window)
    for viewer in viewers:
        stack.callback(viewer.close)
    return [PictureOnlooker(display, viewers, engine, legend, rate)] if viewers else []


def page_address(options: Options) -> tuple[str, str | None] | None:
    """Return where the page listens and its token; None: no page was asked for."""
    if options.web is None and options.listen is None:
        return None
    if options.web is not None and options.listen is not None:
        raise BadInput("expected --web (this machine only) or --listen (others too), got both")
    address = options.listen if options.listen is not None else f"127.0.0.1:{options.web}"
    return address, secret(options.token, "CROSSLIGHT_TOKEN")


def tell_page(url: str, token: str | None) -> None:
    """Write where the page is, once; with the token on a terminal only, never in a log."""
    shown = f"{url}?token={token}" if token and sys.stderr.isatty() else url
    sys.stderr.write(f"page: {shown}\n")
