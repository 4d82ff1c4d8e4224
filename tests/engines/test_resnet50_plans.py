"""Every method with ResNet-50 at its own size: TensorRT-RTX takes all precisions. make test-slow runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from calib.half import to_half
from calib.half_ranges import measure_largest
from calib.placement import place
from calib.quantize import quantize
from calib.ranges import measure
from engines.tensorrt_build import PlanRequest, build_plan
from engines.tensorrt_layers import precision_of, read_layers
from engines.tensorrt_sdk import sdk_installed
from train.export import export_model
from train.methods import METHODS, load

if TYPE_CHECKING:
    from pathlib import Path

    from engines.manifest import Precision

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sdk_installed("tensorrt-rtx"), reason="needs TensorRT-RTX: pip install -e .[tensorrt-rtx]"),
]


def typed_graphs(path: Path, size: tuple[int, int]) -> dict[Precision, tuple[onnx.ModelProto, set[str]]]:
    """Return for each precision a graph, with ranges measured on noise, and its convolutions of that type."""
    source = onnx.load(str(path))
    noise_BHWC = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    largest = measure_largest(source, [noise_BHWC], threads=1)
    histograms = measure(source, place(source).measured, [noise_BHWC], threads=1)
    rounded = quantize(source, {name: histogram.amax("absmax") for name, histogram in histograms.items()})
    convolutions = {node.name for node in source.graph.node if node.op_type == "Conv"}
    half = to_half(source, largest)
    quantised = {node for node, _, _ in place(source).weights.values()}
    return {
        "fp32": (source, convolutions),
        "fp16": (half.model, convolutions - set(half.kept)),
        "int8": (to_half(rounded, largest).model, convolutions & quantised),
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_precision_of_every_method_builds_for_two_gpus(method: str, tmp_path: Path) -> None:
    recipe = load(method).default_recipe
    network = load(method)(recipe, 10)
    export_model(network, tmp_path)
    for path in sorted(tmp_path.glob("*.fp32.onnx")):
        graphs = typed_graphs(path, (recipe.height_px, recipe.width_px))
        for precision, (graph, expected) in graphs.items():
            typed, plan, layers = (tmp_path / f"{path.stem}.{precision}.{end}" for end in ("typed", "plan", "json"))
            typed.write_bytes(graph.SerializeToString())
            request = PlanRequest(
                flavour="tensorrt-rtx", precision=precision, capabilities=("SM86", "SM89"), layers=layers
            )
            assert str(build_plan(typed, plan, request)).endswith("SM86 SM89 batch=1/8/32")
            ran = precision_of(read_layers(layers).layers)
            assert len(expected) >= 50
            assert {name: ran.get(name) for name in expected} == dict.fromkeys(expected, precision)
            plan.unlink()
