"""Rounding of weights and scales."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from calib.placement import place
from calib.quantize import quantize, quantize_weight, scale_of
from engines.errors import BadInput
from tests.calib.small_graph import small_graph


@pytest.mark.parametrize("shape", [(8, 16, 3, 3), (4, 3, 7, 7), (6, 1, 3, 3), (5, 7, 1, 1)])
def test_a_weight_is_rounded_to_the_nearest_step_of_its_channel(shape: tuple[int, ...]) -> None:
    weight = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    integers, scale_K = quantize_weight(weight, 0)
    back = integers * scale_K.reshape(-1, 1, 1, 1)
    assert (np.abs(back - weight) <= scale_K.reshape(-1, 1, 1, 1) * 0.5001).all()
    assert np.abs(integers).max() <= 127


def test_two_neighbouring_channels_do_not_overflow_16_bits_with_activations_up_to_255() -> None:
    """The worst that vpmaddubsw meets: 255 * (a + b), in 16 bits with a sign."""
    rng = np.random.default_rng(1)
    weight = np.concatenate([rng.uniform(0.9, 1.0, (4, 8, 3, 3)), rng.normal(size=(4, 8, 3, 3))]).astype(np.float32)
    weight[1] *= -1
    integers, _ = quantize_weight(weight, 0)
    pairs = integers.astype(np.int64)[:, 0::2] + integers.astype(np.int64)[:, 1::2]
    assert 255 * pairs.max() <= 32767
    assert 255 * pairs.min() >= -32768
    assert pairs.max() > 120  # and no more is given away than that needs


def test_a_product_has_its_output_channels_on_axis_1() -> None:
    weight = np.array([[1.0, 0.01], [0.0, 0.02]], np.float32)
    integers, scale_K = quantize_weight(weight, 1)
    np.testing.assert_allclose(integers * scale_K, weight, atol=0.005)
    assert scale_K.shape == (2,)
    assert scale_K[1] < 0.001  # its own, not the first column's


def test_a_channel_of_zeros_gets_a_scale_that_can_be_divided_by() -> None:
    integers, scale_K = quantize_weight(np.zeros((2, 4, 1, 1), np.float32), 0)
    assert not integers.any()
    assert scale_K.tolist() == [1.0, 1.0]
    assert float(scale_of(0.0)) == 1.0
    assert float(scale_of(12.7)) == pytest.approx(0.1)


def test_a_table_of_another_graph_is_refused() -> None:
    with pytest.raises(BadInput, match=r"no range for 5 tensors, such as 'centred'; calibrate this graph"):
        quantize(small_graph(), {"other": 1.0})


def test_without_pair_safety_the_largest_weight_of_a_channel_becomes_127() -> None:
    weight = np.random.default_rng(2).normal(size=(5, 6, 3, 3)).astype(np.float32)
    integers, scale_K = quantize_weight(weight, 0, pair_safe=False)
    assert np.abs(integers).max(axis=(1, 2, 3)).tolist() == [127] * 5
    np.testing.assert_allclose(scale_K, np.abs(weight).max(axis=(1, 2, 3)) / 127, rtol=1e-6)
    assert (quantize_weight(weight, 0)[1] > scale_K).all()


def test_each_output_channel_of_a_transposed_convolution_has_its_own_scale() -> None:
    """Its weight is (inputs, outputs, H, W), and the graph says so in the axis."""
    model = small_graph()
    weight = next(numpy_helper.to_array(item) for item in model.graph.initializer if item.name == "w_up")
    amax = dict.fromkeys(place(model).measured, 1.0)
    result = quantize(model, amax, pair_safe=False)
    constants = {item.name: numpy_helper.to_array(item) for item in result.graph.initializer}
    node = next(node for node in result.graph.node if node.name == "w_up_DQ")
    assert [item.i for item in node.attribute if item.name == "axis"] == [1]
    np.testing.assert_allclose(constants["w_up_scale"], np.abs(weight).max(axis=(0, 2, 3)) / 127, rtol=1e-6)
    back = constants["w_up_int8"] * constants["w_up_scale"].reshape(1, -1, 1, 1)
    assert (np.abs(back - weight).max(axis=(0, 2, 3)) <= 0.5001 * constants["w_up_scale"]).all()
