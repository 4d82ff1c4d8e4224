"""Boxes from a file: two forms, frames without a line, and what is refused with its line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deploy.detection.file_detector import MAX_BOXES, FileDetector
from engines.errors import BadInput
from tests.camera_fakes import frame

if TYPE_CHECKING:
    from pathlib import Path

JSON = """{"frame": 0, "boxes": [[10, 20, 30, 60, 0.9], [50, 20, 30, 60, 0.25]]}

{"frame": 2, "boxes": []}
{"frame": 5, "boxes": [[12.5, 20, 30, 60, 1]]}
"""
MOT = """1,-1,11,21,30,60,0.9,-1,-1,-1
1,-1,51,21,30,60,0.25,-1,-1,-1
6,-1,13.5,21,30,60,1,-1,-1,-1
"""


def written(folder: Path, text: str, name: str = "boxes") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [JSON, MOT, "\ufeff" + MOT, MOT.replace("\n", "\r\n")])
def test_each_frame_gets_its_boxes_and_the_others_none(text: str, tmp_path: Path) -> None:
    detector = FileDetector(written(tmp_path, text))
    found = detector.detect([frame(index) for index in range(8)])
    assert [len(people) for people in found] == [2, 0, 0, 0, 0, 1, 0, 0]
    assert found[0].box_N4.tolist() == [[10, 20, 30, 60], [50, 20, 30, 60]]
    assert found[0].score_N.tolist() == pytest.approx([0.9, 0.25])
    assert found[5].box_N4.tolist() == [[12.5, 20, 30, 60]]
    assert found[0].box_N4.dtype == found[1].box_N4.dtype == "float32"
    detector.close()


def test_frames_that_the_camera_dropped_are_passed_over(tmp_path: Path) -> None:
    detector = FileDetector(written(tmp_path, MOT))
    assert [len(people) for people in detector.detect([frame(3), frame(5), frame(6)])] == [0, 1, 0]


def test_a_recording_that_begins_again_begins_again_here(tmp_path: Path) -> None:
    detector = FileDetector(written(tmp_path, MOT))
    assert [len(detector.detect([frame(index)])[0]) for index in (0, 5, 7, 0, 0, 5)] == [2, 1, 0, 2, 2, 1]


def test_the_file_is_read_as_a_stream(tmp_path: Path) -> None:
    """Thirty thousand frames, 800 kB: what is held is one of them."""
    import tracemalloc

    path = tmp_path / "long"
    with path.open("w") as file:
        for index in range(1, 30_001):
            file.write(f"{index},-1,11,21,30,60,0.9\n")
    tracemalloc.start()
    detector = FileDetector(path)
    assert detector.frames == 30_000
    assert len(detector.detect([frame(29_999)])[0]) == 1
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a file of boxes, got .*boxes, which is empty"),
        ("frame,id,left,top\n", r"line 1: expected frame,id,left,top,width,height,score, got frame,id,left,top"),
        ("1,-1,11,21,30\n", "line 1: expected frame,id,left,top,width,height,score, got 1,-1,11,21,30"),
        ("1.5,-1,11,21,30,60,1\n", "line 1: expected frame,id"),
        ("0,-1,11,21,30,60,1\n", "line 1: expected frames counted from 1, got -1"),
        ("1,-1,11,21,30,60,1\n\n1,-1,11,21,0,60,1\n", "line 3: expected a width and a height above 0, got 0 x 60"),
        ("1,-1,11,21,30,60,87\n", "line 1: expected a score from 0 to 1, got 87"),
        ("1,-1,nan,21,30,60,1\n", "line 1: expected boxes of five numbers"),
        ("4,-1,11,21,30,60,1\n3,-1,11,21,30,60,1\n", "line 2: expected frames in ascending order, 4 or later, got 3"),
        ('{"frame": 0}\n', r'line 1: expected {"frame": 0, "boxes": .*, got {"frame": 0}'),
        ('{"frame": "0", "boxes": []}\n', "line 1: expected {"),
        ('{"frame": true, "boxes": []}\n', "line 1: expected {"),
        ('{"frame": -1, "boxes": []}\n', "line 1: expected frames counted from 0, got -1"),
        ('{"frame": 0, "boxes": [[1, 2, 3, 4]]}\n', r"line 1: expected boxes of five numbers: .*, got \[1.0, 2.0"),
        ('{"frame": 0, "boxes": [7]}\n', "line 1: expected {"),
        ('{"frame": 0, "boxes": []}\n{"frame": 0, "boxes": []}\n', "line 2: expected one line for a frame"),
        ('{"frame": 0, "boxes": []}\n1,-1,11,21,30,60,1\n', "line 2: expected {"),
        ('{"frame": 0, "boxes": []}\n{"frame": 1, "box', "line 2: expected {"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_before_the_first_frame(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=expected) as failure:
        FileDetector(written(tmp_path, text))
    assert "\n" not in str(failure.value)


def test_a_frame_of_a_thousand_boxes_is_a_damaged_file(tmp_path: Path) -> None:
    line = json.dumps({"frame": 0, "boxes": [[1, 1, 5, 5, 0.5]] * (MAX_BOXES + 1)})
    with pytest.raises(BadInput, match="line 1: expected at most 1000 boxes in a frame"):
        FileDetector(written(tmp_path, line))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"detections: expected a file of boxes, got .*/nobody: No such file"):
        FileDetector(tmp_path / "nobody")
    with pytest.raises(BadInput, match=r"detections: expected a file of boxes, got .*: Is a directory"):
        FileDetector(tmp_path)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    with pytest.raises(BadInput, match="line 1: expected frame,id"):
        FileDetector(binary)
