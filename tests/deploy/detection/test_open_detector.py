"""Opening a detector: the input's conventions by hand, detector.json, batches, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deploy.cameras.frames import Frame
from deploy.detection.graph_detector import GraphDetector
from deploy.detection.heads.form import Convention, TensorSpec
from deploy.detection.network_input import Batch, understand_inputs
from deploy.detection.open_detector import BACKENDS, open_detector
from deploy.detection.sidecar import Sidecar, load_sidecar
from engines.errors import BadInput
from tests.detector_graphs import answer_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEADS = ("yolox", "yolov8")


def picture(height: int, width: int, red: int = 200, green: int = 100, blue: int = 50) -> NDArray[np.uint8]:
    image_HWC = np.empty((height, width, 3), np.uint8)
    image_HWC[:] = red, green, blue
    return image_HWC


def as_frame(image_HWC: NDArray[np.uint8], **changes: Any) -> Frame:
    return Frame(image_HWC=image_HWC, time_s=0.0, index=0, camera="a", modality="visible", **changes)


def batch_of(shape: tuple[int | None, ...], convention: Convention, dtype: str = "float32", most: int = 8) -> Batch:
    specs = (TensorSpec(name="images", shape=shape, dtype=np.dtype(dtype)),)
    network = understand_inputs(specs)
    assert network is not None
    return Batch(network, specs, convention, most)


def test_a_letterbox_keeps_the_aspect_in_the_top_left_and_swaps_to_bgr() -> None:
    batch = batch_of((1, 3, 32, 32), Convention(colour="bgr", scale=1.0))
    fit = batch.put(0, picture(50, 100))
    (blob_1CHW,) = batch.arrays(1)
    assert fit == pytest.approx((0.32, 0.32))
    assert blob_1CHW.shape == (1, 3, 32, 32)
    assert blob_1CHW[0, :, 15, 31].tolist() == [50, 100, 200]
    assert blob_1CHW[0, :, 16, 0].tolist() == [114, 114, 114]
    batch.put(0, picture(100, 50))  # what the picture before left is filled again
    assert batch.arrays(1)[0][0, :, 31, 16].tolist() == [114, 114, 114]


def test_stretching_fills_the_input_and_remembers_both_scales() -> None:
    batch = batch_of((1, 3, 32, 64), Convention(resize="stretch", scale=1.0))
    assert batch.put(0, picture(64, 32)) == (2.0, 0.5)
    assert batch.arrays(1)[0][0, :, 31, 63].tolist() == [200, 100, 50]


def test_scale_mean_and_deviation_are_in_the_order_of_the_colour() -> None:
    changed = Convention(colour="bgr", scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    batch = batch_of((1, 3, 32, 32), changed)
    batch.put(0, picture(32, 32))
    expected = [(50 / 255 - 0.1) / 0.5, (100 / 255 - 0.2) / 0.25, (200 / 255 - 0.3) / 0.125]
    assert batch.arrays(1)[0][0, :, 9, 9].tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("shape", "dtype", "where", "expected"),
    [
        ((1, 32, 32, 3), "uint8", (0, 5, 5), [200, 100, 50]),  # bytes are given as they are
        ((3, 32, 32), "float32", (slice(None), 5, 5), [200 / 255, 100 / 255, 50 / 255]),
        ((None, 3, 32, 32), "float16", (0, slice(None), 5, 5), [200 / 255, 100 / 255, 50 / 255]),
    ],
)
def test_layouts_and_types_of_the_input(shape: Any, dtype: str, where: Any, expected: list[float]) -> None:
    batch = batch_of(shape, Convention(), dtype)
    batch.put(0, picture(32, 32))
    (blob,) = batch.arrays(1)
    assert blob.dtype == dtype
    assert blob[where].tolist() == pytest.approx(expected, rel=2e-3)  # half precision has 11 bits


def test_a_second_input_gets_the_size_of_the_network_and_a_mask_ones() -> None:
    specs = (
        TensorSpec(name="pixel_values", shape=(None, 3, 48, 64), dtype=np.dtype("float32")),
        TensorSpec(name="orig_target_sizes", shape=(None, 2), dtype=np.dtype("int64")),
        TensorSpec(name="pixel_mask", shape=(None, 64, 64), dtype=np.dtype("int64")),
    )
    network = understand_inputs(specs)
    assert network is not None
    batch = Batch(network, specs, Convention(), most=8)
    _, sizes, mask = batch.arrays(2)
    assert sizes.tolist() == [[64, 48], [64, 48]]
    assert (mask.shape, int(mask.min())) == ((2, 64, 64), 1)


def test_inputs_that_are_no_picture_are_not_understood() -> None:
    for shape in ((1, 1000), (1, 1, 28, 28), (1, 3, 32, 32, 3)):
        assert understand_inputs([TensorSpec(name="x", shape=shape, dtype=np.dtype("float32"))]) is None
    two = [TensorSpec(name=name, shape=(1, 3, 32, 32), dtype=np.dtype("float32")) for name in "ab"]
    assert understand_inputs(two) is None


def one_person(path: Path, *, batch: Any = 1, size: tuple[Any, Any] = (64, 64)) -> Path:
    """A graph that finds one person at 10, 20 of 20 x 40 in every picture; its answer has the batch of its input."""
    rows = np.array([[[10, 20, 30, 60, 0.5, 0]] * 2], np.float32)
    rows[0, 1, 4] = 0
    nodes = [
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one", "zero"], ["batch"]),
        helper.make_node("Concat", ["batch", "ones"], ["repeats"], axis=0),
        helper.make_node("Tile", ["rows", "repeats"], ["tiled"]),
        helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "nothing"], ["none"]),
        helper.make_node("Add", ["tiled", "none"], ["output0"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(rows, "rows"),
        onnx.numpy_helper.from_array(np.array(0, np.float32), "nothing"),
        onnx.numpy_helper.from_array(np.array([0]), "zero"),
        onnx.numpy_helper.from_array(np.array([1]), "one"),
        onnx.numpy_helper.from_array(np.array([1, 1]), "ones"),
    ]
    source = helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, *size])
    target = helper.make_tensor_value_info("output0", TensorProto.FLOAT, [batch, 2, 6])
    graph = helper.make_graph(nodes, "one", [source], [target], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("batch", "calls"), [(1, [1, 1, 1, 1, 1]), ("n", [5]), (4, [4, 4])], ids=["one", "free", "four"]
)
def test_frames_share_calls_as_the_graph_allows(
    batch: Any, calls: list[int], runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = open_detector(one_person(tmp_path / "a.onnx", batch=batch), backend=runtime)
    counted: list[int] = []
    graph = detector._graph

    def count(arrays: Any) -> Any:
        counted.append(len(arrays[0]))
        return graph(arrays)

    monkeypatch.setattr(detector, "_graph", count)
    frames = [as_frame(picture(64, 64 * (1 + number % 2))) for number in range(5)]
    found = detector.detect(frames)
    # OpenVINO pays for free sizes, so there a free batch is one.
    assert counted == ([1] * 5 if runtime == "openvino" and batch == "n" else calls)
    wide = [[20, 40, 40, 80]]  # a picture twice as wide is halved to fit, and its box doubled
    assert [people.box_N4.tolist() for people in found] == [[[10, 20, 20, 40]], wide, [[10, 20, 20, 40]], wide, [
        [10, 20, 20, 40]
    ]]  # fmt: skip
    assert detector.detect([]) == []


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_with_a_free_size_takes_the_usual_one_or_the_one_that_is_named(runtime: str, tmp_path: Path) -> None:
    path = one_person(tmp_path / "a.onnx", batch="n", size=("h", "w"))
    detector = open_detector(path, backend=runtime)
    (found,) = detector.detect([as_frame(picture(320, 320))])
    assert found.box_N4.tolist() == [[5, 10, 10, 20]]  # 640 x 640
    (tmp_path / "detector.json").write_text('{"size": [160, 80]}')
    (found,) = open_detector(path, backend=runtime).detect([as_frame(picture(80, 160))])
    assert found.box_N4.tolist() == [[10, 20, 20, 40]]


def test_a_detector_sees_thermal_pictures_as_its_frame_gives_them(tmp_path: Path) -> None:
    detector = open_detector(one_person(tmp_path / "a.onnx"))
    frame = as_frame(picture(64, 64, 200, 200, 200), inverted_for_detector=True)
    detector.detect([frame])
    assert detector._batch.arrays(1)[0][0, 0, 5, 5] == pytest.approx(55 / 255)


def test_detector_json_changes_head_person_and_input(tmp_path: Path) -> None:
    """Two classes in YOLOv8's form; as YOLOX's decoded form the same file would be another detector."""
    rows = np.zeros((1, 84, 6), np.float32)
    rows[0, 3] = [30, 40, 20, 40, 0.25, 0.75]
    path = answer_of(tmp_path / "a.onnx", {"output0": rows}, input_shape=(1, 3, 64, 64))
    assert open_detector(path).name == "yolox on onnxruntime"
    (tmp_path / "detector.json").write_text(
        json.dumps({"head": "yolov8", "person": 1, "colour": "bgr", "scale": 1, "resize": "stretch"})
    )
    detector = open_detector(path)
    assert detector.name == "yolov8 on onnxruntime"
    (found,) = detector.detect([as_frame(picture(32, 64))])
    assert (found.box_N4.tolist(), found.score_N.tolist()) == ([[20, 10, 20, 20]], [0.75])
    assert detector._batch.arrays(1)[0][0, :, 5, 5].tolist() == [50, 100, 200]
    # The file's own comes first.
    (tmp_path / "a.detector.json").write_text('{"head": "yolov8"}')
    assert open_detector(path).detect([as_frame(picture(32, 64))])[0].score_N.tolist() == [0.25]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"heads": "yolov8"}', "got 'heads'; did you mean 'head'?"),
        ('{"head": "yolo"}', "head: expected one of yolox, yolov8, got 'yolo'"),
        ('{"colour": "grey"}', "colour: expected one of rgb, bgr, got 'grey'"),
        ('{"mean": [1, 2]}', r"mean: expected three numbers, got \[1, 2\]"),
        ('{"std": [1, 0, 1]}', "std: expected three numbers above 0"),
        ('{"scale": 0}', "scale: expected a number above 0, got 0"),
        ('{"scale": NaN}', "scale: expected a number above 0"),
        ('{"person": -1}', "person: expected a whole number from 0, got -1"),
        ('{"person": true}', "person: expected a whole number from 0, got True"),
        ('{"fill": 300}', "fill: expected a whole number"),
        ('{"size": [640]}', "size: expected .width, height. in pixels"),
        ("[1]", "expected an object such as"),
        ("{", "expected JSON"),
    ],
)
def test_a_sidecar_that_cannot_be_meant_is_refused(content: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "detector.json").write_text(content)
    with pytest.raises(BadInput, match=expected):
        load_sidecar(tmp_path / "x.onnx", HEADS)


def test_without_a_sidecar_nothing_changes(tmp_path: Path) -> None:
    sidecar = load_sidecar(tmp_path / "x.onnx", HEADS)
    assert sidecar == Sidecar()
    assert sidecar.apply(Convention(person=3)) == Convention(person=3)


def test_a_file_that_is_no_detector_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--detector: expected an ONNX file, got .*no such file; deploy/fetch_detector"):
        open_detector(tmp_path / "a.onnx")
    path = tmp_path / "b.onnx"
    path.write_bytes(b"no graph")
    for runtime in ("onnxruntime", "openvino"):
        with pytest.raises(BadInput, match="expected a detector as ONNX, got a file that") as failure:
            open_detector(path, backend=runtime)
        assert "\n" not in str(failure.value)
    classifier = answer_of(tmp_path / "c.onnx", {"logits": np.zeros((1, 9), np.float32)}, input_shape=(1, 3, 8, 8))
    with pytest.raises(BadInput) as failure:
        open_detector(classifier)
    line = str(failure.value)
    assert "got inputs images (1, 3, 8, 8) float32; outputs logits (1, 9) float32" in line
    assert "one of YOLOX (B, cells, 5 + classes), decoded or not; YOLOv5" in line
    assert "detector.json" in line
    assert "\n" not in line


def test_a_graph_without_a_picture_as_input_is_refused(tmp_path: Path) -> None:
    path = answer_of(tmp_path / "a.onnx", {"o": np.zeros((1, 300, 6), np.float32)}, input_shape=(1, 1, 28, 28))
    with pytest.raises(BadInput, match=r"expected one input for pictures .* got images \(1, 1, 28, 28\) float32"):
        open_detector(path)


def test_a_head_that_does_not_fit_the_outputs_is_refused(tmp_path: Path) -> None:
    path = answer_of(tmp_path / "a.onnx", {"o": np.zeros((1, 84, 6), np.float32)}, input_shape=(1, 3, 64, 64))
    (tmp_path / "detector.json").write_text('{"person": 1}')  # six fields have one class
    with pytest.raises(BadInput, match=r"outputs of a yolox head in which class 1 is a person, got inputs"):
        open_detector(path)
    (tmp_path / "detector.json").write_text('{"head": "nms"}')
    with pytest.raises(BadInput, match="expected outputs of a nms head"):
        open_detector(path)


def test_an_unknown_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a backend out of auto, tensorrt, tensorrt-rtx, onnxruntime, openvino"):
        open_detector(tmp_path / "a.onnx", backend="torch")
    assert BACKENDS[0] == "auto"


def test_openvino_serves_where_onnx_runtime_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import deploy.detection.graph as module

    path = one_person(tmp_path / "a.onnx")
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "onnxruntime" else object())
    assert open_detector(path).name == "end-to-end on openvino"
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="expected onnxruntime or openvino for the detector, which is not installed"):
        open_detector(path)


def test_closing_is_repeated_without_harm(tmp_path: Path) -> None:
    detector = open_detector(one_person(tmp_path / "a.onnx"))
    assert isinstance(detector, GraphDetector)
    detector.close()
    detector.close()
