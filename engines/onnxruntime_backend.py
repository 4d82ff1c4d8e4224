"""ONNX Runtime on a CPU: the portable second choice.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeRun:
    """One session."""

    def __init__(self, path: Path, threads: int | None) -> None:
        runtime: Any = onnxruntime
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors only: its warnings are about its own graph rewriting
        if threads is not None:
            options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads slow every other thread of a small device: 91 ms became 1382 ms under load on 2 cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = runtime.InferenceSession(str(path), options, providers=[PROVIDER])
        self._input: str = self._session.get_inputs()[0].name

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._session.run(None, {self._input: image_BHWC})[0], np.float32)

    def close(self) -> None:
        del self._session


def load(path: Path, *, threads: int | None) -> OnnxRuntimeRun:
    return OnnxRuntimeRun(path, threads)
