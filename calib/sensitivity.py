"""Find the layers that INT8 hurts, and the fewest of them whose return to higher precision keeps the accuracy.

A layer here is what placement quantises: a convolution or matrix product, or the skip input of a residual Add; a
MaxPool goes with the layer behind it, whose range it shares. Each is quantised alone and the embeddings are compared
with the float graph's: the errors of layers add up nearly, and one alone stands out more clearly than one that is
missing among fifty. The search then asks for the build's own judgement, so that the order only says where to look first.

Shapes: N images, B batch, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.placement import place
from calib.quantize import quantize
from engines.errors import BadInput
from engines.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

PRUNING_TRIES = 16  # a judgement embeds all held-out images: 13 s for 512 at 40 images/s


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """What one layer's quantisation alone does to the embeddings."""

    layer: str  # node name in the graph
    operator: str
    error: float  # mean of 1 - cosine against the float graph


def layers_of(model: onnx.ModelProto) -> dict[str, str]:
    """Map every quantised layer of a graph to its operator, in the graph's order."""
    placement = place(model)
    named = {node for edges in placement.activations.values() for node, _ in edges}
    return {node.name: node.op_type for node in model.graph.node if node.name in named and node.op_type != "MaxPool"}


def layer_sensitivity(
    model: onnx.ModelProto,
    amax: Mapping[str, float],
    batches: Sequence[NDArray[np.uint8]],
    *,
    threads: int | None = None,
) -> list[Sensitivity]:
    """Quantise each layer alone and rank the layers, worst first; batches are pixels (B, H, W, 3)."""
    if not batches:
        raise BadInput("expected images to measure the layers on, got none; check that --data has training images")
    layers = layers_of(model)
    reference_ND = _embed(model, batches, threads)
    found: list[Sensitivity] = []
    for layer in progress(list(layers), total=len(layers), unit="layers", label="sensitivity"):
        alone = quantize(model, amax, keep_float=set(layers) - {layer})
        cosine_N = (_embed(alone, batches, threads) * reference_ND).sum(1)
        found.append(Sensitivity(layer=layer, operator=layers[layer], error=float(1.0 - cosine_N.mean())))
    return sorted(found, key=lambda row: -row.error)


def fewest_kept(order: Sequence[str], holds: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...] | None:
    """Return a smallest set of layers to keep out of INT8 for which holds() is true, or None where all do not help.

    The set is a beginning of order (found by doubling, then halving), less each layer that can be spared after all.
    holds() is not asked for the empty set, whose answer brought the caller here.
    """
    failed, size = 0, 1
    while not holds(tuple(order[:size])):
        if size >= len(order):
            return None
        failed, size = size, min(2 * size, len(order))
    while size - failed > 1:
        middle = (failed + size) // 2
        if holds(tuple(order[:middle])):
            size = middle
        else:
            failed = middle
    kept = tuple(order[:size])
    # The least sensitive first. The last one is needed: without it holds() was false.
    for layer in list(reversed(kept[:-1]))[:PRUNING_TRIES]:
        without = tuple(name for name in kept if name != layer)
        if holds(without):
            kept = without
    return kept


def _embed(model: onnx.ModelProto, batches: Sequence[NDArray[np.uint8]], threads: int | None) -> NDArray[np.float64]:
    import openvino

    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "CACHE_DIR": "", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core: Any = openvino.Core()
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
    request = compiled.create_infer_request()
    parts: list[NDArray[np.float64]] = []
    for image_BHWC in batches:
        request.infer([np.ascontiguousarray(image_BHWC)], share_inputs=True)
        parts.append(np.array(request.get_output_tensor(0).data, np.float64))
    return np.concatenate(parts)
