"""Rounding of weights and scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calib.quantize import quantize, quantize_weight, scale_of
from calib.table import CalibrationTable, load_table
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_table_of_another_graph_is_refused(engine_folder: Path) -> None:
    import onnx

    model = onnx.load(str(engine_folder / "visible.fp32.onnx"))
    with pytest.raises(BadInput, match=r"no range for 20 tensors, such as '.*'; calibrate this graph"):
        quantize(model, {"other": 1.0})


def test_a_table_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    table = CalibrationTable(
        graph_sha256="ab", range_method="mse", images=3, images_sha256="cd", amax={"relu": 1.5, "add": 0.0}
    )
    table.save(tmp_path / "t.json")
    assert load_table(tmp_path / "t.json") == table


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "expected a calibration table, got"),
        ("[]", "a field is missing, unknown or of the wrong type"),
        ('{"graph_sha256": "a"}', "a field is missing, unknown or of the wrong type"),
        (
            '{"graph_sha256":"a","range_method":"mse","images":1,"images_sha256":"b","amax":{"x":-1}}',
            "expected a range of 0 or more for 'x', got -1",
        ),
        (
            '{"graph_sha256":"a","range_method":"mse","images":1,"images_sha256":"b","amax":{"x":NaN}}',
            "expected a range of 0 or more for 'x', got nan",
        ),
        (
            '{"graph_sha256":"a","range_method":"mse","images":1,"images_sha256":"b","amax":{},"format":2}',
            "expected format 1, got 2; calibrate again",
        ),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_table(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
