"""ONNX Runtime: no silent fallback, vectors in the caller's memory, and the graphs it must not rewrite."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from engines.errors import BadInput
from engines.loaded import MAX_BATCH, LoadOptions
from engines.manifest import Graph, load_manifest
from engines.onnxruntime_backend import CPU, CUDA, OnnxRuntimeRun, load, load_cuda, session_options
from tests.engines.test_open import pixels

if TYPE_CHECKING:
    from pathlib import Path

    from engines.manifest import Form, Precision


def options_of(folder: Path, **changes: Any) -> LoadOptions:
    manifest = load_manifest(folder)
    return LoadOptions(graph=manifest.graphs[0], manifest=manifest, threads=1, **changes)


def test_a_batch_of_several_chunks_is_each_images_own(engine_folder: Path) -> None:
    run = load(engine_folder / "visible.fp32.onnx", options_of(engine_folder))
    image_BHWC = pixels(2 * MAX_BATCH + 3)
    session: Any = onnxruntime.InferenceSession(str(engine_folder / "visible.fp32.onnx"), providers=[CPU])
    expected_BD = session.run(None, {"pixels": image_BHWC})[0]
    first_BD = run(image_BHWC)
    kept_BD = first_BD.copy()
    np.testing.assert_allclose(first_BD, expected_BD, atol=1e-5)
    run(image_BHWC[::-1])
    np.testing.assert_array_equal(first_BD, kept_BD)
    run.close()
    run.close()


def test_threads_may_share_a_session(engine_folder: Path) -> None:
    run = load(engine_folder / "visible.fp32.onnx", options_of(engine_folder))
    image_BHWC = pixels(9)
    expected_BD = run(image_BHWC)
    worst: list[float] = []

    def use(start: int) -> None:
        for _ in range(5):
            worst.append(float(np.abs(run(image_BHWC[start:]) - expected_BD[start:]).max()))

    threads = [threading.Thread(target=use, args=(start,)) for start in (0, 3, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(worst) == 15
    assert max(worst) < 1e-5
    run.close()


def test_a_provider_that_is_not_there_is_refused(engine_folder: Path) -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(
        BadInput, match=r"^expected ONNX Runtime with CUDAExecutionProvider, got .*CPUExecutionProvider"
    ):
        load_cuda(engine_folder / "visible.fp32.onnx", options_of(engine_folder))


def test_a_provider_that_falls_back_is_refused(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package has the provider, its libraries do not load: ONNX Runtime takes the CPU's and only logs it."""
    made = onnxruntime.InferenceSession

    def fall_back(path: str, options: Any, providers: list[str], provider_options: list[dict[str, str]]) -> Any:
        assert (providers, provider_options) == ([CUDA], [{"use_tf32": "0"}])
        return made(path, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", fall_back)
    with pytest.raises(BadInput) as caught:
        OnnxRuntimeRun(engine_folder / "visible.fp32.onnx", options_of(engine_folder), CUDA)
    assert str(caught.value) == (
        "expected ONNX Runtime to run on CUDAExecutionProvider, got CPUExecutionProvider: its libraries (CUDA, cuDNN) "
        "did not load; install what onnxruntime-gpu names, or take another backend"
    )


@pytest.mark.parametrize(
    ("form", "precision", "rewritten"),
    [
        ("onnx", "fp32", True),
        ("onnx", "int8", True),
        ("onnx-uint8", "int8", True),
        ("onnx-typed", "fp16", True),
        ("onnx-typed", "int8", False),
    ],
)
def test_only_the_typed_int8_graph_is_run_as_written(
    engine_folder: Path, form: Form, precision: Precision, rewritten: bool
) -> None:
    graph = Graph(file="x.onnx", sha256="", modality="visible", precision=precision, form=form)
    options = session_options(dataclasses.replace(options_of(engine_folder), graph=graph))
    level = onnxruntime.GraphOptimizationLevel
    assert options.graph_optimization_level == (level.ORT_ENABLE_ALL if rewritten else level.ORT_DISABLE_ALL)
    assert options.intra_op_num_threads == 1
