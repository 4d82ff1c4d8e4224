"""Find TensorRT or TensorRT-RTX, two packages with one interface, and listen to it: log and progress."""

from __future__ import annotations

import gc
import importlib
import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from engines.errors import BadInput
from engines.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

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


@contextmanager
def without_collection() -> Generator[None]:
    """Keep Python from collecting garbage while TensorRT works.

    TensorRT calls our logger with a lock held that a builder's destructor takes too. A collection in that callback,
    or in another thread meanwhile, that finds an old builder in a reference cycle waits for ever (RTX 1.7.1, by gdb).
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def ctrl_c_sets(flag: threading.Event) -> Generator[None]:
    """Turn Ctrl-C into a flag while another thread works; a second one interrupts at once.

    Outside the main thread, or where Ctrl-C is ignored, nothing changes.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield
        return

    def ask(number: int, where: FrameType | None) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@dataclass(frozen=True)
class SdkLog:
    """What TensorRT logged, as lines of plain text."""

    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    details: list[str] = field(default_factory=list[str])  # information, and verbose where asked for, as it came


def recording_logger(sdk: Any, *, verbose: bool = False) -> tuple[Any, SdkLog]:
    """Return a TensorRT logger and where it puts messages; full TensorRT's verbose ones are megabytes."""
    log = SdkLog()

    class Logger(sdk.ILogger):
        def log(self, severity: Any, message: str) -> None:
            # A machine without a driver says so at every step; what fails for it fails with its own message.
            if "cudaError 35" in message:
                return
            if severity in (sdk.ILogger.ERROR, sdk.ILogger.INTERNAL_ERROR):
                log.errors.append(" ".join(message.split()))
            elif severity == sdk.ILogger.WARNING:
                log.warnings.append(" ".join(message.split()))
            elif verbose or severity == sdk.ILogger.INFO:
                log.details.append(message)

    return Logger(), log


def collecting_logger(sdk: Any) -> tuple[Any, list[str]]:
    """Return a TensorRT logger and the list into which it puts errors."""
    logger, log = recording_logger(sdk)
    return logger, log.errors


def progress_monitor(sdk: Any, stopped: Callable[[], bool]) -> Any:
    """Return a monitor that shows one bar on a terminal and stops the build at its next step once stopped() is true.

    TensorRT reports nested phases, each with its own number of steps; the bar counts the steps of all phases so far.
    """

    class Monitor(sdk.IProgressMonitor):
        def __init__(self) -> None:
            sdk.IProgressMonitor.__init__(self)  # pybind11 wants it called by name
            self._bar: Any = progress((), total=0, unit="steps", label="plan")
            self._left: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._left[phase_name] = num_steps
            self._bar.total += num_steps
            self._bar.set_description_str(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._left[phase_name] = self._left.get(phase_name, 1) - 1
            self._bar.update(1)
            return not stopped()

        def phase_finish(self, phase_name: str) -> None:
            self._bar.update(max(0, self._left.pop(phase_name, 0)))  # a phase may end early
            if not self._left:
                self._bar.close()

    return Monitor()
