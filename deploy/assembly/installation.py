"""Cameras, an engine, a detector, a gallery and the outputs, put together and run once.

The order is that of a start: what can be refused is refused before a camera opens, and nothing is written before.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from deploy.alignment.alignment import load_alignment
from deploy.assembly.model_parts import choose_thresholds, make_detectors, open_healing_engine
from deploy.assembly.onlookers import EvidenceOnlooker
from deploy.assembly.outputs import open_outputs, open_picture, page_address
from deploy.assembly.page import PageRun, make_page, serve_page
from deploy.cameras.camera import Camera
from deploy.cameras.device_nodes import explain_refusal
from deploy.cameras.pairing import moments
from deploy.cameras.redact import redact
from deploy.detection.file_detector import FileDetector
from deploy.detection.motion_detector import MotionDetector
from deploy.gallery import GalleryError, open_gallery
from deploy.gallery.patient import PatientGallery
from deploy.loop.lane import Lane
from deploy.loop.pipeline import Pipeline
from deploy.loop.reporting import Reporter
from deploy.loop.run_state import Newest
from deploy.loop.service import Notifier
from deploy.loop.stage_clock import StageClock
from deploy.loop.stopping import stop_on_signals
from deploy.matching.matcher import Matcher
from deploy.matching.rules import SiteRules
from deploy.sightings import RunStart
from deploy.sources import make_source
from deploy.tracking.assignment import warm_up
from deploy.tracking.crops import CropSelector, crop_settings
from deploy.tracking.tracker import Tracker, TrackerSettings
from engines.errors import BadInput
from engines.model_id import model_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.alignment.alignment import Alignment
    from deploy.detection.detector import Detector
    from deploy.gallery import Gallery
    from deploy.loop.healing import Healing
    from deploy.settings.options import Options
    from deploy.settings.site_plan import CameraSite
    from deploy.sightings import RunEnd
    from deploy.sources import Source
    from deploy.thresholds.recorder import EvidenceRecorder
    from deploy.thresholds.thresholds import Thresholds
    from engines.backend import Backend
    from engines.manifest import Manifest

log = logging.getLogger(__name__)

DAY_S = 86400.0
MOST_EXACT = 10_000  # tracklets of about five embeddings: an exact search of 50,000 takes 30 ms


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The run's clock: monotonic seconds since the start; `started_s` is the absolute time of its zero."""

    origin_s: float
    started_s: float

    def __call__(self) -> float:
        return time.monotonic() - self.origin_s


def run(options: Options) -> int:
    """Run until the streams end or a signal comes."""
    quieten()
    clock = Clock(origin_s=time.monotonic(), started_s=time.time())
    sources = make_sources(options.cameras, clock.origin_s)
    with ExitStack() as stack:
        installation = install(options, clock, sources, stack)
        end = installation.run()
    # With what the sinks could not deliver at the end.
    lost = {name: sink.lost for name, sink in installation.pipeline.sinks().items()}
    sys.stderr.write(summarise(dataclasses.replace(end, lost_records=lost), options))
    return 0


def collect_evidence(options: Options, recorder: EvidenceRecorder, *, seconds: float) -> None:
    """Run a site's cameras for a while and give what is seen to the recorder; nothing else is kept or written."""
    quieten()
    clock = Clock(origin_s=time.monotonic(), started_s=time.time())
    alone = dataclasses.replace(
        options, sightings=Path(os.devnull), gallery="memory", every_box=False, record_crops=None, save=None,
        show=False, web=None, listen=None, mqtt=None, webhook=None,
    )  # fmt: skip
    sources = make_sources(alone.cameras, clock.origin_s)
    with ExitStack() as stack:
        installation = install(alone, clock, sources, stack)
        pipeline, stop = installation.pipeline, installation.stop
        recorder.start(
            model=model_id(pipeline.manifest),
            engine=pipeline.backend.part.name,
            created=_utc(clock.started_s),
            grounds={camera.name: camera.ground for camera in options.cameras},
            alignment=lambda visible, infrared: installation.alignments.get((visible, infrared)),
        )
        pipeline.onlookers.append(EvidenceOnlooker(recorder))
        pipeline.attendants = [*pipeline.attendants, lambda: stop.set() if clock() > seconds else None]
        installation.run()


@dataclass(kw_only=True, eq=False)
class Installation:
    """Everything of a run, opened; `run` works until it ends."""

    pipeline: Pipeline
    cameras: Sequence[Camera]
    stop: threading.Event
    notifier: Notifier
    alignments: Mapping[tuple[str, str], Alignment]  # by visible and infrared camera

    def run(self) -> RunEnd:
        pipeline = self.pipeline
        self.notifier.ready(f"{len(self.cameras)} cameras")
        try:
            streams = moments(self.cameras, stopped=self.stop.is_set, idle=pipeline.tend)
            return pipeline.run(streams, self.stop.is_set)
        finally:
            self.notifier.stopping()
            for camera in self.cameras:  # all at once, or a few that hang would take longer than an end may
                camera.stop()


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """What recognises people."""

    backend: Healing[Backend]
    manifest: Manifest
    thresholds: Thresholds | None
    told: str  # where the thresholds come from
    detectors: dict[str, Healing[Detector]]

    @property
    def picture_detector(self) -> Healing[Detector] | None:
        """What finds people in a single picture, which takes a network."""
        networks = [
            item for item in self.detectors.values() if not isinstance(item.part, MotionDetector | FileDetector)
        ]
        return networks[0] if networks else None


def install(options: Options, clock: Clock, sources: Sequence[Source], stack: ExitStack) -> Installation:
    """Open everything of a run in the order of a start; the stack closes it in the other order."""
    page_at = page_address(options)
    warm_up()
    model = open_model(options, clock, stack)
    live = any(source.live for source in sources)
    kept = options.gallery != "memory"
    identifier = model_id(model.manifest)
    stop = stack.enter_context(stop_on_signals())  # before whatever must be closed in peace
    gallery = PatientGallery(open_gallery(options.gallery, identifier, model.manifest.embedding_dim), clock)
    stack.callback(gallery.close)
    if len(gallery) > MOST_EXACT and "qdrant" not in options.gallery:
        log.warning("gallery: %d tracklets: beyond %d a search is faster in qdrant:FOLDER", len(gallery), MOST_EXACT)
    # A recording's people are of no particular day, unless the gallery keeps them beside those of other runs.
    origin_s = begin_after(gallery, clock.started_s) if live or kept else 0.0
    alignments = {(pair.visible, pair.infrared): load_alignment(pair.alignment) for pair in options.pairs}
    matcher = Matcher(
        gallery,
        model.thresholds,
        SiteRules(options.cameras, options.transits),
        origin_s=origin_s,
        alignment=lambda visible, infrared: alignments.get((visible, infrared)),
    )
    newest = Newest()
    page = page_run = None
    if page_at is not None:
        page_run = PageRun(
            cameras=options.cameras,
            backend=model.backend,
            manifest=model.manifest,
            thresholds=model.thresholds,
            detector=model.picture_detector,
            gallery=gallery,
            matcher=matcher,
            newest=newest,
            clock=clock,
            origin_s=origin_s,
            live=live,
        )
        page = make_page(page_run)
    outputs = open_outputs(options, stack, newest, clock, [page.feed] if page else [], live=live)
    if page_at and page and page_run:
        serve_page(page, page_run, outputs, *page_at, stack)
    notifier = Notifier(clock)
    cameras = open_cameras(stack, options, sources, clock)
    for names, alignment in alignments.items():
        alignment.refuse_sizes(*names, {camera.name: camera.size_px for camera in cameras})
    timing = StageClock(time.perf_counter, outputs.metrics.stage)
    onlookers = [*outputs.onlookers, *([page.feed] if page else [])]
    onlookers += open_picture(
        options, stack, cameras, model.backend.part.name, model.told, lambda: timing.rate, stop.set
    )
    pipeline = Pipeline(
        lanes={
            camera.name: make_lane(camera, site, model.detectors[camera.name], options)
            for camera, site in zip(cameras, options.cameras, strict=True)
        },
        backend=model.backend,
        manifest=model.manifest,
        matcher=matcher,
        gallery=gallery,
        reporter=Reporter(
            sink=outputs.sink, matcher=matcher, report_every=options.embed_every, every_box=options.every_box
        ),
        sink=outputs.sink,
        timing=timing,
        clock=clock,
        live=live,
        max_frames=options.max_frames,
        keep_s=options.keep_days * DAY_S if live or kept else None,
        origin_s=origin_s,
        onlookers=onlookers,
        attendants=[notifier.alive, *([page.mailbox.serve] if page else [])],
        sinks=outputs.sink.states,
        threshold=model.told,
        newest=newest,
    )
    outputs.sink.write(run_start(options, model, clock))
    return Installation(pipeline=pipeline, cameras=cameras, stop=stop, notifier=notifier, alignments=alignments)


def begin_after(gallery: Gallery, started_s: float) -> float:
    """Return a run's start in absolute seconds: behind all that the gallery holds.

    A recording that was played fast left people in the future, and so does a clock that was set back. Nobody can be
    met again before having left. What is further ahead than a day is of another clock, and in nobody's way.
    """
    try:
        newest_s = max((person.last_s for person in gallery.people()), default=0.0)
    except GalleryError:  # told where it is used
        return started_s
    if not started_s <= newest_s < started_s + DAY_S:
        return started_s
    log.warning("gallery: somebody was last seen %.0f s from now; this run's times begin then", newest_s - started_s)
    return newest_s + 1.0


def open_model(options: Options, clock: Clock, stack: ExitStack) -> Model:
    """Open engine, thresholds and detectors."""
    cores = os.cpu_count() or 1
    threads = max(min(cores, 2), cores // 2)  # networks and decoding take turns on two cores; on more they share
    backend = open_healing_engine(options, threads, clock)
    stack.callback(backend.close)
    manifest = backend.part.manifest
    thresholds, told = choose_thresholds(options, manifest)
    detectors = make_detectors(options, threads, clock)
    for detector in {id(item): item for item in detectors.values()}.values():
        stack.callback(detector.close)
    return Model(backend=backend, manifest=manifest, thresholds=thresholds, told=told, detectors=detectors)


def make_sources(cameras: Sequence[CameraSite], start_s: float) -> list[Source]:
    """Return every camera's unopened source; beside a live one, recordings play at the speed of life."""
    sources = [make_source(camera, start_s=start_s) for camera in cameras]
    if not any(source.live for source in sources):
        return sources
    return [
        make_source(dataclasses.replace(camera, realtime=True), start_s=start_s)
        if not source.live and camera.realtime is None
        else source
        for camera, source in zip(cameras, sources, strict=True)
    ]


def open_cameras(stack: ExitStack, options: Options, sources: Sequence[Source], clock: Clock) -> list[Camera]:
    """Open all cameras at the same time; each waits for its first picture.

    Without patience a device that is not there ends the start, and so does a site of which no camera answers: both
    are what a wrong command line looks like. Beside one that works, the others are waited for.
    """
    if not options.patient:
        for refusal in filter(None, map(refusal_of_device, options.cameras)):
            raise BadInput(refusal)
    arrival = threading.Condition()
    cameras = [
        Camera(site, source, arrival=arrival, origin_s=clock.origin_s, patient=options.patient)
        for site, source in zip(options.cameras, sources, strict=True)
    ]
    for camera in cameras:
        camera.start()
    opened = [stack.enter_context(camera) for camera in cameras]
    states = [camera.health() for camera in opened]
    if not options.patient and all(state.frames == 0 and state.state in ("reconnecting", "silent") for state in states):
        raise BadInput(f"{states[0].reason or states[0].state}; no camera answers: --patient waits for them")
    return opened


def refusal_of_device(site: CameraSite) -> str:
    """Say why a device of this machine cannot be the camera; empty where it can, or where it is no device."""
    device = site.uri.isdigit() or site.uri.startswith("/dev/")
    refusal = explain_refusal(site.name, site.uri) if device else None
    return "" if refusal is None else refusal.reason


def make_lane(camera: Camera, site: CameraSite, detector: Healing[Detector], options: Options) -> Lane:
    """Return what works for one camera."""
    blobs = isinstance(detector.part, MotionDetector)
    settings = crop_settings(site, every_frames=options.embed_every, most_crops=options.most_crops)
    return Lane(
        camera=camera,
        detector=detector,
        tracker=Tracker(TrackerSettings(blobs=blobs)),
        selector=CropSelector(settings),
    )


def run_start(options: Options, model: Model, clock: Clock) -> RunStart:
    """Return the first record of a run."""
    thresholds, manifest = model.thresholds, model.manifest
    threshold = None if thresholds is None else thresholds.least("together", 1)
    return RunStart(
        started=_utc(clock.started_s),
        cameras={
            camera.name: {
                "modality": camera.modality,
                "band": camera.band or "",
                "place": camera.place,
                "source": redact(camera.uri),
            }
            for camera in options.cameras
        },
        engine=model.backend.part.name,
        model=model_id(manifest),
        method=manifest.method,
        threshold=threshold if threshold is not None and math.isfinite(threshold) else None,
        false_match_rate=None if thresholds is None else thresholds.false_match_rate,
        thresholds=redact(model.told),
        gallery=redact(options.gallery),
        embed_every=options.embed_every,
    )


def _utc(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat(timespec="milliseconds")


def summarise(end: RunEnd, options: Options) -> str:
    """Return the totals for people, in a few lines."""
    seconds = max(end.seconds, 1e-9)
    frames = ", ".join(
        f"{name} {count} frames ({count / seconds:.1f}/s, {end.dropped[name]} dropped"
        + (f", back {end.reconnects[name]} times)" if end.reconnects[name] else ")")
        for name, count in end.frames.items()
    )
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in sorted(end.stage_ms.items(), key=lambda item: -item[1]))
    rejects = ", ".join(f"{reason} {count}" for reason, count in end.rejects.items()) or "none"
    lines = [
        f"{end.reason} after {end.seconds:.1f} s: {frames}",
        f"tracks: {', '.join(f'{name} {count}' for name, count in end.tracks.items())}; identities: {end.identities}, "
        f"of which {end.matched_identities} seen by both kinds of cameras; crops rejected: {rejects}",
        f"ms per moment: {stages}",
        f"sightings: {options.sightings}" + (f"; video: {options.save}" if options.save else ""),
    ]
    lost = {name: count for name, count in end.lost_records.items() if count}
    if end.embed_failures or end.detect_failures or lost:
        told = ", ".join(f"{name} {count}" for name, count in lost.items()) or "none"
        lines.append(
            f"trouble: {end.embed_failures} batches not embedded, {end.detect_failures} rounds not detected, "
            f"records lost: {told}"
        )
    return "\n".join(lines) + "\n"


def quieten() -> None:
    """Leave the messages about what cannot be opened to us; FFmpeg reads its level when it is first used."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)  # its pool and the runtime's fight over the same cores
