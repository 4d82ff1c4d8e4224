"""A pipeline over scripted cameras: everything real but the sources, the detector and the engine."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.camera import Camera
from deploy.crops import CropSelector
from deploy.gallery import MemoryGallery
from deploy.matching import Matcher, MatchSettings
from deploy.pairing import moments
from deploy.pipeline import Lane, Pipeline
from deploy.stage_clock import StageClock
from deploy.tracker import Tracker
from tests.camera_fakes import ColourBackend, ListSink, ScriptedDetector, ScriptedSource, blank, detections

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from deploy.detector import Detections
    from deploy.sightings import RunEnd, Sink
    from deploy.viewers import Viewer
    from engines.manifest import Modality

GREY = {1: 60, 2: 140}  # what ColourBackend tells apart


def place(person: int, index: int) -> tuple[float, float, float, float]:
    """Two people in the picture, 160 x 120, who walk beside each other."""
    return 10.0 + 60 * (person - 1) + index % 20, 20.0, 30.0, 80.0


class PeopleSource(ScriptedSource):
    """Pictures in which the people of `present(index)` stand."""

    present: Callable[[int], tuple[int, ...]] = staticmethod(lambda index: (1, 2))

    def retrieve(self) -> NDArray[np.uint8] | None:
        image_HWC = blank(0)
        index = self.grabs - 1
        for person in self.present(index):
            left, top, width, height = (round(value) for value in place(person, index))
            image_HWC[top : top + height, left : left + width] = GREY[person]
        return image_HWC


def people(*present: int) -> Callable[[int], Detections]:
    return lambda index: detections(*((*place(person, index), 0.9) for person in present))


@dataclass
class Run:
    """Options and outcome of one scripted run."""

    visible: ScriptedSource = field(default_factory=lambda: PeopleSource(images=30))
    infrared: ScriptedSource = field(default_factory=lambda: PeopleSource(images=30))
    find: dict[Modality, Callable[[int], Detections]] = field(
        default_factory=lambda: {"visible": people(1, 2), "infrared": people(1, 2)}
    )
    backend: ColourBackend = field(default_factory=ColourBackend)
    threshold: float | None = 0.6
    sink: Sink = field(default_factory=ListSink)
    viewers: tuple[Viewer, ...] = ()
    max_frames: int | None = None
    every_box: bool = False
    stopped: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic

    def go(self) -> RunEnd:
        arrival = threading.Condition()
        sources: dict[Modality, ScriptedSource] = {"visible": self.visible, "infrared": self.infrared}
        with ExitStack() as stack:
            lanes: dict[str, Lane] = {}
            for name, source in sources.items():
                camera = Camera(source, name=name, modality=name, arrival=arrival, clock=self.clock)
                lanes[name] = Lane(
                    camera=stack.enter_context(camera),
                    detector=ScriptedDetector(self.find[name]),
                    tracker=Tracker(),
                    selector=CropSelector(),
                )
            pipeline = Pipeline(
                lanes=lanes,
                backend=self.backend,
                matcher=Matcher(MemoryGallery(), MatchSettings(threshold=self.threshold)),
                sink=self.sink,
                timing=StageClock(time.perf_counter),
                report_every=10,
                every_box=self.every_box,
                max_frames=self.max_frames,
                viewers=self.viewers,
            )
            stream = moments(lanes["visible"].camera, lanes["infrared"].camera, stopped=self.stopped)
            return pipeline.run(stream, self.stopped, lambda: getattr(self.sink, "lost", 0))

    def records(self, event: str) -> list[dict[str, object]]:
        assert isinstance(self.sink, ListSink)
        return [vars(record) for record in self.sink.of(event)]
