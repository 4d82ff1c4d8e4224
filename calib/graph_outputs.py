"""Run a graph in FP32 on the CPU, batch by batch: what every measurement of calibration does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput
from engines.openvino_core import openvino_core

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx
    from numpy.typing import NDArray


def graph_outputs(
    model: onnx.ModelProto, batches: Iterable[NDArray[np.uint8]], *, threads: int | None = None
) -> Iterator[tuple[int, list[NDArray[Any]]]]:
    """Yield the images of each batch of pixels (B, H, W, 3) and the graph's outputs, in the graph's order.

    The outputs are the runtime's own memory, which the next batch overwrites. No batch at all is refused.
    """
    settings = {"INFERENCE_PRECISION_HINT": "f32", "CACHE_DIR": "", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    core = openvino_core()
    request = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings).create_infer_request()
    images = 0
    for image_BHWC in batches:
        images += len(image_BHWC)
        request.infer([np.ascontiguousarray(image_BHWC)], share_inputs=True)
        yield len(image_BHWC), [request.get_output_tensor(place).data for place in range(len(model.graph.output))]
    if not images:
        raise BadInput("expected calibration images, got none; check that --data has training identities with images")
