"""Plans are built from an engine folder's own graphs, listed beside each other, and replaced one by one."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.build_engine import main
from deploy.building.plans import _float_nodes, _sources, add_plans_to, plan_flavours
from deploy.building.request import BuildRequest, PlanOptions
from engines.choose_plan import graphs_of
from engines.errors import BAD_INPUT_EXIT, BadInput
from engines.manifest import Manifest, load_manifest, verified_path
from engines.plan_target import parse_target
from engines.tensorrt_sdk import load_sdk, sdk_installed
from engines.tensorrt_versions import Capabilities, capabilities_of

if TYPE_CHECKING:
    from engines.manifest import Precision

ROOT = Path(__file__).resolve().parents[3]
needs_rtx = pytest.mark.skipif(
    not sdk_installed("tensorrt-rtx"), reason="needs TensorRT-RTX: pip install -e .[tensorrt-rtx]"
)
LEGACY = Capabilities(
    flavour="tensorrt", version="8.5.2", policy="legacy", progress=False, timing_cache=True, hardware=("same",),
    version_compatible=False, implicit_int8=True, targets=(),
)  # fmt: skip


@pytest.fixture
def engine(engine_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(engine_folder, tmp_path / "engine")


def plans_of(manifest: Manifest) -> dict[tuple[str, str], str]:
    return {(graph.modality, graph.precision): graph.file for graph in manifest.graphs if graph.form == "tensorrt-rtx"}


@needs_rtx
def test_an_engine_gets_plans_and_everything_else_stays(engine: Path) -> None:
    before = load_manifest(engine)
    request = BuildRequest(model=engine, backend="tensorrt-rtx", plans=PlanOptions(capabilities=("SM86", "SM89")))
    assert add_plans_to(engine, request, ["tensorrt-rtx"]) == engine
    after = load_manifest(engine)
    plans = plans_of(after)
    assert len(plans) == 2 * 3
    assert dataclasses.replace(after, graphs=before.graphs) == before
    assert set(before.graphs) <= set(after.graphs)
    for graph in after.graphs:
        verified_path(engine, graph)
        if graph.form == "tensorrt-rtx":
            target = parse_target(graph.target)
            assert target.capabilities == ("SM86", "SM89")
            layers = json.loads((engine / graph.file.replace(".plan", ".layers.json")).read_text())
            assert layers
    assert not list(engine.glob(".*.plan")), "no remains"


@needs_rtx
def test_a_second_build_for_other_gpus_stands_beside_and_the_same_one_replaces(engine: Path) -> None:
    def build(*capabilities: str) -> None:
        options = PlanOptions(capabilities=capabilities)
        request = BuildRequest(model=engine, backend="tensorrt-rtx", precisions=("fp32",), plans=options)
        add_plans_to(engine, request, ["tensorrt-rtx"])

    build("SM86")
    build("SM89")
    build("SM86")
    graphs = [graph for graph in load_manifest(engine).graphs if graph.form == "tensorrt-rtx"]
    assert sorted({graph.target.split()[2] for graph in graphs}) == ["SM86", "SM89"]
    assert len(graphs) == 2 * 2


@needs_rtx
def test_a_changed_graph_is_not_built(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = engine / "visible.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    argv = [str(engine), "--backend", "tensorrt-rtx", "--precision", "fp32", "--capability", "SM86"]
    assert main(argv) == BAD_INPUT_EXIT
    assert "visible.fp32.onnx: SHA-256 is" in capsys.readouterr().err
    assert not list(engine.glob("*.plan"))


@needs_rtx
def test_a_device_needs_neither_torch_nor_onnx_to_build_a_plan(engine: Path) -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxscript', 'openvino', 'onnxruntime'): sys.modules[name] = None\n"
        f"sys.argv = ['build_engine', {str(engine)!r}, '--backend', 'tensorrt-rtx', '--precision', 'fp16']\n"
        "import runpy\n"
        f"runpy.run_path({str(ROOT / 'deploy' / 'build_engine.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(plans_of(load_manifest(engine))) == {("visible", "fp16"), ("infrared", "fp16")}


def test_an_engine_and_a_cpu_backend_leave_nothing_to_build(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(engine), "--backend", "openvino"]) == BAD_INPUT_EXIT
    assert capsys.readouterr().err.strip() == (
        f"build_engine: {engine} is an engine; expected --backend tensorrt or tensorrt-rtx to add plans to it, got "
        "openvino, for which there is nothing to build here"
    )


@pytest.mark.parametrize(
    ("precision", "form", "source"),
    [("fp32", "onnx-opset17", "fp32"), ("fp16", "onnx-opset17", "fp32"), ("int8", "onnx-opset17", "int8")],
)
def test_tensorrt_8_takes_the_graphs_of_opset_17(
    engine: Path, precision: Precision, form: str, source: Precision
) -> None:
    manifest = load_manifest(engine)
    graphs = _sources(engine, manifest, LEGACY, precision, dla=False)
    assert {(graph.form, graph.precision) for graph in graphs} == {(form, source)}
    assert {graph.modality for graph in graphs} == {"visible", "infrared"}


def test_without_graphs_of_opset_17_it_says_how_to_get_them(engine: Path) -> None:
    manifest = load_manifest(engine)
    without = tuple(graph for graph in manifest.graphs if graph.form != "onnx-opset17")
    with pytest.raises(BadInput) as caught:
        _sources(engine, dataclasses.replace(manifest, graphs=without), LEGACY, "int8", dla=False)
    assert str(caught.value) == (
        f"{engine}: expected onnx-opset17 graphs in int8 for tensorrt 8.5.2, got none; build the model again with "
        "--precision int8 and --opset17"
    )


def test_what_stays_float_is_named_by_nodes_of_the_graph_that_flags_act_on(engine: Path) -> None:
    """GeM, neck and norm overflow or lose digits in half precision: 8.x must hear of them by name."""
    import onnx

    manifest = load_manifest(engine)
    model = onnx.load(str(engine / "visible.fp32.opset17.onnx"))
    kept = _float_nodes(manifest, "visible", "fp16", on_dla=False)
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert {"Pow"} <= {kinds[name] for name in kept if name in kinds}
    assert "Conv" not in {kinds[name] for name in kept if name in kinds}


@needs_rtx
def test_every_version_here_names_graphs_that_the_folder_has(engine: Path) -> None:
    capabilities = capabilities_of(load_sdk("tensorrt-rtx"), "tensorrt-rtx")
    manifest = load_manifest(engine)
    for precision in ("fp32", "fp16", "int8"):
        (best, *_) = capabilities.sources(precision)
        assert graphs_of(manifest, best.precision, (best.form,)) is not None


def test_auto_builds_what_is_installed_and_a_name_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "tensorrt" not in plan_flavours("auto"), "no GPU here"
    assert plan_flavours("openvino") == []
    monkeypatch.setattr("deploy.building.plans.sdk_installed", lambda flavour: False)
    assert plan_flavours("auto") == []
