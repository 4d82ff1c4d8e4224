"""Cameras that are gone for a while: their tracks end, their people are stored, and known when they are back.

The states that a camera goes through meanwhile: test_cameras_fail.py. One that hangs: test_interrupted.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.loop.pipeline import GONE_S
from tests.fault_runs import FPS, Disk, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GONE, BACK = 5.0, 65.0


def lost(*cameras: str) -> Callable[[str, float], bool]:
    return lambda camera, time_s: camera in cameras and GONE <= time_s < BACK


@pytest.mark.parametrize("cameras", [("door-i",), ("door-v", "door-i")], ids=["one", "all"])
def test_people_are_known_when_a_camera_is_back(cameras: Sequence[str]) -> None:
    scene = Scene(gone=lost(*cameras))
    end = scene.go(BACK + 10)
    assert end.reason == "end of the streams"
    assert (end.identities, end.matched_identities) == (2, 2)
    assert end.tracks == {name: 4 if name in cameras else 2 for name in ("door-v", "door-i")}
    named = scene.named()
    for camera in cameras:
        assert [named[camera, track + 2] for track in (1, 2)] == [named[camera, track] for track in (1, 2)]
    assert not [*scene.records("revision"), *scene.records("split"), *scene.records("merge")]


@pytest.mark.parametrize("cameras", [("door-i",), ("door-v", "door-i")], ids=["one", "all"])
def test_people_of_a_camera_that_is_gone_are_stored_while_it_is(cameras: Sequence[str]) -> None:
    """A run that is killed in the night must not lose who was seen before the camera was."""
    disk = Disk()
    stored: list[tuple[float, int]] = []

    def look() -> None:
        if not stored or stored[-1][1] != len(disk.inner):
            stored.append((scene.clock.now_s, len(disk.inner)))

    scene = Scene(gone=lost(*cameras), gallery=disk)
    scene.pipeline.attendants = [look]
    scene.go(BACK)
    at_s = next(time_s for time_s, count in stored if count == 2 * len(cameras))
    assert at_s <= GONE + GONE_S + 1.0
    ended = [record for record in scene.records("track") if record["last_s"] < GONE]
    assert {record["camera"] for record in ended} == set(cameras)
    assert len(ended) == 2 * len(cameras)


def test_the_others_never_notice() -> None:
    """What is recorded of the visible camera is the same with and without a neighbour that is lost."""

    def of_the_other(scene: Scene) -> Sequence[object]:
        scene.go(30)
        return [r for r in scene.records("track") if r["camera"] == "yard-v"] + [
            (r["time_s"], r["track"], r["identity"]) for r in scene.records("sighting") if r["camera"] == "yard-v"
        ]

    def present(camera: str, index: int) -> tuple[int, ...]:
        return (3, 4) if camera == "yard-v" else (1, 2)

    names = ("yard-v", "door-v", "door-i")
    alone = Scene(names=names, present=present)
    beside = Scene(names=names, present=present, gone=lambda camera, time_s: camera == "door-i" and time_s >= 5)
    assert of_the_other(beside) == of_the_other(alone) != []


def test_a_short_gap_breaks_no_track() -> None:
    scene = Scene(gone=lambda camera, time_s: camera == "door-i" and 5 <= time_s < 6.5)
    end = scene.go(10)
    assert end.tracks == {"door-v": 2, "door-i": 2}
    assert end.frames == {"door-v": 10 * FPS, "door-i": 10 * FPS - 15}
