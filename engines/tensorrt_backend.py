"""TensorRT and TensorRT-RTX with pycuda: two batches on their way at a time, and a CUDA graph a batch size.

Written against the interface that 8.5 to 11 and RTX share (set_tensor_address, execute_async_v3); the tests run it on a
simulated GPU that runs each stream's work as late and in as odd an order as CUDA may (tests/engines/cuda_fakes.py).
Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.cuda_graph import CudaGraph, load_libcuda
from engines.cuda_memory import Slot, Taken, current, free_device, megabytes, primary_context
from engines.errors import BadInput
from engines.loaded import chunks
from engines.plan_target import parse_target
from engines.tensorrt_sdk import collecting_logger, cuda_driver, load_sdk, without_collection

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.loaded import LoadOptions
    from engines.plan_target import Flavour

log = logging.getLogger(__name__)

SLOTS = 2  # one batch is copied in while the other computes; computing is one stream's, so a third would wait
MAX_GRAPHS = 16  # each has an execution context of its own; batch sizes beyond run without one


class Execution:
    """An execution context, and the CUDA graph that was recorded from it."""

    context: Any
    graph: CudaGraph


class TensorRtRun:
    """One plan with memory for the largest batch of its profile, taken once."""

    _runtime: Any
    _engine: Any
    _scratch: Any
    _copies: Any
    _compute: Any

    def __init__(self, path: Path, options: LoadOptions, flavour: Flavour) -> None:
        self._path, self._options, self._flavour = path, options, flavour
        self._sdk, self._cuda = load_sdk(flavour), cuda_driver()
        self._lock, self._taken = Lock(), Taken()
        self._slots: list[Slot] = []
        self._recorded: dict[tuple[int, int], Execution] = {}  # slot number, batch size
        self._needed_bytes = path.stat().st_size
        self._target = parse_target(options.graph.target)
        self._dla = self._target.dla
        self._cuda_context = primary_context(self._cuda)
        try:
            with current(self._cuda_context), without_collection():
                self._load()
        except BaseException:
            self.close()
            raise
        self._graphs = options.hint == "latency" and self._graphs_possible()

    def _load(self) -> None:
        try:
            self._read_plan()
            self._take_memory()
            self._plain = self._new_execution()
        except self._cuda.MemoryError as error:
            raise BadInput(self._memory_line()) from error

    def _read_plan(self) -> None:
        sdk = self._sdk
        self._free_bytes = int(self._cuda.mem_get_info()[0])
        self._logger, self._errors = collecting_logger(sdk)
        if not hasattr(getattr(sdk, "OnnxParserFlag", None), "NATIVE_INSTANCENORM"):
            sdk.init_libnvinfer_plugins(self._logger, "")  # 8.5 has InstanceNorm as a plugin, the plan names it
        self._taken.take(self, "_runtime", lambda: sdk.Runtime(self._logger))
        if self._target.version_compatible:
            # Such a plan carries code for the host. It is run because --version-compatible asked for it here and its
            # SHA-256 is the manifest's; a plan of unknown origin must not be put into a folder (README).
            self._runtime.engine_host_code_allowed = True
        if self._dla is not None:
            self._runtime.DLA_core = self._dla
        self._taken.take(self, "_engine", lambda: self._runtime.deserialize_cuda_engine(self._path.read_bytes()))
        if self._engine is None:
            reason = self._reason()
            if "memory" in reason.lower():
                raise BadInput(self._memory_line())
            raise BadInput(
                f"{self._path}: {self._flavour} {sdk.__version__} cannot load the plan ({reason}); build it on this "
                "device"
            )
        names = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == sdk.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or len(outputs) != 1:
            raise BadInput(
                f"{self._path}: expected a plan with one input and one output, got {', '.join(names)}; rebuild it"
            )
        self._input, self._output = inputs[0], outputs[0]
        self._check_types()

    def _check_types(self) -> None:
        """Compare the plan's input and output with the manifest; wrong ones would be read as garbage, not refused."""
        types, manifest = self._sdk.DataType, self._options.manifest
        found = [
            (self._engine.get_tensor_dtype(name), tuple(self._engine.get_tensor_shape(name))[1:])
            for name in (self._input, self._output)
        ]
        image, vector = (manifest.height_px, manifest.width_px, 3), (manifest.embedding_dim,)
        if found != [(types.UINT8, image), (types.FLOAT, vector)]:
            got = " to ".join(f"{str(dtype).rpartition('.')[2]} {('B', *shape)}" for dtype, shape in found)
            raise BadInput(
                f"{self._path}: expected a plan from UINT8 {('B', *image)} to FLOAT {('B', *vector)}, as the manifest "
                f"says, got {got}; rebuild it"
            )
        self._image = image

    def _take_memory(self) -> None:
        cuda = self._cuda
        smallest, _, largest = self._engine.get_tensor_profile_shape(self._input, 0)
        self._smallest, self._largest = int(smallest[0]), int(largest[0])
        # Ours, so that all contexts share one: they compute on one stream, one behind the other.
        sized = hasattr(self._engine, "device_memory_size_v2")  # 10.1; in 11 the other is gone
        size = self._engine.device_memory_size_v2 if sized else self._engine.device_memory_size
        self._scratch_bytes = max(int(size), 1)
        dim = self._options.manifest.embedding_dim
        self._free_bytes = int(cuda.mem_get_info()[0])  # behind the weights; a Jetson's figure leaves caches out
        self._needed_bytes = self._scratch_bytes + SLOTS * self._largest * (int(np.prod(self._image)) + 4 * dim)
        self._taken.take(self, "_scratch", lambda: cuda.mem_alloc(self._scratch_bytes), free_device)
        # Not the default stream: capture is not allowed on it, and all others wait for it.
        self._taken.take(self, "_copies", cuda.Stream)
        self._taken.take(self, "_compute", cuda.Stream)
        for _ in range(SLOTS):
            self._slots.append(Slot(cuda, self._taken, (self._largest, *self._image), (self._largest, dim)))

    def _new_execution(self) -> Execution:
        execution = Execution()
        self._taken.take(execution, "context", self._create_context)
        if execution.context is None:
            raise BadInput(f"{self._path}: {self._flavour} could not start the plan ({self._reason()}); rebuild it")
        if hasattr(execution.context, "set_device_memory"):
            execution.context.set_device_memory(int(self._scratch), self._scratch_bytes)
        else:  # 8.5 to 10.0
            execution.context.device_memory = int(self._scratch)
        return execution

    def _create_context(self) -> Any:
        sdk = self._sdk
        if hasattr(sdk, "CudaGraphStrategy"):  # RTX compiles kernels as it runs and records its own graphs
            config = self._engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(sdk.ExecutionContextAllocationStrategy.USER_MANAGED)
            if self._options.hint == "latency":
                config.cuda_graph_strategy = sdk.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            return self._engine.create_execution_context(config)
        if hasattr(sdk, "ExecutionContextAllocationStrategy"):
            return self._engine.create_execution_context(sdk.ExecutionContextAllocationStrategy.USER_MANAGED)
        return self._engine.create_execution_context_without_device_memory()  # 8.5, 8.6; gone in 11

    def _graphs_possible(self) -> bool:
        """8.x gives a profile to one context only, RTX records by itself, and CUDA cannot record a DLA's work."""
        own = hasattr(self._sdk, "CudaGraphStrategy")
        return not own and self._dla is None and hasattr(self._sdk, "ExecutionContextAllocationStrategy")

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        # A context is current in one thread at a time, and embed may be called from any.
        with self._lock, current(self._cuda_context):
            if not self._taken:
                raise RuntimeError(f"{self._path}: the engine is closed; open it again")
            feature_BD = np.empty((len(image_BHWC), self._options.manifest.embedding_dim), np.float32)
            try:
                for number, rows in enumerate(chunks(len(image_BHWC), self._largest)):
                    self._finish(number % SLOTS, feature_BD)
                    self._start(number % SLOTS, rows, image_BHWC)
                for number in range(SLOTS):
                    self._finish(number, feature_BD)
            except BaseException:
                self._drain()
                raise
            return feature_BD

    def _start(self, number: int, rows: slice, image_BHWC: NDArray[np.uint8]) -> None:
        """Send one chunk on its way; the host goes on while the GPU copies and computes."""
        slot, cuda = self._slots[number], self._cuda
        count = rows.stop - rows.start
        size = max(count, self._smallest)
        slot.rows = rows
        slot.pixels_BHWC[:count] = image_BHWC[rows]
        slot.pixels_BHWC[count:size] = 0  # a plan for batches of 4 and more computes blank images too
        cuda.memcpy_htod_async(slot.device_pixels, slot.pixels_BHWC[:size], self._copies)
        slot.copied.record(self._copies)
        self._compute.wait_for_event(slot.copied)
        self._enqueue(number, size)
        cuda.memcpy_dtoh_async(slot.feature_BD[:count], slot.device_feature, self._compute)
        slot.done.record(self._compute)

    def _finish(self, number: int, feature_BD: NDArray[np.float32]) -> None:
        """Wait for a slot's chunk, if it has one, and take its vectors."""
        slot = self._slots[number]
        if slot.rows is not None:
            slot.done.synchronize()
            feature_BD[slot.rows] = slot.feature_BD[: slot.rows.stop - slot.rows.start]
            slot.rows = None

    def _enqueue(self, number: int, size: int) -> None:
        recorded = self._recorded.get((number, size))
        if recorded is not None:
            recorded.graph.launch(self._compute.handle)
        elif self._graphs and len(self._recorded) < MAX_GRAPHS:
            self._enqueue_and_record(number, size)
        else:
            self._execute(self._plain, number, size)

    def _enqueue_and_record(self, number: int, size: int) -> None:
        """Run a batch size for the first time, then record it. Without success, no graph is tried again."""
        try:
            # A context that changes after the recording breaks the graph, so each graph has its own.
            execution = self._new_execution()
        except Exception as error:
            self._without_graphs(error)
            self._execute(self._plain, number, size)
            return
        # TensorRT allocates and tunes in the first run of a shape, which must not be recorded.
        self._execute(execution, number, size)
        try:
            self._taken.take(
                execution,
                "graph",
                lambda: CudaGraph(load_libcuda(), self._compute.handle, lambda: self._execute(execution, number, size)),
                CudaGraph.close,
            )
        except Exception as error:
            self._without_graphs(error)
        else:
            self._recorded[number, size] = execution

    def _without_graphs(self, error: Exception) -> None:
        self._graphs = False
        self._errors.clear()
        log.warning("%s: going on without CUDA graphs: %s", self._path.name, error)

    def _execute(self, execution: Execution, number: int, size: int) -> None:
        slot = self._slots[number]
        if not (
            execution.context.set_input_shape(self._input, (size, *self._image))
            and execution.context.set_tensor_address(self._input, int(slot.device_pixels))
            and execution.context.set_tensor_address(self._output, int(slot.device_feature))
            and execution.context.execute_async_v3(self._compute.handle)
        ):
            raise RuntimeError(f"{self._path}: TensorRT could not run a batch of {size} ({self._reason()})")

    def _reason(self) -> str:
        """Return what TensorRT said first since it was last asked; what follows are consequences."""
        reason = self._errors[0][:300] if self._errors else "no reason given"
        self._errors.clear()
        return reason

    def _memory_line(self) -> str:
        return (
            f"{self._path}: expected {megabytes(self._needed_bytes)} of free GPU memory, got "
            f"{megabytes(self._free_bytes)}; close what else uses the GPU, or build for a smaller batch"
        )

    def _drain(self) -> None:
        """Wait until nothing reads or writes the slots, whatever has failed."""
        for slot in self._slots:
            slot.rows = None
        for stream in ("_copies", "_compute"):
            with contextlib.suppress(Exception):
                getattr(self, stream).synchronize()

    def close(self) -> None:
        with self._lock:
            self._taken.give_back_in(self._cuda_context, self._path.name)


def _load(path: Path, options: LoadOptions, flavour: Flavour) -> TensorRtRun:
    return TensorRtRun(path, options, flavour)


load_tensorrt = partial(_load, flavour="tensorrt")
load_tensorrt_rtx = partial(_load, flavour="tensorrt-rtx")
