"""A detector's ONNX file as a function of arrays, in FP32 on a CPU.

FP32, because quantising YOLOX-nano costs 19 % of the boxes and is slower on a CPU (18.9 against 13.3 ms). ONNX Runtime
comes first: YOLOX-nano takes it 8.2 ms on one thread and 31 MB, OpenVINO 10.0 ms and 93 MB; INT8 ResNet-50 is the
other way round. A batch of two gains 3 % there (7.9 ms a picture) where the graph's batch is free. OpenVINO pays 25 %
for a free size (12.7 ms) and gains 2 % by a batch, so it gets fixed sizes and one picture a call.

Shapes: B batch, H height, W width, C channel.
"""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from deploy.detection.heads.form import TensorSpec
from engines.errors import BadInput, first_line
from engines.openvino_core import openvino_core
from engines.silent_runtimes import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.detection.heads.form import Array

FREE_BATCH = 8  # pictures in one call of a graph with a free batch
FREE_SIZE_PX = (640, 640)  # width, height for a graph with a free size: what most are trained with

CPU_RUNTIMES = ("onnxruntime", "openvino")
_ORT_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


class Graph(Protocol):
    """A loaded graph. Of its inputs' sizes only the batch may be free; the arrays of an answer hold until the next."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __call__(self, inputs: Sequence[Array]) -> list[Array]: ...

    def close(self) -> None: ...


def load_cpu_graph(path: Path, runtime: str, threads: int, size_px: tuple[int, int] | None) -> Graph:
    """Load an ONNX file into the runtime, or the first one that is installed for "auto"."""
    names = [name for name in CPU_RUNTIMES if runtime in ("auto", name)]
    for name in names:
        if find_spec(name) is None:
            continue
        load = OnnxRuntimeGraph if name == "onnxruntime" else OpenVinoGraph
        try:
            return load(path, threads, size_px or FREE_SIZE_PX)
        except BadInput:
            raise
        except Exception as error:  # each runtime has its own types for every defect of a file
            raise BadInput(
                f"{path}: expected a detector as ONNX, got a file that {name} cannot load ({first_line(error)})"
            ) from error
    raise BadInput(f"expected {' or '.join(names)} for the detector, which is not installed; pip install {names[0]}")


class OnnxRuntimeGraph:
    name = "onnxruntime"

    def __init__(self, path: Path, threads: int, size_px: tuple[int, int]) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings are about its own graph rewriting
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads slow every other thread of a small device.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = tuple(_ort_spec(item) for item in self._session.get_inputs())
        self.inputs = tuple(with_size(spec, size_px) for spec in inputs)
        self.outputs = tuple(_ort_spec(item) for item in self._session.get_outputs())

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        feed = {spec.name: array for spec, array in zip(self.inputs, inputs, strict=True)}
        return [np.asarray(answer) for answer in self._session.run(None, feed)]

    def close(self) -> None:
        self._session = None


class OpenVinoGraph:
    name = "openvino"

    def __init__(self, path: Path, threads: int, size_px: tuple[int, int]) -> None:
        core = openvino_core()
        model: Any = core.read_model(str(path))
        specs = [with_size(_openvino_spec(port, number), size_px) for number, port in enumerate(model.inputs)]
        self.inputs = tuple(dataclasses.replace(spec, shape=_one_picture(spec.shape)) for spec in specs)
        if any(not port.partial_shape.is_static for port in model.inputs):
            model.reshape({number: list(spec.shape) for number, spec in enumerate(self.inputs)})
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        compiled: Any = core.compile_model(model, "CPU", settings)
        self._request: Any = compiled.create_infer_request()
        self.outputs = tuple(_openvino_spec(port, number) for number, port in enumerate(compiled.outputs))

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        self._request.infer(dict(enumerate(inputs)), share_inputs=True)
        return [np.asarray(self._request.get_output_tensor(number).data) for number in range(len(self.outputs))]

    def close(self) -> None:
        self._request = None


def with_size(spec: TensorSpec, size_px: tuple[int, int]) -> TensorSpec:
    """Give a picture's free height and width a value; the batch stays as it is."""
    shape = list(spec.shape)
    if len(shape) in (3, 4):
        last = len(shape) - (1 if len(shape) == 4 and shape[3] == 3 else 0)  # behind H and W the channel may follow
        height, width = shape[last - 2 : last]
        shape[last - 2 : last] = [height or size_px[1], width or size_px[0]]
    return dataclasses.replace(spec, shape=tuple(shape))


def _one_picture(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(1 if size is None else size for size in shape)


def _ort_spec(item: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in item.shape)
    return TensorSpec(name=str(item.name), shape=shape, dtype=np.dtype(_ORT_TYPES.get(item.type, "object")))


def _openvino_spec(port: Any, number: int) -> TensorSpec:
    partial = port.partial_shape
    sizes = list(partial) if partial.rank.is_static else []
    shape = tuple(int(size.get_length()) if size.is_static else None for size in sizes)
    name = str(port.any_name) if port.names else f"{number}"
    return TensorSpec(name=name, shape=shape, dtype=np.dtype(port.element_type.to_dtype()))
