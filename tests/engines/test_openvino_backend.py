"""OpenVINO: order and ownership of the vectors over several streams, bf16 only when asked, threads that share one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import openvino
import pytest

from engines import openvino_backend
from engines.errors import BadInput
from engines.loaded import LoadOptions
from engines.manifest import load_manifest
from engines.openvino_backend import CHUNK, OpenVinoRun, settings
from engines.openvino_core import openvino_core
from tests.engines.test_open import pixels

if TYPE_CHECKING:
    from pathlib import Path

HAS_BF16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def options_of(folder: Path, **changes: Any) -> LoadOptions:
    manifest = load_manifest(folder)
    return LoadOptions(graph=manifest.graphs[0], manifest=manifest, **changes)


def run_of(folder: Path, file: str = "visible.fp32.onnx", **changes: Any) -> OpenVinoRun:
    return OpenVinoRun(folder / file, options_of(folder, **changes))


@pytest.fixture(scope="module")
def expected_BD(engine_folder: Path) -> np.ndarray:
    """One image at a time through one stream."""
    run = run_of(engine_folder, threads=1)
    image_BHWC = pixels(4 * CHUNK + 3)
    found_BD = np.concatenate([run(image_BHWC[[index]]) for index in range(len(image_BHWC))])
    run.close()
    return found_BD


@pytest.mark.parametrize("count", [1, 2, 3, CHUNK, CHUNK + 1, 4 * CHUNK + 3])
def test_streams_give_their_vectors_in_order(engine_folder: Path, expected_BD: np.ndarray, count: int) -> None:
    run = run_of(engine_folder, threads=2, hint="throughput")
    assert len(run._requests) == 2
    image_BHWC = pixels(4 * CHUNK + 3)[:count]
    # Kernels differ by batch size, so a few units in the last place of float32 may.
    np.testing.assert_allclose(run(image_BHWC), expected_BD[:count], atol=1e-5)
    run.close()


def test_latency_is_one_request_with_all_threads(engine_folder: Path, expected_BD: np.ndarray) -> None:
    run = run_of(engine_folder, threads=2)
    assert len(run._requests) == 1
    image_BHWC = pixels(4 * CHUNK + 3)
    first_BD = run(image_BHWC)
    kept_BD = first_BD.copy()
    run(image_BHWC[::-1])
    np.testing.assert_array_equal(first_BD, kept_BD)
    np.testing.assert_allclose(first_BD, expected_BD, atol=1e-5)
    run.close()
    run.close()


def test_threads_may_share_a_run(engine_folder: Path, expected_BD: np.ndarray) -> None:
    run = run_of(engine_folder, threads=2, hint="throughput")
    image_BHWC = pixels(4 * CHUNK + 3)
    worst: list[float] = []

    def use(start: int) -> None:
        for _ in range(5):
            worst.append(float(np.abs(run(image_BHWC[start:]) - expected_BD[start:]).max()))

    threads = [threading.Thread(target=use, args=(start,)) for start in (0, 5, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 15
    assert max(worst) < 1e-5
    run.close()


class Request:
    """A request that fails in its second chunk; says what still ran when it was asked last."""

    def __init__(self, log: list[str], number: int) -> None:
        self._log, self._number = log, number

    def start_async(self, inputs: list[np.ndarray], share_inputs: bool) -> None:
        self._log.append(f"start {self._number}")

    def wait(self) -> None:
        self._log.append(f"wait {self._number}")
        if self._number == 1:
            raise RuntimeError("a kernel failed")

    def get_output_tensor(self, index: int) -> Any:
        return openvino.Tensor(np.zeros((1, 4), np.float32))


def test_a_failure_waits_for_what_still_reads_the_batch(engine_folder: Path) -> None:
    run = run_of(engine_folder, threads=2, hint="throughput")
    log: list[str] = []
    run._requests = [Request(log, 0), Request(log, 1)]
    with pytest.raises(RuntimeError, match="a kernel failed"):
        run(pixels(3 * CHUNK))
    # Chunk 0 is waited for and its request takes chunk 2; chunk 1 fails; then both are waited for once more.
    assert log == ["start 0", "start 1", "wait 0", "start 0", "wait 1", "wait 0", "wait 1"]


def test_fp32_stays_fp32_unless_bf16_is_asked_for(engine_folder: Path) -> None:
    assert settings(options_of(engine_folder))["INFERENCE_PRECISION_HINT"] == "f32"
    assert settings(options_of(engine_folder, bf16=True))["INFERENCE_PRECISION_HINT"] == "bf16"


@pytest.mark.skipif(not HAS_BF16, reason="needs a CPU with bf16 instructions")
def test_bf16_is_less_exact_and_close(engine_folder: Path, expected_BD: np.ndarray) -> None:
    run = run_of(engine_folder, threads=1, bf16=True)
    found_BD = run(pixels(4 * CHUNK + 3)).astype(np.float32)
    cosine_B = (found_BD * expected_BD).sum(1) / np.linalg.norm(found_BD, axis=1) / np.linalg.norm(expected_BD, axis=1)
    # bf16 has 8 bits of mantissa: far from float32's 1e-7, near enough to match by.
    assert 0.98 < cosine_B.min() < 1 - 1e-6
    run.close()


def test_bf16_without_its_instructions_is_refused(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OldCore:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino_backend, "openvino_core", OldCore)
    with pytest.raises(BadInput, match=r"expected a CPU with bf16 instructions .*leave bf16 out$"):
        run_of(engine_folder, bf16=True)
