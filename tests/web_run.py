"""A run for the page to show: drawn people before three cameras, a loop that does nothing but answer and look.

Identity 1 was seen by both cameras and left, identity 2 is in both pictures now, identity 3 bears a name that would
be a script in a careless page; a fourth camera is lost.

Shapes: B batch, H height, W width, C channel (3, RGB), D embedding.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deploy.cameras.frames import Frame
from deploy.cameras.state import CameraHealth
from deploy.detection.detector import Detections, no_detections
from deploy.gallery import MemoryGallery, Tracklet
from deploy.loop.healing import Healing
from deploy.loop.mailbox import Mailbox
from deploy.loop.pipeline import Seen
from deploy.loop.run_state import RunState
from deploy.matching.matcher import Decision
from deploy.settings.site_plan import CameraSite
from deploy.sightings import CameraChanged, Sighting, TrackEnd, TrackKey
from deploy.thresholds.thresholds import fixed
from deploy.tracking.crops import Crop, cut
from deploy.tracking.tracker import TrackedBox
from deploy.web.desk import Desk
from deploy.web.faces import Faces
from deploy.web.feed import PageFeed
from deploy.web.page_state import PageState
from deploy.web.server import WebServer
from deploy.web.tiles import Tiles
from deploy.web.timeline import Timeline
from engines.manifest import Graph, Manifest
from engines.preprocess import batch_crops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from deploy.sightings import Record
    from engines.manifest import Modality

    Pixels = NDArray[np.uint8]

EVIL = "<img src=x onerror=document.title='taken'>"
TOKEN = "a-token-of-twenty-signs"
SIZE = (360, 640)
BANDS = 6
MANIFEST = Manifest(
    method="drawn people",
    height_px=96,
    width_px=48,
    embedding_dim=BANDS,
    graphs=(Graph(file="f", sha256="0", modality="visible", precision="fp32", form="onnx"),),
)
# Hair, shirt and trousers. Infrared pictures show their grey values, so that both modalities resemble each other.
CLOTHES: dict[int, tuple[tuple[int, int, int], ...]] = {
    1: ((60, 40, 30), (200, 60, 50), (40, 50, 110)),
    2: ((160, 120, 60), (40, 120, 70), (190, 180, 160)),
    3: ((30, 30, 35), (235, 225, 210), (60, 60, 65)),
    4: ((120, 70, 40), (170, 190, 250), (200, 205, 190)),
}


def draw_person(who: int, modality: Modality, size: tuple[int, int] = (240, 100)) -> Pixels:
    """A person from head to foot on a plain ground, (height, width)."""
    height, width = size
    hair, shirt, trousers = CLOTHES[who]
    image_HWC = np.full((height, width, 3), 120, np.uint8)
    middle, unit = width // 2, height // 12
    cv2.rectangle(image_HWC, (middle - 2 * unit, 2 * unit), (middle + 2 * unit, 7 * unit), shirt, -1)
    cv2.rectangle(image_HWC, (middle - 2 * unit, 7 * unit), (middle - unit // 4, 12 * unit), trousers, -1)
    cv2.rectangle(image_HWC, (middle + unit // 4, 7 * unit), (middle + 2 * unit, 12 * unit), trousers, -1)
    cv2.circle(image_HWC, (middle, unit + unit // 3), unit, (222, 184, 150), -1, cv2.LINE_AA)
    cv2.ellipse(image_HWC, (middle, unit), (unit, unit * 2 // 3), 0, 180, 360, hair, -1, cv2.LINE_AA)
    if modality == "infrared":
        grey_HW = cv2.GaussianBlur(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), (5, 5), 0)
        image_HWC = np.asarray(cv2.cvtColor(grey_HW, cv2.COLOR_GRAY2RGB), np.uint8)
    return image_HWC


def picture_bytes(image_HWC: Pixels, kind: str = ".png") -> bytes:
    return cv2.imencode(kind, cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR))[1].tobytes()


@dataclass
class BandsBackend:
    """Embeds by the brightness of six bands from head to foot: the same for both modalities."""

    manifest: Manifest = MANIFEST
    name: str = "bands fp32"
    failing: bool = False

    def embed(self, image_BHWC: Pixels, modality: Modality) -> NDArray[np.float32]:
        if self.failing:
            raise RuntimeError("device lost")
        grey_BHW = image_BHWC.mean(axis=3)[:, :, 14:34]
        band_BD = grey_BHW.reshape(len(image_BHWC), BANDS, -1).mean(axis=2) - 120.0
        return np.asarray(band_BD / np.linalg.norm(band_BD, axis=1, keepdims=True).clip(1e-6), np.float32)

    def close(self) -> None: ...

    def __enter__(self) -> BandsBackend:
        return self

    def __exit__(self, *failure: object) -> None: ...


@dataclass
class GroundDetector:
    """Finds whatever stands out of the grey ground of the drawings, separated by empty columns."""

    calls: int = 0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.calls += 1
        return [_blobs(frame.image_HWC) for frame in frames]

    def close(self) -> None: ...


def _blobs(image_HWC: Pixels) -> Detections:
    mask_HW = np.abs(image_HWC.astype(np.int16) - 120).max(axis=2) > 12
    count, _, stats_N5, _ = cv2.connectedComponentsWithStats(cv2.dilate(mask_HW.astype(np.uint8), np.ones((9, 9))))
    box_N4 = np.asarray(stats_N5[1:count, :4], np.float32)
    return Detections(box_N4=box_N4, score_N=np.full(len(box_N4), 0.9, np.float32)) if count > 1 else no_detections()


@dataclass
class LiveRecorder:
    """Stands for the matcher: notes what it was told, and calls live tracks accordingly from then on."""

    told: list[tuple[str, int, int]] = field(default_factory=list)
    called: dict[int, int | None] = field(default_factory=dict)

    def follow(self, kept: int, absorbed: int) -> None:
        self.told.append(("follow", kept, absorbed))
        self.called[absorbed] = kept

    def forget(self, identity: int) -> None:
        self.told.append(("forget", identity, 0))
        self.called[identity] = None


CAMERAS = (
    CameraSite(name="door", uri="0", modality="visible", place="door"),
    CameraSite(name="door-ir", uri="2", modality="infrared", band="lwir", place="door"),
    CameraSite(name="yard", uri="rtsp://10.0.0.5/1", modality="visible"),
)


class WebRun:
    """Everything that a server needs, fed by hand or by `start`ing its loop."""

    def __init__(
        self, *, calibrated: bool = True, origin_s: float = 1_760_000_000.0, cameras: Sequence[CameraSite] = CAMERAS
    ) -> None:
        self.origin_s, self.began_s = origin_s, time.monotonic()
        self.gallery = MemoryGallery(model="drawn", dim=BANDS)
        self.part, self.found = BandsBackend(), GroundDetector()
        self.live, self.records = LiveRecorder(), list[object]()
        self.timeline, self.faces, self.tiles = Timeline(origin_s=origin_s), Faces(self.gallery), Tiles()
        self.feed = PageFeed(self.tiles, self.faces, self.timeline)
        self.mailbox = Mailbox()
        self.threshold = "calibrated: 1 % false matches" if calibrated else "no identities: not calibrated"
        self.desk = Desk(
            gallery=self.gallery,
            backend=Healing(name="engine", part=self.part, clock=time.monotonic),
            manifest=MANIFEST,
            faces=self.faces,
            timeline=self.timeline,
            clock=lambda: self.time_s,
            origin_s=origin_s,
            detector=Healing(name="detector", part=self.found, clock=time.monotonic),
            thresholds=fixed(0.8) if calibrated else None,
            live=self.live,
            evidence=self.feed.evidence,
            record=self.write,
        )
        self.cameras = tuple(cameras)
        self.lost: dict[str, str] = {"yard": "no answer in 5 s"}
        self.live_decisions: dict[TrackKey, Decision] = {}
        self.page = PageState(
            cameras=self.cameras,
            engine="drawn people, bands fp32",
            state=self.state,
            mailbox=self.mailbox,
            desk=self.desk,
            tiles=self.tiles,
            timeline=self.timeline,
            metrics_text=lambda: b"crosslight_up 1\n",
            remarks=lambda: [f"camera {name}: {reason}" for name, reason in self.lost.items()],
        )
        self.round_s = time.monotonic()
        self._stop, self._stuck = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def time_s(self) -> float:
        return 600.0 + time.monotonic() - self.began_s

    def write(self, record: Record) -> None:
        self.records.append(record)
        self.feed.write(record)

    def state(self) -> RunState:
        health = [
            CameraHealth(
                camera=camera.name, state="reconnecting", reason=self.lost[camera.name], since_s=590.0, age_s=12.0
            )
            if camera.name in self.lost
            else CameraHealth(camera=camera.name, state="running", fps=14.9, frames=9000, age_s=0.05)
            for camera in self.cameras
        ]
        return RunState(
            round_s=self.round_s,
            time_s=self.time_s,
            frames_per_s=29.8,
            cameras=tuple(health),
            live_tracks=len(self.live_decisions),
            identities=3,
            people=self.gallery.count_people(),
            threshold=self.threshold,
        )

    def remember(
        self,
        identity: int,
        camera: str,
        modality: Modality,
        track: int,
        ago_s: float,
        for_s: float = 30.0,
        matched: bool = False,
    ) -> None:
        """Let somebody have been before a camera: tracklet, face and record."""
        image_HWC = draw_person(identity, modality)
        embedding_BD = self.part.embed(batch_crops([image_HWC], 96, 48), modality)
        first_s = self.time_s - ago_s
        self.gallery.skip(identity)
        self.gallery.enrol(
            Tracklet(
                identity=identity,
                camera=camera,
                track=track,
                modality=modality,
                first_s=self.origin_s + first_s,
                last_s=self.origin_s + first_s + for_s,
                mean_D=embedding_BD[0],
                prototype_PD=embedding_BD,
            )
        )
        self.faces.keep(identity, modality, image_HWC, 0.6)
        self.write(
            TrackEnd(
                camera=camera,
                modality=modality,
                track=track,
                identity=identity,
                first_s=first_s,
                last_s=first_s + for_s,
                first_frame=0,
                last_frame=100,
                crops=5,
                similarity=0.91 if matched else None,
                matched_track=TrackKey("another", 1) if matched else None,
                rejects={},
            )
        )

    def show(
        self, camera: str, modality: Modality, people: Sequence[tuple[int, int, int | None]], shift: int = 0
    ) -> None:
        """Give a picture of people (which drawing, track, identity) to the page, as the loop does."""
        image_HWC = np.full((*SIZE, 3), 120, np.uint8)
        boxes: dict[TrackKey, TrackedBox] = {}
        crops: list[Crop] = []
        for place, (who, track, named) in enumerate(people):
            identity = None if named is None else self.live.called.get(named, named)
            left, top = 60 + 180 * place + shift, 70
            image_HWC[top : top + 240, left : left + 100] = draw_person(who, modality)
            key, box_4 = TrackKey(camera, track), np.array([left + 8, top + 2, 84, 236], np.float32)
            boxes[key] = TrackedBox(track=track, box_4=box_4, score=0.9)
            crops.append(Crop(track=track, image_HWC=cut(image_HWC, box_4, 0.05), quality=0.7))
            matched = TrackKey("door-ir" if camera == "door" else "door", track) if identity else None
            self.live_decisions[key] = Decision(
                identity=identity, similarity=0.88 if identity else None, matched=matched
            )
        frame = Frame(image_HWC=image_HWC, time_s=self.time_s, index=0, camera=camera, modality=modality)
        rows_BD = self.part.embed(batch_crops([crop.image_HWC for crop in crops], 96, 48), modality)
        embeddings = {TrackKey(camera, crop.track): row_D for crop, row_D in zip(crops, rows_BD, strict=True)}
        seen = [Seen(frame=frame, boxes=boxes, crops=crops, embeddings=embeddings)]
        self.feed.look(seen, lambda key: self.live_decisions[key], self.state())
        for key, decision in ((key, self.live_decisions[key]) for key in boxes):
            self.write(
                Sighting(
                    time_s=self.time_s,
                    frame=0,
                    camera=camera,
                    modality=modality,
                    track=key.track,
                    identity=decision.identity,
                    box_px=(0, 0, 1, 1),
                    similarity=decision.similarity,
                    matched_track=decision.matched,
                )
            )

    def populate(self) -> WebRun:
        """The people and cameras that the module's docstring tells of."""
        self.remember(1, "door", "visible", 1, ago_s=400, matched=True)
        self.remember(1, "door-ir", "infrared", 1, ago_s=398, matched=True)
        self.remember(2, "door", "visible", 2, ago_s=250, for_s=60)
        self.remember(3, "door", "visible", 3, ago_s=120)
        self.gallery.rename(3, EVIL)
        self.tiles.names = self.desk.names()
        for name, reason in self.lost.items():
            self.write(CameraChanged(time_s=self.time_s - 90, camera=name, state="reconnecting", reason=reason))
        self.look()
        return self

    def look(self, shift: int = 0) -> None:
        self.show("door", "visible", [(2, 7, 2), (4, 8, None)], shift)
        self.show("door-ir", "infrared", [(2, 7, 2)], shift)

    def start(self, look: Callable[[int], None] | None = None) -> WebRun:
        """Turn the loop in a thread of its own: it answers, and looks ten times a second."""

        def turn() -> None:
            rounds = 0
            while not self._stop.wait(0.01):
                if self._stuck.is_set():
                    continue
                self.mailbox.serve()
                self.round_s = time.monotonic()
                rounds += 1
                if look is not None and rounds % 10 == 0:
                    look(rounds // 10)

        self._thread = threading.Thread(target=turn, name="the loop", daemon=True)
        self._thread.start()
        return self

    def stick(self, stuck: bool = True) -> None:
        """Let the loop hang, as in a driver's call that does not come back."""
        (self._stuck.set if stuck else self._stuck.clear)()

    def serve(self, token: str | None = None) -> WebServer:
        return WebServer("127.0.0.1:0", token, self.page)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.mailbox.close()
