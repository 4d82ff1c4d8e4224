"""What goes wrong in the field, scripted: the run says so, keeps what it can, and ends well."""

from __future__ import annotations

import errno
import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import deploy.cameras.reconnect
from deploy.sightings import to_json
from deploy.sinks.fan_out import FanOut
from deploy.sources import SourceError
from engines.errors import BadInput
from tests.camera_fakes import ColourBackend, ListSink, ScriptedDetector
from tests.camera_runs import PeopleSource, Run, people

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.sightings import Record

LONG_S = 20.0  # a test that is right never waits so long


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other after milliseconds; their real length is tests/deploy/cameras/test_reconnect.py's."""
    monkeypatch.setattr(deploy.cameras.reconnect, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(deploy.cameras.reconnect, "MOST_WAIT_S", 0.004)


def over() -> SourceError:
    return SourceError("the recording is over", kind="ended")


def failing(**at: Exception) -> Callable[[int], None]:
    """Raise an error once at each grab of a number, given as g5=error."""

    def before_grab(grab: int) -> None:
        error = at.pop(f"g{grab}", None)
        if error is not None:
            raise error

    return before_grab


def live(images: int, **at: Exception) -> PeopleSource:
    """A live camera that is over after so many pictures, and has the given errors before."""
    return PeopleSource(images=10**6, live=True, before_grab=failing(**{f"g{images}": over()}, **at))


def camera_states(run: Run, camera: str) -> list[str]:
    return [str(r["state"]) for r in run.records("camera") if r["camera"] == camera]


def test_a_recording_that_breaks_does_not_stop_the_other() -> None:
    run = Run(infrared=PeopleSource(images=30, before_grab=failing(g5=OSError("device gone"))))
    end = run.go()
    assert end.frames == {"visible": 30, "infrared": 5}
    assert camera_states(run, "infrared") == ["running", "failed"]
    assert [r["reason"] for r in run.records("camera") if r["state"] == "failed"] == ["OSError: device gone"]


def test_a_camera_that_breaks_before_its_first_picture_is_refused() -> None:
    run = Run(infrared=PeopleSource(images=30, before_grab=failing(g0=OSError("device gone"))))
    with pytest.raises(BadInput, match="infrared camera: OSError: device gone"):
        run.go()


def test_an_infrared_stream_that_ends_early_keeps_its_tracks() -> None:
    run = Run(infrared=PeopleSource(images=8))
    end = run.go()
    assert end.frames == {"visible": 30, "infrared": 8}
    spans = {(r["camera"], r["last_frame"]) for r in run.records("track")}
    assert spans == {("visible", 29), ("infrared", 7)}


def test_the_same_recordings_give_the_same_records() -> None:
    def once() -> list[str]:
        run = Run(infrared=PeopleSource(images=17, before_grab=failing(g12=OSError("device gone"))), every_box=True)
        run.go()
        assert isinstance(run.sink, ListSink)
        return [to_json(record) for record in run.sink.records if record.event != "end"]

    assert once() == once()


def test_a_camera_that_is_lost_comes_back_while_the_other_goes_on() -> None:
    run = Run(visible=live(400), infrared=live(60, g10=OSError("device gone"), g30=SourceError("no", kind="timeout")))
    end = run.go()
    assert end.reason == "end of the streams"
    assert end.frames["visible"] + end.dropped["visible"] == 400
    assert end.frames["infrared"] + end.dropped["infrared"] == 60
    assert camera_states(run, "visible") == ["running", "ended"]
    assert camera_states(run, "infrared") == ["running", "reconnecting"] * 2 + ["running", "ended"]
    assert end.reconnects == {"visible": 0, "infrared": 2}


def test_a_run_outlives_all_its_cameras() -> None:
    """Both are gone at the same time and refuse a few attempts; the loop is at hand meanwhile, and they come back."""
    gone = threading.Event()
    tended: list[int] = []

    @dataclass
    class Refusing(PeopleSource):
        refusals: int = 5

        def open(self) -> None:
            super().open()
            if self.grabs and self.refusals:
                gone.wait(LONG_S)
                self.refusals -= 1
                raise SourceError("no answer", kind="timeout")

    def attend() -> None:
        if all(source.closed_by for source in sources):  # both lost
            tended.append(1)
            if len(tended) == 2:
                gone.set()

    sources = [Refusing(images=10**6, live=True, before_grab=failing(g5=OSError("power"), g25=over())) for _ in "vi"]
    run = Run(visible=sources[0], infrared=sources[1], attendants=[attend])
    end = run.go()
    assert end.reason == "end of the streams"
    assert end.reconnects == {"visible": 1, "infrared": 1}
    assert [source.refusals for source in sources] == [0, 0]
    assert len(tended) >= 2
    for name in ("visible", "infrared"):
        assert camera_states(run, name) == ["running", "reconnecting", "running", "ended"]
        assert end.frames[name] + end.dropped[name] == 25


def test_a_live_camera_that_falls_silent_is_reported_once() -> None:
    """Infrared gives one picture and then hangs, while visible goes on: half a second of the clock at each look."""
    hang = threading.Event()
    now_s = [0.0]
    lock = threading.Lock()

    def clock() -> float:
        with lock:
            now_s[0] += 0.01
            return now_s[0]

    def silent(number: int) -> None:
        if number == 1:
            hang.wait(LONG_S)
            raise over()

    def reported() -> bool:
        found = camera_states(run, "infrared")
        if "silent" in found and next(extra) > 20:
            hang.set()
        return "ended" in found

    extra = iter(range(10**6))  # the run goes on for a while after the report: it is not repeated
    run = Run(
        visible=PeopleSource(images=10**6, live=True),
        infrared=PeopleSource(images=1, live=True, before_grab=silent),
        clock=clock,
        stopped=reported,
    )
    end = run.go()
    assert end.frames["infrared"] == 1
    assert camera_states(run, "infrared") == ["running", "silent", "ended"]


def test_frames_that_a_live_camera_drops_do_not_break_tracks() -> None:
    run = Run(visible=live(40), infrared=live(40))
    end = run.go()
    for name in ("visible", "infrared"):
        assert end.frames[name] + end.dropped[name] == 40
        assert end.tracks[name] <= 2


def test_an_engine_that_fails_for_a_while_costs_embeddings_only(caplog: pytest.LogCaptureFixture) -> None:
    run = Run(backend=ColourBackend(failures=2))
    with caplog.at_level(logging.ERROR):
        end = run.go()
    assert end.embed_failures == 2
    assert end.tracks == {"visible": 2, "infrared": 2}
    assert (end.identities, end.matched_identities) == (2, 2)
    assert len(caplog.records) == 1  # one line for the episode
    assert [(r["part"], r["over"]) for r in run.records("trouble")] == [("engine", False), ("engine", True)]


def test_an_engine_that_always_fails_leaves_tracks_without_identities() -> None:
    run = Run(backend=ColourBackend(failures=10**6))
    end = run.go()
    assert (end.identities, end.tracks["visible"]) == (0, 2)


def test_a_detector_that_fails_for_a_while_costs_detections_only() -> None:
    broken = ScriptedDetector(people(1, 2), failures=2)
    run = Run(detectors={"infrared": broken})
    end = run.go()
    assert end.detect_failures == 2
    assert end.frames == {"visible": 30, "infrared": 30}
    assert end.tracks == {"visible": 2, "infrared": 2}
    assert [(r["part"], r["over"]) for r in run.records("trouble")] == [("detector", False), ("detector", True)]


@dataclass
class FullDisk:
    """A place with room for so many records."""

    room: int
    name: str = "full"
    taken: list[Record] = field(default_factory=list)

    def deliver(self, record: Record) -> None:
        if len(self.taken) >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.taken.append(record)

    def idle(self) -> None: ...

    def close(self) -> None: ...


def test_a_full_disk_does_not_stop_tracking(caplog: pytest.LogCaptureFixture) -> None:
    disk, list_sink = FullDisk(3), ListSink()
    with FanOut([disk], [list_sink]) as sink:
        end = Run(sink=sink).go()
        sink.close(within_s=0.1)
    assert end.frames == {"visible": 30, "infrared": 30}
    assert end.matched_identities == 2
    assert disk.taken == list_sink.records[:3]
    assert len([record for record in caplog.records if "No space left" in record.message]) <= 2


def test_what_ends_a_run_early_still_writes_its_totals() -> None:
    def broken() -> None:
        raise KeyboardInterrupt

    run = Run(attendants=[broken])
    with pytest.raises(KeyboardInterrupt):
        run.go()
    assert run.records("end")[0]["reason"] == "failed"
