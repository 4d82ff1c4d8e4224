from __future__ import annotations

import errno
import json
from typing import TYPE_CHECKING, Any

import pytest

from deploy.sightings import to_json
from deploy.sinks.jsonl import JsonlFile
from engines.errors import BadInput
from tests.record_material import merge, run_start

if TYPE_CHECKING:
    from pathlib import Path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_is_in_the_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "s.jsonl"
    sink = JsonlFile(path)
    for number in range(3):
        sink.deliver(merge(number))
        assert [line["kept"] for line in lines(path)] == list(range(number + 1))
    sink.close()


def test_earlier_runs_are_kept_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    for kept in range(15):
        sink = JsonlFile(path)
        sink.deliver(merge(kept))
        sink.close()
    found = {item.name: lines(item)[0]["kept"] for item in tmp_path.iterdir()}
    assert found == {"s.jsonl": 14} | {f"s.jsonl.{number}": 14 - number for number in range(1, 15)}


@pytest.mark.parametrize(("room_lines", "kept"), [(2.5, [3, 2, 1]), (0.1, [3, 2])])
def test_the_oldest_files_leave_when_all_together_take_too_much(
    room_lines: float, kept: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "s.jsonl"
    line_mb = (len(to_json(merge(0))) + 1) / 1e6
    for number in range(4):
        sink = JsonlFile(path, keep_mb=room_lines * line_mb)
        sink.deliver(merge(number))
        sink.close()
    assert sorted((lines(item)[0]["kept"] for item in tmp_path.iterdir()), reverse=True) == kept


def test_a_full_file_turns_over_and_the_next_begins_with_the_run(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    sink = JsonlFile(path, most_mb=0.0005)
    sink.deliver(run_start())
    for number in range(20):
        sink.deliver(merge(number))
    sink.close()
    files = sorted(tmp_path.iterdir(), key=lambda item: int(item.suffix[1:]) if item.suffix[1:].isdigit() else 0)
    assert len(files) > 2
    assert all(lines(item)[0]["event"] == "run" for item in files)
    merges = [line["kept"] for item in reversed(files) for line in lines(item) if line["event"] == "merge"]
    assert merges == list(range(20))


def test_a_line_that_a_full_disk_cut_short_is_ended_and_given_again(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    sink = JsonlFile(path)
    sink.deliver(merge(0))
    file = sink._file  # pyright: ignore[reportPrivateUsage]
    assert file is not None

    class Full:
        """Takes ten bytes, then none, then all again."""

        def __init__(self) -> None:
            self.answers = [10, 0, None]

        def write(self, line: bytes) -> int:
            allowed = self.answers.pop(0) if self.answers else None
            if allowed is None:
                return file.write(line)
            if allowed == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return file.write(line[:allowed])

        def close(self) -> None:
            file.close()

    sink._file = Full()  # pyright: ignore[reportPrivateUsage,reportAttributeAccessIssue]
    for _ in range(2):
        with pytest.raises(OSError, match=r"wrote 10|No space"):
            sink.deliver(merge(1))
    sink.deliver(merge(1))
    sink.deliver(merge(2))
    sink.close()
    _, torn, *whole = path.read_text().splitlines()
    assert torn == '{"event": '
    assert [json.loads(line)["kept"] for line in whole] == [1, 2]


def test_a_start_that_fails_leaves_the_records_of_the_run_before(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    first = JsonlFile(path)
    first.deliver(merge(1))
    first.close()
    JsonlFile(path).close()
    assert [item.name for item in tmp_path.iterdir()] == ["s.jsonl"]
    assert lines(path)[0]["kept"] == 1


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a file that can be written"):
        JsonlFile(tmp_path)
