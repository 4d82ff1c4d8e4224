"""Load the CPU runtimes so that they tell nobody.

As installed, OpenVINO sends an event to Google Analytics when it is imported and keeps ~/intel, and ONNX Runtime (from
1.29 on) reports to Microsoft and keeps ~/.cache/Microsoft. A box that watches people must not call anywhere unasked.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, cast


def silence() -> None:
    """Switch the reports off; to be called before either runtime is imported."""
    # OpenVINO takes a stub where this import fails. What somebody else has loaded already is left alone.
    cast("dict[str, object]", sys.modules).setdefault("openvino_telemetry", None)
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def import_openvino() -> Any:
    """Return the package openvino, which ships no types."""
    silence()
    return importlib.import_module("openvino")


def import_onnxruntime() -> Any:
    """Return the package onnxruntime, which ships no types."""
    silence()
    return importlib.import_module("onnxruntime")
