"""The script that somebody would write instead: two ONNX files, OpenCV and NumPy, one picture after the other.

ONNX Runtime with its defaults, the detector's answer read as its examples do, OpenCV's non-maximum suppression and
resize, every person embedded in every picture and named after the nearest stored one. It tracks nobody.

Shapes: H height, W width, C channel (3), N boxes, G stored people, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from tests.benchmarks.camera_material import Clip

SIDE_PX, STRIDES = 416, (8, 16, 32)
LEAST_SCORE, MOST_OVERLAP, SAME = 0.5, 0.45, 0.6


class Script:
    """Detector and one re-identification network per modality."""

    def __init__(self, detector: Path, networks: Mapping[Modality, Path]) -> None:
        self._detector = _session(detector)
        self._networks = {modality: _session(path) for modality, path in networks.items()}
        self._stored_GD = np.zeros((0, 2048), np.float32)
        cells: list[NDArray[np.float32]] = []
        for stride in STRIDES:
            across, down = np.meshgrid(np.arange(SIDE_PX // stride), np.arange(SIDE_PX // stride))
            place_N2 = np.stack([across.ravel(), down.ravel()], 1)
            cells.append(np.column_stack([place_N2, np.full(len(place_N2), stride)]).astype(np.float32))
        self._cell_N3 = np.concatenate(cells)

    def run(self, clips: Sequence[Clip], frames: int) -> int:
        """Work through so many pictures of each clip and return how many that were."""
        for number in range(frames):
            for clip in clips:
                image_HWC = clip.images[(5 * number) % len(clip.images)]  # spread over the clip
                for left, top, width, height in self._detect(image_HWC):
                    crop_HWC = image_HWC[max(top, 0) : top + height, max(left, 0) : left + width]
                    if crop_HWC.size:
                        self._name(cv2.resize(crop_HWC, (144, 288)), clip.modality)
        return frames * len(clips)

    def _detect(self, image_HWC: NDArray[np.uint8]) -> list[tuple[int, int, int, int]]:
        scale = SIDE_PX / max(image_HWC.shape[:2])
        small = cv2.resize(image_HWC, None, fx=scale, fy=scale)
        canvas_HWC = np.full((SIDE_PX, SIDE_PX, 3), 114, np.uint8)
        canvas_HWC[: small.shape[0], : small.shape[1]] = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        picture_BCHW = canvas_HWC.transpose(2, 0, 1)[None].astype(np.float32)
        answer = self._detector.run(None, {self._detector.get_inputs()[0].name: picture_BCHW})[0][0]
        centre_N2 = (answer[:, :2] + self._cell_N3[:, :2]) * self._cell_N3[:, 2:]
        size_N2 = np.exp(answer[:, 2:4]) * self._cell_N3[:, 2:]
        score_N = answer[:, 4] * answer[:, 5]
        box_N4 = np.concatenate([centre_N2 - size_N2 / 2, size_N2], 1) / scale
        kept: Any = cv2.dnn.NMSBoxes(box_N4.tolist(), score_N.tolist(), LEAST_SCORE, MOST_OVERLAP)
        return [tuple(box_N4[index].astype(int).tolist()) for index in np.asarray(kept).ravel()]

    def _name(self, crop_HWC: Any, modality: Modality) -> int:
        session = self._networks[modality]
        embedding_D = session.run(None, {session.get_inputs()[0].name: crop_HWC[None]})[0][0]
        similarity_G = self._stored_GD @ embedding_D
        if len(similarity_G) and similarity_G.max() >= SAME:
            return int(similarity_G.argmax())
        self._stored_GD = np.concatenate([self._stored_GD, embedding_D[None]])
        return len(similarity_G)


def _session(path: Path) -> Any:
    import onnxruntime

    runtime: Any = onnxruntime
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
