"""Record what one call puts on a CUDA stream and replay it: pycuda has no binding, so libcuda is called by ctypes.

A replay costs one launch instead of one a kernel. It repeats the recorded addresses and sizes.
"""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: another thread that allocates meanwhile (a second engine) does no harm.
_THREAD_LOCAL = 1


class CudaGraphError(RuntimeError):
    """A call of libcuda failed."""


def load_libcuda() -> Any:
    """Return the driver's library; pycuda has it loaded already."""
    return ctypes.CDLL("libcuda.so.1")


class CudaGraph:
    """A recorded graph, ready to launch. Every call needs the context current that it was recorded in."""

    def __init__(self, libcuda: Any, stream: int, enqueue: Callable[[], None]) -> None:
        """Record what enqueue puts on the stream; nothing of it runs. The stream is usable again whatever fails."""
        self._libcuda = libcuda
        self._executable = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        try:
            try:
                _record(libcuda, stream, enqueue, graph)
                # CUDA 11.4 and newer have this one; JetPack 5 ships 11.4.
                executable = ctypes.byref(self._executable)
                _call(libcuda, "cuGraphInstantiateWithFlags", executable, graph, ctypes.c_ulonglong(0))
            finally:
                if graph:
                    _call(libcuda, "cuGraphDestroy", graph)
        except BaseException:
            with contextlib.suppress(CudaGraphError):
                self.close()
            raise

    def launch(self, stream: int) -> None:
        """Put the recorded work on the stream."""
        _call(self._libcuda, "cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def close(self) -> None:
        """Free it; harmless when repeated. No launch may be under way."""
        executable, self._executable = self._executable, ctypes.c_void_p()
        if executable:
            _call(self._libcuda, "cuGraphExecDestroy", executable)


def _record(libcuda: Any, stream: int, enqueue: Callable[[], None], graph: ctypes.c_void_p) -> None:
    _call(libcuda, "cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))
    try:
        enqueue()
    finally:
        # Also behind a failure: without it the stream would record for ever.
        _call(libcuda, "cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))


def _call(libcuda: Any, name: str, *arguments: Any) -> None:
    code = int(getattr(libcuda, name)(*arguments))
    if code != 0:
        raise CudaGraphError(f"{name} gave CUDA error {code}")
