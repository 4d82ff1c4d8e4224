"""Write the two synthetic streams: visible.mp4, infrared.mp4 and truth.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2

from engines.atomic import new_folder
from engines.errors import BadInput
from engines.progress import progress
from train.datasets.synthetic_streams import VIEWS, StreamRenderer, StreamShape, frame_count, plan_walks

if TYPE_CHECKING:
    from train.datasets.synthetic_material import InfraredKind


def write_streams(target: Path, shape: StreamShape, *, seed: int, infrared: InfraredKind) -> int:
    """Write the folder in one piece and return the number of frames of each video."""
    with new_folder(target) as partial:
        frames = frame_count(shape, plan_walks(shape, seed))
        cameras: dict[str, list[dict[str, Any]]] = {}
        for modality in VIEWS:
            renderer = StreamRenderer(modality, shape, seed, infrared)
            cameras[modality] = _write_video(partial / f"{modality}.mp4", renderer, frames)
        truth = {"fps": shape.fps, "cameras": cameras}
        (partial / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    return frames


def _write_video(path: Path, renderer: StreamRenderer, frames: int) -> list[dict[str, Any]]:
    shape = renderer.shape
    writer = open_video_writer(path, shape.fps, shape.width_px, shape.height_px)
    rows: list[dict[str, Any]] = []
    try:
        for picture_HWC, sights in progress(renderer.frames(), total=frames, unit="frames", label=path.stem):
            writer.write(picture_HWC)
            rows += [{"frame": sight.frame, "identity": sight.identity, "box": list(sight.box)} for sight in sights]
    finally:
        writer.release()
    return rows


def open_video_writer(path: Path, fps: float, width_px: int, height_px: int) -> cv2.VideoWriter:
    """Open an MPEG-4 writer, the one codec that every OpenCV wheel can write and read."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width_px, height_px))
    if not writer.isOpened():
        raise BadInput(f"{path}: this OpenCV cannot write MPEG-4 video; install opencv-python from PyPI")
    return writer
