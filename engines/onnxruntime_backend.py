"""ONNX Runtime: the portable second choice on a CPU, and its CUDA provider where one is asked for.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput
from engines.loaded import MAX_BATCH, chunks
from engines.silent_runtimes import import_onnxruntime

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.loaded import LoadOptions

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
# Without it an Ampere GPU or a newer one computes convolutions in TF32, and fp32 would not be fp32.
SETTINGS: dict[str, dict[str, str]] = {CPU: {}, CUDA: {"use_tf32": "0"}}


class OnnxRuntimeRun:
    """One session; its runs are safe from several threads, each with buffers of its own."""

    def __init__(self, path: Path, options: LoadOptions, provider: str) -> None:
        runtime = import_onnxruntime()
        if provider not in runtime.get_available_providers():
            raise BadInput(
                f"expected ONNX Runtime with {provider}, got {', '.join(runtime.get_available_providers())}; "
                "install onnxruntime-gpu, or take another backend"
            )
        self._session: Any = runtime.InferenceSession(
            str(path), session_options(options), providers=[provider], provider_options=[SETTINGS[provider]]
        )
        # A provider whose libraries do not load is replaced by the CPU's with no more than a line in the log.
        if self._session.get_providers()[0] != provider:
            raise BadInput(
                f"expected ONNX Runtime to run on {provider}, got {', '.join(self._session.get_providers())}: its "
                "libraries (CUDA, cuDNN) did not load; install what onnxruntime-gpu names, or take another backend"
            )
        self._input: str = self._session.get_inputs()[0].name
        output = self._session.get_outputs()[0]
        self._output, self._dim = str(output.name), int(output.shape[1])

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        feature_BD = np.empty((len(image_BHWC), self._dim), np.float32)
        for rows in chunks(len(image_BHWC), MAX_BATCH):
            chunk_BHWC, part_BD = np.ascontiguousarray(image_BHWC[rows]), feature_BD[rows]
            binding = self._session.io_binding()
            binding.bind_input(self._input, "cpu", 0, np.uint8, chunk_BHWC.shape, chunk_BHWC.ctypes.data)
            # The vectors are written where the caller gets them.
            binding.bind_output(self._output, "cpu", 0, np.float32, part_BD.shape, part_BD.ctypes.data)
            self._session.run_with_iobinding(binding)
        return feature_BD

    def close(self) -> None:
        self.__dict__.clear()


def session_options(options: LoadOptions) -> Any:
    """Return the session's options for this graph."""
    runtime = import_onnxruntime()
    found = runtime.SessionOptions()
    found.log_severity_level = 3  # errors only: its warnings are about its own graph rewriting
    if options.threads is not None:
        found.intra_op_num_threads = options.threads
    found.inter_op_num_threads = 1
    # Spinning threads slow every other thread of a small device: 91 ms became 1382 ms under load on 2 cores.
    found.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if (options.graph.form, options.graph.precision) == ("onnx-typed", "int8"):
        # With FP16 scales its rewriting multiplies two of them in FP16, where 3e-5 is below the normal numbers: cosine
        # to FP32 0.906 instead of 0.994 (deployment.md 1.4). It is slow without; the other INT8 graphs come first.
        found.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return found


def _load(path: Path, options: LoadOptions, provider: str) -> OnnxRuntimeRun:
    return OnnxRuntimeRun(path, options, provider)


load = partial(_load, provider=CPU)
load_cuda = partial(_load, provider=CUDA)
