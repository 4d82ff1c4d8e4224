"""Find TensorRT or TensorRT-RTX: two packages with one interface."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from engines.errors import BadInput

if TYPE_CHECKING:
    from engines.plan_target import Flavour

# NVIDIA's meta packages give the short names; with only the bindings wheel there is the second one.
_MODULES: dict[Flavour, tuple[str, ...]] = {
    "tensorrt": ("tensorrt", "tensorrt_bindings"),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}


def sdk_installed(flavour: Flavour) -> bool:
    """Say whether the package is there, without importing it."""
    return any(find_spec(name) is not None for name in _MODULES[flavour])


def load_sdk(flavour: Flavour) -> Any:
    """Import the package; what it needs to be installed is named."""
    for name in _MODULES[flavour]:
        if find_spec(name) is not None:
            return importlib.import_module(name)
    extra = (
        "comes with JetPack, or pip install -e .[tensorrt]"
        if flavour == "tensorrt"
        else "pip install -e .[tensorrt-rtx]"
    )
    raise BadInput(f"expected {flavour} to be installed, got none: {extra}")


def cuda_driver() -> Any:
    """Import pycuda's driver and start it; without a GPU the driver raises its own error."""
    driver: Any = importlib.import_module("pycuda.driver")
    driver.init()
    return driver


def collecting_logger(sdk: Any) -> tuple[Any, list[str]]:
    """Return a TensorRT logger and the list into which it puts errors; the rest it drops."""
    errors: list[str] = []

    class Logger(sdk.ILogger):
        def log(self, severity: Any, message: str) -> None:
            # A machine without a driver says so at every step; what fails for it fails with its own message.
            if severity in (sdk.ILogger.ERROR, sdk.ILogger.INTERNAL_ERROR) and "cudaError 35" not in message:
                errors.append(" ".join(message.split()))

    return Logger(), errors
