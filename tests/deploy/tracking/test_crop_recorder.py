"""Crops of people on the disk: which, how many, exact, private, and never in the way of the run."""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from PIL import Image

import deploy.tracking.crop_recorder
from calib.crops_folder import calibration_from_folder
from deploy.sightings import TrackKey
from deploy.tracking.crop_recorder import CropRecorder, RecordSettings
from deploy.tracking.crops import Crop
from engines.errors import BadInput
from tests.camera_fakes import frame

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED = datetime(2026, 11, 21, 9, 30, 5, tzinfo=timezone.utc)
FREE = RecordSettings(least_free_mb=0)


def crop(track: int = 1, seed: int = 0) -> Crop:
    pixels = np.random.default_rng((track, seed)).integers(0, 256, (40, 16, 3), dtype=np.uint8)
    return Crop(track=track, image_HWC=pixels)


def record(folder: Path, seconds: list[float], settings: RecordSettings = FREE, track: int = 1) -> CropRecorder:
    recorder = CropRecorder(folder, settings, started=STARTED)
    with recorder:
        for time_s in seconds:
            recorder.offer(frame(time_s=time_s), crop(track))
    return recorder


def pictures(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_crops_lie_by_modality_and_track_with_their_exact_pixels(tmp_path: Path) -> None:
    with CropRecorder(tmp_path / "crops", FREE, started=STARTED) as recorder:
        recorder.offer(frame(time_s=1.5), crop(1))
        recorder.offer(frame(time_s=1.5, camera="infrared"), crop(12))
    names = [
        "infrared/20261121T093005-infrared-00012/000001.500.png",
        "visible/20261121T093005-visible-00001/000001.500.png",
    ]
    assert pictures(tmp_path / "crops") == names
    for name, expected in zip(names, (crop(12), crop(1)), strict=True):
        with Image.open(tmp_path / "crops" / name) as image:
            assert np.array_equal(np.asarray(image), expected.image_HWC)  # RGB as the engine gets it
    assert recorder.stored == 2


def test_what_was_recorded_calibrates(tmp_path: Path) -> None:
    with CropRecorder(tmp_path, FREE) as recorder:
        for track in (1, 2):
            for index in (0, 10):
                recorder.offer(frame(index), crop(track, index))
                recorder.offer(frame(index, camera="infrared"), crop(track, index))
    chosen = calibration_from_folder(tmp_path)
    assert len(chosen.records) == 8
    assert {record.modality: record.identity for record in chosen.records} == {"visible": 2, "infrared": 4}


def test_crops_of_a_track_are_spaced_and_limited(tmp_path: Path) -> None:
    settings = RecordSettings(most_per_track=3, gap_s=0.5, least_free_mb=0)
    record(tmp_path, [0.0, 0.2, 0.4, 0.5, 0.9, 1.4, 2.0, 3.0], settings)
    assert [name[-14:-4] for name in pictures(tmp_path)] == ["000000.000", "000000.500", "000001.400"]


def test_eight_crops_of_a_track_are_kept_by_default(tmp_path: Path) -> None:
    assert record(tmp_path, [float(second) for second in range(20)]).stored == 8


def test_a_track_that_ended_is_forgotten(tmp_path: Path) -> None:
    """A day of passers-by may not fill the memory."""
    with CropRecorder(tmp_path, RecordSettings(most_per_track=1, least_free_mb=0)) as recorder:
        recorder.offer(frame(0), crop(1))
        recorder.finish(TrackKey("visible", 1))
        assert not recorder._tracks  # pyright: ignore[reportPrivateUsage]


def test_only_the_user_can_enter_the_folders(tmp_path: Path) -> None:
    record(tmp_path / "site" / "crops", [0.0])
    made = [path for path in (tmp_path / "site").rglob("*") if path.is_dir()]
    assert len(made) == 3
    assert {oct(path.stat().st_mode & 0o777) for path in made} == {"0o700"}


def test_two_runs_into_one_folder_do_not_mix(tmp_path: Path) -> None:
    record(tmp_path, [0.0])
    with CropRecorder(tmp_path, FREE, started=STARTED.replace(hour=10)) as recorder:
        recorder.offer(frame(time_s=0.0), crop(1, seed=1))
    assert len({Path(name).parent for name in pictures(tmp_path)}) == 2


def test_the_budget_counts_earlier_runs_and_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = RecordSettings(most_crops=3, least_free_mb=0)
    record(tmp_path, [0.0, 1.0], settings)
    with caplog.at_level(logging.INFO):
        recorder = record(tmp_path, [2.0, 3.0, 4.0, 5.0], settings)
    assert len(pictures(tmp_path)) == 3
    assert (recorder.stored, recorder.dropped + recorder.lost) == (1, 3)
    ends = [entry.getMessage() for entry in caplog.records if "the recording ends here" in entry.getMessage()]
    assert len(ends) == 1
    assert "holds 3 crops" in ends[0]
    assert "may hold no more" in ends[0]


def test_the_folder_stays_below_its_megabytes(tmp_path: Path) -> None:
    record(tmp_path, [0.0])
    (size,) = (path.stat().st_size for path in tmp_path.rglob("*.png"))
    record(tmp_path, [1.0, 2.0, 3.0, 4.0], RecordSettings(most_mb=2.5 * size / 1e6, least_free_mb=0))
    assert len(pictures(tmp_path)) == 2


class Usage(NamedTuple):
    free: int


def test_the_last_of_the_disk_is_left_to_the_sightings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    free = iter([501_000_000, 499_000_000])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(next(free)))
    recorder = record(tmp_path, [0.0, 1.0, 2.0], RecordSettings())
    assert recorder.stored == 1
    assert "less than 500 MB of the disk are free" in caplog.text


def test_a_full_disk_ends_the_recording_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    recorder = record(tmp_path, [0.0, 1.0, 2.0])
    assert (recorder.stored, recorder.dropped + recorder.lost) == (0, 3)
    assert [entry.levelname for entry in caplog.records if "No space left" in entry.getMessage()] == ["ERROR"]
    assert pictures(tmp_path) == []  # no half picture


def held_back(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Let every write wait; return what says that one does, and what lets them go."""
    waiting, go = threading.Event(), threading.Event()
    store: Callable[..., None] = CropRecorder._store  # pyright: ignore[reportPrivateUsage]

    def slow(self: CropRecorder, item: object) -> None:
        waiting.set()
        go.wait()
        store(self, item)

    monkeypatch.setattr(CropRecorder, "_store", slow)
    return waiting, go


def test_a_slow_disk_drops_crops_instead_of_stalling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    waiting, go = held_back(monkeypatch)
    settings = RecordSettings(queue_crops=2, most_per_track=99, least_free_mb=0)
    with CropRecorder(tmp_path, settings) as recorder:
        recorder.offer(frame(0), crop(1))
        assert waiting.wait(10)
        for index in range(10, 60, 10):  # two wait in the queue, three find no place
            recorder.offer(frame(index), crop(1))
        assert recorder.dropped == 3
        go.set()
    assert recorder.stored == 3
    assert caplog.text.count("too slow") == 1


def test_a_disk_that_never_answers_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deploy.tracking.crop_recorder, "STOP_TIMEOUT_S", 0.01)
    waiting, go = held_back(monkeypatch)
    with CropRecorder(tmp_path, FREE) as recorder:
        recorder.offer(frame(0), crop(1))
        assert waiting.wait(10)
    assert "does not answer; what waits to be written is lost" in caplog.text
    go.set()


@pytest.mark.parametrize("name", ["file", "file/below", "/proc/crops"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match=r"^--record-crops: expected a folder") as caught:
        CropRecorder(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_there_but_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*, dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # root, as in CI, may write everywhere
    with pytest.raises(BadInput, match=r"got .*: Permission denied; name another$"):
        CropRecorder(tmp_path)


def test_one_line_says_what_is_stored(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        record(tmp_path, [0.0])
    lines = [entry.getMessage() for entry in caplog.records]
    limits = "at most 8 a track, 5000 or 1000 MB in all"
    assert lines == [
        f"--record-crops: storing pictures of people in {tmp_path} (0 there), {limits}",
        f"--record-crops: 1 crops stored in {tmp_path}, 0 left out, 0 lost",
    ]
