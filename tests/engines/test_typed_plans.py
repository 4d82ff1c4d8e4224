"""The real TensorRT-RTX parser and builder take the typed graphs, and do what their types say. No GPU is needed."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import onnx
import pytest

from calib.half import to_half
from tests.half_material import GRAPHS, TypedPrecision, typed_graph

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    find_spec("tensorrt_rtx_bindings") is None, reason="needs TensorRT-RTX: pip install -e .[tensorrt-rtx]"
)


class Kernel(NamedTuple):
    """One row of the table that the builder prints: kind, types read and written, ONNX nodes."""

    kind: str
    reads: frozenset[str]
    writes: frozenset[str]
    nodes: tuple[str, ...]


def build(model: onnx.ModelProto) -> tuple[int, list[Kernel]]:
    """Build a plan for two GPUs and 1 to 32 images; return its bytes and its kernels."""
    trt: Any = importlib.import_module("tensorrt_rtx_bindings")

    messages: list[str] = []

    class Logger(trt.ILogger):
        def log(self, severity: object, message: str) -> None:
            messages.append(message)

    logger = Logger()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model.SerializeToString()):
        raise RuntimeError(parser.get_error(0).desc())
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.num_compute_capabilities = 2
    for index, name in enumerate(("SM86", "SM89")):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), index)
    profile = builder.create_optimization_profile()
    profile.set_shape("pixels", *((batch, 64, 32, 3) for batch in (1, 8, 32)))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, messages[-3:]
    return plan.nbytes, kernels_of(next(text for text in reversed(messages) if text.startswith("Layers:")))


def kernels_of(listing: str) -> list[Kernel]:
    row = re.compile(
        r"LayerType: (\w+), Inputs: \[(.*?)\], Constants: .*?Outputs: \[(.*?)\], TacticName: .*?Metadata: (.*)"
    )
    found = [
        Kernel(
            match[1],
            frozenset(re.findall(r"Datatype: (\w+)", match[2])),
            frozenset(re.findall(r"Datatype: (\w+)", match[3])),
            tuple(re.findall(r"\[ONNX Layer: ([^\]]+)\]", match[4])),
        )
        for match in row.finditer(listing)
        if match[1] not in ("signal", "wait", "shape_call")  # they compute nothing
    ]
    assert len(found) > 20, listing[:300]
    return found


def convolutions(kernels: list[Kernel], model: onnx.ModelProto) -> dict[str, Kernel]:
    """Map each convolution of the graph to the kernel that multiplies for it."""
    names = {node.name for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")}
    products = ("correlation", "deconv", "gemm", "runtime_fusion")
    return {name: kernel for kernel in kernels if kernel.kind in products for name in kernel.nodes if name in names}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
@pytest.mark.parametrize(("method", "stem"), GRAPHS)
def test_the_builder_takes_the_types_as_they_are(
    method: str, stem: str, precision: TypedPrecision, engine_of: Callable[[str], Path], session_tree: Path
) -> None:
    typed = typed_graph(engine_of(method), stem, precision, session_tree)
    _, kernels = build(typed.model)
    products = convolutions(kernels, typed.model)
    maker = {name: node for node in typed.model.graph.node for name in node.output}
    for node in typed.model.graph.node:
        if node.name in products:
            source = maker[node.input[0]].op_type
            wanted = "Int8" if source == "DequantizeLinear" else "Half"
            if node.op_type == "ConvTranspose":
                wanted = "Half"  # TensorRT-RTX has no INT8 kernel for it and undoes the pair first
            assert products[node.name].reads == {wanted}, node.name
    # Nearly all are rows of their own; a gate's 1x1 on one place may be fused away.
    assert len(products) >= 20
    assert {kernel.writes for kernel in kernels if "node_linalg_vector_norm" in kernel.nodes} == {frozenset({"Float"})}


def test_the_fp32_tail_adds_no_kernel(engine_folder: Path, session_tree: Path) -> None:
    typed = typed_graph(engine_folder, "visible", "fp16", session_tree)
    assert len(build(typed.model)[1]) == len(build(typed.floating)[1])


def test_a_half_plan_has_half_the_weights(engine_folder: Path, session_tree: Path) -> None:
    typed = typed_graph(engine_folder, "visible", "fp16", session_tree)
    assert build(typed.model)[0] < 0.62 * build(typed.floating)[0]


def test_one_pair_read_in_two_types_is_taken(engine_folder: Path, session_tree: Path) -> None:
    """A convolution kept in FP32 beside one in FP16, both from one INT8 tensor."""
    typed = typed_graph(engine_folder, "visible", "int8", session_tree)
    shared = [node for node in typed.source.graph.node if node.op_type == "Conv" and "layer2.0" in node.input[1]]
    half = to_half(typed.source, typed.largest, keep_float=[shared[0].name])
    products = convolutions(build(half.model)[1], half.model)
    assert products[shared[0].name].reads == {"Int8"}


def test_the_builder_refuses_types_that_do_not_agree(engine_folder: Path, session_tree: Path) -> None:
    """So that acceptance means something: an FP32 bias in an FP16 convolution."""
    typed = typed_graph(engine_folder, "visible", "fp16", session_tree)
    broken = onnx.ModelProto()
    broken.CopyFrom(typed.model)
    node = next(node for node in broken.graph.node if node.op_type == "Conv")
    bias = next(item for item in broken.graph.initializer if item.name == node.input[2])
    value = onnx.numpy_helper.to_array(bias).astype("float32")
    bias.CopyFrom(onnx.numpy_helper.from_array(value, bias.name))
    with pytest.raises(RuntimeError, match="`input` and `bias` must be of same type"):
        build(broken)
