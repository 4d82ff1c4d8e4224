"""Every head finds the people that YOLOX-nano finds, in real pictures; and each by hand on answers that are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import pytest

from deploy.cameras.frames import Frame
from deploy.detection.detector import overlap
from deploy.detection.heads import FORMS
from deploy.detection.heads.form import MAX_BOXES, Signature, TensorSpec
from deploy.detection.heads.yolox import decode, make_cells
from deploy.detection.open_detector import open_detector
from tests import detector_graphs
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.detection.detector import Detections

RUNTIMES = ("onnxruntime", "openvino")
# Compiling takes OpenVINO a second, so it reads one form of each kind: a grid, sizes that depend on the picture,
# a second input, whole numbers.
ON_OPENVINO = ("yolov8", "torchvision", "labelled", "nms")


@pytest.fixture(scope="module")
def pictures() -> list[Frame]:
    """Two people of the visible clip and four thermal ones, square: stretched is letterboxed then."""
    capture = cv2.VideoCapture(str(shared_folder("data/visible/one-by-one-person-detection.mp4")))
    images: list[Any] = []
    for index in range(301):
        capture.grab()
        if index in (30, 100, 300):
            images.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB)[:, 200:632])
    capture.release()
    thermal = cv2.imread(str(shared_folder("data/thermal/tfw_3312.png")))
    assert thermal is not None
    images.append(255 - thermal[:, :348])
    return [
        Frame(image_HWC=np.ascontiguousarray(image), time_s=0.0, index=0, camera="a", modality="visible")
        for image in images
    ]


@pytest.fixture(scope="module")
def raw() -> onnx.ModelProto:
    return onnx.load(shared_folder("data/detectors/yolox_nano.onnx"))


@pytest.fixture(scope="module")
def expected(pictures: list[Frame]) -> list[Detections]:
    found = open_detector(shared_folder("data/detectors/yolox_nano.onnx")).detect(pictures)
    strong = [int((people.score_N > 0.5).sum()) for people in found]
    assert strong[:3] == [0, 1, 1]  # the first person enters at frame 64
    assert strong[3] >= 3
    return found


@pytest.mark.parametrize("name", detector_graphs.FORMS)
def test_every_form_of_head_finds_the_same_people(
    name: str, raw: onnx.ModelProto, pictures: list[Frame], expected: list[Detections], tmp_path: Path
) -> None:
    path = detector_graphs.FORMS[name](raw, tmp_path / "detector.onnx")
    for runtime in RUNTIMES if name in ON_OPENVINO else RUNTIMES[:1]:
        detector = open_detector(path, backend=runtime)
        assert detector.name == f"{name} on {runtime}"
        # No other head takes the graph, so that the order of the heads decides nothing.
        assert [form.name for form in FORMS if form.find(detector._head.signature) is not None] == [name]
        for people, truth in zip(detector.detect(pictures), expected, strict=True):
            strong = truth.box_N4[truth.score_N > 0.3]
            assert len(people) >= len(strong)
            if len(strong):
                iou = overlap(strong, people.box_N4)
                assert iou.max(1).min() > 0.9
                np.testing.assert_allclose(
                    people.score_N[iou.argmax(1)], truth.score_N[truth.score_N > 0.3], atol=2e-3
                )  # the forms with logits go through exp and back
            assert (people.score_N > 0.5).sum() == (truth.score_N > 0.5).sum()
        detector.close()


def test_a_free_batch_and_one_picture_at_a_time_find_the_same(
    raw: onnx.ModelProto, pictures: list[Frame], expected: list[Detections], tmp_path: Path
) -> None:
    """Twelve pictures of two sizes in one call, which the graph takes eight at a time."""
    path = detector_graphs.free_batch(raw, tmp_path / "free.onnx")
    wide = [
        Frame(image_HWC=np.ascontiguousarray(f.image_HWC[:250]), time_s=0.0, index=0, camera="b", modality="visible")
        for f in pictures
    ]
    given = [*pictures, *wide, *pictures]
    alone = open_detector(shared_folder("data/detectors/yolox_nano.onnx"))
    for runtime in RUNTIMES:
        found = open_detector(path, backend=runtime).detect(given)
        assert len(found) == 12
        for people, truth in zip(found, [*expected, *(alone.detect([f])[0] for f in wide), *expected], strict=True):
            # Other sizes of matrix sum in another order.
            np.testing.assert_allclose(people.box_N4, truth.box_N4, atol=0.05)
            np.testing.assert_allclose(people.score_N, truth.score_N, atol=1e-3)


def test_both_runtimes_find_the_same_people(pictures: list[Frame]) -> None:
    model = shared_folder("data/detectors/yolox_nano.onnx")
    first, second = (open_detector(model, backend=runtime).detect(pictures) for runtime in RUNTIMES)
    for one, other in zip(first, second, strict=True):
        # Two FP32 runtimes sum in different orders.
        np.testing.assert_allclose(one.box_N4, other.box_N4, atol=0.05)
    assert sum(map(len, first)) > 4


def test_the_real_person_is_where_she_was_seen_by_eye(expected: list[Detections]) -> None:
    found = expected[1]
    left, top, width, height = found.box_N4[found.score_N.argmax()].tolist()
    assert (left + 200, top, width, height) == pytest.approx((382, 12, 138, 395), abs=25)  # frame 100


def test_yolox_decodes_as_by_hand() -> None:
    cell_A2, stride_A = make_cells(64, 64, 84)
    assert len(stride_A) == 8 * 8 + 4 * 4 + 2 * 2
    output_AF = np.zeros((len(stride_A), 7), np.float32)
    row = 64 + 1 * 4 + 2  # stride 16, row 1, column 2
    assert (cell_A2[row].tolist(), stride_A[row]) == ([2, 1], 16)
    output_AF[row] = [0.5, 0.25, np.log(2), np.log(3), 0.8, 0.5, 0.9]
    found = decode(output_AF, cell_A2, stride_A, 0)
    # Centre (2.5, 1.25) * 16 = (40, 20), size (32, 48).
    assert found.box_N4.tolist() == [pytest.approx([40 - 16, 20 - 24, 32, 48])]
    assert found.score_N.tolist() == pytest.approx([0.4])  # objectness x person, whatever other class is likelier


def test_a_crowd_is_cut_to_the_best_boxes() -> None:
    """And huge sizes overflow nothing."""
    cell_A2, stride_A = make_cells(416, 416, 3549)
    output_AF = np.full((3549, 6), 0.9, np.float32)
    output_AF[:, 2:4] = 500
    output_AF[7, 4] = 1.0
    found = decode(output_AF, cell_A2, stride_A, 0)
    assert len(found) == MAX_BOXES
    assert found.score_N[0] == pytest.approx(0.9)
    assert np.isfinite(found.box_N4).all()


def signature_of(**answers: Any) -> Signature:
    arrays = {name: np.asarray(value) for name, value in answers.items()}
    outputs = tuple(TensorSpec(name=name, shape=a.shape, dtype=a.dtype) for name, a in arrays.items())
    return Signature(height_px=640, width_px=640, inputs=(), outputs=outputs, answers=tuple(arrays.values()))


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def whole(*shape: int, dtype: Any = np.int64) -> np.ndarray:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("answers", "head"),
    [
        ({"output0": floats(1, 84, 8400)}, "yolov8"),  # as YOLOv8, 9 and 11 are exported
        ({"output0": floats(1, 5, 8400)}, "yolov8"),  # people alone
        ({"output0": floats(1, 25200, 85)}, "yolov5"),
        ({"output": floats(1, 25200, 6)}, "yolov5"),  # one class: six fields, but no end-to-end graph
        ({"output": floats(1, 8400, 85)}, "yolox"),
        ({"output": floats(1, 8400, 6)}, "yolox"),
        ({"output0": floats(1, 300, 6)}, "end-to-end"),
        ({"output0": floats(1, 100, 6)}, "end-to-end"),
        ({"logits": floats(1, 100, 92), "pred_boxes": floats(1, 100, 4)}, "detr"),
        ({"dets": floats(1, 300, 4), "labels": floats(1, 300, 91)}, "dino"),
        ({"logits": floats(1, 300, 80), "pred_boxes": floats(1, 300, 4)}, "rt-detr"),
        # Three classes and "none": as wide as a box, so that names must decide (RF-DETR's own warning).
        ({"dets": floats(1, 300, 4), "labels": floats(1, 300, 4)}, "rt-detr"),
        ({"labels": whole(1, 300), "boxes": floats(1, 300, 4), "scores": floats(1, 300)}, "labelled"),
        ({"2571": floats(0, 4), "2573": whole(0), "2572": floats(0)}, "torchvision"),
        ({"dets": floats(1, 100, 5), "labels": whole(1, 100)}, "mmdeploy"),
        ({"detection_out": floats(1, 1, 200, 7)}, "ssd"),
        (
            {
                "num_dets": whole(1, 1, dtype=np.int32),
                "det_boxes": floats(1, 100, 4),
                "det_scores": floats(1, 100),
                "det_classes": whole(1, 100, dtype=np.int32),
            },
            "nms",
        ),
        (  # YOLO-NAS has its classes as floats
            {
                "num_predictions": whole(1, 1),
                "pred_boxes": floats(1, 300, 4),
                "pred_scores": floats(1, 300),
                "pred_classes": floats(1, 300),
            },
            "nms",
        ),
    ],
)
def test_the_shapes_of_published_exports_choose_their_head(answers: dict[str, Any], head: str) -> None:
    signature = signature_of(**answers)
    assert [form.name for form in FORMS if form.find(signature) is not None] == [head]


@pytest.mark.parametrize(
    "answers",
    [
        {"output": floats(1, 1000)},  # a classifier
        {"embedding": floats(1, 512)},
        {"output0": floats(1, 116, 8400), "output1": floats(1, 32, 160, 160)},  # YOLOv8-seg
        {"pred_boxes": floats(1, 300, 4)},
        {"logits": floats(1, 300, 80), "pred_boxes": floats(1, 200, 4)},
        {"output": floats(1, 8400, 5)},
    ],
)
def test_what_is_no_detector_fits_no_head(answers: dict[str, Any]) -> None:
    assert [form.name for form in FORMS if form.find(signature_of(**answers)) is not None] == []


def form_named(name: str) -> Any:
    return next(form for form in FORMS if form.name == name)


def read(name: str, person: int, **answers: Any) -> list[list[list[float]]]:
    """Return per picture rows of left, top, width, height, score."""
    signature = signature_of(**answers)
    form = form_named(name)
    order = form.find(signature)
    found = form.read([signature.answers[i] for i in order], signature, person)
    return [np.column_stack([f.box_N4, f.score_N]).round(4).tolist() for f in found]


def test_end_to_end_rows_by_hand() -> None:
    rows = floats(2, 3, 6)
    rows[0, 0] = [10, 20, 50, 120, 0.875, 0]
    rows[0, 1] = [10, 20, 50, 120, 0.75, 2]  # a car
    rows[0, 2] = [1, 2, 3, 4, 0.05, 0]  # too weak
    rows[1, 2] = [0, 0, 5, 6, 0.25, 0]
    assert read("end-to-end", 0, o=rows) == [[[10, 20, 40, 100, 0.875]], [[0, 0, 5, 6, 0.25]]]


def test_efficient_nms_counts_its_rows() -> None:
    """What stands behind the count is left from the picture before."""
    boxes = floats(2, 4, 4)
    boxes[:] = [10, 20, 50, 120]
    scores = np.full((2, 4), 0.5, np.float32)
    classes = np.zeros((2, 4), np.int32)
    classes[1, 0] = 7
    counts = np.array([[1], [2]], np.int32)
    signature = signature_of(n=counts[:1], b=boxes[:1], s=scores[:1], class_=classes[:1])
    form = form_named("nms")
    assert form.find(signature) == (0, 1, 2, 3)
    assert [len(found) for found in form.read([counts, boxes, scores, classes], signature, 0)] == [1, 1]


def test_ssd_ends_at_the_picture_minus_one() -> None:
    rows = floats(1, 1, 4, 7)
    rows[0, 0, 0] = [0, 1, 0.5, 0.25, 0.5, 0.5, 1.0]
    rows[0, 0, 1] = [0, 2, 0.5, 0.25, 0.5, 0.5, 1.0]
    rows[0, 0, 2] = [-1, 0, 0, 0, 0, 0, 0]
    rows[0, 0, 3] = [0, 1, 0.9, 0, 0, 1, 1]  # of an earlier picture
    assert read("ssd", 1, o=rows) == [[[160, 320, 160, 320, 0.5]]]


def test_detr_softmax_and_sigmoid_by_hand() -> None:
    logits, boxes = floats(1, 2, 92), floats(1, 2, 4)
    logits[0, :, :] = -1000  # exp would overflow without taking the greatest off
    logits[0, 0, 1], logits[0, 0, 91] = 800.0, 800.0  # person and nobody are equally likely
    logits[0, 1, 91] = 5.0
    boxes[0, 0] = [0.5, 0.5, 0.25, 0.5]
    assert read("detr", 1, logits=logits, pred_boxes=boxes) == [[[240, 160, 160, 320, 0.5]]]
    logits, boxes = floats(1, 2, 80) - 1000, boxes
    logits[0, 0, 0] = np.log(3)
    assert read("rt-detr", 0, logits=logits, pred_boxes=boxes) == [[[240, 160, 160, 320, 0.75]]]


def test_torchvision_without_people_is_nobody() -> None:
    assert read("torchvision", 1, b=floats(0, 4), l=whole(0), s=floats(0)) == [[]]
    one = {"b": np.array([[1, 2, 4, 8]], np.float32), "l": np.array([1]), "s": np.array([0.5], np.float32)}
    assert read("torchvision", 1, **one) == [[[1, 2, 3, 6, 0.5]]]
    assert read("torchvision", 0, **one) == [[]]


def test_yolov8_is_read_in_both_orientations() -> None:
    answer = floats(1, 6, 8400)
    answer[0, :, 5] = [100, 200, 40, 80, 0.5, 0.9]
    signature = signature_of(o=answer)
    form = form_named("yolov8")
    for given in (answer, answer.transpose(0, 2, 1)):
        (found,) = form.read([given], signature, 0)
        assert (found.box_N4.tolist(), found.score_N.tolist()) == ([[80, 160, 40, 80]], [0.5])
