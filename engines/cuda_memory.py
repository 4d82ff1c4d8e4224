"""What one run holds on a GPU, through pycuda: the context it runs in, memory, streams, events, and giving them back.

`cuda` is the module pycuda.driver everywhere. pycuda destroys streams, events and TensorRT's objects when the last
reference goes, so such objects are held as attributes only, where `Taken` can end them in order.
Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

log = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def primary_context(cuda: Any) -> Any:
    """Retain the first GPU's primary context, which TensorRT and PyTorch use too; pycuda.autoinit would make a second.

    Once a process, and never released, as in CUDA's own runtime: pycuda releases it only in the thread that retained
    it and leaves it current there, and it takes two objects of one context for two contexts.
    """
    return cuda.Device(0).retain_primary_context()


@contextmanager
def current(context: Any) -> Generator[None]:
    """Make the context current in this thread for the block; a failure to restore does not hide the block's own."""
    context.push()
    try:
        yield
    except BaseException:
        try:
            context.pop()
        except Exception as error:
            log.warning("could not leave the CUDA context: %s", error)
        raise
    context.pop()


class Taken:
    """Objects in the order they were taken; given back in the reverse one, even where the device is dead."""

    def __init__(self) -> None:
        self._taken: list[tuple[object, str, Callable[[Any], object] | None]] = []

    def take(
        self, holder: object, name: str, make: Callable[[], object], free: Callable[[Any], object] | None = None
    ) -> None:
        """Make an object and keep it as holder's attribute; free is for what outlives its last reference."""
        setattr(holder, name, make())
        self._taken.append((holder, name, free))

    def give_back(self) -> None:
        """Free everything; what fails is logged, once, and the rest is freed all the same."""
        failures: list[str] = []
        while self._taken:
            holder, name, free = self._taken.pop()
            try:
                thing = vars(holder).pop(name)
                if free is not None:
                    free(thing)
                del thing
            except Exception as error:
                failures.append(f"{name.strip('_')} ({error})")
        if failures:
            log.warning("could not free on the GPU: %s", ", ".join(failures))

    def give_back_in(self, context: Any, name: str) -> None:
        """Free everything in a CUDA context, or without it where it cannot be entered; name is for the log."""
        if not self._taken:
            return
        try:
            with current(context):
                # TensorRT's objects free device memory, so they go while the context is current, children first.
                self.give_back()
        except Exception as error:
            log.warning("%s: could not enter the CUDA context to close: %s", name, error)
            self.give_back()

    def __bool__(self) -> bool:
        return bool(self._taken)


class Slot:
    """Page-locked and device memory for one batch on its way, and the events that order it."""

    pixels_BHWC: NDArray[np.uint8]
    feature_BD: NDArray[np.float32]
    device_pixels: Any
    device_feature: Any
    copied: Any  # the pixels are on the device
    done: Any  # the vectors are back

    def __init__(self, cuda: Any, taken: Taken, pixels_shape: tuple[int, ...], feature_shape: tuple[int, ...]) -> None:
        self.rows: slice | None = None  # of the caller's batch, while it is on its way
        for name, shape, dtype in (
            ("pixels_BHWC", pixels_shape, np.uint8),
            ("feature_BD", feature_shape, np.float32),
        ):
            taken.take(self, name, lambda shape=shape, dtype=dtype: cuda.pagelocked_empty(shape, dtype), free_pinned)
        for name, size in (
            ("device_pixels", self.pixels_BHWC.nbytes),
            ("device_feature", self.feature_BD.nbytes),
        ):
            taken.take(self, name, lambda size=size: cuda.mem_alloc(size), free_device)
        # A waiting thread sleeps: the cameras decode on the same cores.
        flags = cuda.event_flags.DISABLE_TIMING | cuda.event_flags.BLOCKING_SYNC
        for name in ("copied", "done"):
            taken.take(self, name, lambda: cuda.Event(flags))


def free_pinned(array: Any) -> None:
    """Free page-locked memory; its array must not be used any more."""
    array.base.free()


def free_device(allocation: Any) -> None:
    """Free device memory."""
    allocation.free()


def megabytes(count: int) -> str:
    """Say a number of bytes for people."""
    return f"{count / 1e6:.0f} MB"
