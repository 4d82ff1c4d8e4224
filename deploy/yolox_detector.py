"""YOLOX (Ge et al., "YOLOX: Exceeding YOLO Series in 2021") from an ONNX file, in FP32.

FP32, because quantising YOLOX-nano costs 19 % of the boxes and is slower on a CPU (18.9 against 13.3 ms).
Input: BGR 0-255 letterboxed to the top left with 114, no mean or deviation. Output: undecoded, one row per cell of the
strides 8, 16 and 32: centre offset, log size, objectness, class probabilities; class 0 is a person.

Shapes: N boxes, A anchors, F fields (5 + classes), 4 box (left, top, width, height) in pixels, H W C image.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deploy.detector import Detections, suppress
from engines.errors import BadInput
from engines.openvino_core import openvino_core

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.frames import Frame

    Float = NDArray[np.float32]
    Run = Callable[[Float], Float]

STRIDES = (8, 16, 32)
FILL = 114
PERSON = 0
MIN_SCORE = 0.1  # ByteTrack's second stage lives on weak boxes
MAX_OVERLAP = 0.45
MAX_BOXES = 300


class YoloxDetector:
    """Stateless, so that both cameras can share one."""

    def __init__(self, path: Path, *, invert_infrared: bool = False, threads: int = 1) -> None:
        self._run, (self._height_px, self._width_px) = load_graph(path, threads)
        self._invert_infrared = invert_infrared
        self._cell_A2, self._stride_A = make_cells(self._height_px, self._width_px)
        output = self._run(np.full((1, 3, self._height_px, self._width_px), FILL, np.float32))
        if output.ndim != 3 or output.shape[1] != len(self._stride_A) or output.shape[2] < 6:
            raise BadInput(
                f"{path}: expected a YOLOX graph with output (1, {len(self._stride_A)}, 5 + classes), got "
                f"{output.shape}; export with YOLOX's export_onnx.py without --decode_in_inference"
            )

    def detect(self, frame: Frame) -> Detections:
        image_HWC = frame.image_HWC
        if self._invert_infrared and frame.modality == "infrared":
            # White-hot thermal: 3.50 boxes an image after inversion against 1.61 before (44 LLVIP images).
            image_HWC = 255 - image_HWC
        blob_1CHW, scale = letterbox(image_HWC, self._height_px, self._width_px)
        found = decode(self._run(blob_1CHW)[0], self._cell_A2, self._stride_A, scale)
        return suppress(found, MAX_OVERLAP)


def letterbox(image_HWC: NDArray[np.uint8], height_px: int, width_px: int) -> tuple[Float, float]:
    """Return the network's input (1, 3, H, W) and the scale from frame to network pixels."""
    scale = min(height_px / image_HWC.shape[0], width_px / image_HWC.shape[1])
    size = (max(1, round(image_HWC.shape[1] * scale)), max(1, round(image_HWC.shape[0] * scale)))
    canvas_HWC = np.full((height_px, width_px, 3), FILL, np.uint8)
    canvas_HWC[: size[1], : size[0]] = cv2.resize(image_HWC, size, interpolation=cv2.INTER_LINEAR)
    blob_CHW = canvas_HWC[:, :, ::-1].transpose(2, 0, 1)
    return np.ascontiguousarray(blob_CHW[None], np.float32), scale


def make_cells(height_px: int, width_px: int) -> tuple[Float, Float]:
    """Return the column and row (A, 2) and the stride (A) of every row of the output."""
    cells: list[Float] = []
    strides: list[Float] = []
    for stride in STRIDES:
        rows, columns = height_px // stride, width_px // stride
        cell_2A = np.indices((rows, columns), np.float32)[::-1].reshape(2, -1)
        cells.append(np.ascontiguousarray(cell_2A.T))
        strides.append(np.full(rows * columns, stride, np.float32))
    return np.concatenate(cells), np.concatenate(strides)


def decode(output_AF: Float, cell_A2: Float, stride_A: Float, scale: float) -> Detections:
    """Turn the network's rows into boxes of people in frame pixels, before suppression."""
    score_A = output_AF[:, 4] * output_AF[:, 5 + PERSON]
    best_N = np.flatnonzero(score_A >= MIN_SCORE)
    if len(best_N) > MAX_BOXES:
        best_N = best_N[np.argsort(-score_A[best_N], kind="stable")[:MAX_BOXES]]
    stride_N1 = stride_A[best_N, None]
    centre_N2 = (output_AF[best_N, :2] + cell_A2[best_N]) * stride_N1
    size_N2 = np.exp(np.minimum(output_AF[best_N, 2:4], 10.0)) * stride_N1
    box_N4 = np.concatenate([centre_N2 - size_N2 / 2, size_N2], axis=1) / np.float32(scale)
    return Detections(box_N4=box_N4.astype(np.float32), score_N=score_A[best_N].astype(np.float32))


def load_graph(path: Path, threads: int) -> tuple[Run, tuple[int, int]]:
    """Load an ONNX file with one image input and return a call that runs it and the input's height and width.

    OpenVINO where it is installed, else ONNX Runtime; FP32 in both.
    """
    if not path.is_file():
        raise BadInput(f"--detector: expected an ONNX file, got {str(path)!r}: no such file")
    try:
        run, shape = _load_openvino(path, threads)
    except ImportError:
        run, shape = _load_onnxruntime(path, threads)
    numbers = [size for size in shape if isinstance(size, int) and size > 0]
    if len(shape) != 4 or len(numbers) < 3 or shape[1] != 3 or numbers[-1] % 32 or numbers[-2] % 32:
        raise BadInput(
            f"{path}: expected a YOLOX graph with input (1, 3, height, width) in multiples of 32, got "
            f"{tuple(shape)}; export with a fixed input size"
        )
    return run, (numbers[-2], numbers[-1])


def _load_openvino(path: Path, threads: int) -> tuple[Run, list[int | None]]:
    core = openvino_core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    try:
        model = core.read_model(str(path))
        compiled = core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    partial = model.inputs[0].partial_shape
    shape = [int(size.get_length()) if size.is_static else None for size in partial]

    def run(blob_1CHW: Float) -> Float:
        return np.asarray(compiled([blob_1CHW])[compiled.outputs[0]], np.float32)

    return run, shape


def _load_onnxruntime(path: Path, threads: int) -> tuple[Run, list[int | None]]:
    onnxruntime: Any = importlib.import_module("onnxruntime")  # ships no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a type of its own for every defect of a file
        raise _unreadable(path, error) from error
    name: str = session.get_inputs()[0].name

    def run(blob_1CHW: Float) -> Float:
        return np.asarray(session.run(None, {name: blob_1CHW})[0], np.float32)

    return run, [size if isinstance(size, int) else None for size in session.get_inputs()[0].shape]


def _unreadable(path: Path, error: Exception) -> BadInput:
    reason = " ".join(str(error).split())[:160]
    return BadInput(f"{path}: expected a YOLOX detector as ONNX, got a file that cannot be loaded ({reason})")
