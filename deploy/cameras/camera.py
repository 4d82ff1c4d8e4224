"""A camera: one thread that owns its source, and the frames that it leaves for one consumer.

Live sources keep the newest frame only, count what they drop and, when they are lost, are opened again until they come
back; other cameras never notice. Recordings wait until a frame was taken, so that every frame is seen. What only a
person can mend is `failed`, and raised where the camera is entered.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from deploy.cameras.darkroom import Darkroom
from deploy.cameras.frame_slot import FrameSlot
from deploy.cameras.reconnect import STEADY_S, BackOff, Loss, loss_of, loss_without_error
from deploy.cameras.redact import redact
from deploy.cameras.state import HealthLog
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.cameras.frames import Frame
    from deploy.cameras.state import CameraChange, CameraHealth, State
    from deploy.settings.site_plan import CameraSite
    from deploy.sources import Pixels, Source
    from engines.manifest import Modality

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
SILENT_S = 2.0  # a live camera in one driver's call for longer, or for three of its intervals, is silent
STOP_TIMEOUT_S = 2.0  # a driver that hangs in a read may not hold up the end of the run
DEFAULT_FPS = 25.0  # of a recording that does not know its own
STAMP_SLACK_S = 1.0  # a driver's stamp further from our clock is of another clock
ADVICE = "check its cable and that no other program holds it"
MOST_UNREADABLE = 30  # pictures in a row; single ones break on every USB cable


@runtime_checkable
class Stamped(Protocol):
    """A source that knows when its grabbed picture was caught."""

    def stamp_s(self) -> float | None:
        """Return seconds on the monotonic clock; None where the driver does not say."""
        ...


class Camera:
    """Frames of one source. Entering opens it and waits for the first frame; leaving stops the thread.

    All cameras of a run share `arrival`, `clock` and `origin_s`. `wait` waits between two attempts and returns when
    the event is set. A patient camera is never raised for: it is `failed`, beside others that work.
    """

    def __init__(
        self,
        site: CameraSite,
        source: Source,
        *,
        arrival: threading.Condition | None = None,
        clock: Callable[[], float] = time.monotonic,
        origin_s: float = 0.0,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        patient: bool = False,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
        rng: random.Random | None = None,
    ) -> None:
        self.site = site
        self.name = site.name
        self.modality: Modality = site.modality
        self.size_px = (0, 0)  # width, height of the first frame
        self.arrival = arrival or threading.Condition()
        self._source, self._stamped = source, source if isinstance(source, Stamped) else None
        self._clock, self._origin_s, self._wait = clock, origin_s, wait
        self._open_timeout_s, self._patient = open_timeout_s, patient
        self._back_off = BackOff(rng or random.Random(site.name))
        self._slot, self._health = FrameSlot(), HealthLog(site.name, clock() - origin_s)
        self._darkroom = Darkroom(site)
        self._stop = threading.Event()
        self._started_s = self._stopped_s = math.inf  # of the machine's clock, for waits that may not add up
        self._finished = self._end_seen = False
        self._time_s, self._taken = -math.inf, -1  # of the newest frame; the index of the last one taken
        self._busy_since_s: float | None = None  # in a driver's call
        self._thread = threading.Thread(target=self._capture, name=f"camera {site.name}", daemon=True)

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def fps(self) -> float:
        """The rate of a recording; what a device was asked for."""
        fps = self._source.fps
        return fps if math.isfinite(fps) and 0 < fps <= 1000 else DEFAULT_FPS

    @property
    def dropped(self) -> int:
        """Pictures that passed without being taken."""
        return self._slot.dropped

    @property
    def pending(self) -> bool:
        """True where a frame can be taken without waiting."""
        return bool(self._slot.frames)

    @property
    def ended(self) -> bool:
        """True where no frame is left and none will come."""
        return self._finished and not self._slot.frames

    @property
    def over(self) -> bool:
        """True where it has ended because that is all there is, not because it failed."""
        return self.ended and not self.failure

    @property
    def failure(self) -> str:
        """Why it cannot work any more, for people; empty where it can or is over."""
        if self._health.state != "failed":
            return ""
        reason = self._health.reason
        named = f"'{self.name}'" in reason or f"{self.name} camera" in reason
        return reason if named else f"{self.name} camera: {reason}"

    def health(self) -> CameraHealth:
        """Return how it is doing. From any thread."""
        with self.arrival:
            now_s = self._clock()
            self._notice_silence(now_s)
            return self._health.report(
                now_s=now_s - self._origin_s, dropped=self._slot.dropped, notes=self._darkroom.notes
            )

    def changes(self) -> list[CameraChange]:
        """Return the states it came into since the last call; those of a recording with the frames they belong to."""
        with self.arrival:
            self._notice_silence(self._clock())
            return self._health.drain(self._taken if self._seen and not self.live and not self._end_seen else None)

    def ask(self) -> None:
        """Say that the consumer is free for a frame: from now on each is decoded."""
        with self.arrival:
            self._slot.asked(self._clock())

    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame (live: the newest); None where none came in time or the stream has ended."""
        with self.arrival:
            self._slot.asked(self._clock())
            self.arrival.wait_for(lambda: self._slot.frames or self._finished, timeout_s)
            frame = self._slot.take(self._clock())
            if frame is None:
                self._end_seen = self._finished
                return None
            self._taken = frame.index
            self.arrival.notify_all()
            return frame

    def start(self) -> None:
        """Begin to open without waiting, so that many cameras open at once; entering waits."""
        if self._thread.ident is None:
            self._started_s = time.monotonic()
            self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end without waiting, so that many cameras stop at once; leaving waits."""
        with self.arrival:
            if not self._stop.is_set():
                self._stopped_s = time.monotonic()
            self._stop.set()
            self.arrival.notify_all()

    def __enter__(self) -> Camera:
        self.start()
        try:
            with self.arrival:
                left_s = max(0.0, self._started_s + self._open_timeout_s - time.monotonic())
                if not self.arrival.wait_for(self._settled, left_s):
                    state: State = "silent" if self.live or self._patient else "failed"
                    self._turn(state, f"expected a picture within {self._open_timeout_s:g} s, got none; {ADVICE}")
                if self.failure and not self._seen and not self._patient:
                    raise BadInput(self.failure)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()
        self._thread.join(max(0.0, self._stopped_s + STOP_TIMEOUT_S - time.monotonic()))
        if self._thread.is_alive():
            # Releasing it from here would crash the process; the thread ends with it.
            log.warning("%s camera: the driver does not answer; left behind", self.name)

    @property
    def _seen(self) -> bool:
        """True where there was a frame."""
        return self.size_px != (0, 0)

    def _settled(self) -> bool:
        return self._finished or self._health.state not in ("opening", "silent")

    def _capture(self) -> None:
        """Open, pump and close until the camera is stopped, over or beyond help. The whole life of the thread."""
        try:
            while not self._stop.is_set():
                loss = self._connect()
                if self._stop.is_set():
                    break
                if loss.state != "reconnecting":
                    if loss.state == "ended" and not self._seen:
                        loss = Loss("failed", "expected pictures, got an empty stream")
                    self._turn(loss.state, loss.reason)
                    break
                wait_s = self._back_off.next_s()
                retry = f"{loss.reason}; retry {self._back_off.tries} in {wait_s:.1f} s"
                self._turn("reconnecting", retry)
                self._wait(self._stop, wait_s)
        finally:
            with self.arrival:
                self._finished = True
                self.arrival.notify_all()

    def _connect(self) -> Loss:
        """Open the source, pump it dry and close it; return why it is over."""
        began_s = math.inf
        try:
            self._busy_since_s = self._clock()
            self._source.open()
            self._darkroom.reopen()
            began_s = self._clock()
            return self._pump()
        except Exception as error:  # a driver may raise anything
            return loss_of(error, live=self.live)
        finally:
            self._busy_since_s = None
            if self._clock() - began_s >= STEADY_S:
                self._back_off.reset()
            try:
                self._source.close()
            except Exception as error:
                log.warning("%s camera: %s while closing", self.name, redact(first_line(error)))

    def _pump(self) -> Loss:
        unreadable = 0
        while not self._stop.is_set():
            self._busy_since_s = self._clock()
            if not self._source.grab():
                return loss_without_error(live=self.live)
            # Stamped before decoding: that is when the light was caught, as near as it can be told.
            index, wanted = self._count(self._clock())
            if not wanted:
                continue
            pixels = self._source.retrieve()
            if pixels is not None:
                unreadable = 0
                self._put(pixels, index)
                continue
            unreadable += 1
            self._slot.dropped += 1
            if unreadable >= MOST_UNREADABLE:
                reason = f"{unreadable} pictures in a row could not be decoded"
                return Loss("reconnecting" if self.live else "failed", reason)
        return Loss("ended", "")

    def _count(self, now_s: float) -> tuple[int, bool]:
        """Count a grabbed picture; return its index and whether somebody will take it."""
        index = self._health.frames
        self._time_s = max(self._time_s, self._caught_s(now_s, index))
        with self.arrival:
            self._health.grabbed(now_s - self._origin_s)
            if not self.live:
                return index, True
            self._slot.grabbed(now_s)
            # In any other state a picture is news, also where nobody takes it.
            in_vain = self._health.state == "running" and self._slot.in_vain(now_s)
            self._slot.dropped += in_vain
            return index, not in_vain

    def _caught_s(self, now_s: float, index: int) -> float:
        """Return when the picture was caught, on the run's clock."""
        if not self.live:
            return index / self.fps - self.site.offset_s  # a container's stamps may jump; its rate does not
        stamp_s = self._stamped.stamp_s() if self._stamped is not None else None
        if stamp_s is None or not abs(stamp_s - now_s) <= STAMP_SLACK_S:  # also where it is not a number
            stamp_s = now_s
        return min(stamp_s, now_s) - self._origin_s - self.site.offset_s

    def _put(self, pixels: Pixels, index: int) -> None:
        """Make a frame of the pixels and leave it for the consumer."""
        frame, stand = self._darkroom.develop(pixels, time_s=self._time_s, index=index, live=self.live)
        with self.arrival:
            if not self.live:
                self._busy_since_s = None
                self.arrival.wait_for(lambda: self._stop.is_set() or not self._slot.full)
            if not self._seen:
                self.size_px = (frame.image_HWC.shape[1], frame.image_HWC.shape[0])
            self._slot.put(frame, live=self.live)
            self._turn(stand.state, stand.reason)

    def _turn(self, state: State, reason: str) -> None:
        with self.arrival:
            if self.live:
                time_s = self._clock() - self._origin_s
            else:  # the same in every run
                time_s = self._time_s if math.isfinite(self._time_s) else 0.0
            if not self._health.final:
                self._health.turn(state, reason, time_s)
            self.arrival.notify_all()

    def _notice_silence(self, now_s: float) -> None:
        since_s, state = self._busy_since_s, self._health.state
        if since_s is None or self._health.final:
            return
        limit_s = max(SILENT_S, 3 * self._health.interval_s(), 3 / self.fps)
        if state in ("opening", "reconnecting"):
            limit_s = max(limit_s, self._open_timeout_s)
        if now_s - since_s > limit_s:
            self._turn("silent", f"the driver has not answered for {now_s - since_s:.0f} s; {ADVICE}")


def wait_any(cameras: Sequence[Camera], timeout_s: float) -> None:
    """Wait until one of cameras, which share `arrival`, has a frame or all are over."""
    for camera in cameras:
        camera.ask()
    with cameras[0].arrival:
        cameras[0].arrival.wait_for(
            lambda: any(camera.pending for camera in cameras) or all(camera.over for camera in cameras), timeout_s
        )
