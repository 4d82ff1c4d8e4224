"""Opening an engine: which runtime, which precision, which errors; and what every backend keeps."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines import open as opening
from engines.choose_plan import Device
from engines.errors import BadInput
from engines.loaded import MAX_BATCH, LoadedModel
from engines.manifest import load_manifest
from engines.open import open_engine

if TYPE_CHECKING:
    from pathlib import Path

    from engines.loaded import LoadOptions
    from engines.manifest import Form, Manifest, Precision
    from engines.plan_target import Flavour

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


@pytest.fixture
def plain_folder(engine_folder: Path, tmp_path: Path) -> Path:
    """The FP32 and INT8 ONNX graphs and the PyTorch programs, whatever else the builder makes."""
    folder = shutil.copytree(engine_folder, tmp_path / "plain")
    keep_only(folder, {"onnx fp32", "onnx int8", "torch fp32"})
    return folder


def keep_only(folder: Path, wanted: set[str]) -> Manifest:
    manifest = load_manifest(folder)
    kept = tuple(graph for graph in manifest.graphs if f"{graph.form} {graph.precision}" in wanted)
    changed = dataclasses.replace(manifest, graphs=kept)
    changed.save(folder)
    return changed


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (
            {"backend": "onyx"},
            "expected a backend out of auto, tensorrt, tensorrt-rtx, openvino, onnxruntime, onnxruntime-cuda, torch, "
            "got 'onyx'",
        ),
        ({"precision": "int4"}, "expected a precision out of fp32, fp16, int8, got 'int4'"),
        ({"threads": 0}, "expected at least one thread, got 0"),
        ({"hint": "speed"}, "expected a hint out of latency, throughput, got 'speed'"),
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
        (
            {"backend": "onnxruntime", "bf16": True},
            "expected openvino for bf16, got onnxruntime; leave bf16 out, or take openvino",
        ),
    ],
)
def test_a_wrong_choice_lists_what_is_there(plain_folder: Path, choice: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_engine(plain_folder, **choice)
    assert str(caught.value) == expected.format(folder=plain_folder)


def test_auto_build_without_a_builder_is_a_mistake_of_the_program(engine_folder: Path) -> None:
    with pytest.raises(ValueError, match="needs a rebuild function"):
        open_engine(engine_folder, auto_build=True)


def test_a_throughput_engine_gives_the_same_vectors(engine_folder: Path) -> None:
    image_BHWC = pixels(MAX_BATCH + 3)
    with (
        open_engine(engine_folder, backend="openvino", precision="fp32", threads=1) as one,
        open_engine(engine_folder, backend="openvino", precision="fp32", threads=2, hint="throughput") as two,
    ):
        np.testing.assert_allclose(one.embed(image_BHWC, "visible"), two.embed(image_BHWC, "visible"), atol=1e-5)


def test_bf16_is_in_the_name(engine_folder: Path) -> None:
    pytest.importorskip("openvino")
    try:
        engine = open_engine(engine_folder, backend="openvino", precision="fp32", threads=1, bf16=True)
    except BadInput as error:
        pytest.skip(str(error))
    with engine:
        assert engine.name == "openvino fp32 bf16"


def add_graphs(folder: Path, form: Form, precision: Precision, source: Precision = "int8", target: str = "") -> None:
    """List the ONNX files of source once more, as another form."""
    manifest = load_manifest(folder)
    more = [
        dataclasses.replace(graph, form=form, precision=precision, target=target)
        for graph in manifest.graphs
        if (graph.form, graph.precision) == ("onnx", source)
    ]
    dataclasses.replace(manifest, graphs=(*manifest.graphs, *more)).save(folder)


@pytest.mark.parametrize(
    ("backend", "expected"),
    [("openvino", {"fp32": "onnx", "fp16": "onnx-typed", "int8": "onnx"}),
     ("onnxruntime", {"fp32": "onnx", "fp16": "onnx-typed", "int8": "onnx-uint8"})],
)  # fmt: skip
def test_each_runtime_takes_its_best_form(
    plain_folder: Path, monkeypatch: pytest.MonkeyPatch, backend: str, expected: dict[str, str]
) -> None:
    add_graphs(plain_folder, "onnx-uint8", "int8")
    add_graphs(plain_folder, "onnx-typed", "int8")
    add_graphs(plain_folder, "onnx-typed", "fp16", "fp32")
    add_graphs(plain_folder, "onnx-opset17", "int8")
    loaded = record_loads(monkeypatch, backend)
    for precision in expected:
        open_engine(plain_folder, backend=backend, precision=precision, threads=1).close()
    assert {options.graph.precision: options.graph.form for options in loaded} == expected
    # FP16 is no faster on a CPU: without a choice it is never taken, INT8 first.
    with open_engine(plain_folder, backend=backend, threads=1) as engine:
        assert engine.name == f"{backend} int8"
    keep_only(plain_folder, {"onnx-typed fp16", "onnx fp32"})
    with open_engine(plain_folder, backend=backend, threads=1) as engine:
        assert engine.name == f"{backend} fp32"


def record_loads(monkeypatch: pytest.MonkeyPatch, backend: str) -> list[LoadOptions]:
    """Put a Run that computes nothing in the place of a runtime's; return what it is loaded with."""
    found: list[LoadOptions] = []

    class Blank:
        def __init__(self, options: LoadOptions) -> None:
            self._dim = options.manifest.embedding_dim

        def __call__(self, image_BHWC: np.ndarray) -> np.ndarray:
            return np.zeros((len(image_BHWC), self._dim), np.float32)

        def close(self) -> None: ...

    def load(path: Path, options: LoadOptions) -> Blank:
        assert path.name == options.graph.file
        found.append(options)
        return Blank(options)

    runtime = opening.RUNTIMES[backend]
    monkeypatch.setattr(f"{runtime.module}.{runtime.loader}", load)
    monkeypatch.setitem(opening.RUNTIMES, backend, dataclasses.replace(runtime, needs=()))
    return found


def test_a_second_graph_that_fails_closes_the_first(plain_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU the first one's memory would be lost."""
    closed: list[str] = []

    class Loaded:
        def __init__(self, path: Path, options: LoadOptions) -> None:
            self._name = path.name
            if options.graph.modality == "infrared":
                raise OSError("no space\nsecond line")

        def close(self) -> None:
            closed.append(self._name)

    monkeypatch.setattr("engines.openvino_backend.load", Loaded)
    with pytest.raises(BadInput, match=r"infrared\.int8\.onnx: openvino cannot load it \(no space\); rebuild it"):
        open_engine(plain_folder, backend="openvino")
    assert closed == ["visible.int8.onnx"]


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> list[LoadOptions]:
    """An Orin with TensorRT 10.3; return what is loaded on it."""
    device = Device(flavour="tensorrt", version="10.3.0", capability="SM87", gpu="Orin")
    monkeypatch.setattr(opening, "device_here", lambda flavour: device if flavour == "tensorrt" else None)
    return record_loads(monkeypatch, "tensorrt")


HERE, ELSEWHERE = "tensorrt 10.3.0 SM87 batch=1/8/32", "tensorrt 10.3.0 SM86 batch=1/8/32"


def test_a_gpu_takes_the_plan_that_fits_it(plain_folder: Path, orin: list[LoadOptions]) -> None:
    add_graphs(plain_folder, "tensorrt", "int8", target=ELSEWHERE)
    add_graphs(plain_folder, "tensorrt", "fp16", "fp32", target=HERE)
    with open_engine(plain_folder) as engine:
        assert engine.name == "tensorrt fp16"
    assert {options.graph.target for options in orin} == {HERE}


def test_a_gpu_without_a_plan_that_fits_says_so_and_auto_goes_on(
    plain_folder: Path, orin: list[LoadOptions], caplog: pytest.LogCaptureFixture
) -> None:
    add_graphs(plain_folder, "tensorrt", "int8", target=ELSEWHERE)
    line = (
        f"{plain_folder}: expected a plan for this device (tensorrt 10.3.0, SM87, Orin), got visible.int8.onnx (it was "
        "built for SM86, here is SM87), infrared.int8.onnx (it was built for SM86, here is SM87); build one here with "
        f"`python deploy/build_engine.py {plain_folder} --precision int8 --backend tensorrt`"
    )
    with pytest.raises(BadInput) as caught:
        open_engine(plain_folder, backend="tensorrt")
    assert str(caught.value) == line
    with open_engine(plain_folder, threads=1) as engine:
        assert engine.name == "openvino int8"
    assert [record.getMessage() for record in caplog.records] == [line]
    assert orin == []


def test_a_changed_plan_is_not_loaded(plain_folder: Path, orin: list[LoadOptions]) -> None:
    """A plan is code: deserialising it runs what is in it."""
    add_graphs(plain_folder, "tensorrt", "int8", target=HERE)
    path = plain_folder / "visible.int8.onnx"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(BadInput, match=r"visible\.int8\.onnx: SHA-256 is .* the file was changed or damaged"):
        open_engine(plain_folder, backend="tensorrt")
    assert orin == []


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
@pytest.mark.parametrize(("precision", "built"), [(None, "int8"), ("fp32", "fp32")])
def test_auto_build_builds_the_plan_and_opens_it(
    plain_folder: Path, orin: list[LoadOptions], backend: str, precision: str | None, built: str
) -> None:
    asked: list[tuple[Path, str, str]] = []

    def rebuild(folder: Path, flavour: Flavour, wanted: Precision) -> None:
        asked.append((folder, flavour, wanted))
        add_graphs(folder, flavour, wanted, wanted, target=HERE)

    choice: dict[str, Any] = {"backend": backend, "precision": precision, "auto_build": True, "rebuild": rebuild}
    for _ in range(2):  # the second time the plan is there
        with open_engine(plain_folder, **choice) as engine:
            assert engine.name == f"tensorrt {built}"
    assert asked == [(plain_folder, "tensorrt", built)]


def test_a_build_that_does_not_help_is_no_endless_loop(plain_folder: Path, orin: list[LoadOptions]) -> None:
    with pytest.raises(BadInput, match=r"got no int8 or fp16 or fp32 plan of tensorrt; build one here with"):
        open_engine(plain_folder, backend="tensorrt", auto_build=True, rebuild=lambda *arguments: None)


def test_a_runtime_that_is_not_installed_is_named(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_installed", lambda name: name == "onnxruntime")
    with pytest.raises(BadInput) as caught:
        open_engine(engine_folder, backend="tensorrt")
    assert str(caught.value) == (
        "backend 'tensorrt' needs tensorrt and pycuda, which is not installed; installed backends: onnxruntime"
    )


def test_a_folder_without_a_usable_graph_says_what_is_installed(engine_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(engine_folder, tmp_path / "engine")
    keep_only(folder, {"torch fp32"})
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
