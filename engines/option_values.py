"""What the value of an option may be: types for add_argument that refuse in words, and names that several scripts take.

Standard library only. The names stand here because the modules that own them take longer to import than a --help may
take; tests/test_command_line.py compares.
"""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PRECISIONS = ("fp32", "fp16", "int8")  # engines.manifest.PRECISIONS
BACKENDS = ("auto", "tensorrt", "tensorrt-rtx", "openvino", "onnxruntime")  # of engines.open.RUNTIMES, the automatic
EVERY_BACKEND = (*BACKENDS, "onnxruntime-cuda", "torch")  # engines.open.BACKENDS
DATASETS = ("sysu", "regdb", "llcm")  # train.datasets.open.DATASETS


def whole(what: str, *, least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """Return a type for add_argument: a whole number, told as what, such as "a whole number of frames", and its bounds.

    A bound stands here only where nothing behind the command line checks it.
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or (least is not None and value < least) or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"expected {what}{_bounds(least, most)}, got {text!r}")
        return value

    return read


def measure(
    what: str, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> Callable[[str], float]:
    """Return a type for add_argument: a finite number, told as what, such as "a number of days", and its bounds."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        outside = (least is not None and value < least) or (most is not None and value > most)
        if not math.isfinite(value) or outside or (above is not None and value <= above):
            raise argparse.ArgumentTypeError(f"expected {what}{_bounds(least, most, above)}, got {text!r}")
        return value

    return read


def _bounds(least: float | None, most: float | None, above: float | None = None) -> str:
    if above is not None:
        return f" above {above:g}" + (f" and up to {most:g}" if most is not None else "")
    if least is not None and most is not None:
        return f" from {least:g} to {most:g}"
    return f", {least:g} or more" if least is not None else ""
