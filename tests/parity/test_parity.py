"""Every method on every runtime in every precision, against the PyTorch program that was exported with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.parity.compare import form_read
from deploy.parity.report import measure_parity
from engines.manifest import PRECISIONS, load_manifest
from engines.open import RUNTIMES
from tests.parity.engine_copies import change_constant, change_graph, engine_copy
from tests.parity.tolerances import BASELINE, NO_MAP, tolerances_of
from train.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from deploy.parity.report import Report
    from engines.manifest import Precision
    from train.datasets.images import ImageRecord

    References = Callable[[str], tuple[list[ImageRecord], NDArray[np.float32]]]
    Copies = Callable[[str], Path]

pytestmark = pytest.mark.parity


@pytest.fixture
def copy_of(engine_of: Callable[[str], Path], reference_of: References, session_tree: Path, tmp_path: Path) -> Copies:
    """Copy a method's engine folder, with the reference of the judging images, for a test that spoils it."""

    def copy(method: str) -> Path:
        return engine_copy(engine_of(method), tmp_path / method, session_tree, *reference_of(method))

    return copy


@pytest.fixture(scope="module")
def report_of(
    engine_of: Callable[[str], Path],
    reference_of: References,
    session_tree: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Report]:
    """Measure a method's engine folder once."""
    found: dict[str, Report] = {}

    def report(method: str) -> Report:
        if method not in found:
            folder = tmp_path_factory.mktemp("parity") / method
            engine_copy(engine_of(method), folder, session_tree, *reference_of(method))
            found[method] = measure_parity(folder, limits=tolerances_of(method), max_map_drop=NO_MAP)
        return found[method]

    return report


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("backend", [name for name, runtime in RUNTIMES.items() if runtime.automatic])
@pytest.mark.parametrize("method", METHODS)
def test_engine_agrees_with_pytorch(
    method: str, backend: str, precision: Precision, report_of: Callable[[str], Report]
) -> None:
    report = report_of(method)
    if RUNTIMES[backend].missing():
        pytest.skip(f"needs {' and '.join(RUNTIMES[backend].missing())}")
    engine = f"{backend} {precision}"
    absent = {item.name: item.reason for item in report.comparison.skipped}
    if engine in absent:
        pytest.skip(absent[engine])
    if form_read(load_manifest(report.folder), backend, precision) is None:
        pytest.skip(f"the folder has no {precision} graph for {backend}")
    assert engine in {item.engine for item in report.comparison.engines}
    assert not [finding for finding in report.findings if engine in finding.where]


@pytest.mark.parametrize("method", METHODS)
def test_every_file_agrees_with_the_one_that_it_was_made_from(method: str, report_of: Callable[[str], Report]) -> None:
    report = report_of(method)
    files = {f"{graph.form} {graph.precision}" for graph in load_manifest(report.folder).graphs if "onnx" in graph.form}
    stages = {stage.name: stage for stage in report.stages.stages}
    assert files <= set(stages)
    assert stages["onnx int8"].before == "onnx fp32"
    assert stages["onnx int8"].to_before.drift.worst_cosine < 0.9999, "INT8 that costs nothing is not INT8"
    assert not report.findings, report.address


@pytest.mark.parametrize("method", METHODS)
def test_exported_program_equals_the_method_itself(
    method: str, engine_of: Callable[[str], Path], reference_of: References
) -> None:
    from train.checkpoint import load_method
    from train.evaluation import embed_images, method_embedder
    from train.protocol import key

    records, exported = reference_of(method)
    network = load_method(engine_of(method).parent / "run" / "checkpoint.pt")
    features = embed_images(method_embedder(network), records, network.recipe.height_px, network.recipe.width_px)
    own = np.stack([features[key(record)] for record in records])
    # The same operators on the same machine; only their fusion may differ.
    np.testing.assert_allclose(exported, own, atol=1e-5)
    spread = float((own @ own.T).mean())
    assert spread < 0.97, f"embeddings are all alike (mean cosine {spread:.3f}): parity could not fail"


def middle_layer(model: onnx.ModelProto) -> onnx.NodeProto:
    """Choose a convolution in INT8 whose input nothing else reads: the second of a block in the middle."""
    found = [node for node in model.graph.node if len(node.input) > 1 and node.input[1].endswith("conv2.weight_dq")]
    return found[len(found) // 2]


def small_range(model: onnx.ModelProto) -> None:
    """Make the range of what the middle layer reads ten times too small."""
    scale = middle_layer(model).input[0].replace("_dq", "_scale")
    change_constant(model, scale, lambda value: value / 10)


def swapped_channels(model: onnx.ModelProto) -> None:
    """Have the first convolution take blue for red."""
    names = {item.name for item in model.graph.initializer}
    weight = "method.backbone.conv1.weight"
    change_constant(model, weight if weight in names else f"{weight}_int8", lambda value: value[:, ::-1].copy())


def wrong_mean(model: onnx.ModelProto) -> None:
    change_constant(model, "mean_C11", lambda mean: mean[::-1].copy())


def divided_twice(model: onnx.ModelProto) -> None:
    divisor = next(node for node in model.graph.node if node.op_type == "Div").input[1]
    change_constant(model, divisor, lambda value: value * 255)


INT8, FP32 = "onnx int8 against onnx fp32", "onnx fp32 against pytorch fp32"


@pytest.mark.parametrize(
    ("change", "precision", "stage", "layer"),
    [
        (small_range, "int8", INT8, "middle layer"),
        (swapped_channels, "int8", INT8, "backbone.conv1"),
        (wrong_mean, "int8", INT8, "normalised pixels"),
        (divided_twice, "int8", INT8, "normalised pixels"),
        (swapped_channels, "fp32", FP32, None),
        (wrong_mean, "fp32", FP32, None),
        (divided_twice, "fp32", FP32, None),
    ],
)
def test_a_spoilt_file_is_seen_and_addressed(
    change: Callable[[onnx.ModelProto], None], precision: Precision, stage: str, layer: str | None, copy_of: Copies
) -> None:
    import onnx

    folder = copy_of("baseline")
    change_graph(folder, change, "visible", precision)
    report = measure_parity(folder, precisions=[precision], limits=BASELINE, max_map_drop=NO_MAP)
    readers = {
        f"{name} {precision}"
        for name in ("openvino", "onnxruntime")
        if form_read(load_manifest(folder), name, precision) == "onnx"
    }
    assert f"openvino {precision}" in readers
    assert readers <= {finding.where for finding in report.findings}
    assert report.address.startswith(f"{stage}: ")
    assert "worst in visible" in report.address
    if layer == "middle layer":
        weight = middle_layer(onnx.load(str(folder / "visible.int8.onnx"))).input[1]
        layer = weight.removeprefix("method.").removesuffix(".weight_dq")
    if layer is not None:
        assert f"the signal falls most at {layer} of visible.int8.onnx" in report.address


def test_embeddings_that_are_not_numbers_are_named(copy_of: Copies) -> None:
    folder = copy_of("baseline")

    def spoil(model: onnx.ModelProto) -> None:
        change_constant(model, "method.bn_neck.bias", lambda bias: bias * np.float32(np.nan))

    change_graph(folder, spoil, "infrared", "int8")
    report = measure_parity(folder, precisions=["int8"], limits=BASELINE, max_map_drop=NO_MAP)
    assert re.search(r"got NaN or infinity in \d+ of \d+, such as cam3/", report.address)
    assert {finding.where for finding in report.findings} >= {"openvino int8", "stage onnx int8"}
