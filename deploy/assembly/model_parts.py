"""The parts of a run that compute: engine, thresholds, detectors; each refused here, before a camera opens."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.building.plans import rebuild
from deploy.detection.motion_detector import MotionDetector
from deploy.loop.healing import Healing
from deploy.thresholds.thresholds import fixed, from_manifest, load_thresholds
from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME
from engines.model_id import model_id
from engines.open import open_engine

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.detection.detector import Detector
    from deploy.settings.options import Options
    from deploy.thresholds.thresholds import Thresholds
    from engines.backend import Backend
    from engines.manifest import Manifest

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "engines" / "built"
DEMO_ENGINE = ROOT / "demo" / "engine"  # what make demo leaves, for whoever has built nothing yet
NO_THRESHOLD = "no identities: no threshold"


def newest_engine(built: Path) -> Path:
    """Return the engine folder whose manifest was written last; where nothing was built, the one of the demo."""
    # A folder whose name starts with a dot is being built at this moment.
    found = [path for path in built.glob(f"*/{MANIFEST_NAME}") if not path.parent.name.startswith(".")]
    manifests = sorted(found, key=lambda path: path.stat().st_mtime) or [*DEMO_ENGINE.glob(MANIFEST_NAME)]
    if not manifests:
        raise BadInput(f"expected an engine in {built}, found none; build one with deploy/build_engine.py")
    return manifests[-1].parent


def open_healing_engine(options: Options, threads: int, clock: Callable[[], float]) -> Healing[Backend]:
    """Open the engine, which must have a graph for every kind of camera, and know how to open it again."""
    folder = options.engine or newest_engine(BUILT)

    def open_it() -> Backend:
        return open_engine(
            folder,
            backend=options.backend,
            precision=options.precision,
            threads=threads,
            auto_build=options.auto_build,
            rebuild=rebuild,
        )

    backend = open_it()
    needed = {camera.modality for camera in options.cameras}
    missing = sorted(needed - {graph.modality for graph in backend.manifest.graphs})
    if missing:
        backend.close()
        cameras = [camera.name for camera in options.cameras if camera.modality in missing]
        raise BadInput(
            f"{folder}: expected an engine for {' and '.join(sorted(needed))} pictures, got none for {missing[0]} "
            f"(cameras {', '.join(cameras)}); rebuild it with deploy/build_engine.py, or leave these cameras out"
        )
    return Healing("engine", backend, clock, open_it)


def choose_thresholds(options: Options, manifest: Manifest) -> tuple[Thresholds | None, str]:
    """Return the thresholds and, for people, where they come from: command line, file, engine, or none."""
    if options.threshold is not None:
        return fixed(options.threshold), f"fixed at {options.threshold:g}"
    if options.thresholds is not None:
        # A site may lack directions: the engine's own stand in for them, read at the file's rate.
        found = load_thresholds(options.thresholds, model_id(manifest)).over(from_manifest(manifest))
        return found, f"{options.thresholds} ({found.source}, {found.created})"
    found = from_manifest(manifest)
    if found is None:
        log.warning(
            "threshold not calibrated for model %s: reporting similarities only, no identities; run "
            "deploy/calibrate_threshold.py, or give --threshold",
            model_id(manifest),
        )
        return None, NO_THRESHOLD
    return found, f"engine's own ({found.source})" if found.source else "engine's own"


def make_detectors(options: Options, threads: int, clock: Callable[[], float]) -> dict[str, Healing[Detector]]:
    """Return every camera's detector; cameras share one, but for those with boxes of their own."""
    from deploy.detection.file_detector import FileDetector

    found: dict[str, Healing[Detector]] = {
        camera.name: Healing("detector", FileDetector(camera.detections), clock)
        for camera in options.cameras
        if camera.detections is not None
    }
    rest = [camera.name for camera in options.cameras if camera.name not in found]
    if rest:
        shared = _shared_detector(options, threads, clock)
        found.update(dict.fromkeys(rest, shared))
    return found


def _shared_detector(options: Options, threads: int, clock: Callable[[], float]) -> Healing[Detector]:
    path = options.detector
    if path is None:
        return Healing("detector", MotionDetector(), clock, MotionDetector)
    from deploy.detection.open_detector import open_detector

    def open_it() -> Detector:
        return open_detector(path, threads=threads, auto_build=options.auto_build)

    return Healing("detector", open_it(), clock, open_it)
