"""Two streams on one clock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from deploy.camera import Camera
from deploy.pairing import merge, moments
from tests.camera_fakes import ScriptedSource, frame

if TYPE_CHECKING:
    from deploy.pairing import Moment


def times(moment: Moment) -> tuple[float, ...]:
    return tuple(frame.time_s for frame in moment.frames)


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
    visible = [frame(i, time_s=t) for i, t in enumerate(rgb)]
    infrared = [frame(i, time_s=t, camera="infrared") for i, t in enumerate(ir)]
    found = list(merge(visible, infrared))
    assert [times(moment) for moment in found if len(moment.frames) == 2] == expected
    # Nothing is lost, nothing is doubled, time does not run backwards.
    assert [f for m in found for f in m.frames if f.camera == "visible"] == visible
    assert [f for m in found for f in m.frames if f.camera == "infrared"] == infrared
    assert [m.time_s for m in found] == sorted(m.time_s for m in found)


def test_recordings_are_merged_completely_through_their_threads() -> None:
    arrival = threading.Condition()
    with (
        Camera(ScriptedSource(images=30, fps=30.0), name="visible", modality="visible", arrival=arrival) as visible,
        Camera(ScriptedSource(images=10, fps=10.0), name="infrared", modality="infrared", arrival=arrival) as infrared,
    ):
        found = list(moments(visible, infrared, stopped=lambda: False))
    assert len(found) == 30
    assert [m.frames[0].index for m in found if len(m.frames) == 2] == list(range(0, 30, 3))


def test_stop_ends_the_merge() -> None:
    arrival = threading.Condition()
    with (
        Camera(ScriptedSource(images=10**6), name="visible", modality="visible", arrival=arrival) as visible,
        Camera(ScriptedSource(images=10**6), name="infrared", modality="infrared", arrival=arrival) as infrared,
    ):
        count = 0

        def stopped() -> bool:
            return count >= 5

        for _ in moments(visible, infrared, stopped=stopped):
            count += 1
    assert 5 <= count <= 8


def test_live_cameras_give_their_newest_frames() -> None:
    arrival, release = threading.Condition(), threading.Event()
    clock = iter([0.0, 0.01, 0.02, 1.0, 1.01, 1.02, 1.03]).__next__

    def hold(number: int) -> None:
        if number == 3:
            release.wait()

    visible_source = ScriptedSource(images=3, live=True, before_grab=hold)
    infrared_source = ScriptedSource(images=3, live=True, before_grab=hold)
    with (
        Camera(visible_source, name="visible", modality="visible", arrival=arrival, clock=clock) as visible,
        Camera(infrared_source, name="infrared", modality="infrared", arrival=arrival, clock=clock) as infrared,
    ):
        with arrival:
            arrival.wait_for(lambda: visible_source.grabs == infrared_source.grabs == 3, 5)
            arrival.wait_for(lambda: visible.dropped == infrared.dropped == 2, 5)
        stream = moments(visible, infrared, stopped=lambda: False)
        first, second = next(stream), next(stream)
        release.set()
        assert list(stream) == []
    assert sorted(f.index for m in (first, second) for f in m.frames) == [2, 2]
    assert first.time_s <= second.time_s
