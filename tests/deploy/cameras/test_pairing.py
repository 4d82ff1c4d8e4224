"""Many streams on one clock."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.cameras.camera import Camera
from deploy.cameras.frames import Frame
from deploy.cameras.pairing import WAIT_S, group_newest, merge, moments
from deploy.sources import SourceError
from tests.capture_fakes import LOST, Clock, Driver, Waits, picture, site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TOLERANCE_S = 0.05
BLACK_HWC = np.zeros((1, 1, 3), np.uint8)


def frame(camera: str, index: int, time_s: float) -> Frame:
    return Frame(image_HWC=BLACK_HWC, time_s=time_s, index=index, camera=camera, modality="visible")


def stream(camera: str, times: Sequence[float]) -> list[Frame]:
    return [frame(camera, index, time_s) for index, time_s in enumerate(times)]


@pytest.mark.parametrize(
    ("rgb", "ir", "expected"),
    [
        ([0.0, 0.1, 0.2], [0.1], [(0.1, 0.1)]),  # infrared starts late and stops
        ([0.0, 0.033, 0.066, 0.1], [0.0, 0.1], [(0.0, 0.0), (0.1, 0.1)]),  # 30 against 10 frames a second
        ([0.0, 0.1], [], []),  # infrared camera never delivers
        ([0.0], [9.0], []),  # clocks disagree
        ([0.0, 0.1, 0.2], [0.02, 0.12, 0.22], [(0.0, 0.02), (0.1, 0.12), (0.2, 0.22)]),  # a constant lag
        ([0.04], [0.0, 0.05], [(0.04, 0.05)]),  # the nearer of two
        ([0.0, 0.04], [0.02], [(0.0, 0.02)]),  # a tie goes to the earlier
        ([], [], []),
    ],
)
def test_pair(rgb: list[float], ir: list[float], expected: list[tuple[float, float]]) -> None:
    streams = [stream("a", rgb), stream("b", ir)]
    found = list(merge(streams, [TOLERANCE_S, TOLERANCE_S]))
    pairs = [tuple(f.time_s for f in sorted(group, key=lambda f: f.camera)) for group in found if len(group) == 2]
    assert pairs == expected
    check_complete(found, streams)


def check_complete(groups: Sequence[Sequence[Frame]], streams: Sequence[Sequence[Frame]]) -> None:
    """Nothing is lost, nothing is doubled, nothing runs backwards, and no camera is in a moment twice."""
    for frames in streams:
        assert [f for group in groups for f in group if frames and f.camera == frames[0].camera] == list(frames)
    assert [group[0].time_s for group in groups] == sorted(group[0].time_s for group in groups)
    assert all(len({f.camera for f in group}) == len(group) for group in groups)


def slow_merge(streams: Sequence[Sequence[Frame]], tolerances_s: Sequence[float]) -> list[list[Frame]]:
    """Over whole lists and in words: walk all frames by time; each that is still alone looks for partners."""
    everything = sorted((f.time_s, place, f) for place, frames in enumerate(streams) for f in frames)
    placed: set[int] = set()
    groups = []
    for _, place, first in everything:
        if id(first) in placed:
            continue
        group = [(place, first)]
        for other_s, other_place, other in everything:
            earliest = next((f for f in streams[other_place] if id(f) not in placed), None)
            if other is not earliest or other_place == place:
                continue
            near = all(abs(other_s - f.time_s) <= max(tolerances_s[other_place], tolerances_s[p]) for p, f in group)
            waits = any(
                abs(rival.time_s - other_s) < abs(f.time_s - other_s)
                for p, f in group
                for rival in streams[p][f.index + 1 :]
            )
            if near and not waits:
                group.append((other_place, other))
        placed |= {id(f) for _, f in group}
        groups.append([f for _, f in group])
    return groups


def random_streams(rng: random.Random) -> tuple[list[list[Frame]], list[float]]:
    """Cameras of other rates, offsets and regularity; times in milliseconds, so that ties happen."""
    streams, tolerances_s = [], []
    for camera in "abcd"[: rng.randint(1, 4)]:
        step_ms, start_ms, jitter_ms = rng.choice([10, 33, 40, 100, 111]), rng.randint(0, 200), rng.choice([0, 0, 4])
        times = [(start_ms + i * step_ms + rng.randint(0, jitter_ms)) / 1000 for i in range(rng.randint(0, 25))]
        streams.append(stream(camera, sorted(times)))
        tolerances_s.append(rng.choice([0.0, 0.01, 0.05, 0.08]))
    return streams, tolerances_s


@pytest.mark.parametrize("seed", range(150))
def test_a_merge_of_random_rates_and_offsets_agrees_with_the_slow_one(seed: int) -> None:
    streams, tolerances_s = random_streams(random.Random(seed))
    found = list(merge(streams, tolerances_s))
    assert [[(f.camera, f.index) for f in group] for group in found] == [
        [(f.camera, f.index) for f in group] for group in slow_merge(streams, tolerances_s)
    ]
    check_complete(found, streams)


@pytest.mark.parametrize("seed", range(60))
def test_two_frames_that_are_nearest_to_each_other_are_of_one_moment(seed: int) -> None:
    """What pairing promises, said without its procedure: mutual nearest neighbours within the tolerance."""
    streams, _ = random_streams(random.Random(1000 + seed))
    if len(streams) < 2:
        return
    first, second = streams[:2]
    together = {
        tuple(sorted((f.camera, f.index) for f in group))
        for group in merge([first, second], [TOLERANCE_S, TOLERANCE_S])
    }
    for f in first:
        nearest = min(second, key=lambda g: abs(g.time_s - f.time_s)) if second else f
        back = min(first, key=lambda g: abs(g.time_s - nearest.time_s))
        if second and abs(nearest.time_s - f.time_s) <= TOLERANCE_S and back is f:
            assert (("a", f.index), ("b", nearest.index)) in together


def test_the_larger_tolerance_of_two_cameras_counts_and_all_members_are_near() -> None:
    streams = [stream("a", [0.0]), stream("b", [0.08]), stream("c", [0.16])]
    narrow = list(merge(streams, [0.05, 0.05, 0.05]))
    wide = list(merge(streams, [0.05, 0.1, 0.05]))
    assert [[f.camera for f in group] for group in narrow] == [["a"], ["b"], ["c"]]
    assert [[f.camera for f in group] for group in wide] == [["a", "b"], ["c"]]  # c is too far from a


def test_newest_frames_of_many_cameras_are_grouped_by_time() -> None:
    frames = [frame("a", 0, 1.00), frame("b", 0, 0.70), frame("c", 0, 1.03), frame("d", 0, 0.72)]
    groups = list(group_newest(frames, lambda a, b: TOLERANCE_S))
    assert [[f.camera for f in group] for group in groups] == [["b", "d"], ["a", "c"]]
    assert list(group_newest([], lambda a, b: TOLERANCE_S)) == []


def recording(count: int, fps: float) -> Driver:
    driver = Driver(live=False, fps=fps)
    for number in range(count):
        driver.steps.put(picture(number))
    driver.steps.put(LOST)
    return driver


def test_recordings_are_merged_completely_through_their_threads() -> None:
    arrival = threading.Condition()
    with (
        Camera(site("rgb"), recording(30, 30.0), arrival=arrival) as rgb,
        Camera(site("wide"), recording(15, 15.0), arrival=arrival) as wide,
        Camera(site("ir", "infrared", offset_s=0.01), recording(10, 10.0), arrival=arrival) as ir,
    ):
        found = list(moments([rgb, wide, ir], stopped=lambda: False))
        assert [c.state for camera in (rgb, wide, ir) for c in camera.changes()] == ["running", "ended"] * 3
    assert sum(len(moment.frames) for moment in found) == 55
    full = [moment for moment in found if len(moment.frames) == 3]
    assert [tuple(f.index for f in moment.frames) for moment in full] == [(6 * i, 3 * i, 2 * i) for i in range(5)]
    assert [f.camera for f in full[0].frames] == ["rgb", "wide", "ir"]  # the order of the cameras, not of their times
    assert [moment.time_s for moment in found] == sorted(moment.time_s for moment in found)


def test_the_same_recordings_give_the_same_moments() -> None:
    def once() -> list[list[tuple[str, int, float]]]:
        arrival = threading.Condition()
        with (
            Camera(site("rgb"), recording(40, 30.0), arrival=arrival) as rgb,
            Camera(site("ir", "infrared"), recording(12, 9.0), arrival=arrival) as ir,
        ):
            return [
                [(f.camera, f.index, f.time_s) for f in moment.frames]
                for moment in moments([rgb, ir], stopped=lambda: False)
            ]

    assert once() == once()


def test_stop_ends_the_merge() -> None:
    arrival = threading.Condition()
    seen: list[object] = []
    with (
        Camera(site("rgb"), recording(200, 10.0), arrival=arrival) as rgb,
        Camera(site("ir"), recording(200, 10.0), arrival=arrival) as ir,
    ):
        for moment in moments([rgb, ir], stopped=lambda: len(seen) >= 5):
            seen.append(moment)
    assert 5 <= len(seen) <= 8


class Live:
    """Cameras over drivers that a test feeds, and the run over them."""

    def __init__(self, *drivers: Driver, **options: object) -> None:
        self.clock, self.drivers, self.stop, self.idles = Clock(), drivers, False, 0
        arrival = threading.Condition()
        self.cameras = [
            Camera(
                site(f"c{number}"),
                driver,
                arrival=arrival,
                clock=self.clock,
                origin_s=self.clock.now_s,
                wait=Waits(self.clock),
                **options,  # type: ignore[arg-type]
            )
            for number, driver in enumerate(drivers)
        ]
        for camera in self.cameras:
            camera.start()

    def idle(self) -> None:
        self.idles += 1

    def run(self) -> Iterator[list[tuple[str, int]]]:
        for moment in moments(self.cameras, stopped=lambda: self.stop, idle=self.idle):
            yield [(f.camera, f.index) for f in moment.frames]

    def leave(self) -> None:
        for camera, driver in zip(self.cameras, self.drivers, strict=True):
            camera.stop()
            driver.steps.put(LOST)
            camera.__exit__()

    def wait(self, camera: int, frames: int) -> None:
        """Wait until a camera has left its newest of so many frames."""
        for _ in range(1000):
            with self.cameras[camera].arrival:
                done = self.cameras[camera].health().frames >= frames and not self.drivers[camera].working
                if done and self.cameras[camera].pending:
                    return
                self.cameras[camera].arrival.wait(0.005)
        raise AssertionError("no frame came")


def test_live_cameras_give_their_newest_frames() -> None:
    live = Live(Driver(), Driver())
    for number in range(3):
        for driver in live.drivers:
            driver.steps.put(picture(number))
    live.wait(0, 3)
    live.wait(1, 3)
    run = live.run()
    assert next(run) == [("c0", 2), ("c1", 2)]
    assert [camera.dropped for camera in live.cameras] == [2, 2]
    live.leave()


def test_a_live_run_outlives_all_its_cameras_and_stays_at_hand() -> None:
    """All are lost and one has its password changed; the idle work goes on, and the others come back."""
    live = Live(Driver(), Driver())
    run = live.run()
    live.drivers[0].steps.put(picture(1))
    assert next(run) == [("c0", 0)]
    live.drivers[1].openings.append(SourceError("wrong password", kind="credentials"))
    live.drivers[1].steps.put(picture(1))
    assert next(run) == [("c1", 0)]
    for driver in live.drivers:
        driver.steps.put(LOST)

    def later() -> None:
        live.idles += 1
        if live.idles == 2:
            live.drivers[0].steps.put(picture(2))

    live.idle = later  # type: ignore[method-assign]
    run = live.run()
    assert next(run) == [("c0", 1)]
    assert live.idles == 2
    assert [camera.health().state for camera in live.cameras] == ["running", "failed"]
    live.stop = True
    assert list(run) == []
    live.leave()


def test_a_run_whose_cameras_have_all_failed_rests_between_two_looks() -> None:
    live = Live(Driver(SourceError("no", kind="credentials")), patient=True)
    waits: list[tuple[float | None, object]] = []
    original = live.cameras[0].arrival.wait_for

    def wait_for(predicate: Callable[[], object], timeout: float | None = None) -> object:
        waits.append((timeout, bool(predicate())))
        return original(predicate, 0.0)

    live.cameras[0].arrival.wait_for = wait_for  # type: ignore[method-assign, assignment]

    def idle() -> None:
        live.idles += 1
        live.stop = live.idles == 3

    live.idle = idle  # type: ignore[method-assign]
    assert list(live.run()) == []
    assert live.idles == 3
    assert waits.count((WAIT_S, False)) == 3
    live.leave()


def test_live_stand_ins_that_are_over_end_the_run() -> None:
    live = Live(Driver(), Driver())
    for driver in live.drivers:
        driver.steps.put(picture(1))
    live.wait(0, 1)
    live.wait(1, 1)
    run = live.run()
    assert next(run) == [("c0", 0), ("c1", 0)]
    for driver in live.drivers:
        driver.steps.put(SourceError("over", kind="ended"))
    assert list(run) == []
    live.leave()


def test_a_recording_beside_a_live_camera_counts_as_live() -> None:
    slow = recording(3, 10.0)
    live = Live(Driver(), slow)
    run = live.run()
    assert next(run) == [("c1", 0)]  # without waiting for the other
    live.stop = True
    live.leave()


def test_the_time_of_moments_never_falls() -> None:
    """Of two live cameras one is late by a second; its frames are of earlier times than the other's."""
    late = site("late", offset_s=1.0)
    clock, arrival = Clock(), threading.Condition()
    drivers = Driver(), Driver()
    options = {"clock": clock, "origin_s": clock.now_s, "arrival": arrival}
    cameras = [Camera(of, driver, **options) for of, driver in zip((site("on"), late), drivers, strict=True)]  # type: ignore[arg-type]
    times = []
    for camera in cameras:
        camera.start()
    run = moments(cameras, stopped=lambda: False)
    for number in range(6):
        clock.now_s += 0.1
        drivers[number % 2].steps.put(picture(number))
        moment = next(run)
        times.append((round(moment.frames[0].time_s, 1), round(moment.time_s, 1)))
    assert times == [(0.1, 0.1), (-0.8, 0.1), (0.3, 0.3), (-0.6, 0.3), (0.5, 0.5), (-0.4, 0.5)]
    for camera, driver in zip(cameras, drivers, strict=True):
        camera.stop()
        driver.steps.put(LOST)
        camera.__exit__()
