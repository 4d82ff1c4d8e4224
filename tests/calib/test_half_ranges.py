"""The largest magnitudes, against a slow reference, and the check that an FP16 graph cannot overflow."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from calib.half_ranges import HEADROOM, check_half, measure_largest, out_of_range
from engines.errors import BadInput
from tests.half_material import all_in_half, largest_of, typed_graph, with_larger_features

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def model(engine_folder: Path) -> onnx.ModelProto:
    return onnx.load(str(engine_folder / "visible.fp32.onnx"))


def pixels(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 32, 3), dtype=np.uint8)


def test_each_tensor_has_its_largest_magnitude_over_all_batches(model: onnx.ModelProto) -> None:
    """Against every tensor of every batch, read out of ONNX Runtime."""
    import onnxruntime

    batches = [pixels(2, 1), pixels(3, 2), np.zeros((1, 64, 32, 3), np.uint8)]
    found = measure_largest(model, batches, threads=1)
    probe = copy.deepcopy(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in found)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    results: list[Any] = [session.run(None, {"pixels": batch}) for batch in batches]
    expected = {name: max(np.abs(result[i]).max() for result in results) for i, name in enumerate(found)}
    assert found == pytest.approx(expected, rel=1e-4)
    # Negative extremes count: a convolution's, before its ReLU.
    assert any(found[node.input[0]] > found[node.output[0]] for node in model.graph.node if node.op_type == "Relu")


def test_every_float_tensor_is_measured_and_nothing_else(model: onnx.ModelProto) -> None:
    found = measure_largest(model, [pixels(1)], threads=1)
    integers = {name for node in model.graph.node if node.op_type in ("Shape",) for name in node.output}
    made = {name for node in model.graph.node for name in node.output}
    assert integers
    assert not integers & set(found)
    assert {node.output[0] for node in model.graph.node if node.op_type in ("Conv", "Relu", "Add", "Pow")} < set(found)
    assert set(found) < made


def test_no_images_are_refused(model: onnx.ModelProto) -> None:
    with pytest.raises(BadInput, match="expected calibration images, got none"):
        measure_largest(model, [])


def test_a_graph_that_gives_infinity_is_refused_by_name(model: onnx.ModelProto) -> None:
    with pytest.raises(
        BadInput, match=r"^pow_1: expected finite values on the calibration images, got NaN or infinity"
    ) as caught:
        measure_largest(with_larger_features(model, 1e13), [pixels(1)], threads=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("largest", "fits"),
    [(0.0, True), (2.0**-15, False), (2.0**-14, True), (65504 / HEADROOM, True), (65505 / HEADROOM, False)],
)
def test_a_tensor_fits_with_room(largest: float, fits: bool) -> None:
    assert (out_of_range("x", largest) is None) == fits


def test_our_graphs_pass_and_one_without_rules_does_not(engine_folder: Path, session_tree: Path) -> None:
    material = typed_graph(engine_folder, "visible", "fp16", session_tree)
    check_half(material.model, material.largest)
    with pytest.raises(BadInput) as caught:
        check_half(all_in_half(material.floating), material.largest)
    reached = material.largest["relu_16"]
    assert str(caught.value) == (
        f"expected FP16 tensors that fit half precision, but relu_16 reaches {reached:.3g}, other images 16 x more, "
        f"which to the power of 3 is {(16 * reached) ** 3:.3g}; half precision ends at 65504; keep their nodes in FP32"
    )


def test_an_fp16_graph_whose_layer_overflows_is_refused(engine_folder: Path, session_tree: Path) -> None:
    """The ranges decide, not who wrote the graph: the same typed graph with a network's larger features."""
    material = typed_graph(engine_folder, "visible", "fp16", session_tree)
    largest = {**largest_of(engine_folder, "visible", session_tree), "relu_16": 9000.0}
    with pytest.raises(
        BadInput, match=r"but relu_16 reaches 9e\+03, other images 16 x more; half precision ends at 65504"
    ):
        check_half(material.model, largest)
