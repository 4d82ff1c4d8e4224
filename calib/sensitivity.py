"""Find the layers that INT8 hurts, and the fewest of them whose return to higher precision keeps the accuracy.

A layer here is what placement quantises: a convolution or matrix product, or the skip input of a residual Add; a
MaxPool goes with the layer behind it, whose range it shares. Each layer is left out of INT8 alone, and what that wins
back says where to look first. (Each quantised alone would hide the skips: an Add is only INT8 with its convolution.)
The search then asks for the build's own judgement.

Shapes: N images, B batch, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from calib.graph_outputs import graph_outputs
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
    """What one layer's return to float wins back."""

    layer: str  # node name in the graph
    operator: str
    gain: float  # of the mean cosine against the float graph


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
    """Leave each layer out of INT8 and rank the layers, worst first; batches are pixels (B, H, W, 3)."""
    if not batches:
        raise BadInput("expected images to measure the layers on, got none; check that --data has training images")
    reference_ND = _embed(model, batches, threads)

    def cosine(kept: tuple[str, ...]) -> float:
        rounded = quantize(model, amax, keep_float=kept)
        return float((_embed(rounded, batches, threads) * reference_ND).sum(1).mean())

    layers, all_rounded = layers_of(model), cosine(())
    found = [
        Sensitivity(layer=layer, operator=layers[layer], gain=cosine((layer,)) - all_rounded)
        for layer in progress(list(layers), total=len(layers), unit="layers", label="sensitivity")
    ]
    return sorted(found, key=lambda row: -row.gain)


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
    return np.concatenate([np.array(out[0], np.float64) for _, out in graph_outputs(model, batches, threads=threads)])
