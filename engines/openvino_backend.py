"""OpenVINO on a CPU: the default of a device without a GPU, and the fastest reader of the INT8 graph there.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import openvino

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


class OpenVinoRun:
    """One compiled graph and its single request."""

    def __init__(self, path: Path, threads: int | None) -> None:
        settings: dict[str, Any] = {
            # Without it a CPU with AMX or AVX512-BF16 computes the float layers in bf16, and fp32 would not be fp32.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",  # one caller that waits for its batch
            "NUM_STREAMS": 1,
            "CACHE_DIR": "",  # a cache would outlive the file whose SHA-256 was checked
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core: Any = openvino.Core()
        self._compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([image_BHWC], share_inputs=True)
        # A copy: the next call overwrites the request's own memory.
        return np.array(self._request.get_output_tensor(0).data, np.float32)

    def close(self) -> None:
        del self._request, self._compiled


def load(path: Path, *, threads: int | None) -> OpenVinoRun:
    return OpenVinoRun(path, threads)
