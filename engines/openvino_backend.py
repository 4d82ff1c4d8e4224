"""OpenVINO on a CPU: the default of a device without a GPU, and the fastest reader of the INT8 graph there.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import contextlib
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput
from engines.loaded import chunks
from engines.openvino_core import openvino_core

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.loaded import LoadOptions

# Larger batches fall out of the cache: INT8 ResNet-50 at 384x128 on one core (1 MB L2) does 69.1 images/s in one batch
# of 32, 71.9 in four of 8, 70.3 in eight of 4; and 8 images need 82 MB less memory than 32.
CHUNK = 8


class OpenVinoRun:
    """One compiled graph and its requests: one that has all threads, or one a stream for throughput."""

    def __init__(self, path: Path, options: LoadOptions) -> None:
        core = openvino_core()
        if options.bf16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise BadInput(
                "expected a CPU with bf16 instructions (AVX512-BF16 or AMX), got one without; leave bf16 out"
            )
        compiled: Any = core.compile_model(core.read_model(str(path)), "CPU", settings(options))
        count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        self._requests: list[Any] = [compiled.create_infer_request() for _ in range(count)]
        self._lock = Lock()  # a request holds one chunk at a time

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock:
            share = -(-len(image_BHWC) // len(self._requests))  # a small batch is spread over all streams
            rows = list(chunks(len(image_BHWC), min(CHUNK, share)))
            try:
                return np.concatenate(list(self._embed(image_BHWC, rows)))
            except BaseException:
                # The requests read the caller's memory, so none may still run when it is given back.
                for request in self._requests:
                    with contextlib.suppress(Exception):
                        request.wait()
                raise

    def _embed(self, image_BHWC: NDArray[np.uint8], rows: list[slice]) -> Any:
        """Yield the vectors chunk by chunk, in order; request number i takes every i-th chunk."""
        streams = len(self._requests)
        for number in range(len(rows) + streams):
            request = self._requests[number % streams]
            if number >= streams and number - streams < len(rows):
                request.wait()
                # A copy: the next chunk overwrites the request's own memory.
                yield np.array(request.get_output_tensor(0).data, np.float32)
            if number < len(rows):
                request.start_async([np.ascontiguousarray(image_BHWC[rows[number]])], share_inputs=True)

    def close(self) -> None:
        with self._lock:
            self._requests.clear()


def settings(options: LoadOptions) -> dict[str, Any]:
    """Return the compiler's properties."""
    found: dict[str, Any] = {
        # Without it a CPU with AMX or AVX512-BF16 computes the float layers in bf16, and fp32 would not be fp32.
        "INFERENCE_PRECISION_HINT": "bf16" if options.bf16 else "f32",
        "PERFORMANCE_HINT": options.hint.upper(),
        "CACHE_DIR": "",  # a cache would outlive the file whose SHA-256 was checked
    }
    if options.hint == "latency":
        found["NUM_STREAMS"] = 1
    if options.threads is not None:
        found["INFERENCE_NUM_THREADS"] = options.threads
    return found


def load(path: Path, options: LoadOptions) -> OpenVinoRun:
    return OpenVinoRun(path, options)
