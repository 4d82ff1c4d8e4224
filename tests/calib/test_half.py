"""Types, casts and steps, read off the typed graphs of all methods."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from calib.half import to_half
from engines.errors import BadInput
from tests.half_material import GRAPHS, Material, largest_of, makers, nodes_of, typed_graph, types_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALF, FLOAT, INT8 = TensorProto.FLOAT16, TensorProto.FLOAT, TensorProto.INT8
FLOAT_KINDS = {"Pow", "ReduceMean", "ReduceL2", "InstanceNormalization", "Softmax", "Sigmoid", "Tanh", "Div"}
# Counted by hand. 3: pixels to FP32, into the first convolution, out of the last map. A part in FP32 adds its own:
# AlignGAN's drawn image 2 (in, out), each of MCJA's four attentions 6 (Softmax, Sigmoid and norm, in and out), each of
# MPANet's two gates 5 (the map once for mean and norm; mean, Sigmoid and norm out; Sigmoid in), its masks 1.
CASTS = {"baseline": 3, "imfe": 3, "aligngan visible": 5, "aligngan infrared": 3, "mcja": 3 + 24, "mpanet": 3 + 10 + 1}


@pytest.fixture(
    scope="module", params=[(*graph, precision) for graph in GRAPHS for precision in ("fp16", "int8")], ids="-".join
)
def typed(request: pytest.FixtureRequest, engine_of: Callable[[str], Path], session_tree: Path) -> Material:
    method, stem, precision = request.param
    return typed_graph(engine_of(method), stem, precision, session_tree)


@pytest.fixture
def int8(engine_folder: Path, session_tree: Path) -> Material:
    return typed_graph(engine_folder, "visible", "int8", session_tree)


def test_pixels_go_in_and_embeddings_come_out_as_before(typed: Material) -> None:
    for side in ("input", "output"):
        assert getattr(typed.model.graph, side) == getattr(typed.source.graph, side)
    assert typed.model.opset_import == typed.source.opset_import


def test_every_convolution_runs_in_half_or_int8(typed: Material) -> None:
    types, maker = types_of(typed.model), makers(typed.model)
    found = nodes_of(typed.model, "Conv", "ConvTranspose")
    assert len(found) == len(nodes_of(typed.source, "Conv", "ConvTranspose"))
    for node in found:
        assert {types[name] for name in (*node.input, *node.output)} == {HALF}, node.name
    before = makers(typed.source)
    for node, source in zip(found, nodes_of(typed.source, "Conv", "ConvTranspose"), strict=True):
        for number in (0, 1):  # what was INT8 still is
            if source.input[number] in before and before[source.input[number]].op_type == "DequantizeLinear":
                assert maker[node.input[number]].op_type == "DequantizeLinear", node.name


def test_powers_norms_means_and_exponentials_are_float(typed: Material) -> None:
    types = types_of(typed.model)
    for node in nodes_of(typed.model, *FLOAT_KINDS):
        assert {types[name] for name in node.output} == {FLOAT}, node.name


def test_all_from_the_pooling_on_is_float(typed: Material) -> None:
    """Only the last map is converted: what has no height and width, and leads to the embedding, is FP32."""
    types, maker = types_of(typed.model), makers(typed.model)
    tail, pending = set[str](), [output.name for output in typed.model.graph.output]
    while pending:
        node = maker[pending.pop()]
        if node.name in tail or node.op_type in ("Cast", "Relu", "Shape", "Reshape", "Conv"):
            continue
        tail.add(node.name)
        assert types[node.output[0]] in (FLOAT, TensorProto.INT64), node.name
        pending += [name for name in node.input if name in maker]
    assert len(tail) >= 5


def test_no_batch_norm_mixes_types(engine_of: Callable[[str], Path], session_tree: Path) -> None:
    """ONNX allows an FP16 map with FP32 statistics, and TensorRT's parsers make different things of it."""
    model = typed_graph(engine_of("mcja"), "model", "fp16", session_tree).model
    types = types_of(model)
    norms = nodes_of(model, "BatchNormalization")
    assert len(norms) == 5  # four attentions and the neck
    assert {types[name] for node in norms for name in (*node.input, *node.output)} == {FLOAT}


def test_the_nodes_with_a_reason_are_those_that_are_float(typed: Material) -> None:
    types = types_of(typed.model)
    before = {node.name: node for node in typed.source.graph.node}
    floating = {
        node.name
        for node in typed.model.graph.node
        if node.name in before
        and before[node.name].op_type not in ("QuantizeLinear", "DequantizeLinear")
        and FLOAT in {types[name] for name in node.output}
    }
    assert floating == set(typed.half.kept)
    assert all(reason and "\n" not in reason for reason in typed.half.kept.values())


@pytest.mark.parametrize(("method", "stem"), GRAPHS)
def test_casts_stand_only_where_the_type_changes(
    method: str, stem: str, engine_of: Callable[[str], Path], session_tree: Path
) -> None:
    model = typed_graph(engine_of(method), stem, "fp16", session_tree).model
    expected = CASTS.get(method) or CASTS[f"{method} {stem}"]
    assert len(nodes_of(model, "Cast")) == expected


def test_no_cast_is_redundant(typed: Material) -> None:
    """None behind a cast or a Q/DQ pair, which can give either type; none before a pair; none twice."""
    maker, types = makers(typed.model), types_of(typed.model)
    casts = nodes_of(typed.model, "Cast")
    for node in casts:
        assert maker.get(node.input[0], casts[0]).op_type not in ("DequantizeLinear", *(["Cast"] * (node != casts[0])))
        assert types[node.input[0]] != types[node.output[0]]
    assert max(Counter((node.input[0], types[node.output[0]]) for node in casts).values()) == 1
    for node in nodes_of(typed.model, "QuantizeLinear"):
        assert maker[node.input[0]].op_type != "Cast"


def test_steps_are_half_wherever_half_is_read(int8: Material) -> None:
    """The pixels' Q reads FP32; its DQ and every other node of the pairs are FP16, and both ends have one value."""
    types = types_of(int8.model)
    constants = {item.name: numpy_helper.to_array(item) for item in int8.model.graph.initializer}
    steps = {item.name: numpy_helper.to_array(item) for item in int8.source.graph.initializer}
    pairs = nodes_of(int8.model, "QuantizeLinear", "DequantizeLinear")
    assert [node.name for node in pairs if types[node.input[1]] == FLOAT] == ["div_1_Q"]
    for node in pairs:
        ours, exact = constants[node.input[1]].astype(np.float64), steps[node.input[1].rsplit("_", 1)[0]]
        np.testing.assert_allclose(ours, exact, rtol=2**-11)
        np.testing.assert_array_equal(ours, ours.astype(np.float16))
        assert types[node.input[2]] == INT8


def test_two_readers_of_one_pair_may_have_two_types(int8: Material) -> None:
    """layer2's first convolution and its shortcut read one DQ: each gets one of its type, and no cast."""
    model, maker = int8.source, makers(int8.source)
    shared = [node for node in nodes_of(model, "Conv") if "layer2.0" in node.input[1] and "conv2" not in node.input[1]]
    assert len({node.input[0] for node in shared}) == 1
    half = to_half(model, int8.largest, keep_float=[shared[0].name])
    types, now = types_of(half.model), {node.name: node for node in half.model.graph.node}
    assert half.kept[shared[0].name] == "was named to stay in FP32"
    assert [types[now[node.name].input[0]] for node in shared] == [FLOAT, HALF]
    both = [
        node for node in nodes_of(half.model, "DequantizeLinear") if node.input[0] == maker[shared[0].input[0]].input[0]
    ]
    assert len(both) == 2
    constants = {item.name: numpy_helper.to_array(item) for item in half.model.graph.initializer}
    assert len({float(constants[node.input[1]]) for node in both}) == 1
    assert not [node for node in nodes_of(half.model, "Cast") if now.get(node.input[0]) in both]


def test_the_graph_that_came_in_is_left_alone(int8: Material) -> None:
    before = int8.source.SerializeToString(deterministic=True)
    to_half(int8.source, int8.largest)
    assert int8.source.SerializeToString(deterministic=True) == before


def test_weights_take_half_the_room(typed: Material) -> None:
    part = typed.model.ByteSize() / typed.floating.ByteSize()
    assert part < (0.52 if typed.source is typed.floating else 0.30)


def test_ranges_of_another_graph_are_refused(engine_folder: Path, session_tree: Path) -> None:
    model = onnx.load(str(engine_folder / "visible.fp32.onnx"))
    largest = {
        f"{name}_of_another": value for name, value in largest_of(engine_folder, "visible", session_tree).items()
    }
    with pytest.raises(BadInput, match="expected the largest magnitude of "):
        to_half(model, largest)
