"""The functions of libcuda that record graphs, on the simulated GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ctypes

    from tests.engines.cuda_fakes import Gpu


class LibCuda:
    """Each function returns a code; 0 is success."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def cuStreamBeginCapture_v2(self, stream: ctypes.c_void_p, mode: ctypes.c_int) -> int:
        handle = stream.value or 0
        if mode.value != 1:
            self._gpu.problems.append("a recording that other threads can break")
        if self._gpu.call("begin capture"):
            return 2
        self._gpu.recording[handle] = []
        return 0

    def cuStreamEndCapture(self, stream: ctypes.c_void_p, graph: Any) -> int:
        failed = self._gpu.call("end capture")
        recorded = self._gpu.recording.pop(stream.value or 0, None)
        if recorded is None or failed:
            return 901
        graph._obj.value = self._gpu.born("graph")
        self._gpu.graphs[graph._obj.value] = recorded
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: ctypes.c_void_p, flags: ctypes.c_ulonglong) -> int:
        if self._gpu.call("instantiate"):
            return 2
        executable._obj.value = self._gpu.born("executable graph")
        self._gpu.graphs[executable._obj.value] = self._gpu.graphs[graph.value or 0]
        return 0

    def cuGraphLaunch(self, executable: ctypes.c_void_p, stream: ctypes.c_void_p) -> int:
        if self._gpu.call("launch"):
            return 700
        for work in self._gpu.graphs[executable.value or 0]:
            self._gpu.put(stream.value or 0, work)
        return 0

    def cuGraphDestroy(self, graph: ctypes.c_void_p) -> int:
        return self._destroy("destroy graph", graph)

    def cuGraphExecDestroy(self, executable: ctypes.c_void_p) -> int:
        return self._destroy("destroy executable graph", executable)

    def _destroy(self, name: str, handle: ctypes.c_void_p) -> int:
        failed = self._gpu.call(name)
        self._gpu.graphs.pop(handle.value or 0)
        self._gpu.gone(handle.value or 0, self._gpu.stack()[-1] if self._gpu.stack() else None)
        return 700 if failed else 0
