"""What becomes of a camera: every state, how it is left, and what the consumer is told."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.cameras.camera import Camera
from deploy.sources import SourceError
from engines.errors import BadInput
from tests.capture_fakes import LOST, PATIENCE_S, UNREADABLE, Driver, Rig, picture, site, thermal_site

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.sources import FailureKind


def source_error(kind: FailureKind = "timeout") -> SourceError:
    return SourceError(f"camera 'door' rtsp://admin:hunter2@10.0.0.5/live: {kind}", kind=kind)


def noise(seed: int) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(7000, 9000, (120, 160)).astype(np.uint16)


def test_opening_then_running() -> None:
    gate = threading.Event()
    rig = Rig(site(), Driver(gate))
    with rig:
        rig.until_state("opening")
        gate.set()
        rig.give(picture(), after_s=0.5)
        change = rig.camera.changes()
    assert [(c.camera, c.state, c.time_s, c.reason) for c in change] == [("door", "running", 0.5, "")]


def test_a_lost_camera_comes_back_by_itself() -> None:
    with Rig(site()) as rig:
        rig.give(picture(1), after_s=1.0)
        rig.driver.steps.put(LOST)
        rig.until(lambda: rig.driver.opened == 2)
        assert rig.camera.health().state == "reconnecting"
        assert "stopped delivering; check its cable; retry 1 in" in rig.camera.health().reason
        frame = rig.give(picture(2), after_s=1.0)
        assert (frame.index, rig.states()) == (1, ["running", "reconnecting", "running"])
        health = rig.camera.health()
        assert (health.reconnects, health.reason, rig.driver.closed, rig.camera.failure) == (1, "", 1, "")


def test_attempts_are_further_and_further_apart_and_are_one_change() -> None:
    errors = [source_error("refused") for _ in range(8)]
    with Rig(site(), Driver(*errors)) as rig:
        rig.until(lambda: rig.driver.opened == 9)
        plain = [1, 2, 4, 8, 16, 30, 30, 30]
        assert all(0.8 * p <= wait <= 1.2 * p for wait, p in zip(rig.waits.seconds, plain, strict=True))
        assert "retry 8 in" in rig.camera.health().reason
        assert rig.states() == ["reconnecting"]
        rig.give(picture())
        assert rig.states() == ["running"]


def test_waits_are_short_again_only_after_a_connection_that_lasted() -> None:
    with Rig(site()) as rig:
        for lasted_s in (1.0, 1.0, 10.0, 1.0):
            rig.give(picture(int(lasted_s)))
            rig.clock.now_s += lasted_s
            opened = rig.driver.opened
            rig.driver.steps.put(LOST)
            rig.until(lambda opened=opened: rig.driver.opened > opened)
        assert [round(wait) for wait in rig.waits.seconds] in ([1, 2, 1, 2],)


def test_a_read_that_times_out_is_a_loss_with_its_reason() -> None:
    with Rig(site()) as rig:
        rig.give(picture())
        rig.driver.steps.put(source_error("timeout"))
        rig.until(lambda: rig.driver.opened == 2)
        reason = rig.camera.health().reason
    assert "camera 'door' rtsp://***@10.0.0.5/live: timeout; retry 1 in" in reason
    assert "hunter2" not in reason


@pytest.mark.parametrize("error", [OSError("device gone"), RuntimeError("cv2 says no"), MemoryError()])
def test_whatever_a_driver_raises_is_a_loss(error: Exception) -> None:
    with Rig(site()) as rig:
        rig.give(picture(1))
        rig.driver.steps.put(error)
        rig.until(lambda: rig.driver.opened == 2)
        assert type(error).__name__ in rig.camera.health().reason
        rig.give(picture(2))


def test_an_error_while_closing_is_survived(caplog: pytest.LogCaptureFixture) -> None:
    class Clinging(Driver):
        def close(self) -> None:
            super().close()
            raise OSError("busy")

    with Rig(site(), Clinging()) as rig:
        rig.give(picture(1))
        rig.driver.steps.put(LOST)
        rig.give(picture(2))
    assert "door camera: busy while closing" in caplog.text


def test_pictures_that_cannot_be_decoded_for_long_are_a_loss() -> None:
    with Rig(site()) as rig:
        rig.give(picture(1))
        for _ in range(29):
            rig.driver.steps.put(UNREADABLE)
        rig.give(picture(2))
        assert rig.driver.opened == 1
        for _ in range(30):
            rig.driver.steps.put(UNREADABLE)
        rig.until(lambda: rig.driver.opened == 2)
        assert "30 pictures in a row could not be decoded" in rig.camera.health().reason
        assert rig.camera.dropped == 59


def test_a_wrong_password_is_raised_at_once_and_not_tried_again() -> None:
    driver = Driver(source_error("credentials"))
    with pytest.raises(BadInput) as refusal, Camera(site(), driver):
        pass
    assert "hunter2" not in str(refusal.value)
    assert (driver.opened, driver.closed) == (1, 1)


def test_a_patient_camera_fails_quietly() -> None:
    rig = Rig(site(), Driver(source_error("credentials")), patient=True)
    with rig.camera:
        assert rig.camera.health().state == "failed"
        assert rig.camera.ended
        assert not rig.camera.over
        assert rig.camera.failure == "camera 'door' rtsp://***@10.0.0.5/live: credentials"
        assert rig.states() == ["failed"]
        assert rig.camera.take(0.0) is None
    assert (rig.waits.seconds, rig.driver.opened) == ([], 1)


def test_a_password_that_is_changed_during_the_run_ends_the_attempts() -> None:
    with Rig(site(), Driver()) as rig:
        rig.give(picture())
        rig.driver.openings.append(source_error("credentials"))
        rig.driver.steps.put(LOST)
        rig.until(lambda: rig.camera.ended)
        assert rig.states() == ["running", "reconnecting", "failed"]
        assert rig.driver.opened == 2


@pytest.mark.parametrize("kind", ["timeout", "refused", "not-found", "connection", "busy"])
def test_a_camera_that_is_not_there_yet_does_not_hold_up_the_others(kind: FailureKind) -> None:
    gate = threading.Event()
    rig = Rig(site(), Driver(source_error(kind)))
    rig.waits._gate = gate
    with rig.camera:  # entered without a picture and without an error
        assert rig.camera.health().state == "reconnecting"
        gate.set()
        rig.give(picture())
        assert rig.camera.health().state == "running"
        rig.leave()


def test_a_live_camera_whose_driver_does_not_come_back_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    hang = threading.Event()
    rig = Rig(site(), Driver(hang), open_timeout_s=0.01)
    with rig.camera:
        assert rig.camera.health().state == "silent"
        assert "within 0.01 s" in rig.camera.health().reason
        hang.set()
        rig.give(picture())
        assert rig.states() == ["silent", "running"]
        assert rig.camera.health().reconnects == 0
        rig.leave()


def test_a_read_that_hangs_makes_the_camera_silent_after_two_seconds() -> None:
    hang = threading.Event()
    with Rig(site()) as rig:
        rig.give(picture(1), after_s=1.0)
        rig.driver.steps.put(hang)
        rig.until(lambda: rig.driver.steps.empty())
        rig.clock.now_s += 1.9
        assert rig.states() == ["running"]
        rig.clock.now_s += 5.2
        assert rig.states() == ["silent"]
        assert "has not answered for 7 s; check its cable" in rig.camera.health().reason
        assert rig.driver.closed == 0  # closing it from here would crash the process
        hang.set()
        rig.give(picture(2))
        assert rig.states() == ["running"]


def test_a_slow_camera_is_given_time() -> None:
    """One picture in ten seconds, as its rate says: silent after thirty."""
    with Rig(site(), Driver(fps=0.1)) as rig:
        rig.give(picture(1), after_s=10.0)
        rig.clock.now_s += 29.0
        assert rig.states() == ["running"]
        rig.clock.now_s += 2.0
        assert rig.states() == ["silent"]


def test_a_silent_camera_that_is_then_lost_counts_as_lost_once() -> None:
    hang = threading.Event()
    with Rig(site()) as rig:
        rig.give(picture(1), after_s=1.0)
        rig.driver.steps.put(hang)
        rig.until(lambda: rig.driver.steps.empty())
        rig.clock.now_s += 3.0
        rig.until_state("silent")
        rig.driver.steps.put(source_error())
        hang.set()
        rig.until(lambda: rig.driver.opened == 2)
        rig.give(picture(2))
        assert rig.states() == ["running", "silent", "reconnecting", "running"]
        assert rig.camera.health().reconnects == 1


def test_a_recording_played_as_if_live_ends() -> None:
    with Rig(site()) as rig:
        rig.give(picture())
        rig.driver.steps.put(source_error("ended"))
        rig.until(lambda: rig.camera.over)
        assert rig.states() == ["running", "ended"]
        assert (rig.driver.opened, rig.camera.failure) == (1, "")


def test_a_flat_field_correction_of_a_second_is_held() -> None:
    with Rig(thermal_site()) as rig:
        rig.give(noise(1), after_s=0.1)
        same = noise(2)
        frozen = [rig.give(same, after_s=0.1).frozen for _ in range(11)]
        assert frozen == [False] + [True] * 10
        assert rig.camera.health().state == "holding"
        assert not rig.give(noise(3), after_s=0.1).frozen
        assert rig.states() == ["running", "holding", "running"]
        assert rig.driver.opened == 1


def test_a_thermal_camera_that_repeats_itself_for_ten_seconds_is_frozen() -> None:
    with Rig(thermal_site()) as rig:
        same = noise(1)
        states = []
        for _ in range(101):
            assert rig.give(same, after_s=0.1).frozen == bool(states)
            states.append(rig.camera.health().state)
        assert states[:2] == ["running", "running"]  # one repetition: a 9 Hz camera that fills 30 a second
        assert states[3:20] == ["holding"] * 17
        assert states[21:] == ["frozen"] * 80
        assert rig.camera.health().reason == "the same picture for 10 s"
        rig.give(noise(2), after_s=0.1)
        assert rig.states() == ["running", "holding", "frozen", "running"]


def test_telemetry_counts_on_while_the_picture_stands_still() -> None:
    with Rig(thermal_site(telemetry_rows=2)) as rig:
        frozen = []
        for number in range(3):
            raw_HW = noise(1)
            raw_HW[-2:] = number
            frozen.append(rig.give(raw_HW, after_s=0.1).frozen)
    assert frozen == [False, True, True]


def test_a_visible_camera_may_repeat_itself_for_five_seconds() -> None:
    """Encoders of IP cameras repeat a still scene byte for byte."""
    with Rig(site()) as rig:
        frozen = [rig.give(picture(), after_s=0.5).frozen for _ in range(13)]
        assert frozen == [False] * 11 + [True] * 2
        assert rig.states() == ["running", "frozen"]


def test_the_first_picture_after_a_loss_repeats_nothing() -> None:
    with Rig(site()) as rig:
        rig.give(picture())
        rig.clock.now_s += 60.0
        rig.driver.steps.put(LOST)
        assert not rig.give(picture()).frozen
        assert rig.states() == ["running", "reconnecting", "running"]


def recorded(*pictures: NDArray[np.uint16]) -> Driver:
    driver = Driver(live=False, fps=10.0)
    for pixels in (*pictures, LOST):
        driver.steps.put(pixels)
    return driver


def frozen_frames(driver: Driver) -> list[bool]:
    with Camera(thermal_site(), driver) as camera:
        frames = []
        while not camera.ended:
            frame = camera.take(PATIENCE_S)
            if frame is not None:
                frames.append(frame.frozen)
        assert camera.health().state == "ended"
    return frames


def test_a_recorded_flat_field_correction_is_held() -> None:
    found = frozen_frames(recorded(noise(1), noise(2), *[noise(3)] * 8, noise(4)))
    assert found == [False] * 3 + [True] * 7 + [False]


def test_a_recording_of_one_still_is_no_failure() -> None:
    assert not any(frozen_frames(recorded(*[noise(1)] * 40)))


def test_a_still_in_a_recording_is_held_for_two_seconds_only() -> None:
    found = frozen_frames(recorded(noise(1), *[noise(2)] * 40))
    assert found == [False, False, *[True] * 20, *[False] * 19]


def test_changes_of_a_recording_come_with_their_frames_at_their_times() -> None:
    """The thread is ahead of the consumer by up to four frames; the records of a run must not show it."""
    driver = recorded(noise(1), *[noise(2)] * 5, noise(3))
    with Camera(thermal_site(), driver) as camera:
        seen = []
        while not camera.ended:
            frame = camera.take(PATIENCE_S)
            seen += [(frame.index if frame else None, c.state, round(c.time_s, 3)) for c in camera.changes()]
        camera.take(0.0)
        seen += [(None, c.state, round(c.time_s, 3)) for c in camera.changes()]
    assert seen == [(0, "running", 0.0), (3, "holding", 0.3), (6, "running", 0.6), (None, "ended", 0.6)]


def test_notes_tell_what_is_wrong_with_the_pictures(caplog: pytest.LogCaptureFixture) -> None:
    with Rig(site("gate", "infrared", band="lwir")) as rig:
        for number in range(3):
            rig.give(picture(100 + number), after_s=2.0)
        assert rig.camera.health().notes == ("8-bit grey",)
        rig.give(picture(5), after_s=2.0)
        assert rig.camera.health().notes == ("dark", "8-bit grey")
    assert [record.message for record in caplog.records if "identical planes" in record.message] == [
        "gate camera: gives 8 bits in three identical planes (the camera adjusts its contrast by itself); where it "
        "offers 16-bit counts, set format: Y16; using 8 bits"
    ]


def test_one_camera_in_trouble_is_not_noticed_by_the_other() -> None:
    arrival, hang = threading.Condition(), threading.Event()
    ill, well = Rig(site("gate"), arrival=arrival), Rig(site("door"), arrival=arrival)
    with ill, well:
        ill.give(picture())
        ill.driver.steps.put(hang)
        for number in range(20):
            assert well.give(picture(number), after_s=0.1).index == number
        assert well.states() == ["running"]
        hang.set()
