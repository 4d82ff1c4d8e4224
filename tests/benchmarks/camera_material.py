"""What the benchmarks of the cameras run on: rendered people who are replayed from memory, and an engine of full size.

Rendering takes longer than recognising, so it is done before. A clip is played forwards and backwards for ever:
everybody goes on walking, and no picture follows another that it does not belong to.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Modality

    Pixels = NDArray[np.uint8]

HEIGHT, WIDTH = 288, 144  # of a crop
SIZE_PX = (640, 360)
FPS = 24.0
CLIP_FRAMES = 96
STARTS_S = 12.0  # the synthetic place is empty at first
PRESENT = 0.7  # share of a crowd that is in the picture
CALIBRATION_IMAGES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """Pictures of one camera, and how many people are in one on average."""

    modality: Modality
    images: Sequence[Pixels]
    people: float


def render(modality: Modality, people: int, frames: int = CLIP_FRAMES) -> Clip:
    """Render a clip in which so many people are in the picture, about."""
    from train.datasets.synthetic_site_view import CrowdRenderer

    crowd = round(people / PRESENT)
    renderer = CrowdRenderer(modality, people=crowd, seed=0, size_px=SIZE_PX, fps=FPS, infrared="nir")
    first = round(STARTS_S * FPS)
    pairs = [renderer.frame(number) for number in range(first, first + frames)]
    images = [np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) for image, _ in pairs]
    return Clip(modality=modality, images=images, people=float(np.mean([len(seen) for _, seen in pairs])))


class ReplaySource:
    """Plays a clip forwards and backwards, as fast as it is taken, or live by the clock; `shift` frames ahead."""

    fps = FPS

    def __init__(self, clip: Clip, *, frames: int, live: bool = False, shift: int = 0) -> None:
        self.live = live
        self._clip, self._frames, self._shift = clip, frames, shift
        self._number, self._opened_s = -1, 0.0

    def open(self) -> None:
        self._number, self._opened_s = -1, time.monotonic()

    def grab(self) -> bool:
        from deploy.sources.source import SourceError

        self._number += 1
        if self._number >= self._frames:
            if self.live:
                raise SourceError("the benchmark is over", kind="ended")
            return False
        if self.live:
            time.sleep(max(0.0, self._due_s() - time.monotonic()))
        return True

    def stamp_s(self) -> float | None:
        """Return when a live picture was due, so that the wake-up counts as latency."""
        return self._due_s() if self.live else None

    def retrieve(self) -> Pixels:
        last = len(self._clip.images) - 1
        place = (self._number + self._shift) % (2 * last)
        return self._clip.images[min(place, 2 * last - place)]

    def close(self) -> None: ...

    def _due_s(self) -> float:
        return self._opened_s + self._number / self.fps


def write_video(clip: Clip, path: Path, frames: int) -> None:
    """Write the clip as it would be replayed; MPEG-4, because the wheels of OpenCV write no H.264."""
    source = ReplaySource(clip, frames=frames)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, SIZE_PX)
    while source.grab():
        writer.write(cv2.cvtColor(source.retrieve(), cv2.COLOR_RGB2BGR))
    writer.release()


def build_engine(folder: Path) -> None:
    """Write a ResNet-50 with random weights, FP32 and the INT8 graphs that CPUs read; speed does not depend on them."""
    from calib.calibrate import measured_tensors
    from calib.graph_cost import load_graph
    from calib.ranges import measure
    from calib.table import CalibrationTable
    from calib.uint8 import quantize_uint8
    from engines.manifest import Graph, sha256_of
    from train.export import export_model
    from train.methods import load

    recipe = dataclasses.replace(load("baseline").default_recipe, height_px=HEIGHT, width_px=WIDTH)
    manifest = export_model(load("baseline")(recipe, 10).eval(), folder)
    graphs = list(manifest.graphs)
    noise_BHWC = np.random.default_rng(0).integers(0, 256, (CALIBRATION_IMAGES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    for modality in ("visible", "infrared"):
        source, file = folder / f"{modality}.fp32.onnx", f"{modality}.int8.uint8.onnx"
        model = load_graph(source)
        histograms = measure(model, measured_tensors(model), [noise_BHWC], threads=1)
        table = CalibrationTable(
            graph_sha256=sha256_of(source),
            range_method="mse",
            images=CALIBRATION_IMAGES,
            images_sha256="",
            list_sha256="",
            amax={name: histogram.amax("mse") for name, histogram in histograms.items()},
            lowest={name: histogram.lowest for name, histogram in histograms.items()},
        )
        (folder / file).write_bytes(quantize_uint8(model, table).SerializeToString())
        digest = sha256_of(folder / file)
        graphs.append(Graph(file=file, sha256=digest, modality=modality, precision="int8", form="onnx-uint8"))
    dataclasses.replace(manifest, graphs=tuple(graphs)).save(folder)
