from __future__ import annotations

import pytest

from deploy.loop.health import Health
from deploy.loop.run_state import RunState, SinkState
from tests.record_material import camera_health, run_state


def health(state: RunState, now_s: float = 1.0) -> Health:
    return Health(lambda: state, lambda: now_s)


def test_a_run_with_one_of_two_cameras_is_ready() -> None:
    assert health(run_state()).ready() == (True, "ready")


def test_a_loop_that_hangs_is_neither_alive_nor_ready() -> None:
    hung = health(run_state(), now_s=12.0)
    assert hung.alive() == (False, "the loop has not turned for 12 s")
    assert not hung.ready()[0]


@pytest.mark.parametrize("state", ["opening", "reconnecting", "failed", "frozen", "silent", "ended"])
def test_without_a_camera_that_delivers_it_is_not_ready(state: str) -> None:
    told = health(run_state(cameras=(camera_health(state=state),))).ready()
    assert told == (False, "no camera delivers")


def test_a_part_that_fails_is_a_reason() -> None:
    assert health(run_state(troubles={"engine": "device lost"})).ready() == (False, "engine: device lost")


def test_what_works_badly_is_remarked() -> None:
    state = run_state(
        cameras=(camera_health(notes=("dark",)), camera_health(camera="gate", state="failed", reason="401")),
        sinks={"mqtt": SinkState(queued=5, lost=0, trouble="not connected")},
        level=2,
        meaning="detecting on every second frame",
    )
    assert health(state).remarks() == [
        "camera gate: failed (401)",
        "camera visible: dark",
        "sink mqtt: not connected",
        "load: detecting on every second frame",
    ]
