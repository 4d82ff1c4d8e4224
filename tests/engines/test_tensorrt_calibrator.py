"""Calibration caches as TensorRT reads them; the calibrator itself runs on real bindings in test_tensorrt_api.py."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines.errors import BadInput
from engines.tensorrt_calibrator import adapted_cache, cache_header, make_calibrator

# A tensor whose largest magnitude is 1 has the step 1 / 127.
STEP = struct.pack(">f", 1 / 127).hex()


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("8.5.2.2", "TRT-8502-EntropyCalibration2"),  # NV_TENSORRT_VERSION = major * 1000 + minor * 100 + patch
        ("8.6.1", "TRT-8601-EntropyCalibration2"),
        ("10.3.0", "TRT-100300-EntropyCalibration2"),  # since 10.0: major * 10000
        ("10.13.3.9", "TRT-101303-EntropyCalibration2"),
    ],
)
def test_the_header_names_the_version(version: str, header: str) -> None:
    assert cache_header(version) == header


def test_a_cache_of_another_version_is_taken_with_this_ones_header(tmp_path: Path) -> None:
    path = tmp_path / "model.calibration.cache"
    path.write_text(f"TRT-8501-EntropyCalibration2\npixels: {STEP}\nrelu: 3c010a14\n", encoding="utf-8")
    expected = f"TRT-100300-EntropyCalibration2\npixels: {STEP}\nrelu: 3c010a14\n"
    assert adapted_cache(path, "10.3.0") == expected.encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "as its first line, got ''"),
        ("TRT-8501-MinMaxCalibration\nx: 3c010a14\n", "as its first line, got 'TRT-8501-MinMaxCalibration'"),
        ("TRT-8501-EntropyCalibration2\n", "expected a range a line, got none"),
        ("TRT-8501-EntropyCalibration2\nx: 3c010a14\ny: 0.5\n", "in line 3, got 'y: 0.5'"),
        ("TRT-8501-EntropyCalibration2\nx: 3C010A14\n", "in line 2"),
    ],
)
def test_a_damaged_cache_is_refused_in_one_line(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "x.cache"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=told) as caught:
        adapted_cache(path, "10.3.0")
    assert "\n" not in str(caught.value)


def test_nothing_to_calibrate_from_is_refused(tmp_path: Path) -> None:
    sdk: Any = SimpleNamespace(__version__="10.3.0", IInt8EntropyCalibrator2=object)
    with pytest.raises(BadInput, match=r"expected a calibration cache, got .*x\.cache, which is not there"):
        make_calibrator(sdk, batch=8, cache=tmp_path / "x.cache")


def test_a_cache_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "x.cache"
    path.write_text(f"TRT-8501-EntropyCalibration2\npixels: {STEP}\n", encoding="utf-8")
    sdk: Any = SimpleNamespace(__version__="10.3.0", IInt8EntropyCalibrator2=object)
    make_calibrator(sdk, batch=8, cache=path).write_calibration_cache(b"something else")
    assert path.read_text(encoding="utf-8") == f"TRT-8501-EntropyCalibration2\npixels: {STEP}\n"
