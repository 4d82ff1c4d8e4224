"""TensorRT's calibration cache: a header, then "tensor: step" a line.

The step, magnitude / 127, is written as the eight hexadecimal digits of its FP32, big end first.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING

from calib.quantize import LIMIT
from engines.atomic import write_text
from engines.errors import BadInput
from engines.tensorrt_calibrator import cache_header

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER = re.compile(r"TRT-\d+-EntropyCalibration2")
STEP = re.compile(r"[0-9a-f]{8}")


def write_cache(path: Path, ranges: Mapping[str, float], version: str) -> None:
    """Write ranges (tensor -> magnitude that becomes 127) for a version such as 8.5.2; TensorRT takes its own only."""
    lines = [cache_header(version)]
    for name, amax in ranges.items():
        if "\n" in name or not name:
            raise BadInput(f"expected tensor names of one line, got {name!r}; export the model again")
        if not (math.isfinite(amax) and amax > 0):
            raise BadInput(f"expected a range above 0 for {name!r}, got {amax}; calibrate again")
        lines.append(f"{name}: {struct.pack('>f', amax / LIMIT).hex()}")
    if len(lines) == 1:
        raise BadInput("expected a range for at least one tensor, got none; calibrate again")
    write_text(path, "\n".join(lines) + "\n")


def read_cache(path: Path) -> dict[str, float]:
    """Read a cache into ranges; every defect is one line."""
    try:
        header, *rows = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected a calibration cache, got {error}; calibrate again") from error
    if not HEADER.fullmatch(header):
        raise BadInput(f"{path}: expected 'TRT-...-EntropyCalibration2' as its first line, got {header[:40]!r}")
    ranges: dict[str, float] = {}
    for number, row in enumerate(rows, start=2):
        name, separator, digits = row.rpartition(": ")  # names may hold colons
        if not separator or not name or not STEP.fullmatch(digits):
            raise BadInput(f"{path}: expected 'tensor: 8 hexadecimal digits' in line {number}, got {row[:60]!r}")
        step = float(struct.unpack(">f", bytes.fromhex(digits))[0])
        if name in ranges or not math.isfinite(step) or step <= 0:
            what = "a second range" if name in ranges else f"the step {step}"
            raise BadInput(f"{path}: expected one range above 0 for {name!r}, got {what} in line {number}")
        ranges[name] = step * LIMIT
    if not ranges:
        raise BadInput(f"{path}: expected a range a line, got none; calibrate again")
    return ranges
