"""Plans: TensorRT-RTX's real parser and builder run here without a GPU, and say in which type each layer runs."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import BadInput
from engines.plan_target import BatchProfile
from engines.tensorrt_build import PlanRequest, build_plan
from engines.tensorrt_layers import precision_of, read_layers
from engines.tensorrt_refusal import failed_build, refused_nodes
from engines.tensorrt_sdk import SdkLog, load_sdk, progress_monitor, sdk_installed

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from engines.manifest import Precision

needs_rtx = pytest.mark.skipif(
    not sdk_installed("tensorrt-rtx"), reason="needs TensorRT-RTX: pip install -e .[tensorrt-rtx]"
)
ROOT = Path(__file__).resolve().parents[2]
ROOT = Path(__file__).resolve().parents[2]
STATIC = BatchProfile(smallest=4, usual=4, largest=4)


def rtx(precision: Precision = "fp32", **changes: Any) -> PlanRequest:
    settings: dict[str, Any] = {"capabilities": ("SM86",), **changes}
    return PlanRequest(flavour="tensorrt-rtx", precision=precision, **settings)


@pytest.fixture(scope="module")
def graph_of(engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Precision, bool], Path]:
    """Return the visible graph in a precision; typed ones are written from it, with ranges measured on noise."""
    import onnx

    from calib.half import to_half
    from calib.half_ranges import measure_largest

    folder = tmp_path_factory.mktemp("typed")
    measured: dict[str, float] = {}

    def graph(precision: Precision, typed: bool) -> Path:
        if not typed:
            return engine_folder / f"visible.{precision}.onnx"
        path = folder / f"visible.{precision}.typed.onnx"
        if not path.exists():
            noise_BHWC = np.random.default_rng(0).integers(0, 256, (8, 64, 32, 3), np.uint8)
            fp32 = onnx.load(engine_folder / "visible.fp32.onnx")
            measured.update(measured or measure_largest(fp32, [noise_BHWC]))
            source = fp32 if precision == "fp16" else onnx.load(engine_folder / f"visible.{precision}.onnx")
            path.write_bytes(to_half(source, measured).model.SerializeToString())
        return path

    return graph


def weight_types(path: Path) -> dict[str, str]:
    """Read each convolution's type off the graph: Q/DQ before its pixels, or else the type of its weight."""
    import onnx

    graph = onnx.load(path).graph
    made_by = {name: node.op_type for node in graph.node for name in node.output}
    types = {item.name: {1: "fp32", 10: "fp16"}.get(item.data_type, "?") for item in graph.initializer}
    return {
        node.name: "int8" if made_by.get(node.input[0]) == "DequantizeLinear" else types[node.input[1]]
        for node in graph.node
        if node.op_type == "Conv"
    }


@needs_rtx
@pytest.mark.parametrize("capability", ["SM86", "SM89"])
@pytest.mark.parametrize(
    ("precision", "typed", "expected"),
    [("fp32", False, "fp32"), ("int8", False, "int8"), ("fp16", True, "fp16"), ("int8", True, "int8")],
    ids=["fp32", "int8", "fp16-typed", "int8-typed"],
)
def test_every_convolution_runs_in_the_type_of_the_graph(
    graph_of: Callable[[Precision, bool], Path],
    tmp_path: Path,
    precision: Precision,
    typed: bool,
    expected: str,
    capability: str,
) -> None:
    """The builder's own table of fused layers is the evidence; no GPU was asked."""
    path = graph_of(precision, typed)
    request = rtx(precision, capabilities=(capability,), layers=tmp_path / "layers.json")
    target = build_plan(path, tmp_path / "visible.plan", request)
    assert str(target).endswith(f" {capability} batch=1/8/32")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["layers.json", "visible.plan"]
    assert (tmp_path / "visible.plan").stat().st_size > 1_000_000  # the weights are in it
    table = read_layers(tmp_path / "layers.json")
    wanted = weight_types(path)
    ran = precision_of(table.layers)
    assert {name: ran.get(name) for name in wanted} == wanted
    assert len(wanted) == 20
    assert set(wanted.values()) == {expected}
    assert table.activation_bytes is not None
    assert table.activation_bytes > 32 * 24 * 32 * 16 * 4  # the stem's output, 32 images, at least


@needs_rtx
def test_one_plan_serves_several_gpus(engine_folder: Path, tmp_path: Path) -> None:
    target = build_plan(
        engine_folder / "visible.int8.onnx",
        tmp_path / "x.plan",
        rtx("int8", capabilities=("SM80", "SM86", "SM120"), batch=BatchProfile(usual=2, largest=4)),
    )
    assert str(target).split()[2:] == ["SM80", "SM86", "SM120", "batch=1/2/4"]


def small_graph(nodes: list[onnx.NodeProto], path: Path, **parts: Any) -> Path:
    import onnx

    names = {"inputs": ["x"], "outputs": ["z"], "functions": [], "shape": ["batch", 3, 3]} | parts
    inputs, outputs = (
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in names[side]]
        for side, shape in (("inputs", names["shape"]), ("outputs", None))
    )
    domains = [onnx.helper.make_opsetid("", 19), onnx.helper.make_opsetid("own", 1)]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "g", inputs, outputs),
        opset_imports=domains, functions=names["functions"], ir_version=10,
    )  # fmt: skip
    path.write_bytes(model.SerializeToString())
    return path


def refusal(path: Path, tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(BadInput) as caught:
        build_plan(path, tmp_path / "out" / "x.plan", rtx(**changes))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    return str(caught.value)


@needs_rtx
def test_an_unsupported_operator_is_named_with_its_node(tmp_path: Path) -> None:
    from onnx.helper import make_function, make_node, make_opsetid

    relu = make_node("Relu", ["x"], ["y"], name="fine")
    path = small_graph([relu, make_node("Det", ["y"], ["z"], name="the_det")], tmp_path / "det.onnx")
    assert refusal(path, tmp_path).endswith(
        f"det.onnx: tensorrt-rtx {load_sdk('tensorrt-rtx').__version__} refuses the graph: "
        "operator Det is not supported (node the_det)"
    )
    path = small_graph([relu, make_node("Fancy", ["y"], ["z"], name="mine", domain="own")], tmp_path / "own.onnx")
    assert refusal(path, tmp_path).endswith("refuses the graph: operator Fancy is not supported (node mine)")
    block = make_function(
        "own", "Block", ["a"], ["b"], [make_node("Det", ["a"], ["b"], name="inner")], [make_opsetid("", 19)]
    )
    path = small_graph(
        [make_node("Block", ["x"], ["z"], name="outer", domain="own")], tmp_path / "f.onnx", functions=[block]
    )
    assert refusal(path, tmp_path).endswith("operator Det is not supported (node inner of outer (Block))")


@needs_rtx
def test_a_wrong_type_is_told_in_the_parsers_own_words(tmp_path: Path) -> None:
    """ONNX Runtime's default quantisation makes such biases; TensorRT takes none of them."""
    from onnx import TensorProto
    from onnx.helper import make_node, make_tensor

    def constant(name: str, kind: int, value: float) -> Any:
        return make_node("Constant", [], [name], name=name, value=make_tensor(name, kind, [], [value]))

    nodes = [
        constant("bias", TensorProto.INT32, 3), constant("step", TensorProto.FLOAT, 0.1),
        constant("zero", TensorProto.INT32, 0),
        make_node("DequantizeLinear", ["bias", "step", "zero"], ["b"], name="bias_DQ"),
        make_node("Add", ["x", "b"], ["z"], name="add"),
    ]  # fmt: skip
    assert refusal(small_graph(nodes, tmp_path / "bias.onnx"), tmp_path).endswith(
        "operator DequantizeLinear (node bias_DQ): bias_DQ: input has type Int32 but must have type FP8, FP4, Int4, "
        "Int8, or UInt8"
    )


@needs_rtx
@pytest.mark.parametrize(
    "parts", [{"outputs": []}, {"inputs": ["x", "w"]}, {"shape": [2, 3, 3]}, {"shape": ["a", "b"]}]
)
def test_a_graph_of_another_form_is_refused(tmp_path: Path, parts: dict[str, Any]) -> None:
    from onnx.helper import make_node

    nodes = [make_node("Relu", ["x"], ["z"], name="fine")] if parts.get("outputs", True) else []
    told = refusal(small_graph(nodes, tmp_path / "x.onnx", **parts), tmp_path)
    assert "x.onnx: expected a" in told
    assert told.endswith("export it with deploy/build_engine.py")


@needs_rtx
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not an ONNX file")
    assert "broken.onnx: tensorrt-rtx" in refusal(tmp_path / "broken.onnx", tmp_path)


@needs_rtx
def test_too_little_workspace_says_what_to_do(engine_folder: Path, tmp_path: Path) -> None:
    told = refusal(engine_folder / "visible.fp32.onnx", tmp_path, workspace_bytes=1024)
    assert "could not build a plan: 0 MB of workspace are too few (" in told
    assert told.endswith("allow more")


@needs_rtx
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"capabilities": ("SM87",)}, "expected compute capabilities out of SM75, SM80, SM86, "),  # Orin is SM87
        ({"capabilities": ()}, ", got none"),
        ({"hardware": "same-sm"}, "expected one of same as hardware for tensorrt-rtx"),
        ({"version_compatible": True}, "expected TensorRT 8.6 or newer for a version-compatible plan"),
        ({"precision": "fp16", "dla": 0, "batch": STATIC}, "expected TensorRT up to 10.x for a DLA, got tensorrt-rtx"),
    ],
)  # fmt: skip
def test_what_the_package_cannot_do_is_refused_before_it_starts(
    engine_folder: Path, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    assert told in refusal(engine_folder / "visible.fp32.onnx", tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision": "fp32", "batch": STATIC}, "expected fp16 or int8 on a DLA, got fp32"),
        ({"precision": "fp16"}, "expected one batch size on a DLA, such as 8/8/8, got 1/8/32"),
        ({"precision": "int8", "batch": STATIC}, "expected ranges or a calibration cache for INT8 on a DLA, got none"),
        ({"precision": "fp16", "batch": STATIC, "workspace_bytes": 0}, "expected a workspace of at least one byte"),
    ],
)
def test_a_request_that_contradicts_itself_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        PlanRequest(flavour="tensorrt", dla=0, **changes)


@needs_rtx
def test_cancelling_stops_the_builder_at_its_next_step(engine_folder: Path, tmp_path: Path) -> None:
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) == 20

    with pytest.raises(KeyboardInterrupt):
        build_plan(engine_folder / "visible.fp32.onnx", tmp_path / "x.plan", rtx(cancel=cancel))
    assert len(asked) == 20  # of about 170 steps
    assert not list(tmp_path.iterdir())


PRESSED = """
import signal, sys, threading
from pathlib import Path
from engines.tensorrt_build import PlanRequest, build_plan

pressed = []

def press_once():
    if not pressed:
        pressed.append(1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    return False

request = PlanRequest(flavour="tensorrt-rtx", precision="int8", capabilities=("SM86",), cancel=press_once)
try:
    build_plan(Path(sys.argv[1]), Path(sys.argv[2]), request)
except KeyboardInterrupt:
    raise SystemExit(0 if pressed else "nobody pressed")
raise SystemExit("it was built")
"""


PRESS_CTRL_C = """
import os, signal, sys, threading
from pathlib import Path
from engines.tensorrt_build import PlanRequest, build_plan

pressed = []

def press_once():
    if not pressed:
        pressed.append(signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    return False

try:
    build_plan(Path(sys.argv[1]), Path(sys.argv[2]), PlanRequest(
        flavour="tensorrt-rtx", precision="int8", capabilities=("SM86",), cancel=press_once))
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    sys.stdout.write(f"interrupted, pressed {len(pressed)}")
"""


@needs_rtx
def test_ctrl_c_stops_the_builder_and_leaves_nothing(engine_folder: Path, tmp_path: Path) -> None:
    """In a process of its own: this one has OpenVINO's leftovers, among them a signal stack that may be gone."""
    done = subprocess.run(
        [sys.executable, "-c", PRESS_CTRL_C, str(engine_folder / "visible.int8.onnx"), str(tmp_path / "x.plan")],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "interrupted, pressed 1"), done.stderr
    assert not list(tmp_path.iterdir())


@needs_rtx
def test_a_plan_that_cannot_be_written_is_told_in_one_line(engine_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BadInput, match=r"could not write .*x\.plan: .*; free some disk or name another folder"):
        build_plan(engine_folder / "visible.fp32.onnx", tmp_path / "file" / "x.plan", rtx())


@needs_rtx
def test_a_build_is_quiet_in_a_pipe(engine_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    build_plan(engine_folder / "visible.fp32.onnx", tmp_path / "x.plan", rtx())
    assert capfd.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_counts_the_steps_of_nested_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "100")
    monitor = progress_monitor(SimpleNamespace(IProgressMonitor=object), lambda: False)
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing tactics", "Building engine", 4)
    assert monitor.step_complete("Timing tactics", 0)
    monitor.phase_finish("Timing tactics")  # three steps early
    monitor.step_complete("Building engine", 0)
    monitor._bar.refresh()
    assert "Timing tactics:  83%" in terminal.getvalue()  # 5 of 6
    monitor.phase_finish("Building engine")
    assert monitor._bar.n == monitor._bar.total == 6


# Lines that people posted from TensorRT 8.6 and 10.3 (NVIDIA/TensorRT issues 3046 and 4258), and one of RTX 1.7.1.
ALLOCATION = "Requested amount of GPU memory (15485030400 bytes) could not be allocated."
CUDA = "[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"
NO_KERNEL = "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[a...b]}.)"
WORKSPACE = (
    "Error Code 4: Internal Error (Could not find any implementation for node /conv due to insufficient workspace.)"
)
SHAPE = (
    "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (Dimension mismatch for tensor x and profile 0. "
    "In validate at /_src/optimizer/api/network.cpp:4054)"
)
FULL = "the GPU has too little free memory"
LESS = "build for smaller batches than 32 or with less workspace than 1024 MB, or stop other programs on the GPU"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (SdkLog(errors=[NO_KERNEL], warnings=[ALLOCATION]), f"{FULL} ({ALLOCATION}); {LESS}"),
        (SdkLog(errors=[CUDA]), f"{FULL} ({CUDA}); {LESS}"),
        (SdkLog(errors=[WORKSPACE]), f"1024 MB of workspace are too few ({WORKSPACE}); allow more"),
        (SdkLog(errors=[SHAPE, "what follows from it"]), "Dimension mismatch for tensor x and profile 0"),
        (SdkLog(), "no reason given"),
    ],
    ids=["memory", "memory-code", "workspace", "shape", "silent"],
)  # fmt: skip
def test_a_failed_build_says_what_to_do(log: SdkLog, told: str) -> None:
    assert failed_build(log, largest=32, workspace_bytes=1 << 30) == told


def test_an_error_of_8_6_is_named_from_the_log() -> None:
    """Before 10.0 the parser's error has the node's number alone (model of ONNX node 3 in the parser's log)."""
    error = SimpleNamespace(node=lambda: 3, desc=lambda: "creator && Plugin not found", code=lambda: "UNSUPPORTED_NODE")
    log = SdkLog(errors=[
        'ModelImporter.cpp:771: While parsing node number 3 [Fancy -> "z"]:',
        "ModelImporter.cpp:772: --- Begin node ---",
        'ModelImporter.cpp:773: input: "x" output: "z" name: "mine" op_type: "Fancy"',
    ])  # fmt: skip
    parser = SimpleNamespace(num_errors=1, get_error=lambda number: error)
    assert refused_nodes(parser, log) == "operator Fancy is not supported (node mine)"


@needs_rtx
def test_no_garbage_is_collected_while_the_builder_works(engine_folder: Path, tmp_path: Path) -> None:
    """A collection in TensorRT's log callback met an old builder; its destructor waited for a lock that was held."""
    seen: list[bool] = []
    build_plan(
        engine_folder / "visible.fp32.onnx",
        tmp_path / "x.plan",
        rtx(cancel=lambda: bool(seen.append(gc.isenabled()))),
    )
    assert set(seen) == {False}
    assert gc.isenabled()


@needs_rtx
@pytest.mark.parametrize("changes", [{"workspace_bytes": 1024}, {"cancel": lambda: True}], ids=["refused", "cancelled"])
def test_an_error_does_not_keep_the_builder(engine_folder: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises((BadInput, KeyboardInterrupt)) as caught:
        build_plan(engine_folder / "visible.fp32.onnx", tmp_path / "x.plan", rtx(**changes))
    assert "_build" in [entry.name for entry in caught.traceback]
    held = [name for entry in caught.traceback for name in entry.frame.f_locals if name in {"builder", "network"}]
    assert not held


def test_a_builder_that_is_not_installed_says_how_to_get_it() -> None:
    if sdk_installed("tensorrt"):
        pytest.skip("TensorRT is installed")
    with pytest.raises(BadInput) as caught:
        load_sdk("tensorrt")
    assert str(caught.value) == (
        "expected tensorrt to be installed, got none: comes with JetPack, or pip install -e .[tensorrt]"
    )
