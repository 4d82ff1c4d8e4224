"""A simulated GPU behind pycuda's names: it runs late, in any order that CUDA may, and keeps accounts.

Work on a stream waits in a queue. Each call lets a random part of what may run run, so a copy that is not ordered by a
stream, an event or a synchronisation meets the wrong bytes under some seed. Memory, streams, events, graphs and
TensorRT's objects are counted; freeing outside the context, use behind a free and the like are noted as problems. The
rules that are easy to get wrong are pycuda's own, read in its source (2026.1): contexts compare as objects, an object
is destroyed with its last reference, and that must happen where its context is current.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class CudaError(Exception):
    """pycuda.driver.LogicError."""


class OutOfMemory(Exception):
    """pycuda.driver.MemoryError, which is no Python MemoryError."""


class Token:
    """One recording of an event."""

    def __init__(self) -> None:
        self.done = False


class Work:
    """One entry of a stream: it may run when its token, if it has one, is done."""

    def __init__(self, name: str, run: Callable[[], None], after: Token | None = None) -> None:
        self.name, self.run, self.after = name, run, after


class Gpu:
    """The device. The n-th call fails (fail_at), those of a name (fails), or all from a name on (dies_at)."""

    def __init__(self, *, seed: int = 0, free_bytes: int = 1 << 30, fail_at: int | None = None) -> None:
        self.random = random.Random(seed)
        self.eagerness = self.random.choice((0.0, 0.3, 0.9))  # 0: nothing runs before somebody waits for it
        self.lock = threading.RLock()
        self.calls: list[str] = []
        self.ran: list[str] = []  # names of the work on streams, in the order in which it ran
        self.holds: dict[int, Callable[[], Iterable[int]]] = {}  # execution context -> the addresses that it was given
        self.fail_at, self.fails, self.dies_at, self.dead = fail_at, "", "", False
        self.lost = False  # the context could not be made current: what is freed now is freed without
        self.free_bytes = free_bytes
        self.problems: list[str] = []
        self.live: dict[int, str] = {}
        self.memory: dict[int, bytearray] = {}
        self.queues: dict[int, deque[Work]] = {}
        self.recording: dict[int, list[Work]] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.stacks: dict[int, list[Any]] = {}
        self._next = 0x1000

    def number(self) -> int:
        self._next += 0x100000
        return self._next

    def call(self, name: str, *, context: bool = True) -> bool:
        """Count a call and let the GPU go on; say whether this call fails."""
        self.calls.append(name)
        if context and not self.stack() and not (self.dead or self.lost):
            self.problems.append(f"{name} without a current context")
        for _ in range(8):
            if self.random.random() < self.eagerness:
                self.step()
        self.dead = self.dead or name == self.dies_at
        return self.dead or name == self.fails or len(self.calls) == self.fail_at

    def stack(self) -> list[Any]:
        return self.stacks.setdefault(threading.get_ident(), [])

    def born(self, kind: str) -> int:
        number = self.number()
        self.live[number] = kind
        return number

    def gone(self, number: int, context: Any) -> None:
        """Destroy what born counted; twice, or where its context is not current, is a problem."""
        kind = self.live.pop(number, None)
        if kind is None:
            self.problems.append(f"{number:#x} destroyed twice")
        elif not (self.dead or self.lost) and (not self.stack() or self.stack()[-1] is not context):
            self.problems.append(f"{kind} destroyed where its context is not current")

    def step(self) -> bool:
        """Run one entry of some stream, chosen at random out of those that may run."""
        ready = [queue for queue in self.queues.values() if queue and (queue[0].after is None or queue[0].after.done)]
        if ready:
            work = self.random.choice(ready).popleft()
            self.ran.append(work.name)
            work.run()
        return bool(ready)

    def run_until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            if not self.step():
                self.problems.append("a wait that never ends")
                return

    def put(self, stream: int, work: Work) -> None:
        """Add work to a stream, or to its recording."""
        if stream in self.recording:
            self.recording[stream].append(work)
        elif stream not in self.queues:
            self.problems.append("work on a stream that is gone")
        else:
            self.queues[stream].append(work)

    def bytes_at(self, address: int, count: int) -> memoryview:
        """Return device memory from an address on."""
        for start, block in self.memory.items():
            if start <= address and address + count <= start + len(block):
                return memoryview(block)[address - start : address - start + count]
        self.problems.append(f"{count} bytes at {address:#x} are not allocated")
        return memoryview(bytearray(count))


class Context:
    """The primary context; every retain gives another object, as in pycuda."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def push(self) -> None:
        with self._gpu.lock:
            self._gpu.lost = self._gpu.call("push", context=False)
            if self._gpu.lost:
                raise CudaError("cuCtxPushCurrent failed")
            self._gpu.stack().append(self)

    def pop(self) -> None:
        with self._gpu.lock:
            failed = self._gpu.call("pop")
            if self._gpu.stack().pop() is not self:
                self._gpu.problems.append("another context was popped")
            if failed:
                raise CudaError("cuCtxPopCurrent failed")


class Owned:
    """Something that is destroyed with its last reference, or before by free."""

    def __init__(self, gpu: Gpu, kind: str) -> None:
        self._gpu, self._context = gpu, gpu.stack()[-1] if gpu.stack() else None
        self.address = gpu.born(kind)
        self._freed = False

    def destroy(self) -> None:
        self._freed = True
        self._gpu.gone(self.address, self._context)

    def __del__(self) -> None:
        if not getattr(self, "_freed", True):
            with self._gpu.lock:
                self.destroy()


class DeviceAllocation(Owned):
    def __init__(self, gpu: Gpu, count: int) -> None:
        super().__init__(gpu, "device memory")
        gpu.memory[self.address] = bytearray(gpu.random.randbytes(count))
        gpu.free_bytes -= count

    def __int__(self) -> int:
        return self.address

    def destroy(self) -> None:
        super().destroy()
        if any(self.address in held() for held in self._gpu.holds.values()):
            self._gpu.problems.append("memory freed before the execution context that has it")
        self._gpu.free_bytes += len(self._gpu.memory.pop(self.address, b""))

    def free(self) -> None:
        with self._gpu.lock:
            failed = self._gpu.call("free")
            self.destroy()
            if failed:
                raise CudaError("cuMemFree failed")


class PagelockedHostAllocation(Owned):
    """The base of a page-locked array."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...], dtype: Any) -> None:
        super().__init__(gpu, "page-locked memory")
        self._block = np.frombuffer(
            bytearray(gpu.random.randbytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)), dtype
        )
        self.__array_interface__ = {**self._block.__array_interface__, "shape": shape, "strides": None}

    @property
    def freed(self) -> bool:
        return self._freed

    def free(self) -> None:
        with self._gpu.lock:
            failed = self._gpu.call("free")
            self.destroy()
            self._block.view(np.uint8)[:] = 0xDD
            if failed:
                raise CudaError("cuMemFreeHost failed")


class Stream(Owned):
    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu, "stream")
        self.handle = self.address
        gpu.queues[self.handle] = deque()

    def destroy(self) -> None:
        super().destroy()
        if self._gpu.queues.pop(self.handle, None) and not self._gpu.dead:
            self._gpu.problems.append("stream destroyed with work on it")

    def synchronize(self) -> None:
        with self._gpu.lock:
            failed = self._gpu.call("stream.synchronize")
            if self.handle in self._gpu.recording:
                self._gpu.problems.append("synchronised while recording")
            queue = self._gpu.queues[self.handle]
            self._gpu.run_until(lambda: not queue)
            if failed:
                raise CudaError("cuStreamSynchronize failed")

    def wait_for_event(self, event: Event) -> None:
        with self._gpu.lock:
            if self._gpu.call("wait_for_event"):
                raise CudaError("cuStreamWaitEvent failed")
            self._gpu.put(self.handle, Work("wait", lambda: None, event.token))


class Event(Owned):
    token: Token | None = None

    def __init__(self, gpu: Gpu) -> None:
        super().__init__(gpu, "event")

    def record(self, stream: Stream) -> None:
        with self._gpu.lock:
            if self._gpu.call("record"):
                raise CudaError("cuEventRecord failed")
            token = self.token = Token()
            self._gpu.put(stream.handle, Work("event", lambda: setattr(token, "done", True)))

    def synchronize(self) -> None:
        with self._gpu.lock:
            failed = self._gpu.call("event.synchronize")
            token = self.token
            if token is not None:
                self._gpu.run_until(lambda: token.done)
            if failed:
                raise CudaError("cuEventSynchronize failed")


class Device:
    """An Orin, and the only one."""

    def __init__(self, number: int) -> None:
        assert number == 0

    @staticmethod
    def count() -> int:
        return 1

    def compute_capability(self) -> tuple[int, int]:
        return 8, 7

    def name(self) -> str:
        return "Orin (nvgpu)"


class Driver:
    """Stands in the place of the module pycuda.driver."""

    MemoryError = OutOfMemory
    LogicError = CudaError
    event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

        class OwnDevice(Device):
            def retain_primary_context(self) -> Context:
                if gpu.call("retain_primary_context", context=False):
                    raise CudaError("cuDevicePrimaryCtxRetain failed")
                return Context(gpu)

        self.Device = OwnDevice

    def _counted(self, name: str, error: type[Exception] = CudaError) -> None:
        with self._gpu.lock:
            failed = self._gpu.call(name)
        if failed:
            raise error(f"{name} failed")

    def mem_get_info(self) -> tuple[int, int]:
        self._counted("mem_get_info")
        return self._gpu.free_bytes, 1 << 30

    def mem_alloc(self, count: int) -> DeviceAllocation:
        with self._gpu.lock:
            self._counted("mem_alloc", OutOfMemory)
            if count > self._gpu.free_bytes:
                raise OutOfMemory("cuMemAlloc failed: out of memory")
            return DeviceAllocation(self._gpu, count)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        with self._gpu.lock:
            self._counted("pagelocked_empty", OutOfMemory)
            return np.asarray(PagelockedHostAllocation(self._gpu, shape, dtype))

    def Stream(self) -> Stream:
        self._counted("stream")
        return Stream(self._gpu)

    def Event(self, flags: int) -> Event:
        self._counted("event")
        return Event(self._gpu)

    # C++ has no frames that would keep the arguments alive behind a failure.
    def memcpy_htod_async(self, device: DeviceAllocation, host: np.ndarray, stream: Stream) -> None:
        address, handle = int(device), stream.handle
        del device, stream
        self._copy("htod", address, host, handle)

    def memcpy_dtoh_async(self, host: np.ndarray, device: DeviceAllocation, stream: Stream) -> None:
        address, handle = int(device), stream.handle
        del device, stream
        self._copy("dtoh", address, host, handle)

    def _copy(self, name: str, address: int, host: np.ndarray, stream: int) -> None:
        view = host.reshape(-1).view(np.uint8)
        assert np.shares_memory(view, host), "pycuda takes contiguous memory only"

        def run() -> None:
            block = np.frombuffer(self._gpu.bytes_at(address, view.size), np.uint8)
            if pinned(self._gpu, host):
                (block if name == "htod" else view)[:] = view if name == "htod" else block

        with self._gpu.lock:
            self._counted(name)
            self._gpu.put(stream, Work(name, run))


def pinned(gpu: Gpu, host: Any) -> bool:
    """Say whether an asynchronous copy may touch the array; note what is wrong with it."""
    while isinstance(host, np.ndarray):
        host = host.base
    if not isinstance(host, PagelockedHostAllocation):
        gpu.problems.append("asynchronous copy of pageable memory")
        return False
    if host.freed:
        gpu.problems.append("copy of page-locked memory that was freed")
    return not host.freed
