"""Opening an engine: which runtime, which precision, which errors; and what every backend keeps."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines import open as opening
from engines.errors import BadInput
from engines.loaded import MAX_BATCH, LoadedModel
from engines.manifest import load_manifest
from engines.open import open_engine

if TYPE_CHECKING:
    from pathlib import Path

BACKENDS = ("openvino", "onnxruntime", "torch")


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 64, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_batch_gives_unit_vectors_that_do_not_depend_on_the_batch(engine_folder: Path, backend: str) -> None:
    with open_engine(engine_folder, backend=backend, precision="fp32", threads=1) as engine:
        image_BHWC = pixels(MAX_BATCH + 3)
        feature_BD = engine.embed(image_BHWC, "visible")
        assert feature_BD.shape == (MAX_BATCH + 3, engine.manifest.embedding_dim)
        assert feature_BD.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(feature_BD, axis=1), 1.0, atol=1e-5)
        # Kernels differ by batch size, so a few units in the last place of float32 may.
        alone_BD = np.concatenate([engine.embed(image_BHWC[[index]], "visible") for index in (0, MAX_BATCH)])
        np.testing.assert_allclose(feature_BD[[0, MAX_BATCH]], alone_BD, atol=1e-5)
        assert engine.embed(image_BHWC[:0], "infrared").shape == (0, engine.manifest.embedding_dim)
        assert not np.allclose(engine.embed(image_BHWC[:4], "infrared"), feature_BD[:4], atol=1e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_strided_and_read_only_pixels_are_taken(engine_folder: Path, backend: str) -> None:
    with open_engine(engine_folder, backend=backend, precision="fp32", threads=1) as engine:
        image_BHWC = pixels(4)
        expected_BD = engine.embed(image_BHWC[::2].copy(), "visible")
        image_BHWC.flags.writeable = False
        np.testing.assert_array_equal(engine.embed(image_BHWC[::2], "visible"), expected_BD)


def test_a_result_is_not_overwritten_by_the_next_call(engine_folder: Path) -> None:
    with open_engine(engine_folder, threads=1) as engine:
        first_BD = engine.embed(pixels(2), "visible")
        kept_BD = first_BD.copy()
        engine.embed(pixels(3)[:2], "visible")
        np.testing.assert_array_equal(first_BD, kept_BD)


def test_without_choices_it_is_the_fastest(engine_folder: Path) -> None:
    with open_engine(engine_folder, threads=1) as engine:
        assert engine.name == "openvino int8"
        engine.close()  # closing twice is harmless


def test_auto_falls_to_the_next_runtime_that_is_installed(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        opening.RUNTIMES, "openvino", dataclasses.replace(opening.RUNTIMES["openvino"], needs=("no_such_package",))
    )
    with open_engine(engine_folder, precision="fp32", threads=1) as engine:
        assert engine.name == "onnxruntime fp32"


def test_one_file_for_both_modalities_is_loaded_once(engine_of: Any) -> None:
    with open_engine(engine_of("mcja"), threads=1) as engine:
        assert isinstance(engine, LoadedModel)
        np.testing.assert_array_equal(engine.embed(pixels(2), "visible"), engine.embed(pixels(2), "infrared"))
        assert len({id(run) for run in engine._runs.values()}) == 1


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            {"backend": "onyx"},
            "expected a backend out of auto, tensorrt, tensorrt-rtx, openvino, onnxruntime, torch, got 'onyx'",
        ),
        ({"precision": "int4"}, "expected a precision out of fp32, fp16, int8, got 'int4'"),
        ({"threads": 0}, "expected at least one thread, got 0"),
        (
            {"backend": "openvino", "precision": "fp16"},
            "{folder}: expected fp16 graphs for openvino, got onnx fp32, onnx int8, torch fp32; choose one of these or "
            "build the missing one with deploy/build_engine.py",
        ),
        (
            {"backend": "torch", "precision": "int8"},
            "{folder}: expected int8 graphs for torch, got onnx fp32, onnx int8, torch fp32; choose one of these or "
            "build the missing one with deploy/build_engine.py",
        ),
    ],
)
def test_a_wrong_choice_lists_what_is_there(engine_folder: Path, choice: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_engine(engine_folder, **choice)
    assert str(caught.value) == expected.format(folder=engine_folder)


def test_a_runtime_that_is_not_installed_is_named(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_installed", lambda name: name == "onnxruntime")
    with pytest.raises(BadInput) as caught:
        open_engine(engine_folder, backend="tensorrt")
    assert str(caught.value) == (
        "backend 'tensorrt' needs tensorrt and pycuda, which is not installed; installed backends: onnxruntime"
    )


def test_a_folder_without_a_usable_graph_says_what_is_installed(engine_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    manifest = load_manifest(folder)
    only = tuple(graph for graph in manifest.graphs if graph.form == "torch")
    dataclasses.replace(manifest, graphs=only).save(folder)
    with pytest.raises(BadInput, match=r"expected a runtime for its graphs \(torch fp32\), got installed backends: .*"):
        open_engine(folder)


@pytest.mark.parametrize(
    ("image_BHWC", "modality"),
    [
        (np.zeros((1, 64, 32, 3), np.float32), "visible"),
        (np.zeros((1, 32, 64, 3), np.uint8), "visible"),
        (np.zeros((64, 32, 3), np.uint8), "visible"),
        (np.zeros((1, 64, 32, 3), np.uint8), "thermal"),
    ],
)
def test_a_batch_that_the_manifest_does_not_describe_is_refused(
    engine_folder: Path, image_BHWC: np.ndarray, modality: Any
) -> None:
    with open_engine(engine_folder, threads=1) as engine, pytest.raises(BadInput, match=r"^expected a"):
        engine.embed(image_BHWC, modality)
