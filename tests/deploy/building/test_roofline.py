"""The estimate against the floors of the deployment facts, against sums by hand, and as a person reads it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from calib.graph_cost import GraphCost, LayerCost, Stored, graph_cost
from deploy.building.jetson_modules import MODULES, JetPack, JetsonModule
from deploy.building.roofline import bound, estimate
from deploy.building.roofline_table import estimate_text
from engines.errors import BadInput
from engines.manifest import load_manifest
from tests.resnet50_graph import resnet50_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engines.manifest import Precision

COLUMNS = 100
# Milliseconds an image of ResNet-50 at 384 x 128, weights amortised: deployment.md, section 2, each row's own module.
FLOORS: list[tuple[str, Precision, float]] = [
    ("Nano", "fp16", 25.8),
    ("TX2", "fp16", 9.1),
    ("Xavier NX", "fp16", 2.0),
    ("Xavier NX", "int8", 1.0),
    ("AGX Xavier", "fp16", 1.1),
    ("AGX Xavier", "int8", 0.55),
    ("Orin Nano 4GB", "fp16", 2.4),
    ("Orin Nano 4GB", "int8", 1.2),
    ("Orin Nano 8GB", "fp16", 1.2),
    ("Orin Nano 8GB", "int8", 0.61),
    ("Orin Nano 8GB Super", "fp16", 0.72),
    ("Orin NX 8GB", "fp16", 0.97),
    ("Orin NX 8GB", "int8", 0.49),
    ("AGX Orin 64GB", "fp16", 0.29),
]
# Where memory is the limit, the published formula counts the convolutions' inputs and outputs alone.
MEMORY_FLOORS: list[tuple[str, Precision, float]] = [("AGX Orin 64GB", "int8", 0.14), ("Thor T5000", "fp16", 0.17)]
BOARD = JetsonModule(
    name="Board",
    compute_capability="8.7",
    fp16_tflops=1,
    int8_tops=2,
    gb_per_s=10,
    advertised="",
    releases=(JetPack(name="6.2", tensorrt="10.3.0"),),
    memory_gb=4,
)


def module(name: str) -> JetsonModule:
    (found,) = [row for row in MODULES if row.name == name]
    return found


def layer(name: str, flops: int, elements: int, *, quantised: bool = True) -> LayerCost:
    """A layer whose traffic is what it reads."""
    read = (Stored(name=f"{name} in", elements=elements, quantised=quantised, floating=not quantised),)
    return LayerCost(
        name=name, place=name, kind="Conv", flops=flops, quantised=quantised, read=read, written=(), weights=()
    )


@pytest.fixture(scope="module")
def resnet50() -> GraphCost:
    return graph_cost(resnet50_graph(384, 128), 256)


@pytest.mark.parametrize(("name", "precision", "floor_ms"), FLOORS)
def test_whole_graph_bound_is_the_published_floor(
    resnet50: GraphCost, name: str, precision: Precision, floor_ms: float
) -> None:
    found = bound(module(name), resnet50, precision)
    assert 1000 / found.whole_graph_images_per_s == pytest.approx(floor_ms, rel=0.15)


@pytest.mark.parametrize(("name", "precision", "floor_ms"), MEMORY_FLOORS)
def test_skips_and_pooling_lie_on_top_of_the_published_floor(
    resnet50: GraphCost, name: str, precision: Precision, floor_ms: float
) -> None:
    """Reading the skips and pooling are a third more, and the last block's sum is FP16 in an INT8 engine."""
    row = module(name)
    moved = sum(
        tensor.elements
        for item in resnet50.layers
        if item.kind.startswith("Conv ")
        for tensor in (item.read[0], item.written[0])
    )
    rate = 1e12 * (row.fp16_tflops if precision == "fp16" or row.int8_tops is None else row.int8_tops)
    published = max(resnet50.flops / rate, moved * {"fp16": 2, "int8": 1}[precision] / (1e9 * row.gb_per_s))
    assert 1000 * published / resnet50.batch == pytest.approx(floor_ms, rel=0.05)
    found = bound(row, resnet50, precision)
    assert floor_ms < 1000 / found.whole_graph_images_per_s < 1.4 * floor_ms
    assert found.bottleneck == "memory"


def test_batch_of_one_pays_for_the_weights() -> None:
    """46.9 MB of FP16 weights take 0.69 ms on the Orin Nano 8GB; most layers hide them behind their work."""
    one, many = (graph_cost(resnet50_graph(384, 128), batch) for batch in (1, 256))
    assert one.weight_bytes("fp16") / 68e9 == pytest.approx(0.69e-3, rel=0.01)
    slower, faster = (bound(module("Orin Nano 8GB"), cost, "fp16").images_per_s for cost in (one, many))
    assert 1 / faster < 1 / slower < 1 / faster + 0.69e-3


def test_layers_run_one_behind_the_other_each_at_its_own_limit() -> None:
    """On 1 TFLOPS, 2 TOPS and 10 GB/s: first works 2 ms and moves 1, second works 1 ms and moves 4."""
    cost = GraphCost(batch=6, layers=(layer("first", 2 * 10**9, 5 * 10**6), layer("second", 10**9, 20 * 10**6)))
    half = bound(BOARD, cost, "fp16")
    assert half.images_per_s == pytest.approx(6 / 6e-3)
    assert half.whole_graph_images_per_s == pytest.approx(6 / 5e-3)
    assert half.compute_share == pytest.approx(2 / 6)
    assert half.bottleneck == "memory"
    assert [(item.name, item.limit) for item in half.most_expensive] == [("second", "memory"), ("first", "compute")]
    assert half.most_expensive[0].share == pytest.approx(4 / 6)
    assert bound(BOARD, cost, "int8").images_per_s == pytest.approx(6 / 3e-3)


def test_layer_that_is_not_quantised_keeps_the_fp16_rate_in_an_int8_engine() -> None:
    cost = GraphCost(batch=1, layers=(layer("gate", 10**9, 1, quantised=False),))
    assert bound(BOARD, cost, "int8").images_per_s == pytest.approx(bound(BOARD, cost, "fp16").images_per_s)


def test_memory_is_compared_where_the_module_s_size_is_known() -> None:
    cost = GraphCost(batch=1, layers=(layer("only", 1, 1),))
    assert bound(BOARD, cost, "fp16", 10**9).memory_share == pytest.approx(0.25)
    assert bound(replace(BOARD, memory_gb=None), cost, "fp16", 10**9).memory_share is None


def test_every_module_has_a_bound_for_each_precision_and_batch(engine_folder: Path) -> None:
    found = estimate(engine_folder, batches=(1, 8))
    rows = [(row.module, row.precision, row.batch) for row in found.graphs[0].bounds]
    assert len(set(rows)) == len(rows)
    assert set(rows) == {
        (item.name, precision, batch)
        for item in MODULES
        for precision in ("fp16", "int8")
        if precision == "fp16" or item.int8_tops is not None
        for batch in (1, 8)
    }


def test_streams_of_equal_cost_share_a_table_and_both_need_memory(engine_folder: Path) -> None:
    found = estimate(engine_folder, batches=(1,))
    (only,) = found.graphs
    assert only.name == "visible and infrared, each"
    alone = estimate(engine_folder / "visible.fp32.onnx", batches=(1,))
    assert found.memory[0].weights_bytes == 2 * alone.memory[0].weights_bytes
    assert found.memory[0].activations_bytes == 2 * alone.memory[0].activations_bytes


def test_streams_of_unequal_cost_have_a_table_each(engine_of: Callable[[str], Path]) -> None:
    """AlignGAN's generator works on visible images only."""
    visible, infrared = estimate(engine_of("aligngan"), batches=(1,)).graphs
    assert (visible.name, infrared.name) == ("visible", "infrared")
    assert visible.gflop_per_image > infrared.gflop_per_image


def test_layers_that_the_engine_keeps_in_float_are_estimated_in_fp16(engine_folder: Path, tmp_path: Path) -> None:
    from calib.graph_cost import load_graph
    from calib.quantize import quantize
    from calib.table import load_table
    from engines.manifest import sha256_of

    folder = tmp_path / "engine"
    shutil.copytree(engine_folder, folder)
    model = load_graph(folder / "visible.fp32.onnx")
    stem = next(node.name for node in model.graph.node if node.op_type == "Conv")
    int8 = quantize(model, load_table(folder / "visible.calibration.json").amax, keep_float=[stem])
    (folder / "visible.int8.onnx").write_bytes(int8.SerializeToString())
    manifest = load_manifest(folder)
    graphs = [
        replace(graph, sha256=sha256_of(folder / graph.file)) if graph.file == "visible.int8.onnx" else graph
        for graph in manifest.graphs
    ]
    replace(manifest, graphs=tuple(graphs)).save(folder)
    visible, infrared = estimate(folder, batches=(1,)).graphs
    assert visible.int8_share < infrared.int8_share


def test_checkpoint_is_exported_first(engine_folder: Path) -> None:
    pytest.importorskip("torch", reason="needs torch to export")
    run = engine_folder.parent / "run"
    found = estimate(run, batches=(1,))
    assert found.model == str(run)
    assert found.graphs[0].gflop_per_image == estimate(engine_folder, batches=(1,)).graphs[0].gflop_per_image


def test_text_says_first_that_it_is_an_estimate_and_fits_the_screen(engine_folder: Path) -> None:
    text = estimate_text(estimate(engine_folder))
    lines = text.splitlines()
    assert lines[0].startswith("ESTIMATE, not a measurement")
    assert any("unverified" in line for line in lines[:4])
    assert any("Expect less" in line for line in lines[:4])
    assert max(len(line) for line in lines if not line.startswith("model: ")) <= COLUMNS
    for item in MODULES:
        assert item.name in text
    assert "Not supported: Nano and TX2" in text


def test_text_has_the_figures_of_the_estimate(engine_folder: Path) -> None:
    found = estimate(engine_folder)
    row = next(
        row for row in found.graphs[0].bounds if (row.module, row.precision, row.batch) == ("Xavier NX", "int8", 8)
    )
    line = next(
        line for line in estimate_text(found).splitlines() if line.startswith("Xavier NX ") and " int8 " in line
    )
    assert f" {row.images_per_s:.0f} " in line
    assert line.split()[2:4] == ["int8", "12"]


def test_folder_without_a_float_graph_is_refused(engine_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "engine"
    shutil.copytree(engine_folder, folder)
    manifest = load_manifest(folder)
    replace(manifest, graphs=tuple(graph for graph in manifest.graphs if graph.precision != "fp32")).save(folder)
    with pytest.raises(BadInput, match="expected an fp32 graph to estimate from, got none; rebuild"):
        estimate(folder)
