"""TensorRT's cache, byte by byte, and the tensors and layers that implicit quantisation needs named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from calib.calibrate import measured_tensors
from calib.implicit import dynamic_ranges, float_nodes, implicit_tensors
from calib.placement import place
from calib.ranges import measure
from calib.table import CalibrationTable
from calib.tensorrt_cache import read_cache, write_cache
from engines.errors import BadInput
from engines.tensorrt_calibrator import adapted_cache
from tests.calib.small_graph import pixels, small_graph

if TYPE_CHECKING:
    from pathlib import Path


def test_a_step_is_written_as_the_bytes_of_its_fp32_big_end_first(tmp_path: Path) -> None:
    """127 / 127 = 1.0 is 3f800000 in IEEE 754, 63.5 / 127 = 0.5 is 3f000000, 254 / 127 = 2.0 is 40000000."""
    write_cache(tmp_path / "c", {"pixels": 127.0, "node: 1": 63.5, "y": 254.0}, "8.5.2.2")
    assert (tmp_path / "c").read_text() == (
        "TRT-8502-EntropyCalibration2\npixels: 3f800000\nnode: 1: 3f000000\ny: 40000000\n"
    )


def test_a_cache_comes_back_as_it_was_written(tmp_path: Path) -> None:
    ranges = {"relu_3": 4.25, "a:b": 1e-3, "method.backbone/x": 731.5}
    write_cache(tmp_path / "c", ranges, "10.3.0")
    assert read_cache(tmp_path / "c") == pytest.approx(ranges, rel=1e-7)
    assert (tmp_path / "c").read_text().startswith("TRT-100300-EntropyCalibration2\n")
    # engines reads what calib writes, for the version at hand.
    assert adapted_cache(tmp_path / "c", "8.6.1").startswith(b"TRT-8601-EntropyCalibration2\nrelu_3: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a calibration cache"),
        ("TRT-8502-MinMaxCalibration\nx: 3f800000\n", "expected 'TRT-...-EntropyCalibration2' as its first line"),
        ("TRT-8502-EntropyCalibration2\n", "expected a range a line, got none"),
        ("TRT-8502-EntropyCalibration2\nx 3f800000\n", "expected 'tensor: 8 hexadecimal digits' in line 2"),
        ("TRT-8502-EntropyCalibration2\nx: 3f80\n", "expected 'tensor: 8 hexadecimal digits' in line 2"),
        ("TRT-8502-EntropyCalibration2\nx: 3F800000\n", "expected 'tensor: 8 hexadecimal digits' in line 2"),
        ("TRT-8502-EntropyCalibration2\n: 3f800000\n", "expected 'tensor: 8 hexadecimal digits' in line 2"),
        (
            "TRT-8502-EntropyCalibration2\nx: 7fc00000\n",
            "expected one range above 0 for 'x', got the step nan in line 2",
        ),
        ("TRT-8502-EntropyCalibration2\nx: 00000000\n", "got the step 0.0 in line 2"),
        ("TRT-8502-EntropyCalibration2\nx: bf800000\n", "got the step -1.0 in line 2"),
        ("TRT-8502-EntropyCalibration2\nx: 3f800000\nx: 3f800000\n", "got a second range in line 3"),
    ],
)
def test_a_damaged_cache_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "c"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_cache(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ({}, "expected a range for at least one tensor, got none"),
        ({"x": 0.0}, "expected a range above 0 for 'x', got 0.0"),
        ({"x": float("inf")}, "expected a range above 0 for 'x', got inf"),
        ({"x\ny": 1.0}, "expected tensor names of one line, got 'x\\ny'"),
    ],
)
def test_ranges_that_cannot_be_written_are_refused(tmp_path: Path, ranges: dict[str, float], expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        write_cache(tmp_path / "c", ranges, "8.6.1")
    assert expected in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def table() -> CalibrationTable:
    histograms = measure(small_graph(), measured_tensors(small_graph(), implicit=True), [pixels()], threads=1)
    return CalibrationTable(
        graph_sha256="", range_method="absmax", images=4, images_sha256="", list_sha256="",
        amax={name: histogram.absmax for name, histogram in histograms.items()},
        lowest={name: histogram.lowest for name, histogram in histograms.items()},
    )  # fmt: skip


def test_every_float_tensor_has_a_range_and_integers_have_none(table: CalibrationTable) -> None:
    """Convolution outputs too, which the Q/DQ form does not need."""
    expected = (
        "cast nchw unit centred c1 r1 pooled c2 r2 c3 sum r3 up r4 c4 mean norm embedding".split()  # noqa: SIM905
    )
    assert list(implicit_tensors(small_graph())) == expected
    loose = CalibrationTable(**{**vars(table), "amax": {**table.amax, "pooled": 0.9 * table.amax["r1"]}})
    ranges = dynamic_ranges(small_graph(), loose)
    assert list(ranges) == expected
    assert ranges["cast"] == 255.0
    assert ranges["pooled"] == ranges["r1"] == table.amax["r1"]
    assert ranges["c2"] == table.amax["c2"] > 0


def test_a_tensor_that_is_always_zero_gets_a_range_that_tensorrt_takes(table: CalibrationTable) -> None:
    zero = CalibrationTable(**{**vars(table), "amax": {**table.amax, "c2": 0.0}})
    assert dynamic_ranges(small_graph(), zero)["c2"] == 1.0


def test_a_table_of_the_pairs_alone_is_refused(table: CalibrationTable) -> None:
    known = {name: table.amax[name] for name in place(small_graph()).measured}
    short = CalibrationTable(**{**vars(table), "amax": known, "lowest": dict.fromkeys(known, 0.0)})
    with pytest.raises(BadInput, match="no range for 13 tensors, such as 'cast'; calibrate this graph for implicit"):
        dynamic_ranges(small_graph(), short)


def test_the_nodes_to_keep_float_are_those_before_and_behind_the_layers() -> None:
    assert float_nodes(small_graph()) == ("cast", "nchw", "unit", "centred", "mean", "norm", "unit_length")
