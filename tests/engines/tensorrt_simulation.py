"""A simulated TensorRT over the simulated GPU: its plan sums bytes, so that every output can be checked.

A plan file holds what the engine is as Python's repr of a Plan. The versions have and lack what the real ones have and
lack (deployment.md 1.2).
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tests.engines.cuda_fakes import Owned, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.cuda_fakes import Gpu

HEIGHT, WIDTH, DIM = 4, 2, 4
IMAGE_BYTES = HEIGHT * WIDTH * 3
VERSIONS = ("8.6.1", "10.0.1", "10.3.0", "11.4.1", "rtx 1.7.1")


class Plan(NamedTuple):
    profile: tuple[int, int, int] = (1, 4, 8)
    pixels: str = "UINT8"
    vectors: str = "FLOAT"
    image: tuple[int, ...] = (HEIGHT, WIDTH, 3)
    dim: int = DIM
    names: tuple[str, ...] = ("pixels", "embedding")


def expected(image_BHWC: np.ndarray) -> np.ndarray:
    """Return what a plan gives: every fourth byte of an image, summed, from each of four starts."""
    return image_BHWC.reshape(len(image_BHWC), -1, DIM).astype(np.float32).sum(1)


class ExecutionContext(Owned):
    """Remembers what was set and by which thread; a run takes a copy of it, as a real launch does."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.gpu, "execution context")
        self.engine = engine  # as pybind's keep_alive
        self.state: dict[str, Any] = {}
        self.recorded: dict[str, Any] | None = None
        self.ran: set[int] = set()
        self.thread = 0
        self._gpu.holds[self.address] = self.state.values

    def destroy(self) -> None:
        del self._gpu.holds[self.address]
        self.engine.contexts -= 1
        super().destroy()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self.engine.plan.profile
        if shape[1:] != self.engine.plan.image or not smallest <= shape[0] <= largest:
            return self.engine.runtime.refuse(f"shape {shape} is outside the profile")
        self.thread = threading.get_ident()
        return self._set("shape", shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        return self._set(name, address)

    def _set(self, key: str, value: object) -> bool:
        with self._gpu.lock:
            if self._gpu.call(f"set {key}"):
                return self.engine.runtime.refuse(f"cannot set {key}")
            self.state[key] = value
            return True

    def execute_async_v3(self, stream: int) -> bool:
        with self._gpu.lock:
            if self._gpu.call("execute"):
                return self.engine.runtime.refuse("an illegal memory access was encountered")
            if self.thread != threading.get_ident():
                self._gpu.problems.append("two threads in one execution context")
            state, size = dict(self.state), self.state["shape"][0]
            if stream in self._gpu.recording:
                if size not in self.ran:
                    self._gpu.problems.append("the first run of a shape was recorded")
                self.recorded = state
            self.ran.add(size)
            self._gpu.put(stream, Work("fill", lambda: self._fill(state, size)))
            self._gpu.put(stream, Work("reduce", lambda: self._reduce(state, size)))
            return True

    def _fill(self, state: dict[str, Any], size: int) -> None:
        """Copy the input to the scratch memory, which another context's run must not touch before _reduce."""
        if self._freed:
            self._gpu.problems.append("an execution context was destroyed while its work ran")
        if self.recorded is not None and self.recorded != self.state:
            self._gpu.problems.append("an execution context changed behind its recording")
        count = size * IMAGE_BYTES
        self._gpu.bytes_at(state["scratch"], count)[:] = self._gpu.bytes_at(state["pixels"], count)

    def _reduce(self, state: dict[str, Any], size: int) -> None:
        image_BHWC = np.frombuffer(self._gpu.bytes_at(state["scratch"], size * IMAGE_BYTES), np.uint8)
        vectors = expected(image_BHWC.reshape(size, HEIGHT, WIDTH, 3)).tobytes()
        self._gpu.bytes_at(state["embedding"], len(vectors))[:] = vectors


class OldContext(ExecutionContext):
    """8.5 to 10.0: scratch memory without a size, set by assignment."""

    def __setattr__(self, name: str, value: object) -> None:
        if name == "device_memory":
            self.state["scratch"] = value
        else:
            super().__setattr__(name, value)


class NewContext(ExecutionContext):
    def set_device_memory(self, address: int, size: int) -> None:
        if size < self.engine.scratch_bytes:
            self._gpu.problems.append("too little scratch memory")
        self.state["scratch"] = address


class Engine(Owned):
    num_io_tensors = property(lambda self: len(self.plan.names))

    def __init__(self, runtime: Runtime, plan: Plan) -> None:
        super().__init__(runtime.gpu, "engine")
        self.gpu, self.runtime, self.plan = runtime.gpu, runtime, plan
        self.scratch_bytes = plan.profile[2] * IMAGE_BYTES
        self.contexts = 0
        self.with_own_graphs = False

    def destroy(self) -> None:
        if self.contexts:
            self.gpu.problems.append("engine destroyed before its contexts")
        super().destroy()

    def get_tensor_name(self, number: int) -> str:
        return self.plan.names[number]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name == "pixels" else "output"

    def get_tensor_dtype(self, name: str) -> str:
        return f"DataType.{self.plan.pixels if name == 'pixels' else self.plan.vectors}"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.plan.image) if name == "pixels" else (-1, self.plan.dim)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(size, *self.plan.image) for size in self.plan.profile]

    def make_context(self, kind: type[ExecutionContext]) -> ExecutionContext | None:
        with self.gpu.lock:
            if self.gpu.call("create context"):
                self.runtime.refuse("cannot create a context")
                return None
            self.contexts += 1
            return kind(self)


class Engine8(Engine):
    device_memory_size = property(lambda self: self.scratch_bytes)

    def create_execution_context_without_device_memory(self) -> ExecutionContext | None:
        if self.contexts:
            self.runtime.refuse("profile 0 has been chosen by another context")
            return None
        return self.make_context(OldContext)


class Engine100(Engine):
    device_memory_size = property(lambda self: self.scratch_bytes)

    def create_execution_context(self, strategy: str) -> ExecutionContext | None:
        assert strategy == "user managed"
        return self.make_context(OldContext)


class Engine11(Engine):
    device_memory_size_v2 = property(lambda self: self.scratch_bytes)

    def create_execution_context(self, strategy: str) -> ExecutionContext | None:
        assert strategy == "user managed"
        return self.make_context(NewContext)


class Engine103(Engine11):
    device_memory_size = property(lambda self: self.scratch_bytes)


class RuntimeConfig:
    cuda_graph_strategy = "disabled"
    strategy = "static"

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy


class EngineRtx(Engine):
    device_memory_size_v2 = property(lambda self: self.scratch_bytes)

    def create_runtime_config(self) -> RuntimeConfig:
        return RuntimeConfig()

    def create_execution_context(self, config: RuntimeConfig) -> ExecutionContext | None:
        assert config.strategy == "user managed"
        self.with_own_graphs = config.cuda_graph_strategy == "whole graph"
        return self.make_context(NewContext)


ENGINES: dict[str, type[Engine]] = dict(
    zip(VERSIONS, (Engine8, Engine100, Engine103, Engine11, EngineRtx), strict=True)
)


class Runtime(Owned):
    DLA_core = -1

    def __init__(self, gpu: Gpu, logger: Any, kind: type[Engine], refusal: str) -> None:
        if gpu.call("Runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        super().__init__(gpu, "runtime")
        self.gpu, self.logger, self.kind, self.refusal = gpu, logger, kind, refusal

    def refuse(self, reason: str) -> bool:
        self.logger.log("error", reason)
        self.logger.log("error", "what follows from it")
        return False

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if self.gpu.call("deserialize"):
            self.refuse(self.refusal)
            return None
        return self.kind(self, Plan(*eval(plan)))


def sdk_of(
    gpu: Gpu, version: str, seen: Callable[[Runtime], object] = lambda runtime: None, refusal: str = "no such plan"
) -> Any:
    """Return a module like tensorrt of the version; seen gets every Runtime, which refuses a plan with refusal."""

    class Logger:
        ERROR, INTERNAL_ERROR = "error", "internal error"
        Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal error")

        def log(self, severity: Any, message: str) -> None:
            raise NotImplementedError

    def runtime(logger: Any) -> Runtime:
        made = Runtime(gpu, logger, ENGINES[version], refusal)
        seen(made)
        return made

    sdk = SimpleNamespace(
        __version__=version.rpartition(" ")[2],
        ILogger=Logger,
        Runtime=runtime,
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        DataType=SimpleNamespace(UINT8="DataType.UINT8", FLOAT="DataType.FLOAT"),
        OnnxParserFlag=SimpleNamespace(NATIVE_INSTANCENORM="native"),  # since 8.6
    )
    if not version.startswith("8"):
        sdk.ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed", STATIC="static")
    if version.startswith("rtx"):
        sdk.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph", DISABLED="disabled")
    return sdk
