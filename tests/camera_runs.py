"""A pipeline over scripted cameras: everything real but the sources, the detector and the engine."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.cameras.camera import Camera
from deploy.cameras.pairing import moments
from deploy.gallery import open_gallery
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
from tests.camera_fakes import ColourBackend, ListSink, ScriptedDetector, ScriptedSource, blank, detections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from deploy.detection.detector import Detections, Detector
    from deploy.gallery import Gallery
    from deploy.loop.pipeline import Onlooker
    from deploy.sightings import RunEnd, Sink
    from engines.backend import Backend
    from engines.manifest import Modality

GREY = {1: 60, 2: 165}  # what ColourBackend tells apart, also with a margin of black around


def place(person: int, index: int) -> tuple[float, float, float, float]:
    """Two people in the picture, 160 x 120, who walk beside each other."""
    return 10.0 + 60 * (person - 1) + index % 20, 20.0, 30.0, 80.0


class PeopleSource(ScriptedSource):
    """Pictures in which the people of `present(index)` stand."""

    present: Callable[[int], tuple[int, ...]] = staticmethod(lambda index: (1, 2))

    def retrieve(self) -> NDArray[np.uint8] | None:
        image_HWC = blank(0)
        index = self.grabs - 1
        stripes_HW = np.where(np.arange(80)[:, None] // 4 % 2 == 0, 20, -20)  # something to be sharp about
        for person in self.present(index):
            left, top, width, height = (round(value) for value in place(person, index))
            image_HWC[top : top + height, left : left + width] = (GREY[person] + stripes_HW)[:, :, None]
        return image_HWC


def people(*present: int) -> Callable[[int], Detections]:
    return lambda index: detections(*((*place(person, index), 0.9) for person in present))


@dataclass
class Run:
    """Options and outcome of one scripted run; cameras are named after their modality."""

    visible: ScriptedSource = field(default_factory=lambda: PeopleSource(images=30))
    infrared: ScriptedSource = field(default_factory=lambda: PeopleSource(images=30))
    find: dict[Modality, Callable[[int], Detections]] = field(
        default_factory=lambda: {"visible": people(1, 2), "infrared": people(1, 2)}
    )
    detectors: dict[Modality, Detector] = field(default_factory=dict)
    backend: Backend = field(default_factory=ColourBackend)
    reopen: Callable[[], Backend] | None = None
    threshold: float | None = 0.6
    sink: Sink = field(default_factory=ListSink)
    onlookers: Sequence[Onlooker] = ()
    gallery: Gallery = field(default_factory=lambda: open_gallery("memory", "fake", 4))
    governor: LoadGovernor = field(default_factory=LoadGovernor)
    max_frames: int | None = None
    every_box: bool = False
    stopped: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    attendants: Sequence[Callable[[], object]] = ()

    def go(self) -> RunEnd:
        arrival = threading.Condition()
        sources: dict[Modality, ScriptedSource] = {"visible": self.visible, "infrared": self.infrared}
        sites = [CameraSite(name=name, uri="scripted", modality=name, place="here") for name in sources]
        origin_s = self.clock()
        with ExitStack() as stack:
            lanes: dict[str, Lane] = {}
            for site, source in zip(sites, sources.values(), strict=True):
                camera = Camera(site, source, arrival=arrival, clock=self.clock, origin_s=origin_s)
                detector = self.detectors.get(site.modality) or ScriptedDetector(self.find[site.modality])
                lanes[site.name] = Lane(
                    camera=stack.enter_context(camera),
                    detector=Healing("detector", detector, self.clock),
                    tracker=Tracker(),
                    selector=CropSelector(),
                )
            gallery = PatientGallery(self.gallery, self.clock)
            thresholds = None if self.threshold is None else fixed(self.threshold)
            matcher = Matcher(gallery, thresholds, SiteRules(sites, ()))
            self.pipeline = Pipeline(
                lanes=lanes,
                backend=Healing("engine", self.backend, self.clock, self.reopen),
                manifest=self.backend.manifest,
                matcher=matcher,
                gallery=gallery,
                reporter=Reporter(sink=self.sink, matcher=matcher, report_every=10, every_box=self.every_box),
                sink=self.sink,
                timing=StageClock(time.perf_counter),
                clock=lambda: self.clock() - origin_s,
                governor=self.governor,
                live=any(source.live for source in sources.values()),
                max_frames=self.max_frames,
                onlookers=list(self.onlookers),
                attendants=self.attendants,
            )
            cameras = [lane.camera for lane in lanes.values()]
            stream = moments(cameras, stopped=self.stopped, idle=self.pipeline.tend)
            return self.pipeline.run(stream, self.stopped)

    def records(self, event: str) -> list[dict[str, object]]:
        assert isinstance(self.sink, ListSink)
        return [vars(record) for record in self.sink.of(event)]
