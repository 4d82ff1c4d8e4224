"""More work than there is time for: what is left out, in which order, and how soon everything is done again.

The clock stands still but for what detector and engine cost, so a slow engine is slow by the second.
"""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from deploy.loop.load import MEANINGS, LoadGovernor, LoadSettings
from deploy.loop.metrics import Metrics
from deploy.web.timeline import Timeline
from tests.camera_fakes import ListSink
from tests.fault_runs import COLOURS, FPS, ColourEngine, Scene, between

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.loop.pipeline import Seen
    from deploy.loop.run_state import RunState
    from deploy.matching.matcher import Decision
    from deploy.sightings import Record, TrackKey

FOUR = ("door-v", "door-i", "yard-v", "yard-i")
SETTINGS = LoadSettings()


def test_sixteen_people_in_two_cameras_are_kept_apart_within_bounds() -> None:
    scene = Scene(present=between(0, 30, *range(1, 17)))
    end = scene.go(34)
    assert end.tracks == {"door-v": 16, "door-i": 16}
    assert (end.identities, end.matched_identities) == (16, 16)
    named = scene.named()
    for track in range(1, 17):  # in the same order of places in both cameras
        assert named["door-v", track] == named["door-i", track]
    assert len({named["door-v", track] for track in range(1, 17)}) == 16
    # A batch holds one crop of everybody in a modality; eight crops of each track are embedded, no more.
    assert max(scene.engine.batches) == 16
    assert sum(scene.engine.batches) == 2 * 16 * 8
    assert set(scene.detector.batches) == {2}
    assert not scene.records("revision")


class Levels:
    """An onlooker that notes what the state says, moment by moment."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, str]] = []

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        if not self.seen or self.seen[-1][1] != state.level:
            self.seen.append((state.time_s, state.level, state.meaning))

    def end(self, key: TrackKey, decision: Decision) -> None: ...


@pytest.mark.parametrize("slow", ["engine", "detector"])
def test_four_cameras_and_a_slow_part_degrade_in_the_written_order_and_come_back(slow: str) -> None:
    """People come and go every five seconds, so that there is always something to embed."""

    def present(camera: str, index: int) -> tuple[int, ...]:
        turn = int(index / FPS // 5)
        return tuple(1 + (turn * 4 + n) % 16 for n in range(4)) if index / FPS % 5 < 4 else ()

    def before(time_s: float) -> None:
        rush = 5 <= time_s < 60
        scene.engine.cost_s = 0.4 if rush and slow == "engine" else 0.001
        scene.detector.cost_s = 0.2 if rush and slow == "detector" else 0.001

    levels, sink = Levels(), ListSink()
    scene = Scene(present=present, names=FOUR, before=before, onlookers=[levels], sink=sink)
    scene.engine.clock = scene.detector.clock = scene.clock
    end = scene.go(160)
    told = [(record["time_s"], record["level"], record["meaning"]) for record in scene.records("load")]
    rising = [level for time_s, level, _ in told if time_s < 60]
    assert rising == [1, 2, 3]
    assert [level for time_s, level, _ in told if time_s >= 60] == [2, 1, 0]
    assert all(meaning == MEANINGS[level] for _, level, meaning in told)
    assert [level for _, level, _ in levels.seen] == [0, 1, 2, 3, 2, 1, 0]
    # Each step up takes a window to be sure of and the end of a round of up to 6.4 s, each step down the calm as well.
    assert told[2][0] - 5 <= 3 * (SETTINGS.window_s + 6.4) + 2
    assert told[5][0] - 60 <= 3 * (SETTINGS.calm_s + 2 * SETTINGS.window_s)
    assert scene.pipeline.newest.state.level == 0
    assert end.frames["door-v"] + end.dropped["door-v"] == 160 * FPS
    assert scene.pipeline.newest.state.skipped["door-v"] > 0


def test_each_level_leaves_out_what_it_says() -> None:
    """The same minute at each level: crops, then detections, then frames."""
    crops: list[int] = []
    detected: list[int] = []
    frames: list[int] = []
    for level in range(4):
        governor = LoadGovernor(level=level, settings=LoadSettings(calm_s=1e9, most_dropped=1.0))
        scene = Scene(present=between(0, 30, *range(1, 5)), governor=governor)
        end = scene.go(20)
        crops.append(sum(scene.engine.batches))
        detected.append(sum(scene.detector.batches))
        frames.append(end.frames["door-v"])
        assert end.matched_identities == 4
    assert crops[0] == 2 * 4 * 8
    assert crops[1] <= crops[0] - 8
    assert detected == [400, 400, 200, 100]
    assert frames == [200, 200, 200, 100]


def test_the_newest_frame_wins_so_that_a_slow_loop_is_never_late() -> None:
    """An engine that handles two frames a second of ten: what is worked on is new, however long it goes on."""
    ages: list[float] = []

    class Ages(Levels):
        def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
            ages.extend(scene.clock.now_s - item.frame.time_s for item in seen)

    scene = Scene(present=between(0, 120, 1, 2, 3), onlookers=[Ages()])
    scene.detector.clock, scene.detector.cost_s = scene.clock, 0.25
    end = scene.go(120)
    assert end.dropped["door-v"] > 120 * FPS / 2
    assert max(ages) <= 2 * 0.25 + 1 / FPS + 1e-6  # of a round, and of a frame that had just come
    assert end.tracks["door-v"] == 3


def test_the_load_is_in_the_metrics() -> None:
    scene = Scene(present=between(0, 30, 1, 2, 3, 4), names=FOUR)
    scene.engine.clock = scene.detector.clock = scene.clock
    scene.detector.cost_s = 0.3
    metrics = Metrics(lambda: scene.pipeline.newest.state, scene.clock, live=True)
    scene.go(30)
    text = metrics.text().decode()
    assert "crosslight_load_level 3.0" in text
    dropped = [line for line in text.splitlines() if line.startswith('crosslight_dropped_frames_total{camera="yard-i"')]
    assert float(dropped[0].split()[-1]) > 0


class Counting:
    """A sink that keeps nothing."""

    def __init__(self, *others: Timeline) -> None:
        self.count, self._others = 0, others

    def write(self, record: Record) -> None:
        self.count += 1
        for other in self._others:
            other.write(record)


def test_memory_is_flat_while_people_come_and_go() -> None:
    """3,000 frames, in which 540 visits of 27 people come to an end; the gallery forgets them all every 50 s."""
    sizes: list[int] = []

    def present(camera: str, index: int) -> tuple[int, ...]:
        turn = index // 50
        return tuple((turn * 3 + n) % COLOURS for n in range(3)) if index % 50 < 20 else ()

    def before(time_s: float) -> None:
        if round(time_s * FPS) % 500 == 0 and time_s >= 100:
            scene.gallery.inner.expire(time_s)
            sizes.append(tracemalloc.get_traced_memory()[0])

    timeline = Timeline(most_stays=50)
    scene = Scene(present=present, before=before, sink=Counting(timeline), engine=ColourEngine(batches=Forgetful()))
    scene.detector.batches = Forgetful()
    tracemalloc.start()
    try:
        end = scene.go(300)
    finally:
        tracemalloc.stop()
    assert end.tracks["door-v"] == 3 * 60
    assert len(sizes) == 4
    assert sizes[-1] - sizes[0] < 100_000  # bytes; 2,000 frames, 240 tracks
    matcher = scene.pipeline.matcher
    assert not matcher._live  # pyright: ignore[reportPrivateUsage]
    assert not matcher._standing  # pyright: ignore[reportPrivateUsage]
    assert not matcher._recall._found  # pyright: ignore[reportPrivateUsage]
    for lane in scene.pipeline.lanes.values():
        assert not lane.states
        assert not lane.selector._tracks  # pyright: ignore[reportPrivateUsage]
        assert not lane.tracker._tracks  # pyright: ignore[reportPrivateUsage]
    assert not scene.pipeline._failed  # pyright: ignore[reportPrivateUsage]
    assert not timeline.stays(live=True)
    assert len(timeline.stays()) == 50


class Forgetful(list[int]):
    """A fake's notes, which are not kept."""

    def append(self, item: int) -> None: ...
