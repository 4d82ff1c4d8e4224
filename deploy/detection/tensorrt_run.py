"""A detector's TensorRT plan with pycuda: one picture batch at a time, memory for the largest taken once.

Simpler than engines.tensorrt_backend, which takes our own graphs alone (uint8 pixels to one vector): the outputs of a
detector are several and of many shapes, and the boxes are needed before anything else can go on, so nothing overlaps
and no CUDA graph is recorded. Outputs whose size depends on the picture (suppression inside the graph) are refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.detection.graph import FREE_SIZE_PX, with_size
from deploy.detection.heads.form import TensorSpec
from deploy.detection.plan import register_plugins
from engines.cuda_memory import Taken, current, free_device, free_pinned, primary_context
from engines.errors import BadInput
from engines.tensorrt_sdk import collecting_logger, cuda_driver, load_sdk, without_collection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.detection.heads.form import Array
    from engines.plan_target import Flavour


log = logging.getLogger(__name__)


class TensorMemory:
    """Page-locked and device memory of one input or output."""

    host: NDArray[Any]
    device: Any

    def __init__(self, cuda: Any, taken: Taken, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        count = max(int(np.prod(shape)), 1)
        taken.take(self, "host", lambda: cuda.pagelocked_empty((count,), dtype), free_pinned)
        taken.take(self, "device", lambda: cuda.mem_alloc(count * dtype.itemsize), free_device)


class TensorRtGraph:
    """One plan. Closing frees the device's memory."""

    _runtime: Any
    _engine: Any
    _context: Any
    _stream: Any

    def __init__(self, path: Path, flavour: Flavour) -> None:
        self.name = flavour
        self._path, self._sdk, self._cuda = path, load_sdk(flavour), cuda_driver()
        self._taken = Taken()
        self._memory: dict[str, TensorMemory] = {}
        self._cuda_context = primary_context(self._cuda)
        try:
            with current(self._cuda_context), without_collection():
                self._load()
        except BaseException:
            self.close()
            raise

    def _load(self) -> None:
        sdk, cuda, taken = self._sdk, self._cuda, self._taken
        self._logger, self._errors = collecting_logger(sdk)
        register_plugins(sdk, self._logger)
        taken.take(self, "_runtime", lambda: sdk.Runtime(self._logger))
        taken.take(self, "_engine", lambda: self._runtime.deserialize_cuda_engine(self._path.read_bytes()))
        if self._engine is None:
            raise BadInput(f"{self._path}: {self.name} cannot load the plan ({self._reason()}); build it again")
        names = [str(self._engine.get_tensor_name(number)) for number in range(self._engine.num_io_tensors)]
        given = [name for name in names if self._engine.get_tensor_mode(name) == sdk.TensorIOMode.INPUT]
        self.inputs = tuple(with_size(self._spec(name), self._size_px(name)) for name in given)
        self.outputs = tuple(self._spec(name) for name in names if name not in given)
        taken.take(self, "_stream", cuda.Stream)
        batch = max(self._largest(name)[0] for name in given)
        for spec in (*self.inputs, *self.outputs):
            shape = self._largest(spec.name) if spec.name in given else (spec.shape[0] or batch, *spec.shape[1:])
            self._memory[spec.name] = TensorMemory(cuda, taken, tuple(size or 0 for size in shape), spec.dtype)
        # Behind the memory that it is given, so that it goes before.
        taken.take(self, "_context", self._engine.create_execution_context)
        if self._context is None:
            raise BadInput(f"{self._path}: {self.name} cannot start the plan ({self._reason()}); build it again")
        for spec in self.inputs:
            self._context.set_input_shape(spec.name, self._largest(spec.name))
        for spec in self.outputs:
            self._answer_shape(spec)
        for spec in (*self.inputs, *self.outputs):
            self._context.set_tensor_address(spec.name, int(self._memory[spec.name].device))

    def _spec(self, name: str) -> TensorSpec:
        shape = tuple(int(size) if size >= 0 else None for size in self._engine.get_tensor_shape(name))
        return TensorSpec(name=name, shape=shape, dtype=np.dtype(self._sdk.nptype(self._engine.get_tensor_dtype(name))))

    def _largest(self, name: str) -> tuple[int, ...]:
        shape = tuple(int(size) for size in self._engine.get_tensor_shape(name))
        if min(shape) >= 0:
            return shape
        return tuple(int(size) for size in self._engine.get_tensor_profile_shape(name, 0)[2])

    def _size_px(self, name: str) -> tuple[int, int]:
        """Return width and height for which the plan was built, where its graph left them free."""
        shape = self._largest(name)
        if len(shape) not in (3, 4):
            return FREE_SIZE_PX
        height, width = shape[1:3] if len(shape) == 4 and shape[3] == 3 else shape[-2:]
        return width, height

    def _answer_shape(self, spec: TensorSpec) -> tuple[int, ...]:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(spec.name))
        if min(shape, default=0) < 0 or int(np.prod(shape)) > self._memory[spec.name].host.size:
            raise BadInput(
                f"{self._path}: expected outputs of a fixed number of boxes on a GPU, got {spec}; export the detector "
                "without its own suppression, or with EfficientNMS"
            )
        return shape

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        if not self._taken:
            raise RuntimeError(f"{self._path}: the detector is closed; open it again")
        with current(self._cuda_context):
            for spec, array in zip(self.inputs, inputs, strict=True):
                memory = self._memory[spec.name]
                if not self._context.set_input_shape(spec.name, array.shape):
                    raise RuntimeError(f"{self._path}: TensorRT does not take {array.shape} ({self._reason()})")
                memory.host[: array.size] = array.reshape(-1)
                self._cuda.memcpy_htod_async(memory.device, memory.host[: array.size], self._stream)
            if not self._context.execute_async_v3(self._stream.handle):
                raise RuntimeError(f"{self._path}: TensorRT could not run the detector ({self._reason()})")
            shapes = [self._answer_shape(spec) for spec in self.outputs]
            answers: list[Array] = []
            for spec, shape in zip(self.outputs, shapes, strict=True):
                memory = self._memory[spec.name]
                host = memory.host[: int(np.prod(shape))]
                self._cuda.memcpy_dtoh_async(host, memory.device, self._stream)
                answers.append(host.reshape(shape))
            self._stream.synchronize()
            return answers

    def _reason(self) -> str:
        reason = self._errors[0][:300] if self._errors else "no reason given"
        self._errors.clear()
        return reason

    def close(self) -> None:
        self._taken.give_back_in(self._cuda_context, self._path.name)
