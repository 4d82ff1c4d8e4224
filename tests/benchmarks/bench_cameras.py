"""How fast the camera loop is, where its time goes, and how late its records are.

The product as run_cameras.py puts it together, with INT8 ResNet-50 at 288 x 144 (random weights) and YOLOX-nano; half
of the streams infrared, 640 x 360, replayed from memory. "outside" is the share of the loop's own time that is spent
outside the two networks; waiting for pictures is not the loop's. Every case runs in turns and its fastest turn counts.
Live streams come at 24 pictures a second; the latency is from the moment a picture was due to its records.

Beside it the script that a user would otherwise write, in turns with ours: one picture after the other, every person of
every picture embedded, FP32 in ONNX Runtime with its default threads. Prints tables and one JSON line.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import json
import logging
import os
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as run_cameras.py has it, before NumPy is loaded

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from deploy.assembly.installation import Installation
    from deploy.cameras.pairing import Moment
    from deploy.loop.pipeline import Seen
    from deploy.sightings import RunEnd
    from engines.manifest import Modality
    from tests.benchmarks.camera_material import Clip

DETECTOR = Path(__file__).resolve().parents[3] / "shared" / "data" / "detectors" / "yolox_nano.onnx"
STREAMS, PEOPLE = (1, 2, 4), (0, 4, 16)
FRAMES = 240  # of a case, all streams together
LIVE_S = 8.0
THRESHOLD = 0.6
MODALITIES: tuple[Modality, Modality] = ("visible", "infrared")
TOOLS = ("openvino", "onnxruntime", "opencv-python", "numpy", "pillow")
Spread = tuple[float, float, float]  # 50th, 95th and 99th percentile


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is run. `video` and `page` are what people look at."""

    name: str
    streams: int
    people: int
    live: bool = False
    files: bool = False
    video: bool = False
    page: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One turn of a case. Frames a second of all streams; `cores`: processor's time by the wall's."""

    case: Case
    tracked: float  # people in a picture
    frames_per_s: float
    per_stream: float
    cpu_ms: float  # a frame, of the whole process
    cores: float
    outside: float
    dropped: float  # share of the pictures
    level: int  # of deploy.loop.load, at the end
    stage_ms: dict[str, Spread]  # of a round, that is of one frame of every stream
    latency_ms: Spread | None


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench_cameras", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="turns of every case (default: 2)")
    parser.add_argument("--quick", action="store_true", help="two streams, four people, one turn")
    parser.add_argument("--detector", type=Path, default=DETECTOR, metavar="FILE", help="YOLOX-nano as ONNX")
    parser.add_argument("--engine", type=Path, metavar="FOLDER", help="instead of random weights, which take 20 s")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_cameras", lambda: measure(args))


def measure(args: argparse.Namespace) -> None:
    from deploy.assembly.installation import quieten
    from engines.benchmark import cpu_name
    from engines.provenance import git_revision, tool_versions

    write = sys.stdout.write
    if not args.detector.exists():
        write(f"skipped: no {args.detector}; give --detector FILE (deploy/fetch_detector.py gets it)\n")
        return
    logging.disable(logging.WARNING)
    quieten()
    cases = list_cases(quick=args.quick)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        bench = prepare(Path(name), args, cases)
        bench.run(Case(name="warm-up", streams=2, people=4), frames=48)  # imports, first calls
        turns = [[bench.run(case) for case in cases] for _ in range(1 if args.quick else args.rounds)]
        rows = [max(same, key=lambda row: row.frames_per_s) for same in zip(*turns, strict=True)]
        ratios = compare(bench, args.detector, turns=2 if args.quick else 3)
    write(f"{cpu_name()}, load average {load:.1f} before the start\n")
    write_rows(rows)
    write(
        f"2 streams, 4 people against the obvious script: {ratios['frames_per_s']:.1f} x its frames a second, "
        f"{ratios['cpu']:.1f} x less processor time a frame ({ratios['script_cpu_ms']:.0f} ms)\n"
    )
    facts = {
        "bench": "cameras",
        "commit": git_revision(),
        "cpu": cpu_name(),
        "load_average": load,
        "tools": tool_versions(TOOLS),
        "against_a_script": ratios,
    }
    write(json.dumps({**facts, "rows": [dataclasses.asdict(row) for row in rows]}) + "\n")


def list_cases(*, quick: bool) -> list[Case]:
    two = Case(name="live", streams=2, people=4, live=True)
    if quick:
        return [Case(name="memory", streams=2, people=4), two]
    return [
        *(Case(name="memory", streams=streams, people=people) for streams in STREAMS for people in PEOPLE),
        Case(name="files", streams=2, people=4, files=True),
        Case(name="+ video", streams=2, people=4, files=True, video=True),
        Case(name="+ page", streams=2, people=4, files=True, page=True),
        two,
        Case(name="live", streams=4, people=4, live=True),
    ]


def write_rows(rows: Sequence[Row]) -> None:
    write = sys.stdout.write
    write(
        f"{'case':9}{'streams':>8}{'people':>8}{'tracked':>9}{'frames/s':>10}{'a stream':>10}{'CPU ms':>8}{'cores':>7}"
        f"{'outside':>9}{'dropped':>9}\n"
    )
    for row in rows:
        case = row.case
        write(
            f"{case.name:9}{case.streams:8}{case.people:8}{row.tracked:9.1f}{row.frames_per_s:10.1f}"
            f"{row.per_stream:10.1f}{row.cpu_ms:8.1f}{row.cores:7.2f}{row.outside:9.1%}{row.dropped:9.1%}\n"
        )
    write("ms a round: 50th / 95th / 99th percentile\n")
    for row in rows:
        stages = dict(row.stage_ms)
        if row.latency_ms is not None:
            stages["end to end"] = row.latency_ms
        told = ", ".join(f"{name} {a:.1f}/{b:.1f}/{c:.1f}" for name, (a, b, c) in stages.items() if c >= 0.05)
        write(f"  {row.case.name} {row.case.streams} x {row.case.people}: {told}\n")


def prepare(folder: Path, args: argparse.Namespace, cases: Sequence[Case]) -> Bench:
    """Render, build and write what the cases need."""
    from tests.benchmarks.camera_material import build_engine, render, write_video

    engine = args.engine or folder / "engine"
    if args.engine is None:
        engine.mkdir()
        build_engine(engine)
    counts = sorted({case.people for case in cases} | {4})
    clips: dict[tuple[Modality, int], Clip] = {
        (modality, people): render(modality, people) for modality in MODALITIES for people in counts
    }
    bench = Bench(folder=folder, engine=engine, detector=args.detector, clips=clips)
    if any(case.files for case in cases):
        for modality in MODALITIES:
            write_video(clips[modality, 4], bench.video(modality), FRAMES // 2)
    return bench


@dataclass(kw_only=True, eq=False)
class Watch:
    """Times the networks, the stages of every round, and how late a picture's records are."""

    clock: Callable[[], float]
    networks_s: float = 0.0
    waited_s: float = 0.0
    rounds: list[dict[str, float]] = field(default_factory=lambda: [defaultdict(float)])
    late_ms: list[float] = field(default_factory=list[float])
    boxes: int = 0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            before_s = time.perf_counter()
            answer = call(*arguments)
            self.networks_s += time.perf_counter() - before_s
            return answer

        return run

    def wait(self, moments: Iterable[Moment]) -> Iterator[Moment]:
        """Pass moments on; what their making took is not the loop's time."""
        stream = iter(moments)
        while True:
            before_s = time.perf_counter()
            moment = next(stream, None)
            self.waited_s += time.perf_counter() - before_s
            if moment is None:
                return
            yield moment
            self.rounds.append(defaultdict(float))

    def stage(self, name: str, seconds: float) -> None:
        self.rounds[-1][name] += 1000 * seconds

    def look(self, seen: Sequence[Seen], decide: object, state: object) -> None:
        self.boxes += sum(len(item.boxes) for item in seen)
        self.late_ms += [1000 * (self.clock() - item.frame.time_s) for item in seen]

    def end(self, key: object, decision: object) -> None: ...

    def stages(self) -> dict[str, Spread]:
        rounds = [found for found in self.rounds if found]
        names = list(dict.fromkeys(name for found in rounds for name in found))
        return {name: spread([found.get(name, 0.0) for found in rounds]) for name in names}


@dataclass(kw_only=True, eq=False)
class Bench:
    """The material of all cases."""

    folder: Path
    engine: Path
    detector: Path
    clips: Mapping[tuple[Modality, int], Clip]

    def video(self, modality: Modality) -> Path:
        return self.folder / f"{modality}.mp4"

    def run(self, case: Case, frames: int = FRAMES) -> Row:
        from deploy.assembly.installation import Clock, install, make_sources
        from deploy.settings.options import Options
        from deploy.settings.site_plan import CameraSite
        from tests.benchmarks.camera_material import FPS, ReplaySource

        kinds: list[Modality] = [MODALITIES[number % 2] for number in range(case.streams)]
        cameras = tuple(
            CameraSite(name=f"{kind}-{number}", uri=str(self.video(kind)), modality=kind, place=f"place {number // 2}")
            for number, kind in enumerate(kinds)
        )
        options = Options(
            cameras=cameras,
            engine=self.engine,
            detector=self.detector,
            threshold=THRESHOLD,
            sightings=self.folder / "sightings.jsonl",
            save=self.folder / "picture.mp4" if case.video else None,
            web=0 if case.page else None,
        )
        count = round(LIVE_S * FPS) if case.live else frames // case.streams
        clock = Clock(origin_s=time.monotonic(), started_s=time.time())
        with ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))  # it tells where the page is
            sources: list[Any] = [
                ReplaySource(self.clips[kind, case.people], frames=count, live=case.live, shift=40 * (number // 2))
                for number, kind in enumerate(kinds)
            ]
            if case.files:
                sources = list(make_sources(cameras, clock.origin_s))
            installation = install(options, clock, sources, stack)
            return run_watched(installation, case, clock)


def run_watched(installation: Installation, case: Case, clock: Callable[[], float]) -> Row:
    """Run an installation once with a watch on it."""
    from deploy.cameras.pairing import moments

    pipeline, watch = installation.pipeline, Watch(clock=clock)
    backend, detector = pipeline.backend.part, next(iter(pipeline.lanes.values())).detector.part
    for modality in MODALITIES:
        backend.embed(np.zeros((1, backend.manifest.height_px, backend.manifest.width_px, 3), np.uint8), modality)
    # Private, but the stages hold the work around the networks, which is what is measured.
    backend.embed = watch.timed(backend.embed)
    detector._graph = TimedGraph(detector._graph, watch)  # type: ignore[attr-defined]
    heard = pipeline.timing._heard

    def hear(name: str, seconds: float) -> None:
        watch.stage(name, seconds)
        if heard is not None:
            heard(name, seconds)

    pipeline.timing._heard = hear
    pipeline.onlookers.append(watch)
    stopped = installation.stop.is_set
    streams = moments(installation.cameras, stopped=stopped, idle=pipeline.tend)
    before_s, before_cpu_s = time.perf_counter(), time.process_time()
    end = pipeline.run(watch.wait(streams), stopped)
    wall_s, cpu_s = time.perf_counter() - before_s, time.process_time() - before_cpu_s
    installation.notifier.stopping()
    for camera in installation.cameras:
        camera.stop()
    return row_of(case, watch, end, wall_s, cpu_s, pipeline.governor.level)


def row_of(case: Case, watch: Watch, end: RunEnd, wall_s: float, cpu_s: float, level: int) -> Row:
    frames, dropped = sum(end.frames.values()), sum(end.dropped.values())
    return Row(
        case=case,
        tracked=round(watch.boxes / frames, 2),
        frames_per_s=round(frames / wall_s, 2),
        per_stream=round(frames / wall_s / case.streams, 2),
        cpu_ms=round(1000 * cpu_s / frames, 2),
        cores=round(cpu_s / wall_s, 2),
        outside=round(1 - watch.networks_s / (wall_s - watch.waited_s), 4),
        dropped=round(dropped / (frames + dropped), 4),
        level=level,
        stage_ms=watch.stages(),
        latency_ms=spread(watch.late_ms) if case.live else None,
    )


class TimedGraph:
    """A detector's graph under a watch."""

    def __init__(self, graph: Any, watch: Watch) -> None:
        self._graph, self.name, self._run = graph, graph.name, watch.timed(graph)

    def __call__(self, inputs: object) -> object:
        return self._run(inputs)

    def close(self) -> None:
        self._graph.close()


def compare(bench: Bench, detector: Path, turns: int) -> dict[str, float]:
    """Return how the product stands against a script, at 2 streams and 4 people: medians of runs in turns."""
    from tests.benchmarks.camera_script import Script

    case = Case(name="memory", streams=2, people=4)
    script = Script(detector, {kind: bench.engine / f"{kind}.fp32.onnx" for kind in MODALITIES})
    clips = [bench.clips[kind, 4] for kind in MODALITIES]
    script.run(clips, 2)
    ours: list[Row] = []
    theirs: list[tuple[float, float]] = []  # seconds and processor seconds a frame
    for _ in range(turns):
        ours.append(bench.run(case, frames=120))
        before_s, before_cpu_s = time.perf_counter(), time.process_time()
        frames = script.run(clips, 16)
        theirs.append(((time.perf_counter() - before_s) / frames, (time.process_time() - before_cpu_s) / frames))
    pairs = list(zip(ours, theirs, strict=True))
    return {
        "frames_per_s": round(float(np.median([row.frames_per_s * wall_s for row, (wall_s, _) in pairs])), 2),
        "cpu": round(float(np.median([1000 * cpu_s / row.cpu_ms for row, (_, cpu_s) in pairs])), 2),
        "script_cpu_ms": round(float(np.median([1000 * cpu_s for _, cpu_s in theirs])), 1),
    }


def spread(values: Sequence[float] | NDArray[np.float64]) -> Spread:
    low, high, highest = np.percentile(values, [50, 95, 99]).tolist()
    return round(low, 2), round(high, 2), round(highest, 2)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
