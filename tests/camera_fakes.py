"""Stand-ins for cameras and engines: scripted, without time and without files."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.cameras.frames import Frame
from deploy.detection.detector import Detections, no_detections
from engines.errors import BadInput
from engines.manifest import Graph, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from deploy.sightings import Record
    from engines.manifest import Modality

SHAPE: tuple[int, int] = (120, 160)


def blank(value: int = 90) -> NDArray[np.uint8]:
    return np.full((*SHAPE, 3), value, np.uint8)


def frame(
    index: int = 0,
    *,
    time_s: float | None = None,
    camera: str = "visible",
    modality: Modality | None = None,
    value: int = 90,
    frozen: bool = False,
) -> Frame:
    """A plain picture at ten frames a second, of a visible camera unless its name says infrared."""
    return Frame(
        image_HWC=blank(value),
        time_s=index / 10 if time_s is None else time_s,
        index=index,
        camera=camera,
        modality=modality or ("infrared" if "infrared" in camera else "visible"),
        frozen=frozen,
    )


def detections(*rows: tuple[float, float, float, float, float]) -> Detections:
    """Rows of left, top, width, height, score."""
    if not rows:
        return no_detections()
    table = np.array(rows, np.float32)
    return Detections(box_N4=table[:, :4], score_N=table[:, 4])


@dataclass
class ScriptedSource:
    """Delivers `images` pictures, then ends; `before_grab` may block or raise with the number of the grab."""

    images: int = 5
    live: bool = False
    fps: float = 10.0
    refusal: str = ""
    before_grab: Callable[[int], None] = lambda number: None
    closed_by: str = ""
    opened_by: str = ""
    grabs: int = 0

    def open(self) -> None:
        self.opened_by = threading.current_thread().name
        if self.refusal:
            raise BadInput(self.refusal)

    def grab(self) -> bool:
        self.before_grab(self.grabs)
        self.grabs += 1
        return self.grabs <= self.images

    def retrieve(self) -> NDArray[np.uint8] | None:
        return blank(self.grabs)

    def close(self) -> None:
        self.closed_by = threading.current_thread().name


@dataclass
class ScriptedDetector:
    """Says for every frame index what it finds; the same detector serves one camera."""

    find: Callable[[int], Detections]
    seen: list[int] = field(default_factory=list)
    failures: int = 0  # so many calls fail first
    closed: int = 0

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("detector lost")
        self.seen += [frame.index for frame in frames]
        return [self.find(frame.index) for frame in frames]

    def close(self) -> None:
        self.closed += 1


MANIFEST = Manifest(
    method="fake",
    height_px=32,
    width_px=16,
    embedding_dim=4,
    graphs=(
        Graph(file="v", sha256="0", modality="visible", precision="fp32", form="onnx"),
        Graph(file="i", sha256="1", modality="infrared", precision="fp32", form="onnx"),
    ),
)


@dataclass
class ColourBackend:
    """Embeds a crop by its mean grey value: one direction per 40 grey levels."""

    manifest: Manifest = MANIFEST
    name: str = "fake fp32"
    failures: int = 0  # so many batches fail first
    batches: list[tuple[str, int]] = field(default_factory=list)

    def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        self.batches.append((modality, len(image_BHWC)))
        if self.failures:
            self.failures -= 1
            raise RuntimeError("device lost")
        out_BD = np.zeros((len(image_BHWC), 4), np.float32)
        for row, image_HWC in enumerate(image_BHWC):
            out_BD[row, int(image_HWC.mean() // 40) % 4] = 1
        return out_BD

    def close(self) -> None: ...

    def __enter__(self) -> ColourBackend:
        return self

    def __exit__(self, *failure: object) -> None: ...


@dataclass
class ListSink:
    records: list[Record] = field(default_factory=list)

    def write(self, record: Record) -> None:
        self.records.append(record)

    def of(self, event: str) -> list[Record]:
        return [record for record in self.records if record.event == event]


def vector(*values: float) -> NDArray[np.float32]:
    """A unit vector."""
    array = np.array(values, np.float32)
    return np.asarray(array / np.linalg.norm(array), np.float32)


def indices(frames: Sequence[Frame]) -> list[int]:
    return [frame.index for frame in frames]
