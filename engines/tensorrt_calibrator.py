"""Implicit INT8 calibration, which a DLA takes with TensorRT up to 10.x: ranges from a cache file, or from pixels.

A cache is text: "TRT-8502-EntropyCalibration2", then "<tensor>: <step>" a line, the step (magnitude / 127) as the eight
hexadecimal digits of its FP32, big end first. TensorRT takes a cache of its own version only, which the header names.
Shapes: B batch, H height, W width, C channel.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.tensorrt_sdk import cuda_driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_HEADER = re.compile(r"TRT-\d+-EntropyCalibration2")
_ROW = re.compile(r".+: [0-9a-f]{8}")


def cache_header(version: str) -> str:
    """Return the first line of a cache for a version such as 8.5.2.2 or 10.3.0: TRT-8502-..., TRT-100300-..."""
    major, minor, patch = (int(part) for part in re.findall(r"\d+", version)[:3])
    # NV_TENSORRT_VERSION: two digits more for the major number since 10.0.
    number = major * 10_000 + minor * 100 + patch if major >= 10 else major * 1000 + minor * 100 + patch
    return f"TRT-{number}-EntropyCalibration2"


def adapted_cache(path: Path, version: str) -> bytes:
    """Read a cache and give it the header of this TensorRT; the ranges do not depend on the version."""
    try:
        header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected a calibration cache, got {error}; calibrate again") from error
    if not _HEADER.fullmatch(header):
        raise BadInput(f"{path}: expected 'TRT-...-EntropyCalibration2' as its first line, got {header[:40]!r}")
    for number, row in enumerate(rows, start=2):
        if not _ROW.fullmatch(row):
            raise BadInput(f"{path}: expected 'tensor: 8 hexadecimal digits' in line {number}, got {row[:60]!r}")
    if not rows:
        raise BadInput(f"{path}: expected a range a line, got none; calibrate again")
    return "\n".join([cache_header(version), *rows, ""]).encode()


class DeviceBatch:
    """One batch on the GPU, in the primary context: TensorRT's own. The builder asks from a thread of its own."""

    def __init__(self, driver: Callable[[], Any]) -> None:
        self._driver, self._context, self._memory = driver, None, None

    def copy(self, image_BHWC: NDArray[np.uint8]) -> int:
        """Copy the pixels, into the same memory every time, and return its address."""
        cuda = self._driver()
        self._context = self._context or cuda.Device(0).retain_primary_context()
        self._context.push()
        try:
            self._memory = self._memory or cuda.mem_alloc(image_BHWC.nbytes)
            cuda.memcpy_htod(self._memory, image_BHWC)
        finally:
            self._context.pop()
        return int(self._memory)

    def free(self) -> None:
        """Free it; harmless when repeated."""
        if self._context is None or self._memory is None:
            return
        self._context.push()
        try:
            self._memory.free()
            self._memory = None
        finally:
            self._context.pop()


def make_calibrator(
    sdk: Any,
    *,
    batch: int,
    cache: Path | None = None,
    batches: Iterable[NDArray[np.uint8]] | None = None,
    driver: Callable[[], Any] = cuda_driver,
) -> Any:
    """Return an IInt8EntropyCalibrator2 that reads cache where the file is, else measures batches and writes it.

    Batches are uint8 (B, H, W, C) with B = batch; others are left out, for TensorRT cannot take them. Call free() when
    the plan is built.
    """
    content = adapted_cache(cache, str(sdk.__version__)) if cache is not None and cache.exists() else None
    if content is None and batches is None:
        raise BadInput(f"expected a calibration cache, got {cache}, which is not there; calibrate the model")
    whole = (image_BHWC for image_BHWC in batches or () if len(image_BHWC) == batch)
    on_device = DeviceBatch(driver)

    class Calibrator(sdk.IInt8EntropyCalibrator2):
        def __init__(self) -> None:
            sdk.IInt8EntropyCalibrator2.__init__(self)  # pybind11 wants it called by name

        def get_batch_size(self) -> int:
            return batch

        def get_batch(self, names: list[str]) -> list[int] | None:
            """Copy the next batch to the device; None ends the calibration."""
            if content is not None:
                log.warning("TensorRT did not take the calibration cache %s", cache)
                return None
            image_BHWC = next(whole, None)
            return None if image_BHWC is None else [on_device.copy(image_BHWC)]

        def read_calibration_cache(self) -> bytes | None:
            return content

        def write_calibration_cache(self, measured: Any) -> None:
            if cache is not None and content is None:
                with atomic_path(cache) as temporary:
                    temporary.write_bytes(memoryview(measured))

        def free(self) -> None:
            on_device.free()

    return Calibrator()
