"""Finding people: the arithmetic by hand, and the real network on real pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.detector import overlap, suppress
from deploy.frames import Frame
from deploy.motion_detector import MotionDetector, find_people, join_stacked
from deploy.yolox_detector import YoloxDetector, decode, letterbox, load_graph, make_cells
from engines.errors import BadInput
from tests.camera_fakes import detections, frame
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Modality


def as_frame(image_HWC: NDArray[np.uint8], camera: Modality = "visible") -> Frame:
    return Frame(image_HWC=image_HWC, time_s=0.0, index=0, camera=camera, modality=camera)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ((0, 0, 10, 10), (0, 0, 10, 10), 1.0),
        ((0, 0, 10, 10), (5, 0, 10, 10), 50 / 150),
        ((0, 0, 10, 10), (10, 0, 10, 10), 0.0),
        ((0, 0, 10, 10), (2, 2, 5, 5), 0.25),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_overlap(left: tuple[int, ...], right: tuple[int, ...], expected: float) -> None:
    assert overlap(np.array([left], np.float32), np.array([right], np.float32))[0, 0] == pytest.approx(expected)


def test_suppression_keeps_the_best_of_a_heap() -> None:
    kept = suppress(detections((0, 0, 10, 10, 0.5), (1, 0, 10, 10, 0.9), (50, 0, 10, 10, 0.3)), 0.45)
    assert kept.score_N.tolist() == pytest.approx([0.9, 0.3])
    assert len(suppress(detections(), 0.45)) == 0


def test_letterbox_keeps_the_aspect_in_the_top_left_and_swaps_to_bgr() -> None:
    image_HWC = np.zeros((50, 100, 3), np.uint8)
    image_HWC[..., 0] = 200  # red
    blob_1CHW, scale = letterbox(image_HWC, 32, 32)
    assert blob_1CHW.shape == (1, 3, 32, 32)
    assert scale == pytest.approx(0.32)
    assert blob_1CHW[0, :, 0, 0].tolist() == [0, 0, 200]
    assert blob_1CHW[0, :, 16, 0].tolist() == [114, 114, 114]


def test_decode_by_hand() -> None:
    cell_A2, stride_A = make_cells(64, 64)
    assert len(stride_A) == 8 * 8 + 4 * 4 + 2 * 2
    output_AF = np.zeros((len(stride_A), 7), np.float32)
    row = 64 + 1 * 4 + 2  # stride 16, row 1, column 2
    assert (cell_A2[row].tolist(), stride_A[row]) == ([2, 1], 16)
    output_AF[row] = [0.5, 0.25, np.log(2), np.log(3), 0.8, 0.5, 0.9]
    found = decode(output_AF, cell_A2, stride_A, 0.5)
    # Centre (2.5, 1.25) * 16 = (40, 20), size (32, 48), all divided by the scale.
    assert found.box_N4.tolist() == [pytest.approx([(40 - 16) / 0.5, (20 - 24) / 0.5, 64, 96])]
    assert found.score_N.tolist() == pytest.approx([0.4])  # objectness x person, whatever other class is likelier


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"no graph")
    with pytest.raises(BadInput, match="expected a YOLOX detector as ONNX"):
        load_graph(tmp_path / "a.onnx", 1)
    with pytest.raises(BadInput, match="no such file"):
        load_graph(tmp_path / "b.onnx", 1)


def test_both_runtimes_find_the_same_people(monkeypatch: pytest.MonkeyPatch) -> None:
    model = shared_folder("data/detectors/yolox_nano.onnx")
    thermal = cv2.imread(str(shared_folder("data/thermal/tfw_3312.png")))
    assert thermal is not None
    openvino = YoloxDetector(model).detect(as_frame(np.asarray(thermal, np.uint8), "infrared"))
    import deploy.yolox_detector as module

    def missing(path: Path, threads: int) -> None:
        raise ImportError

    monkeypatch.setattr(module, "_load_openvino", missing)
    portable = YoloxDetector(model).detect(as_frame(np.asarray(thermal, np.uint8), "infrared"))
    assert len(openvino) == len(portable) > 0
    # Two FP32 runtimes sum in different orders.
    np.testing.assert_allclose(openvino.box_N4, portable.box_N4, atol=0.05)


def test_the_network_finds_the_person_of_the_real_clip() -> None:
    detector = YoloxDetector(shared_folder("data/detectors/yolox_nano.onnx"))
    capture = cv2.VideoCapture(str(shared_folder("data/visible/one-by-one-person-detection.mp4")))
    images = []
    for index in range(131):
        capture.grab()
        if index in (30, 100, 130):
            images.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    found = [detector.detect(as_frame(np.asarray(image, np.uint8))) for image in images]
    strong = [int((result.score_N > 0.5).sum()) for result in found]
    assert strong == [0, 1, 1]  # the first person enters at frame 64
    left, top, width, height = found[2].box_N4[found[2].score_N.argmax()].tolist()
    assert (left, top, width, height) == pytest.approx((382, 12, 138, 395), abs=25)  # looked at


def test_inversion_is_for_infrared_only(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = YoloxDetector(shared_folder("data/detectors/yolox_nano.onnx"), invert_infrared=True)
    seen: list[float] = []

    def run(blob: NDArray[np.float32]) -> NDArray[np.float32]:
        seen.append(float(blob[0, 0, 0, 0]))
        return np.zeros((1, 3549, 85), np.float32)

    monkeypatch.setattr(detector, "_run", run)
    detector.detect(frame(value=200))
    detector.detect(frame(value=200, camera="infrared"))
    assert seen == [200, 55]


def walk(index: int, x: int, *, person: int = 200) -> NDArray[np.uint8]:
    """A noisy wall with an upright figure 24 x 80 at x, from frame 20 on."""
    rng = np.random.default_rng(index)
    image_HW = 90 + rng.normal(0, 2, (180, 320))
    if index >= 20:
        image_HW[60:140, x : x + 24] = person
    return np.repeat(np.clip(image_HW, 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


@pytest.mark.parametrize("person", [200, 30])  # warm or cold, bright or dark
def test_motion_finds_a_walking_figure_and_nothing_before(person: int) -> None:
    detector = MotionDetector()
    counts: list[int] = []
    for index in range(60):
        x = 20 + 5 * (index - 20)
        found = detector.detect(as_frame(walk(index, max(x, 0), person=person)))
        counts.append(len(found))
        if index >= 25:
            assert overlap(found.box_N4, np.array([[x, 60, 24, 80]], np.float32)).max() > 0.7
    assert counts[:20] == [0] * 20
    assert set(counts[25:]) == {1}


def test_a_shadow_is_no_person() -> None:
    detector = MotionDetector()
    for index in range(40):
        image_HWC = walk(index, 0, person=90)
        if index >= 30:  # a darker patch of the same colour on the floor
            image_HWC[100:170, 100:140] = (image_HWC[100:170, 100:140] * 0.7).astype(np.uint8)
        assert len(detector.detect(as_frame(image_HWC))) == 0


def test_head_trunk_and_legs_are_one_person() -> None:
    assert join_stacked([(50, 10, 10, 12), (45, 26, 20, 40), (47, 70, 16, 40)]) == [(45, 10, 20, 100)]
    # Two people side by side are two.
    assert len(join_stacked([(10, 10, 20, 80), (40, 10, 20, 80)])) == 2


def test_wide_and_small_things_are_no_people() -> None:
    mask_HW = np.zeros((200, 300), np.uint8)
    mask_HW[150:170, 20:120] = 255  # a car, lower than wide
    mask_HW[20:30, 200:205] = 255  # far too small
    assert find_people(mask_HW) == []
    mask_HW[40:120, 240:270] = 255
    assert len(find_people(mask_HW)) == 1
