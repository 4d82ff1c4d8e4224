"""TensorRT and TensorRT-RTX with pycuda: pinned buffers and one stream in the device's primary context.

Written against the interface that 8.5 to 11 and RTX share (set_tensor_address, execute_async_v3). Not run by this
repository's CI, which has no GPU; the plans that it reads are built there.
Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput
from engines.tensorrt_sdk import collecting_logger, cuda_driver, load_sdk

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Manifest
    from engines.plan_target import Flavour


class TensorRtRun:
    """One plan, its execution context, and host and device memory for the largest batch of its profile."""

    def __init__(self, path: Path, flavour: Flavour) -> None:
        sdk = load_sdk(flavour)
        cuda = self._cuda = cuda_driver()
        # The primary context is the one that TensorRT and PyTorch use too; pycuda.autoinit would make a second one.
        self._cuda_context: Any = cuda.Device(0).retain_primary_context()
        self._cuda_context.push()
        try:
            self._logger, errors = collecting_logger(sdk)
            self._runtime: Any = sdk.Runtime(self._logger)
            self._engine: Any = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if self._engine is None:
                reason = errors[0][:300] if errors else "no reason given"
                raise BadInput(
                    f"{path}: {flavour} {sdk.__version__} cannot load the plan ({reason}); build it on this device"
                )
            self._context: Any = self._engine.create_execution_context()
            names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
            inputs = [name for name in names if self._engine.get_tensor_mode(name) == sdk.TensorIOMode.INPUT]
            outputs = [name for name in names if name not in inputs]
            if len(inputs) != 1 or len(outputs) != 1:
                raise BadInput(
                    f"{path}: expected a plan with one input and one output, got {', '.join(names)}; rebuild it"
                )
            self._input, self._output = inputs[0], outputs[0]
            largest = tuple(self._engine.get_tensor_profile_shape(self._input, 0)[2])
            dim = int(self._engine.get_tensor_shape(self._output)[1])
            self._host_BHWC: NDArray[np.uint8] = cuda.pagelocked_empty(largest, np.uint8)
            self._host_BD: NDArray[np.float32] = cuda.pagelocked_empty((largest[0], dim), np.float32)
            self._device_in: Any = cuda.mem_alloc(self._host_BHWC.nbytes)
            self._device_out: Any = cuda.mem_alloc(self._host_BD.nbytes)
            self._context.set_tensor_address(self._input, int(self._device_in))
            self._context.set_tensor_address(self._output, int(self._device_out))
            self._stream: Any = cuda.Stream()
        finally:
            self._cuda_context.pop()

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A context is current in one thread at a time, and embed may be called from any.
        self._cuda_context.push()
        try:
            largest = len(self._host_BHWC)
            parts = [self._infer(image_BHWC[start : start + largest]) for start in range(0, len(image_BHWC), largest)]
            return np.concatenate(parts)
        finally:
            self._cuda_context.pop()

    def _infer(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        size = len(image_BHWC)
        self._host_BHWC[:size] = image_BHWC
        self._context.set_input_shape(self._input, image_BHWC.shape)
        self._cuda.memcpy_htod_async(self._device_in, self._host_BHWC[:size], self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise RuntimeError("TensorRT could not run the batch; its log has the reason")
        self._cuda.memcpy_dtoh_async(self._host_BD[:size], self._device_out, self._stream)
        self._stream.synchronize()
        return np.array(self._host_BD[:size])

    def close(self) -> None:
        self._cuda_context.push()
        try:
            self._device_in.free()
            self._device_out.free()
            # TensorRT's objects free device memory, so they must go while the context is current, children first.
            del self._context, self._engine, self._runtime, self._stream, self._host_BHWC, self._host_BD
        finally:
            self._cuda_context.pop()


def _load(path: Path, *, threads: int | None, flavour: Flavour) -> TensorRtRun:
    del threads  # the GPU has its own
    return TensorRtRun(path, flavour)


load_tensorrt = partial(_load, flavour="tensorrt")
load_tensorrt_rtx = partial(_load, flavour="tensorrt-rtx")


def fits(manifest: Manifest, flavour: Flavour) -> bool:
    """Say whether a GPU is here and the folder has a plan of the installed version for it."""
    targets = [graph.target for graph in manifest.graphs if graph.form == flavour]
    if not targets or find_spec("pycuda") is None:
        return False
    try:
        cuda = cuda_driver()
        if cuda.Device.count() == 0:
            return False
        major, minor = cuda.Device(0).compute_capability()
        version = str(load_sdk(flavour).__version__)
    except Exception:  # no driver, no library: pycuda and TensorRT raise their own types, and "auto" goes on
        return False
    return all(
        target.startswith(f"{flavour} {version} ") and f"SM{major}{minor}" in target.split() for target in targets
    )
