"""A live run without threads and without waiting: scripted frames, parts that fail when they are told to, one clock.

Everything of the loop is real but cameras, detector and engine. People stand in a grid of the picture, sway, and are
told apart by their colour; who is in which picture when is the test's choice.

Shapes: H height, W width, C channel (3, RGB), B batch, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.cameras.frames import Frame
from deploy.cameras.pairing import Moment
from deploy.cameras.state import CameraHealth
from deploy.gallery import GalleryError, open_gallery
from deploy.gallery.patient import PatientGallery
from deploy.loop.healing import Healing
from deploy.loop.lane import Lane
from deploy.loop.load import LoadGovernor
from deploy.loop.pipeline import Pipeline
from deploy.loop.reporting import Reporter
from deploy.loop.stage_clock import StageClock
from deploy.matching.matcher import Matcher
from deploy.matching.rules import SiteRules
from deploy.settings.site_plan import CameraSite
from deploy.thresholds.thresholds import fixed
from deploy.tracking.crops import CropSelector
from deploy.tracking.tracker import Tracker
from engines.manifest import Graph, Manifest
from tests.camera_fakes import ListSink, detections

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from deploy.cameras.state import CameraChange
    from deploy.detection.detector import Detections
    from deploy.gallery import Gallery
    from deploy.loop.pipeline import Onlooker
    from deploy.sightings import RunEnd, Sink
    from engines.manifest import Modality

    Pixels = NDArray[np.uint8]

FPS = 10
LEVELS = (70, 130, 190)  # of each colour
COLOURS = len(LEVELS) ** 3
COLUMNS, CELL_PX, HEAD_PX = 8, (44, 92), 6
MANIFEST = Manifest(
    method="fake",
    height_px=32,
    width_px=16,
    embedding_dim=COLOURS,
    graphs=(
        Graph(file="v", sha256="0", modality="visible", precision="fp32", form="onnx"),
        Graph(file="i", sha256="1", modality="infrared", precision="fp32", form="onnx"),
    ),
)
WRITES = frozenset({"enrol", "merge", "erase", "expire", "rename", "new_identity", "keep_face", "skip"})


def place(person: int, index: int) -> tuple[float, float, float, float]:
    """Where person 1 to 16 stands at a frame, in a picture of 352 x 192."""
    row, column = divmod((person - 1) % 16, COLUMNS)
    sway = abs(index % 16 - 8)
    return float(4 + CELL_PX[0] * column + sway), float(HEAD_PX + CELL_PX[1] * row), 28.0, 80.0


def colour(person: int) -> tuple[int, int, int]:
    """Neighbours and people who follow each other differ; 27 people do."""
    first, second, third = person % 3, person // 3 % 3, person // 9 % 3
    return LEVELS[first], LEVELS[second], LEVELS[third]


def draw(people: Sequence[int], index: int) -> Pixels:
    image_HWC = np.zeros((2 * CELL_PX[1] + 8, COLUMNS * CELL_PX[0], 3), np.uint8)
    stripes_H1 = np.where(np.arange(80) // 4 % 2 == 0, 20, -20)[:, None, None]  # something to be sharp about
    for person in people:
        left, top, width, height = (round(value) for value in place(person, index))
        image_HWC[top : top + height, left : left + width] = np.array(colour(person)) + stripes_H1
    return image_HWC


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@dataclass
class ColourEngine:
    """Embeds a crop by the colour in its middle. `broken`: raises; `spoiled`: gives NaN; `cost_s` passes on `clock`."""

    manifest: Manifest = MANIFEST
    name: str = "fake fp32"
    broken: bool = False
    spoiled: bool = False
    clock: Clock | None = None
    cost_s: float = 0.0  # of a crop
    batches: list[int] = field(default_factory=list)
    closed: int = 0

    def embed(self, image_BHWC: Pixels, modality: Modality) -> NDArray[np.float32]:
        if self.broken:
            raise RuntimeError("device lost")
        self.batches.append(len(image_BHWC))
        if self.clock is not None:
            self.clock.now_s += self.cost_s * len(image_BHWC)
        middle_BC = image_BHWC[:, 8:24, 5:11].reshape(len(image_BHWC), -1, 3).mean(axis=1)
        level_BC = np.abs(middle_BC[:, :, None] - np.array(LEVELS)).argmin(axis=2)
        out_BD = np.zeros((len(image_BHWC), COLOURS), np.float32)
        out_BD[np.arange(len(image_BHWC)), level_BC @ np.array([1, 3, 9])] = np.nan if self.spoiled else 1.0
        return out_BD

    def close(self) -> None:
        self.closed += 1

    def __enter__(self) -> ColourEngine:
        return self

    def __exit__(self, *failure: object) -> None: ...


@dataclass
class SceneDetector:
    """Finds everybody. `broken`: raises; `cost_s` of a frame passes on `clock`."""

    present: Callable[[str, int], Sequence[int]]
    broken: bool = False
    clock: Clock | None = None
    cost_s: float = 0.0
    batches: list[int] = field(default_factory=list)
    closed: int = 0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        if self.broken:
            raise RuntimeError("detector lost")
        self.batches.append(len(frames))
        if self.clock is not None:
            self.clock.now_s += self.cost_s * len(frames)
        return [
            detections(*((*place(person, frame.index), 0.9) for person in self.present(frame.camera, frame.index)))
            for frame in frames
        ]

    def close(self) -> None:
        self.closed += 1


@dataclass
class Disk:
    """A gallery whose writes fail while the disk is full; a server that is `away` answers nothing at all."""

    inner: Gallery = field(default_factory=lambda: open_gallery("memory", "fake", COLOURS))
    full: bool = False
    away: bool = False
    asked: int = 0  # in vain

    def __getattr__(self, name: str) -> Any:
        if (self.full and name in WRITES) or (self.away and name not in ("model", "dim", "close")):
            return self._refuse
        return getattr(self.inner, name)

    def __len__(self) -> int:
        return self._refuse() if self.away else len(self.inner)

    @property
    def last_identity(self) -> int:
        return self._refuse() if self.away else self.inner.last_identity

    def _refuse(self, *arguments: object, **options: object) -> int:
        self.asked += 1
        raise GalleryError("No space left on device" if self.full else "no answer")


@dataclass
class StillCamera:
    """What the loop asks of a camera, without a thread."""

    site: CameraSite
    live: bool = True
    dropped: int = 0
    fps: float = FPS

    @property
    def name(self) -> str:
        return self.site.name

    def health(self) -> CameraHealth:
        return CameraHealth(camera=self.name, state="running", dropped=self.dropped)

    def changes(self) -> list[CameraChange]:
        return []


def sites(*names: str) -> list[CameraSite]:
    """Cameras of one place each pair: door-v and door-i see the same ground."""
    return [
        CameraSite(
            name=name,
            uri="scripted",
            modality="infrared" if name.endswith("-i") else "visible",
            place=name.rpartition("-")[0],
        )
        for name in names
    ]


@dataclass(eq=False)
class Scene:
    """Options and outcome of a run over cameras whose frames come at FPS, as long as the loop keeps up with them."""

    present: Callable[[str, int], Sequence[int]] = lambda camera, index: (1, 2)
    names: Sequence[str] = ("door-v", "door-i")
    clock: Clock = field(default_factory=Clock)
    engine: ColourEngine = field(default_factory=ColourEngine)
    reopen: Callable[[], ColourEngine] | None = None
    gallery: Any = field(default_factory=Disk)
    sink: Sink = field(default_factory=ListSink)
    onlookers: Sequence[Onlooker] = ()
    governor: LoadGovernor = field(default_factory=LoadGovernor)
    before: Callable[[float], None] = lambda time_s: None  # called with the time of each moment: what happens then
    gone: Callable[[str, float], bool] = lambda camera, time_s: False  # it gives no picture then
    origin_s: float = 0.0
    keep_s: float | None = None
    live: bool = True

    def __post_init__(self) -> None:
        self.detector = SceneDetector(self.present)
        self.cameras = [StillCamera(site) for site in sites(*self.names)]
        self.kept = PatientGallery(self.gallery, self.clock)
        rules = SiteRules([camera.site for camera in self.cameras])
        matcher = Matcher(self.kept, fixed(0.6), rules, origin_s=self.origin_s)
        shared = Healing("detector", self.detector, self.clock, lambda: self.detector)
        self.pipeline = Pipeline(
            lanes={
                camera.name: Lane(camera=camera, detector=shared, tracker=Tracker(), selector=CropSelector())  # type: ignore[arg-type]
                for camera in self.cameras
            },
            backend=Healing("engine", self.engine, self.clock, self.reopen),
            manifest=MANIFEST,
            matcher=matcher,
            gallery=self.kept,
            reporter=Reporter(sink=self.sink, matcher=matcher, report_every=10),
            sink=self.sink,
            timing=StageClock(self.clock),
            clock=self.clock,
            governor=self.governor,
            live=self.live,
            keep_s=self.keep_s,
            origin_s=self.origin_s,
            onlookers=list(self.onlookers),
        )

    def go(self, seconds: float) -> RunEnd:
        return self.pipeline.run(self._moments(seconds), lambda: False)

    def go_slowly(self, seconds: float, *, every_s: float) -> RunEnd:
        """Run for hours of which only a frame now and then is looked at."""
        return self.pipeline.run(self._moments(seconds, every_s), lambda: False)

    def records(self, event: str) -> list[dict[str, Any]]:
        assert isinstance(self.sink, ListSink)
        return [vars(record) for record in self.sink.of(event)]

    def named(self) -> dict[tuple[str, int], int | None]:
        """Return who each ended track was held to be."""
        return {(record["camera"], record["track"]): record["identity"] for record in self.records("track")}

    def troubles(self, part: str) -> list[bool]:
        """Return for every record of a part's trouble whether it is over."""
        return [record["over"] for record in self.records("trouble") if record["part"] == part]

    def _moments(self, seconds: float, every_s: float = 1 / FPS) -> Iterator[Moment]:
        """Give every camera's newest frame as soon as the loop asks for it; older ones were dropped."""
        done, stride = -1, round(every_s * FPS)
        while True:
            newest = max(done + stride, int(self.clock.now_s * FPS + 1e-6)) if done >= 0 else 0
            if newest >= seconds * FPS:
                return
            for camera in self.cameras:
                camera.dropped += newest - done - stride if camera.live and done >= 0 else 0
            done = newest
            self.clock.now_s = max(self.clock.now_s, newest / FPS)
            self.before(newest / FPS)
            there = [camera for camera in self.cameras if not self.gone(camera.name, newest / FPS)]
            if there:
                yield Moment(frames=tuple(self._frame(camera, newest) for camera in there), time_s=newest / FPS)
            else:  # as deploy.cameras.pairing does while nothing comes
                self.clock.now_s += 1 / FPS
                self.pipeline.tend()

    def _frame(self, camera: StillCamera, index: int) -> Frame:
        return Frame(
            image_HWC=draw(self.present(camera.name, index), index),
            time_s=index / FPS,
            index=index,
            camera=camera.name,
            modality=camera.site.modality,
        )


def between(begin_s: float, end_s: float, *people: int) -> Callable[[str, int], tuple[int, ...]]:
    """People who are in every picture from one second to another."""
    return lambda camera, index: people if begin_s <= index / FPS < end_s else ()
