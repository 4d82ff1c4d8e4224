"""Two cameras, an engine, a detector and the outputs, put together and run once."""

from __future__ import annotations

import logging
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

from deploy.camera import Camera
from deploy.crop_recorder import CropRecorder
from deploy.crops import CropSelector, CropSettings
from deploy.display import Display
from deploy.gallery import MemoryGallery
from deploy.matching import Matcher, MatchSettings
from deploy.motion_detector import MotionDetector
from deploy.pairing import moments
from deploy.pipeline import Lane, Pipeline
from deploy.plans import rebuild
from deploy.sightings import RunStart
from deploy.sinks.jsonl import JsonlSink
from deploy.sources import make_source
from deploy.stage_clock import StageClock
from deploy.stopping import stop_on_signals
from deploy.tracker import Tracker, TrackerSettings
from deploy.viewers import VideoRecorder, Viewer, open_window
from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME
from engines.open import open_engine

if TYPE_CHECKING:
    from deploy.detector import Detector
    from deploy.sightings import RunEnd
    from deploy.sources import Source
    from engines.backend import Backend
    from engines.manifest import Manifest, Modality

log = logging.getLogger(__name__)

BUILT = Path(__file__).resolve().parents[1] / "engines" / "built"
LIVE_VIDEO_FPS = 15.0


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line of run_cameras."""

    rgb: str
    ir: str
    engine: Path | None = None
    backend: str = "auto"
    precision: str | None = None
    auto_build: bool = False
    threshold: float | None = None
    embed_every: int = 10
    max_frames: int | None = None
    detector: Path | None = None
    ir_invert: bool = False
    sightings: Path = Path("sightings.jsonl")
    every_box: bool = False
    record_crops: Path | None = None
    save: Path | None = None
    show: bool = False

    def __post_init__(self) -> None:
        if self.embed_every < 1:
            raise BadInput(f"--embed-every: expected at least 1 frame, got {self.embed_every}")
        if self.max_frames is not None and self.max_frames < 1:
            raise BadInput(f"--max-frames: expected at least 1 frame, got {self.max_frames}")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise BadInput(f"--threshold: expected a cosine from -1 to 1, got {self.threshold}")
        if self.rgb == self.ir and self.rgb.isdigit():
            raise BadInput(f"--rgb and --ir: expected two cameras, got device {self.rgb} twice")


def run(options: Options) -> int:
    """Run until the streams end or a signal comes; everything is checked before a camera opens."""
    _quieten()
    sources = (make_source(options.rgb, "--rgb"), make_source(options.ir, "--ir"))
    with ExitStack() as stack:
        threads = max(1, (os.cpu_count() or 1) // 2)  # decoding and the loop want the rest
        folder = options.engine or newest_engine(BUILT)
        backend = stack.enter_context(
            open_engine(
                folder,
                backend=options.backend,
                precision=options.precision,
                threads=threads,
                auto_build=options.auto_build,
                rebuild=rebuild,
            )
        )
        detectors = _make_detectors(options, threads)
        recorder = None
        if options.record_crops is not None:
            recorder = stack.enter_context(CropRecorder(options.record_crops))
        stop = stack.enter_context(stop_on_signals())
        cameras = _open_cameras(stack, sources)
        settings = match_settings(backend.manifest, options.threshold)
        lanes = {
            camera.name: Lane(
                camera=camera,
                detector=detector,
                tracker=Tracker(TrackerSettings(blobs=options.detector is None)),
                selector=CropSelector(CropSettings(every_frames=options.embed_every)),
            )
            for camera, detector in zip(cameras, detectors, strict=True)
        }
        display = Display([(camera.name, camera.size_px) for camera in cameras])
        viewers = _open_viewers(stack, options, cameras, display, stop)
        sink = stack.enter_context(JsonlSink(options.sightings))
        pipeline = Pipeline(
            lanes=lanes,
            backend=backend,
            matcher=Matcher(MemoryGallery(), settings),
            sink=sink,
            timing=StageClock(time.perf_counter),
            report_every=options.embed_every,
            every_box=options.every_box,
            max_frames=options.max_frames,
            display=display,
            viewers=viewers,
            legend=_legend(settings),
            recorder=recorder,
        )
        sink.write(_run_start(backend, settings, options))
        streams = moments(cameras[0], cameras[1], stopped=stop.is_set)
        end = pipeline.run(streams, stop.is_set, lambda: sink.lost)
    sys.stderr.write(summarise(end, options))
    return 0


def newest_engine(built: Path) -> Path:
    """Return the engine folder whose manifest was written last."""
    # A folder whose name starts with a dot is being built at this moment.
    found = [path for path in built.glob(f"*/{MANIFEST_NAME}") if not path.parent.name.startswith(".")]
    manifests = sorted(found, key=lambda path: path.stat().st_mtime)
    if not manifests:
        raise BadInput(f"expected an engine in {built}, found none; build one with deploy/build_engine.py")
    return manifests[-1].parent


def match_settings(manifest: Manifest, threshold: float | None) -> MatchSettings:
    """Return the thresholds: the command line's, else the engine's, else none, which is said once."""
    known = manifest.matching
    chosen = known.get("threshold") if threshold is None else threshold
    if chosen is None:
        log.warning(
            "no threshold was measured for this engine: reporting similarities only, no identities; give --threshold"
        )
        return MatchSettings()
    if threshold is not None:
        return MatchSettings(threshold=threshold)
    return MatchSettings(
        threshold=float(chosen),
        recall_threshold=known.get("recall_threshold"),
        same_modality_threshold=known.get("same_modality_threshold"),
    )


def summarise(end: RunEnd, options: Options) -> str:
    """Return the totals for people, in a few lines."""
    seconds = max(end.seconds, 1e-9)
    frames = ", ".join(
        f"{name} {count} frames ({count / seconds:.1f}/s, {end.dropped[name]} dropped)"
        for name, count in end.frames.items()
    )
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in sorted(end.stage_ms.items(), key=lambda item: -item[1]))
    rejects = ", ".join(f"{reason} {count}" for reason, count in end.rejects.items()) or "none"
    lines = [
        f"{end.reason} after {end.seconds:.1f} s: {frames}",
        f"tracks: {', '.join(f'{name} {count}' for name, count in end.tracks.items())}; identities: {end.identities}, "
        f"of which {end.matched_identities} seen by both cameras; crops rejected: {rejects}",
        f"ms per moment: {stages}",
        f"sightings: {options.sightings}" + (f"; video: {options.save}" if options.save else ""),
    ]
    if end.embed_failures or end.lost_records:
        lines.append(f"trouble: {end.embed_failures} batches not embedded, {end.lost_records} records not written")
    return "\n".join(lines) + "\n"


def _quieten() -> None:
    """Leave the messages about what cannot be opened to us; FFmpeg reads its level when it is first used."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    cv2.setNumThreads(1)  # its pool and the runtime's fight over the same cores


def _open_cameras(stack: ExitStack, sources: tuple[Source, Source]) -> tuple[Camera, Camera]:
    arrival, origin_s = threading.Condition(), time.monotonic()
    modalities: tuple[Modality, Modality] = ("visible", "infrared")
    visible, infrared = (
        Camera(source, name=modality, modality=modality, arrival=arrival, origin_s=origin_s)
        for source, modality in zip(sources, modalities, strict=True)
    )
    return stack.enter_context(visible), stack.enter_context(infrared)


def _make_detectors(options: Options, threads: int) -> tuple[Detector, Detector]:
    if options.detector is None:
        return MotionDetector(), MotionDetector()
    from deploy.yolox_detector import YoloxDetector

    shared = YoloxDetector(options.detector, invert_infrared=options.ir_invert, threads=threads)
    return shared, shared


def _open_viewers(
    stack: ExitStack, options: Options, cameras: tuple[Camera, Camera], display: Display, stop: threading.Event
) -> list[Viewer]:
    viewers: list[Viewer] = []
    if options.save is not None:
        live = any(camera.live for camera in cameras)
        fps = LIVE_VIDEO_FPS if live else max(camera.fps for camera in cameras)
        viewers.append(VideoRecorder(options.save, fps, display.size_px))
    window = open_window("Crosslight", stop.set) if options.show else None
    if window is not None:
        viewers.append(window)
    for viewer in viewers:
        stack.callback(viewer.close)
    return viewers


def _legend(settings: MatchSettings) -> str:
    if settings.threshold is None:
        return "no threshold: similarities only"
    return f"match from {settings.threshold:.2f}"


def _run_start(backend: Backend, settings: MatchSettings, options: Options) -> RunStart:
    rate = backend.manifest.matching.get("false_match_rate") if options.threshold is None else None
    return RunStart(
        started=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        engine=backend.name,
        method=backend.manifest.method,
        threshold=settings.threshold,
        false_match_rate=rate,
        embed_every=options.embed_every,
    )
