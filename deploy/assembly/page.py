"""The operator's page of a run: its feed, its desk and its server, put together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.assembly.outputs import tell_page
from deploy.loop.mailbox import Mailbox
from deploy.web.desk import Desk
from deploy.web.desk_people import recent_stays
from deploy.web.faces import Faces
from deploy.web.feed import PageFeed
from deploy.web.page_state import PageState
from deploy.web.server import WebServer
from deploy.web.tiles import Tiles
from deploy.web.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack

    from deploy.assembly.outputs import Outputs
    from deploy.detection.detector import Detector
    from deploy.gallery.patient import PatientGallery
    from deploy.loop.healing import Healing
    from deploy.loop.run_state import Newest
    from deploy.matching.matcher import Matcher
    from deploy.settings.site_plan import CameraSite
    from deploy.thresholds.thresholds import Thresholds
    from engines.backend import Backend
    from engines.manifest import Manifest


@dataclass(frozen=True, kw_only=True, eq=False)
class PageRun:
    """What the page shows and asks of a run. `detector` finds people in single pictures; None: it cannot."""

    cameras: tuple[CameraSite, ...]
    backend: Healing[Backend]
    manifest: Manifest
    thresholds: Thresholds | None
    detector: Healing[Detector] | None
    gallery: PatientGallery
    matcher: Matcher
    newest: Newest
    clock: Callable[[], float]
    origin_s: float
    live: bool


@dataclass(frozen=True, eq=False)
class Page:
    """The feed is an onlooker and a sink of the loop, which serves the mailbox."""

    feed: PageFeed
    mailbox: Mailbox


def make_page(run: PageRun) -> Page:
    return Page(PageFeed(Tiles(), Faces(run.gallery), Timeline(origin_s=run.origin_s)), Mailbox())


def serve_page(page: Page, run: PageRun, outputs: Outputs, address: str, token: str | None, stack: ExitStack) -> None:
    """Listen; the stack ends it. Everything that needs the gallery or the engine goes through the mailbox."""
    desk = Desk(
        gallery=run.gallery,
        backend=run.backend,
        manifest=run.manifest,
        faces=page.feed.faces,
        timeline=page.feed.timeline,
        clock=run.clock if run.live else lambda: run.newest.state.time_s,
        origin_s=run.origin_s,
        detector=run.detector,
        thresholds=run.thresholds,
        live=run.matcher,
        evidence=page.feed.evidence,
        record=outputs.sink.write,
    )
    page.feed.tiles.names = desk.names()
    page.feed.timeline.remember(recent_stays(run.gallery))
    state = PageState(
        cameras=run.cameras,
        engine=f"{run.manifest.method} on {run.backend.part.name}",
        state=lambda: run.newest.state,
        mailbox=page.mailbox,
        desk=desk,
        tiles=page.feed.tiles,
        timeline=page.feed.timeline,
        recording=not run.live,
        healthz=outputs.health.alive,
        readyz=outputs.health.ready,
        remarks=outputs.health.remarks,
        metrics_text=outputs.metrics.text,
        clock=run.clock,
    )
    server = stack.enter_context(WebServer(address, token, state))
    stack.callback(page.mailbox.close)
    tell_page(server.url, token)
