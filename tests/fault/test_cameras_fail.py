"""What goes wrong in the field, scripted: the run says so, keeps what it can, and ends well."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from deploy.sightings import to_json
from deploy.sinks.jsonl import JsonlSink
from engines.errors import BadInput
from tests.camera_fakes import ColourBackend
from tests.camera_runs import PeopleSource, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.detector import Detections


def failing_at(number: int, error: Exception) -> Callable[[int], None]:
    def before_grab(grab: int) -> None:
        if grab == number:
            raise error

    return before_grab


def test_a_camera_that_breaks_does_not_stop_the_other(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(infrared=PeopleSource(images=30, before_grab=failing_at(5, OSError("device gone"))))
    end = run.go()
    assert end.frames == {"visible": 30, "infrared": 5}
    assert [r.message for r in caplog.records] == ["infrared camera: OSError: device gone"]


def test_a_camera_that_breaks_before_its_first_picture_is_refused() -> None:
    run = Run(infrared=PeopleSource(images=30, before_grab=failing_at(0, OSError("device gone"))))
    with pytest.raises(BadInput, match="infrared camera: OSError: device gone"):
        run.go()


def test_an_infrared_stream_that_ends_early_keeps_its_tracks() -> None:
    run = Run(infrared=PeopleSource(images=8))
    end = run.go()
    assert end.frames == {"visible": 30, "infrared": 8}
    spans = {(r["camera"], r["last_frame"]) for r in run.records("track")}
    assert spans == {("visible", 29), ("infrared", 7)}


def test_a_live_camera_that_falls_silent_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Infrared gives one picture and then nothing, while visible goes on: half a second of its clock per frame."""
    over = threading.Event()
    ticks = iter(x / 2 for x in range(10**6))

    def silent(number: int) -> None:
        if number == 1:
            over.wait()

    def reported() -> bool:
        if any("no picture for 2 s" in record.message for record in caplog.records) and next(extra) > 20:
            over.set()
        return over.is_set()

    extra = iter(range(10**6))  # the run goes on for a while after the report: it is not repeated
    run = Run(
        visible=PeopleSource(images=10**5, live=True),
        infrared=PeopleSource(images=1, live=True, before_grab=silent),
        clock=lambda: next(ticks),
        stopped=reported,
    )
    end = run.go()
    assert end.frames["infrared"] == 1
    assert end.stalls == {"visible": 0, "infrared": 1}
    assert sum("no picture" in record.message for record in caplog.records) == 1


def test_frames_that_a_live_camera_drops_do_not_break_tracks() -> None:
    run = Run(visible=PeopleSource(images=40, live=True), infrared=PeopleSource(images=40, live=True))
    end = run.go()
    for name in ("visible", "infrared"):
        assert end.frames[name] + end.dropped[name] == 40


def test_an_engine_that_fails_for_a_while_costs_embeddings_only(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(backend=ColourBackend(failures=2))
    with caplog.at_level(logging.ERROR):
        end = run.go()
    assert end.embed_failures == 2
    assert end.tracks == {"visible": 2, "infrared": 2}
    assert (end.identities, end.matched_identities) == (2, 2)
    assert len(caplog.records) == 1  # one line for the episode


def test_an_engine_that_always_fails_leaves_tracks_without_identities() -> None:
    run = Run(backend=ColourBackend(failures=10**6))
    end = run.go()
    assert (end.identities, end.tracks["visible"]) == (0, 2)


def test_a_detector_that_fails_ends_the_run_with_everything_written() -> None:
    def broken(index: int) -> Detections:
        raise RuntimeError("detector lost")

    run = Run()
    run.find = {**run.find, "infrared": broken}
    with pytest.raises(RuntimeError, match="detector lost"):
        run.go()
    assert run.records("end")[0]["reason"] == "failed"


class FullDisk:
    """A file that takes `room` bytes."""

    def __init__(self, room: int) -> None:
        self.room, self.content = room, b""

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        taken = data[: self.room]
        self.room -= len(taken)
        self.content += taken
        return len(taken)

    def close(self) -> None: ...


def test_a_full_disk_does_not_stop_tracking(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = JsonlSink(tmp_path / "s.jsonl")
    sink.__exit__()
    sink._file = FullDisk(500)  # type: ignore[assignment]
    run = Run(sink=sink)
    end = run.go()
    assert end.frames == {"visible": 30, "infrared": 30}
    assert end.lost_records > 0
    assert len([record for record in caplog.records if "being lost" in record.message]) == 1


def test_a_disk_with_room_again_gets_whole_lines(tmp_path: Path) -> None:
    run = Run()
    end = run.go()
    sink = JsonlSink(tmp_path / "s.jsonl")
    sink.__exit__()
    disk = FullDisk(len(to_json(end)) + 20)
    sink._file = disk  # type: ignore[assignment]
    for _ in range(3):
        sink.write(end)
    disk.room = 10**6
    sink.write(end)
    lines = disk.content.decode().splitlines()
    assert [line == to_json(end) for line in lines] == [True, False, True]
    assert sink.lost == 2


@pytest.mark.slow
def test_memory_stays_flat_over_a_day_of_frames() -> None:
    """A day at ten frames a second is 864,000 frames; 20,000 with people who come and go show any growth per track."""
    import tracemalloc

    from deploy.crops import CropSelector
    from deploy.gallery import MemoryGallery
    from deploy.matching import Matcher, MatchSettings
    from deploy.sightings import TrackKey
    from deploy.tracker import Tracker
    from tests.camera_fakes import detections, frame, vector

    tracker, selector = Tracker(), CropSelector()
    matcher = Matcher(MemoryGallery(most_tracklets=50), MatchSettings(threshold=0.6))
    sizes: list[int] = []
    tracemalloc.start()
    for index in range(6_000):
        picture = frame(index)
        present = index % 50 < 20
        step = tracker.update(detections((60, 20, 30, 80, 0.9)) if present else detections(), picture)
        for box in step.seen:
            matcher.see(TrackKey("visible", box.track), "visible", picture.time_s)
        for crop in selector.select(picture, list(step.seen)):
            matcher.add(TrackKey("visible", crop.track), vector(1, index % 7, index % 5, 1))
        matcher.decide(picture.time_s)
        for track in step.ended:
            selector.finish(track)
            matcher.end(TrackKey("visible", track))
        if index in (3_000, 5_999):
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] < sizes[0] * 1.2 + 20_000
