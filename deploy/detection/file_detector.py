"""Boxes that somebody else found, from a file, for one camera.

Two forms, read as a stream; frames come in ascending order, and one without a line has no people:
- JSON lines: {"frame": 0, "boxes": [[left, top, width, height, score], ...]}, frames counted from 0;
- CSV of the MOT challenge (det.txt): frame,id,left,top,width,height,score[,...], frames and pixels counted from 1, so
  that the first pixel's left is 1. More columns and the id are not read.

Shapes: N boxes, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from deploy.detection.detector import Detections, no_detections
from engines.errors import BadInput
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from deploy.cameras.frames import Frame

    Row = tuple[float, ...]  # left, top, width, height, score

MAX_BOXES = 1000  # in one frame; more is a damaged file
MOT_COLUMNS = 7


class FrameBoxes(NamedTuple):
    """The boxes of one frame."""

    frame: int  # counted from 0
    rows: list[Row]


class FileDetector:
    """Gives each frame the boxes of its index. The whole file is checked before the first frame.

    For one camera, whose frames come in order; after a jump back the file is read from its start again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.frames = sum(1 for _ in read_boxes(path))  # that have a line
        if not self.frames:
            raise BadInput(f"detections: expected a file of boxes, got {path}, which is empty")
        self._stream = read_boxes(path)
        self._next: FrameBoxes | None = None
        self._last_index = -1

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [self._at(frame.index) for frame in frames]

    def close(self) -> None:
        self._stream.close()

    def _at(self, index: int) -> Detections:
        if index <= self._last_index:
            self._stream.close()
            self._stream, self._next = read_boxes(self._path), None
        self._last_index = index
        while self._next is None or self._next.frame < index:
            self._next = next(self._stream, None)
            if self._next is None:
                return no_detections()
        if self._next.frame > index or not self._next.rows:
            return no_detections()
        table_N5 = np.asarray(self._next.rows, np.float32)
        return Detections(box_N4=table_N5[:, :4], score_N=table_N5[:, 4])


def read_boxes(path: Path) -> Generator[FrameBoxes, None, None]:
    """Yield the frames of the file in order; a line that cannot be used is named."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            yield from _gather(path, file)
    except OSError as error:
        raise BadInput(f"detections: expected a file of boxes, got {path}: {error.strerror or error}") from error


def _gather(path: Path, lines: Iterable[str]) -> Iterator[FrameBoxes]:
    """Put the boxes of one frame together: one JSON line, or several lines of CSV."""
    gathered: FrameBoxes | None = None
    json_lines: bool | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if json_lines is None:
            json_lines = line.lstrip().startswith("{")
        found = _parse(path, number, line, json_lines=json_lines)
        if gathered is None or found.frame > gathered.frame:
            if gathered is not None:
                yield gathered
            gathered = found
        elif found.frame < gathered.frame:
            first = 0 if json_lines else 1
            raise _bad(
                path, number, f"frames in ascending order, {gathered.frame + first} or later", f"{found.frame + first}"
            )
        elif json_lines:
            raise _bad(path, number, "one line for a frame", f"a second one for frame {found.frame}")
        else:
            gathered.rows.extend(found.rows)
        if len(gathered.rows) > MAX_BOXES:
            raise _bad(path, number, f"at most {MAX_BOXES} boxes in a frame", "more")
    if gathered is not None:
        yield gathered


def _parse(path: Path, number: int, line: str, *, json_lines: bool) -> FrameBoxes:
    try:
        index, rows = _of_json(line) if json_lines else _of_csv(line)
    except (ValueError, TypeError, KeyError, IndexError) as error:
        form = '{"frame": 0, "boxes": [[left, top, width, height, score], ...]}'
        form = form if json_lines else "frame,id,left,top,width,height,score"
        raise _bad(path, number, form, line.strip()[:80]) from error
    for row in rows:
        if len(row) != 5 or not all(map(math.isfinite, row)):
            raise _bad(path, number, "boxes of five numbers: left, top, width, height, score", str(list(row)))
        if row[2] <= 0 or row[3] <= 0:
            raise _bad(path, number, "a width and a height above 0", f"{row[2]:g} x {row[3]:g}")
        if not 0 <= row[4] <= 1:
            raise _bad(path, number, "a score from 0 to 1", f"{row[4]:g}")
    if index < 0:
        raise _bad(path, number, "frames counted from 0" if json_lines else "frames counted from 1", str(index))
    return FrameBoxes(index, rows)


def _of_json(line: str) -> tuple[int, list[Row]]:
    content: Any = parse_json(line)
    frame = content["frame"]
    if not isinstance(frame, int) or isinstance(frame, bool):
        raise TypeError(frame)
    boxes = cast("list[list[Any]]", content["boxes"])
    return frame, [tuple(float(value) for value in box) for box in boxes]


def _of_csv(line: str) -> tuple[int, list[Row]]:
    columns = [float(column) for column in line.split(",")[:MOT_COLUMNS]]
    if len(columns) < MOT_COLUMNS or not columns[0].is_integer():
        raise ValueError(line)
    frame, _, left, top, width, height, score = columns
    return int(frame) - 1, [(left - 1, top - 1, width, height, score)]


def _bad(path: Path, number: int, expected: str, got: str) -> BadInput:
    return BadInput(f"{path}, line {number}: expected {expected}, got {got}")
