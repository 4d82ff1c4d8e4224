"""Whether a camera loop that runs for weeks needs more memory every day.

The real loop with everything that keeps something (tracks, matcher, gallery, faces, timeline, page, picture, metrics,
records) over 100,000 frames of a visible and an infrared camera, which a script draws; detector and engine are a few
lines, and the time is the frames', two a second: seven hours. Somebody comes every six seconds and stays for twelve,
but for a quiet minute every half hour; every second one comes back sooner or later. The gallery forgets after half an
hour. A process of its own for every kind of gallery.

Memory is measured ten times; caches and the pools of malloc fill in the first half, so in the second it may not grow.
Containers that are longer in the second half than in the first are named. Prints a table and one JSON line.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import logging
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from deploy.cameras.pairing import Moment
    from deploy.detection.detector import Detector
    from deploy.loop.pipeline import Pipeline
    from deploy.web.feed import PageFeed

    Pixels = NDArray[np.uint8]

FRAMES = 100_000
SAMPLES = 10
KEEP_S = 1800.0
STORES = ("memory", "sqlite")
MOST_STAYS = 500  # of the timeline, whose own 5000 would not be reached before 60,000 frames
FLAT_MB = 0.5  # in 10,000 frames: noise
LONGER = 1.2  # than in the first half, before a container is named


@dataclass(frozen=True, kw_only=True)
class Row:
    """One gallery. `memory_mb` after each tenth of the frames; `growing`: container, its most in the two halves."""

    store: str
    frames: int
    tracks: int
    identities: int
    seconds: float
    memory_mb: tuple[float, ...]
    growth_mb: float  # in 10,000 frames, from the second tenth on
    late_growth_mb: float  # in the second half
    flat: bool
    growing: tuple[tuple[str, int, int], ...]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_camera_memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=FRAMES, metavar="N", help="of both cameras (default: 100000)")
    parser.add_argument("--stores", nargs="+", choices=STORES, default=list(STORES), help="default: both")
    parser.add_argument("--child", choices=STORES, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    body = run_alone if args.child else measure
    return run_script("bench_camera_memory", lambda: body(args))


def measure(args: argparse.Namespace) -> None:
    from engines.benchmark import cpu_name
    from engines.provenance import git_revision

    write = sys.stdout.write
    rows: list[dict[str, Any]] = []
    for store in args.stores:
        command = [sys.executable, __file__, "--child", store, "--frames", str(args.frames)]
        output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        row: dict[str, Any] = json.loads(output)
        rows.append(row)
        memory = " ".join(f"{value:.1f}" for value in row["memory_mb"])
        write(
            f"{store:7} {row['frames']} frames, {row['tracks']} tracks, {row['identities']} identities in "
            f"{row['seconds']:.0f} s; MB after each tenth: {memory}; {row['growth_mb']:+.2f} MB in 10,000 frames, in "
            f"the second half {row['late_growth_mb']:+.2f}: {'flat' if row['flat'] else 'GROWS'}\n"
        )
        for name, first, second in row["growing"]:
            write(f"  longer: {name} {first} -> {second}\n")
    facts = {"bench": "camera memory", "commit": git_revision(), "cpu": cpu_name()}
    write(json.dumps({**facts, "rows": rows}) + "\n")


def run_alone(args: argparse.Namespace) -> None:
    """Run one store in this process and write its row."""
    logging.disable(logging.ERROR)
    samples: list[float] = []
    lengths: list[dict[str, int]] = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        site = Site(Path(name), args.child, args.frames // 2, stack)
        every = max(1, args.frames // 2 // SAMPLES)

        def look(rounds: int) -> None:
            if rounds % every == 0:
                site.ask_everything()
                gc.collect()
                samples.append(resident_mb())
                lengths.append(container_lengths(site.pipeline))

        before_s = time.perf_counter()
        end = site.run(look)
        seconds = time.perf_counter() - before_s
    start, late = len(samples) // 5, growth_of(samples, len(samples) // 2, args.frames)
    row = Row(
        store=args.child,
        frames=sum(end.frames.values()),
        tracks=sum(end.tracks.values()),
        identities=end.identities,
        seconds=round(seconds, 1),
        memory_mb=tuple(round(value, 1) for value in samples),
        growth_mb=growth_of(samples, start, args.frames),
        late_growth_mb=late,
        flat=late <= FLAT_MB,
        growing=tuple(longer(lengths[start:])),
    )
    sys.stdout.write(json.dumps(dataclasses.asdict(row)) + "\n")


def growth_of(samples: Sequence[float], start: int, frames: int) -> float:
    """Return the slope of a line through the samples from start on, for 10,000 frames."""
    slope = float(np.polyfit(np.arange(len(samples) - start), samples[start:], 1)[0])
    return round(slope * len(samples) * 10_000 / frames, 3)


class Nowhere:
    """A window that nobody sees."""

    def show(self, image_HWC: Pixels, time_s: float) -> None: ...

    def close(self) -> None: ...


class Site:
    """Two cameras of one place and everything that a run can have, opened."""

    def __init__(self, folder: Path, store: str, frames: int, stack: ExitStack) -> None:
        from deploy.assembly.onlookers import PictureOnlooker
        from deploy.cameras.camera import Camera
        from deploy.drawing.display import Display
        from deploy.gallery import open_gallery
        from deploy.gallery.patient import PatientGallery
        from deploy.loop.healing import Healing
        from deploy.loop.lane import Lane
        from deploy.loop.metrics import Metrics
        from deploy.loop.pipeline import Pipeline
        from deploy.loop.reporting import Reporter
        from deploy.loop.run_state import Newest
        from deploy.loop.stage_clock import StageClock
        from deploy.matching.matcher import Matcher
        from deploy.matching.rules import SiteRules
        from deploy.settings.site_plan import CameraSite
        from deploy.sinks.fan_out import FanOut
        from deploy.sinks.jsonl import JsonlFile
        from deploy.thresholds.thresholds import fixed
        from deploy.tracking.crops import CropSelector
        from deploy.tracking.tracker import Tracker
        from deploy.web.faces import Faces
        from deploy.web.feed import PageFeed
        from deploy.web.tiles import Tiles
        from deploy.web.timeline import Timeline
        from tests.benchmarks.camera_drawn import DIM, ColourBackend, DrawnDetector, DrawnSource, drawn_manifest

        detector = DrawnDetector()

        def clock() -> float:
            return detector.now_s

        sites = [
            CameraSite(name="door", uri="drawn", modality="visible", place="door"),
            CameraSite(name="door-ir", uri="drawn", modality="infrared", band="nir", place="door"),
        ]
        arrival, newest = threading.Condition(), Newest()
        opened = open_gallery("memory" if store == "memory" else str(folder / "gallery.db"), "drawn", DIM)
        gallery = PatientGallery(opened, clock)
        stack.callback(gallery.close)
        matcher = Matcher(gallery, fixed(0.8), SiteRules(sites, ()))
        self.feed: PageFeed = PageFeed(Tiles(), Faces(gallery), Timeline(most_stays=MOST_STAYS))
        sink = stack.enter_context(FanOut([JsonlFile(folder / "sightings.jsonl", most_mb=5.0)], [self.feed]))
        self.metrics = Metrics(lambda: newest.state, clock, live=True)
        timing = StageClock(time.perf_counter, self.metrics.stage)
        self.cameras = [
            stack.enter_context(Camera(site, DrawnSource(frames), arrival=arrival, clock=clock)) for site in sites
        ]
        display = Display([(camera.name, camera.size_px) for camera in self.cameras])
        picture = PictureOnlooker(display, [Nowhere()], "colours", "", lambda: timing.rate)
        shared: Healing[Detector] = Healing("detector", detector, clock)
        self.pipeline: Pipeline = Pipeline(
            lanes={
                camera.name: Lane(camera=camera, detector=shared, tracker=Tracker(), selector=CropSelector())
                for camera in self.cameras
            },
            backend=Healing("engine", ColourBackend(drawn_manifest()), clock),
            manifest=drawn_manifest(),
            matcher=matcher,
            gallery=gallery,
            reporter=Reporter(sink=sink, matcher=matcher, report_every=10),
            sink=sink,
            timing=timing,
            clock=clock,
            live=True,
            keep_s=KEEP_S,
            onlookers=[self.metrics, self.feed, picture],
            sinks=sink.states,
            newest=newest,
        )

    def run(self, look: Callable[[int], None]) -> Any:
        from deploy.cameras.pairing import moments

        stream = moments(self.cameras, stopped=lambda: False, idle=self.pipeline.tend)
        return self.pipeline.run(looked(stream, look), lambda: False)

    def ask_everything(self) -> None:
        """Ask what a browser and a collector of metrics would."""
        self.metrics.text()
        self.feed.timeline.stays()
        self.feed.timeline.similarities()
        for camera in self.cameras:
            self.feed.tiles.newest(camera.name)
        for person in self.pipeline.gallery.people():
            for modality in ("visible", "infrared"):
                self.feed.faces.version(person.identity, modality)


def looked(moments: Iterable[Moment], look: Callable[[int], None]) -> Iterator[Moment]:
    for number, moment in enumerate(moments, start=1):
        yield moment
        look(number)


def resident_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024 / 1e6


def container_lengths(root: object) -> dict[str, int]:
    """Return how much is in every container that hangs on root, by the way to it; bytes of arrays."""
    found: defaultdict[str, int] = defaultdict(int)
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("pipeline", root)]
    while waiting:
        name, thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            found[f"{name} (bytes)"] += thing.nbytes
        elif isinstance(thing, dict):
            found[name] += len(thing)
            waiting += [(f"{name}[]", value) for value in list(thing.values())]
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            found[name] += len(thing)
            waiting += [(f"{name}[]", value) for value in list(thing)]
        elif type(thing).__module__.startswith(("deploy", "calib", "engines", "__main__")):
            slots = {slot: getattr(thing, slot, None) for slot in getattr(type(thing), "__slots__", ())}
            values = {**slots, **getattr(thing, "__dict__", {})}
            waiting += [(f"{name}.{key}", value) for key, value in values.items()]
    return dict(found)


def longer(samples: Sequence[dict[str, int]]) -> list[tuple[str, int, int]]:
    """Return the containers whose most in the second half is above that in the first."""
    half = len(samples) // 2
    most = [{name: max(sample.get(name, 0) for sample in part) for name in samples[-1]}
            for part in (samples[:half], samples[half:])]  # fmt: skip
    return sorted(
        (name, most[0][name], most[1][name])
        for name in samples[-1]
        if most[1][name] > LONGER * most[0][name] + 50  # a few are chance
    )


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
