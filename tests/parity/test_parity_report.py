"""What a parity report judges and how it is written, on figures made by hand; and what the picture shows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
import pytest

from calib.drift import LIMITS
from deploy.parity.compare import BATCH, Absent, Comparison, EngineFigures, batch_cosine
from deploy.parity.figures import difference, search, top_overlap
from deploy.parity.layers import AUDIBLE_DB, CEILING_DB, Layer, Layers, falls, probes, sqnr
from deploy.parity.output import to_json, to_junit, to_table
from deploy.parity.picture import angle_counts, move_counts, write_picture
from deploy.parity.reference import Reference
from deploy.parity.report import Report, address, judge
from deploy.parity.stages import Stage, Stages
from engines.manifest import Graph, Manifest
from train.datasets.sysu import sysu_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.manifest import Modality, Precision

PEOPLE = 20
FEATURES = np.random.default_rng(0).normal(size=(2 * PEOPLE, 16)).astype(np.float32)
FEATURES /= np.linalg.norm(FEATURES, axis=1, keepdims=True)


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """Twenty people, an infrared and a visible image of each."""
    cameras = [6] * PEOPLE + [1] * PEOPLE
    records = tuple(
        sysu_image(path=tmp_path / f"cam{camera}/{index % PEOPLE}.jpg", identity=index % PEOPLE, camera=camera)
        for index, camera in enumerate(cameras)
    )
    return Reference(records=records, feature_ND=FEATURES, folder=tmp_path, dataset="sysu", split="val")


def noisy(level: float, chosen: slice = slice(None)) -> NDArray[np.float32]:
    """Turn some embeddings by a random angle."""
    feature_ND = FEATURES.copy()
    feature_ND[chosen] += level * np.random.default_rng(1).normal(size=FEATURES[chosen].shape).astype(np.float32)
    return feature_ND / np.linalg.norm(feature_ND, axis=1, keepdims=True)


def engine(
    reference: Reference, precision: Precision, feature_ND: NDArray[np.float32], batch_cosine: float = 1.0
) -> EngineFigures:
    return EngineFigures(
        engine=f"openvino {precision}",
        backend="openvino",
        precision=precision,
        difference=difference(reference, reference.feature_ND, feature_ND),
        top5_overlap=top_overlap(reference, feature_ND),
        search=search(reference, feature_ND),
        batch_cosine=batch_cosine,
        feature_ND=feature_ND,
    )


def stage(
    reference: Reference, name: str, before: str, feature_ND: NDArray[np.float32], before_ND: NDArray[np.float32]
) -> Stage:
    precision: Precision = "int8" if "int8" in name else "fp32"
    return Stage(
        name=name,
        precision=precision,
        before=before,
        to_reference=difference(reference, reference.feature_ND, feature_ND),
        to_before=difference(reference, before_ND, feature_ND),
        feature_ND=feature_ND,
    )


LAYERS = Layers(
    images=4,
    layers=tuple(
        Layer(file=file, precision="int8", number=number, layer=name, operator="Conv", sqnr_db=value, fall_db=fall)
        for file in ("visible.int8.onnx", "infrared.int8.onnx")
        for number, name, value, fall in (
            (0, "normalised pixels", 120.0, 0.0),
            (1, "backbone.conv1", 40.0, 0.0),
            (2, "backbone.layer1.0.conv1", 3.0, 22.0),
            (3, "backbone.layer1.0.conv2", 2.0, 1.0),
        )
    ),
    skipped=(),
)


def folder_of(tmp_path: Path) -> Path:
    graphs = tuple(
        Graph(file=f"{modality}.{precision}.onnx", sha256="0", modality=modality, precision=precision, form="onnx")
        for modality in ("visible", "infrared")
        for precision in ("fp32", "int8")
    )
    Manifest(method="baseline", height_px=8, width_px=4, embedding_dim=16, graphs=graphs).save(tmp_path / "door")
    return tmp_path / "door"


def report_of(
    reference: Reference, tmp_path: Path, int8_ND: NDArray[np.float32], skipped: tuple[Absent, ...] = ()
) -> Report:
    """A folder with FP32 right and these INT8 embeddings, in the file and in OpenVINO."""
    comparison = Comparison(
        engines=(engine(reference, "fp32", FEATURES), engine(reference, "int8", int8_ND)), skipped=skipped, broken=()
    )
    stages = Stages(
        images=len(FEATURES),
        stages=(
            stage(reference, "onnx fp32", "pytorch fp32", FEATURES, FEATURES),
            stage(reference, "onnx int8", "onnx fp32", int8_ND, FEATURES),
            stage(reference, "openvino int8", "onnx int8", int8_ND, int8_ND),
        ),
        skipped=(),
        broken=(),
    )
    folder = folder_of(tmp_path)
    findings = tuple(judge(comparison, stages, LIMITS, 0.5))
    return Report(
        folder=folder,
        method="baseline",
        reference=reference,
        comparison=comparison,
        stages=stages,
        layers=LAYERS,
        limits=LIMITS,
        max_map_drop=0.5,
        findings=findings,
        address=address(folder, comparison, stages, LAYERS, LIMITS) if findings else "",
    )


def test_what_is_equal_breaks_no_limit(reference: Reference, tmp_path: Path) -> None:
    report = report_of(reference, tmp_path, FEATURES)
    assert report.findings == ()
    assert to_table(report).endswith("parity holds\n")


def test_a_loss_is_addressed_to_file_modality_and_layer(reference: Reference, tmp_path: Path) -> None:
    report = report_of(reference, tmp_path, noisy(1.0, slice(PEOPLE, None)))
    where = {finding.where for finding in report.findings}
    assert where == {"openvino int8", "stage onnx int8"}  # the runtime does what its file says
    assert report.address.startswith("onnx int8 against onnx fp32: worst cosine ")
    assert "worst in visible; the signal falls most at backbone.layer1.0.conv1 of visible.int8.onnx, to 3.0 dB" in (
        report.address
    )
    assert to_table(report).splitlines()[-2:] == [f"the loss is at {report.address}", "parity FAILED"]


def test_a_runtime_that_is_wrong_with_a_right_file_is_the_address(reference: Reference, tmp_path: Path) -> None:
    bad_ND = noisy(1.0)
    comparison = Comparison(engines=(engine(reference, "int8", bad_ND),), skipped=(), broken=())
    right = stage(reference, "onnx int8", "onnx fp32", FEATURES, FEATURES)
    wrong = stage(reference, "openvino int8", "onnx int8", bad_ND, FEATURES)
    stages = Stages(images=40, stages=(right, wrong), skipped=(), broken=())
    found = address(folder_of(tmp_path), comparison, stages, LAYERS, LIMITS)
    assert found.startswith("openvino int8 against onnx int8: ")
    assert "conv1" not in found


def test_a_batch_that_mixes_its_images_is_a_finding(reference: Reference) -> None:
    figures = engine(reference, "int8", FEATURES, batch_cosine=0.5)
    none = Stages(images=40, stages=(), skipped=(), broken=())
    (finding,) = judge(Comparison(engines=(figures,), skipped=(), broken=()), none, LIMITS, 0.5)
    assert finding.what == "cosine 0.5000 between a batch of 8 and of 1 is under 0.97"


class MixedUp:
    """A backend that gives the vectors of a batch in reverse order."""

    name = "mixed up"
    manifest = Manifest(
        method="x",
        height_px=2,
        width_px=2,
        embedding_dim=12,
        graphs=(Graph(file="x", sha256="0", modality="visible", precision="fp32", form="onnx"),),
    )

    def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        flat_BD = image_BHWC.reshape(len(image_BHWC), -1).astype(np.float32) - 128.0
        return (flat_BD / np.linalg.norm(flat_BD, axis=1, keepdims=True))[::-1]

    def close(self) -> None: ...

    def __enter__(self) -> MixedUp:
        return self

    def __exit__(self, *failure: object) -> None: ...


def test_the_batch_is_compared_with_its_images_alone(tmp_path: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    records = [sysu_image(path=tmp_path / f"{number}.png", identity=1, camera=1) for number in range(BATCH + 2)]
    for record in records:
        Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8)).save(record.path)
    assert batch_cosine(MixedUp(), records) < 0.5
    assert batch_cosine(MixedUp(), records[:1]) == pytest.approx(1.0)


def test_a_broken_engine_is_a_finding_and_the_address(reference: Reference, tmp_path: Path) -> None:
    broken = Absent(name="onnxruntime int8", reason="3 of 40 embeddings hold NaN")
    comparison = Comparison(engines=(engine(reference, "fp32", FEATURES),), skipped=(), broken=(broken,))
    none = Stages(images=40, stages=(), skipped=(), broken=())
    assert [(item.where, item.what) for item in judge(comparison, none, LIMITS, 0.5)] == [(broken.name, broken.reason)]
    found = address(folder_of(tmp_path), comparison, none, LAYERS, LIMITS)
    assert found == "onnxruntime int8: 3 of 40 embeddings hold NaN"


def test_the_json_holds_every_figure_and_no_embedding(reference: Reference, tmp_path: Path) -> None:
    report = report_of(reference, tmp_path, noisy(1.0), (Absent(name="tensorrt int8", reason="needs pycuda"),))
    found = json.loads(to_json(report))
    int8 = found["engines"][1]
    assert int8["worst_cosine"] == report.comparison.engines[1].difference.drift.worst_cosine
    assert sum(int8["true_match_moves"].values()) == PEOPLE == int8["queries"]
    assert [row["stage"] for row in found["stages"]] == ["onnx fp32", "onnx int8", "openvino int8"]
    assert len(found["layers"]) == 8
    assert found["not_run"] == [{"name": "tensorrt int8", "reason": "needs pycuda"}]
    assert found["address"] == report.address
    assert "feature_ND" not in to_json(report)


def test_the_junit_file_has_a_case_for_each_engine_and_stage(reference: Reference, tmp_path: Path) -> None:
    report = report_of(reference, tmp_path, noisy(1.0), (Absent(name="tensorrt int8", reason="needs <pycuda>"),))
    suite = ElementTree.fromstring(to_junit(report))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "2", "1")
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["openvino int8", "stage onnx int8"]
    skipped = suite.find("testcase[@name='tensorrt int8']/skipped")
    assert skipped is not None
    assert skipped.get("message") == "needs <pycuda>"


def test_the_table_has_a_row_for_each_engine_modality_and_stage(reference: Reference, tmp_path: Path) -> None:
    text = to_table(report_of(reference, tmp_path, noisy(0.05), (Absent(name="tensorrt int8", reason="needs pycuda"),)))
    for start in ("openvino fp32 ", "openvino int8 ", "  visible ", "  infrared ", "onnx int8 ", "not run: tensorrt"):
        assert any(line.startswith(start) for line in text.splitlines()), start
    assert "     2.0 dB  backbone.layer1.0.conv2 (Conv) of visible.int8.onnx" in text
    rows = [line for line in text.splitlines() if not line.startswith(("over the limit", "the loss is at"))]
    assert max(map(len, rows)) <= 140  # a wide terminal


@pytest.mark.parametrize(
    ("signal", "noise", "expected"),
    [
        (1000.0, 1.0, 30.0),
        (1.0, 1.0, 0.0),
        (1.0, 0.0, CEILING_DB),
        (1.0, float("nan"), -CEILING_DB),
        (float("inf"), 1.0, -CEILING_DB),
    ],
)
def test_the_ratio_is_ten_times_the_logarithm_of_the_energies(signal: float, noise: float, expected: float) -> None:
    assert sqnr(signal, noise) == pytest.approx(expected)


def test_a_layer_falls_below_the_worst_that_feeds_it() -> None:
    """pixels -> a -> (b, c) -> d, where d reads b and c through other nodes."""
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "method.w.weight")

    def conv(source: str, name: str) -> object:
        return helper.make_node("Conv", [source, "method.w.weight"], [name], name=name)

    nodes = [
        helper.make_node("Identity", ["pixels"], ["normal"]),
        conv("normal", "a"),
        helper.make_node("Relu", ["a"], ["relu"]),
        conv("relu", "b"),
        conv("relu", "c"),
        helper.make_node("Add", ["b", "c"], ["sum"]),
        conv("sum", "d"),
    ]
    value = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 1, 1, 1])
    model = helper.make_model(helper.make_graph(nodes, "g", [value], [], [weight]))
    found = probes(model)
    assert [(probe.tensor, probe.feeds) for probe in found] == [
        ("normal", ()),
        ("a", ("normal",)),
        ("b", ("a",)),
        ("c", ("a",)),
        ("d", ("b", "c")),
    ]
    ratio = {"normal": 120.0, "a": 40.0, "b": 20.0, "c": 15.0, "d": 5.0}
    assert falls(found, ratio) == [0.0, 0.0, AUDIBLE_DB - 20.0, AUDIBLE_DB - 15.0, 10.0]


def test_the_worst_layers_name_the_plain_file_unless_another_keeps_less() -> None:
    rows = [("m.int8.onnx", "a", 20.0), ("m.int8.onnx", "b", 30.0), ("m.int8.typed.onnx", "a", 19.5)]
    rows.append(("m.int8.typed.onnx", "b", 10.0))
    layers = tuple(
        Layer(file=file, precision="int8", number=1, layer=name, operator="Conv", sqnr_db=value, fall_db=0.0)
        for file, name, value in rows
    )
    worst = Layers(images=1, layers=layers, skipped=()).worst(5)
    assert [(layer.file, layer.layer) for layer in worst] == [("m.int8.typed.onnx", "b"), ("m.int8.onnx", "a")]


def test_the_picture_counts_every_image_and_query() -> None:
    assert angle_counts(np.array([1.0, 1.0 + 1e-9, 0.99, -1.0])).sum() == 4
    assert angle_counts(np.array([1.0]))[0] == 1
    assert move_counts(np.array([-50, -9, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 9, 10, 99])).tolist() == [
        1, 2, 2, 1, 2, 1, 2, 2, 2,
    ]  # fmt: skip


@pytest.mark.parametrize("dataset", ["sysu", None])
def test_the_picture_is_a_png_of_its_own_size(dataset: str | None, reference: Reference, tmp_path: Path) -> None:
    from PIL import Image

    shown = dataclasses.replace(reference, dataset=dataset)
    path = tmp_path / "parity.png"
    write_picture(report_of(shown, tmp_path, noisy(0.05)), path)
    with Image.open(path) as image:
        width, height = image.size
        assert width == 1430
        assert height > 900
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 10
