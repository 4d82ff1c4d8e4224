"""OpenVINO on a CPU: the default of a device without a GPU, and the fastest reader of the INT8 graph there.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import logging
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
from openvino import opset13

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class OpenVinoRun:
    """One compiled graph and its single request."""

    def __init__(self, path: Path, threads: int | None) -> None:
        settings: dict[str, Any] = {
            # Without it a CPU with AMX computes an FP32 graph in bf16, and parity is off by 1e-2.
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "CACHE_DIR": "",  # a cache would outlive the file whose SHA-256 was checked
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        core = openvino.Core()
        model = core.read_model(str(path))
        if int8_saturates(platform.machine(), _cpu_flags()):
            halved = halve_weights(model)
            if halved:
                log.info("no VNNI on this CPU: %d INT8 weights run in 7 bits, which cannot saturate", halved)
        self._compiled = core.compile_model(model, "CPU", settings)
        self._request = self._compiled.create_infer_request()

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([image_BHWC], share_inputs=True)
        # A copy: the next call overwrites the request's own memory.
        return np.array(self._request.get_output_tensor(0).data, np.float32)

    def close(self) -> None:
        del self._request, self._compiled


def load(path: Path, *, threads: int | None) -> OpenVinoRun:
    return OpenVinoRun(path, threads)


def int8_saturates(machine: str, cpu_flags: str) -> bool:
    """Say whether INT8 products of this CPU overflow: x86 before VNNI adds two of them in 16 bits (vpmaddubsw)."""
    return machine.lower() in {"x86_64", "amd64"} and "vnni" not in cpu_flags


def halve_weights(model: openvino.Model) -> int:
    """Round INT8 weights to 7 bits and double their scales, in memory; return how many weights were changed.

    OpenVINO feeds activations as 0..255, and 255 * 127 * 2 is over 32767. On AVX2, worst cosine against FP32 of a random
    network: 0.9937 with 8 bits and their overflow, 0.9997 with 7 bits; ONNX Runtime, which does not overflow, has 0.9998.
    """
    changed = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != openvino.Type.i8 or node.data.ndim < 2:
            continue
        scaled = _scale_of(node)
        if scaled is None:
            continue
        halves = opset13.constant(np.rint(np.asarray(node.data, np.float32) / 2.0).astype(np.int8))
        doubled = opset13.multiply(scaled.get_source_output(), opset13.constant(np.float32(2.0)))
        scaled.replace_source_output(doubled.output(0))
        node.output(0).replace(halves.output(0))
        changed += 1
    return changed


def _scale_of(constant: Any) -> Any | None:
    """Return the input of the Multiply behind constant -> Convert [-> Subtract] that brings the scale."""
    node = constant
    while True:
        readers = list(node.output(0).get_target_inputs())
        if len(readers) != 1:
            return None
        node = readers[0].get_node()
        if node.get_type_name() == "Multiply":
            return node.input(1 - readers[0].get_index())
        if node.get_type_name() not in {"Convert", "Subtract"}:
            return None


def _cpu_flags() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith("flags")), "")
