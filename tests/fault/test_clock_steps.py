"""The system's clock is set while a run is on (NTP, a battery that is empty): nothing is decided by it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.cameras.camera import Camera
from deploy.gallery import Tracklet
from deploy.sightings import to_json
from tests.camera_fakes import ListSink
from tests.camera_runs import Run
from tests.capture_fakes import Rig, picture, site
from tests.fault_runs import COLOURS, Disk, Scene, between

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S, DAY_S = 3600.0, 86400.0
START_S = 1_800_000_000.0
REAL = time.time


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the system's clock by so many seconds; the monotonic one does not notice."""

    def step(seconds: float) -> None:
        monkeypatch.setattr(time, "time", lambda: REAL() + seconds)

    return step


def lines(scene: Scene) -> list[str]:
    assert isinstance(scene.sink, ListSink)
    return [to_json(record) for record in scene.sink.records]


def live_scene(before: Callable[[float], None] = lambda time_s: None) -> Scene:
    """Two people who leave and come back."""
    first, again = between(1, 8, 1, 2), between(14, 20, 1, 2)
    return Scene(
        present=lambda camera, index: (*first(camera, index), *again(camera, index)),
        before=before,
        origin_s=START_S,
        keep_s=7 * DAY_S,
    )


def test_a_clock_that_jumps_changes_no_record(set_clock: Callable[[float], None]) -> None:
    def before(time_s: float) -> None:
        if time_s == 3.0:
            set_clock(-HOUR_S)
        if time_s == 16.0:
            set_clock(DAY_S)

    plain, stepped = live_scene(), live_scene(before)
    plain.go(24)
    end = stepped.go(24)
    assert lines(stepped) == lines(plain)
    assert (end.identities, end.matched_identities) == (2, 2)
    for identity in (1, 2):
        spans = [(t.first_s, t.last_s) for t in stepped.gallery.inner.tracklets(identity)]
        assert spans == [(t.first_s, t.last_s) for t in plain.gallery.inner.tracklets(identity)]
        assert all(START_S <= first_s <= last_s <= START_S + 24 for first_s, last_s in spans)


def old_tracklet(identity: int, last_s: float) -> Tracklet:
    mean_D = np.zeros(COLOURS, np.float32)
    mean_D[-identity] = 1
    return Tracklet(
        identity=identity, camera="door-v", track=identity, modality="visible", first_s=last_s - 10, last_s=last_s,
        mean_D=mean_D, prototype_PD=mean_D[None],
    )  # fmt: skip


def test_people_expire_by_the_runs_own_time(set_clock: Callable[[float], None]) -> None:
    """Kept for an hour: one would be over half an hour into the run, two later; a clock a day ahead expires nobody."""
    disk = Disk()
    for identity, ago_s in ((1, 1800.0), (2, -600.0), (3, -DAY_S)):
        disk.inner.enrol(old_tracklet(identity, START_S - ago_s))
    disk.inner.enrol(old_tracklet(4, START_S - 1800.0))
    disk.inner.rename(4, "an operator knows this one")
    people: list[tuple[float, list[int]]] = []

    def before(time_s: float) -> None:
        set_clock(DAY_S)
        known = [person.identity for person in disk.inner.people()]
        if not people or people[-1][1] != known:
            people.append((time_s, known))

    scene = Scene(
        present=between(0, 0), gallery=disk, before=before, origin_s=START_S, keep_s=HOUR_S, names=("door-v",)
    )
    scene.go_slowly(3 * HOUR_S, every_s=30.0)
    assert [known for _, known in people] == [[1, 2, 3, 4], [2, 3, 4], [3, 4]]
    # Looked at once an hour: the first at 3600 s, when it was due for half an hour.
    assert HOUR_S <= people[1][0] <= HOUR_S + 60
    assert 2 * HOUR_S <= people[2][0] <= 2 * HOUR_S + 60


def test_a_recording_knows_no_clock(set_clock: Callable[[float], None]) -> None:
    def once(attend: Callable[[], object] = lambda: None) -> list[str]:
        run = Run(every_box=True, attendants=[attend])
        run.go()
        assert isinstance(run.sink, ListSink)
        return [to_json(record) for record in run.sink.records if record.event != "end"]

    steps = iter([-HOUR_S, DAY_S] * 100)
    assert once(lambda: set_clock(next(steps))) == once()


def test_the_stamps_of_a_live_camera_are_monotonic(set_clock: Callable[[float], None]) -> None:
    with Rig(site()) as rig:
        assert isinstance(rig.camera, Camera)
        first = rig.give(picture(1), after_s=1.0)
        set_clock(-HOUR_S)
        second = rig.give(picture(2), after_s=0.1)
        set_clock(DAY_S)
        third = rig.give(picture(3), after_s=0.1)
    assert [round(frame.time_s - first.time_s, 6) for frame in (second, third)] == [0.1, 0.2]
