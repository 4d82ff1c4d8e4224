"""One thread per camera, and what its consumer hears."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.cameras.camera import Camera
from deploy.settings.site_plan import CameraSite
from deploy.sources import SourceError, make_source
from engines.errors import BadInput
from tests.capture_fakes import LOST, UNREADABLE, Clock, Driver, Rig, picture, site, thermal_site

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.cameras.frames import Frame
    from engines.manifest import Modality


def recording(count: int, *, fps: float = 10.0, spoilt: tuple[int, ...] = ()) -> Driver:
    driver = Driver(live=False, fps=fps)
    for number in range(count):
        driver.steps.put(UNREADABLE if number in spoilt else picture(10 + number))
    driver.steps.put(LOST)
    return driver


def drain(camera: Camera) -> list[Frame]:
    found: list[Frame] = []
    while not camera.ended:
        frame = camera.take(5.0)
        if frame is not None:
            found.append(frame)
    return found


def test_a_recording_gives_every_frame_in_order_with_its_time() -> None:
    with Camera(site(offset_s=0.5), recording(25)) as camera:
        frames = drain(camera)
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 10 - 0.5 for i in range(25)])
    assert [int(frame.image_HWC.max()) for frame in frames] == list(range(10, 35))
    assert (camera.dropped, camera.failure, camera.health().state) == (0, "", "ended")


@pytest.mark.parametrize("fps", [math.nan, math.inf, 0.0, -3.0, 90000.0])
def test_a_recording_without_a_usable_rate_gets_one(fps: float) -> None:
    with Camera(site(), recording(3, fps=fps)) as camera:
        assert [frame.time_s for frame in drain(camera)] == pytest.approx([0.0, 0.04, 0.08])


def test_a_recording_is_decoded_four_frames_ahead_and_no_further() -> None:
    driver = recording(20)
    with Camera(site(), driver) as camera:
        with camera.arrival:
            camera.arrival.wait_for(lambda: driver.retrieved == 5, 5)
            assert not camera.arrival.wait_for(lambda: driver.retrieved > 5, 0.03)
        assert len(drain(camera)) == 20


def test_one_thread_opens_reads_and_closes_the_source() -> None:
    driver = recording(3)
    with Camera(site("yard"), driver) as camera:
        drain(camera)
    assert driver.threads == {"camera yard"}
    assert (driver.opened, driver.closed) == (1, 1)


def test_a_live_camera_keeps_the_newest_frame_and_counts_the_rest() -> None:
    with Rig(site()) as rig:
        for number in range(5):
            rig.driver.steps.put(picture(50 + number))
        rig.until(lambda: rig.camera.dropped == 4)
        frame = rig.camera.take(1.0)
        assert frame is not None
        assert (frame.index, int(frame.image_HWC.max())) == (4, 54)
        assert rig.camera.take(0.0) is None
        health = rig.camera.health()
        assert (health.frames, health.dropped) == (5, 4)


def test_pictures_that_nobody_will_take_are_not_decoded() -> None:
    """The consumer is away for 0.1 s after each frame, pictures come every 0.02 s.

    By hand, with the margin of 1.3: the one at 0.02 s is replaced at 0.046, those at 0.04 and 0.06 at 0.086 at the
    latest. What replaces the one at 0.08 may come at 0.106, after the consumer: that one is decoded.
    """
    with Rig(site()) as rig:

        def pass_by(number: int) -> None:
            count = rig.camera.health().frames
            rig.clock.now_s += 0.02
            rig.driver.steps.put(picture(number))
            rig.until(lambda: rig.camera.health().frames > count and not rig.driver.working)

        for number in range(9):
            rig.give(picture(number), after_s=0.1)
        for number in range(30):
            pass_by(number)
        assert rig.camera.take(0.0) is not None
        decoded, dropped = rig.driver.retrieved, rig.camera.dropped
        for number in range(60, 64):
            pass_by(number)
        assert (rig.driver.retrieved - decoded, rig.camera.dropped - dropped) == (1, 3)
        rig.clock.now_s += 0.02
        frame = rig.camera.take(0.0)
        assert frame is not None
        assert int(frame.image_HWC.max()) == 63


def test_a_broken_picture_is_left_out_and_counted() -> None:
    with Camera(site(), recording(6, spoilt=(2, 3))) as camera:
        frames = drain(camera)
    assert [frame.index for frame in frames] == [0, 1, 4, 5]
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.4, 0.5])
    assert camera.dropped == 2


def test_a_recording_whose_pictures_all_break_is_refused() -> None:
    with (
        pytest.raises(BadInput, match="door camera: 30 pictures in a row could not be decoded"),
        Camera(site(), recording(40, spoilt=tuple(range(40)))),
    ):
        pass


def test_a_refused_source_is_raised_where_the_camera_is_entered() -> None:
    error = SourceError("camera 'door' clip: no video", kind="codec", permanent=True)
    with pytest.raises(BadInput, match=r"^camera 'door' clip: no video$"), Camera(site(), Driver(error, live=False)):
        pass


def test_a_passing_failure_of_a_recording_is_raised_too() -> None:
    error = SourceError("camera 'door': no such file any more", kind="not-found", permanent=False)
    with pytest.raises(BadInput, match="no such file"), Camera(site(), Driver(error, live=False)):
        pass


def test_a_recording_that_breaks_later_gives_what_it_had() -> None:
    driver = recording(3)
    driver.steps = type(driver.steps)()
    for step in (picture(1), picture(2), OSError("read error")):
        driver.steps.put(step)
    with Camera(site(), driver) as camera:
        assert [frame.index for frame in drain(camera)] == [0, 1]
    assert camera.failure == "door camera: OSError: read error"
    assert (driver.opened, camera.over) == (1, False)


def test_a_stream_without_frames_is_refused() -> None:
    with (
        pytest.raises(BadInput, match="door camera: expected pictures, got an empty stream"),
        Camera(site(), recording(0)),
    ):
        pass


def test_a_recording_whose_driver_does_not_answer_is_refused_in_time() -> None:
    hang, driver = threading.Event(), Driver(live=False)
    camera = Camera(site(), driver, open_timeout_s=0.01)
    driver.steps.put(hang)
    with pytest.raises(BadInput, match=r"within 0\.01 s"), camera:
        pass
    driver.steps.put(picture())  # too late
    hang.set()
    with camera.arrival:
        camera.arrival.wait_for(lambda: driver.closed, 5)
    assert "within 0.01 s" in camera.failure


class StampedDriver(Driver):
    stamp: float | None = None

    def stamp_s(self) -> float | None:
        return self.stamp


@pytest.mark.parametrize(
    ("stamp_s", "expected_s"),
    [
        (1049.97, 49.97),  # the driver's, 30 ms before the picture reached us
        (None, 50.0),
        (math.nan, 50.0),
        (1.7e9, 50.0),  # Unix time
        (12.0, 50.0),  # seconds since the device was plugged in
        (1050.4, 50.0),  # the future
    ],
)
def test_the_drivers_stamp_counts_where_it_is_of_our_clock(stamp_s: float | None, expected_s: float) -> None:
    driver = StampedDriver()
    driver.stamp = stamp_s
    with Rig(site(offset_s=0.2), driver) as rig:
        assert rig.give(picture(), after_s=50.0).time_s == pytest.approx(expected_s - 0.2)


def test_stamps_never_run_backwards() -> None:
    driver = StampedDriver()
    with Rig(site(), driver) as rig:
        times = [rig.give(picture(1), after_s=1.0).time_s]
        for stamp_s in (1001.5, 1001.2):
            driver.stamp = stamp_s
            times.append(rig.give(picture(2), after_s=0.5).time_s)
        rig.clock.now_s -= 100.0  # no monotonic clock does so; a faked or broken one must do no harm
        driver.stamp = None
        times.append(rig.give(picture(3)).time_s)
    assert times == pytest.approx([1.0, 1.5, 1.5, 1.5])


def test_the_rate_and_age_are_measured() -> None:
    with Rig(site()) as rig:
        assert rig.camera.health().age_s is None
        for number in range(12):
            rig.give(picture(number), after_s=0.125)
        rig.clock.now_s += 0.5
        health = rig.camera.health()
    assert health.fps == pytest.approx(8.0)
    assert health.age_s == pytest.approx(0.5)


def test_the_size_is_that_of_the_first_frame() -> None:
    with Rig(thermal_site(telemetry_rows=2)) as rig:
        raw_HW = np.random.default_rng(1).integers(7000, 9000, (122, 160)).astype(np.uint16)
        assert rig.give(raw_HW).image_HWC.shape == (120, 160, 3)
        assert rig.camera.size_px == (160, 120)


def test_more_telemetry_than_picture_is_one_line() -> None:
    driver = Driver()
    driver.steps.put(np.zeros((2, 160), np.uint16))
    with (
        pytest.raises(BadInput, match="gate camera: expected fewer telemetry rows"),
        Camera(thermal_site(telemetry_rows=2), driver),
    ):
        pass


def test_stopped_cameras_end_together(caplog: pytest.LogCaptureFixture) -> None:
    """Leaving waits for what is left of two seconds since stop(), so that four hanging drivers do not take eight."""
    hang, driver = threading.Event(), Driver()
    driver.steps.put(picture())
    driver.steps.put(hang)
    camera = Camera(site(), driver)
    camera.start()
    assert camera.take(5.0) is not None
    camera.stop()
    camera._stopped_s -= 10.0
    camera.__exit__()
    assert "left behind" in caplog.text
    driver.steps.put(LOST)
    hang.set()


def test_a_folder_of_images_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("c.png", 30)):
        cv2.imwrite(str(tmp_path / name), np.full((24, 32, 3), (0, 0, value), np.uint8))
    with Camera(site(), make_source(site_of(tmp_path))) as camera:
        assert [frame.image_HWC[0, 0].tolist() for frame in drain(camera)] == [[10, 0, 0], [20, 0, 0], [30, 0, 0]]


def test_sixteen_bit_images_of_an_infrared_camera_become_thermal_pictures(tmp_path: Path) -> None:
    ramp_HW = np.linspace(7000, 9000, 24 * 32).astype(np.uint16).reshape(24, 32)
    cv2.imwrite(str(tmp_path / "a.png"), ramp_HW)
    of = site_of(tmp_path, "infrared")
    with Camera(of, make_source(of)) as camera:
        (frame,) = drain(camera)
    assert frame.image_HWC.dtype == np.uint8
    assert (int(frame.image_HWC.min()), int(frame.image_HWC.max())) == (0, 255)
    assert frame.inverted_for_detector


def site_of(path: Path, modality: Modality = "visible") -> CameraSite:
    return CameraSite(name="door", uri=str(path), modality=modality)


def test_memory_stays_flat_however_long_it_runs() -> None:
    """Nobody drains the changes and nobody takes a frame: 3,000 losses leave nothing behind."""
    import tracemalloc

    driver, clock = Driver(), Clock()
    camera = Camera(site(), driver, clock=clock, wait=lambda stop, seconds: None)
    sizes: list[int] = []
    camera.start()
    tracemalloc.start()
    for _ in range(2):
        for _ in range(1500):
            driver.steps.put(picture())
            driver.steps.put(LOST)
        with camera.arrival:
            assert camera.arrival.wait_for(lambda: driver.steps.empty() and driver.closed % 1500 == 0, 30)
        sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    camera.stop()
    driver.steps.put(LOST)
    camera.__exit__()
    assert sizes[1] < sizes[0] + 20_000
    assert len(camera.changes()) <= 100
