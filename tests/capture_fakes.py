"""A camera's driver, clock and back-off in the hands of a test: nothing happens before it is said."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

import numpy as np

from deploy.cameras.camera import Camera
from deploy.settings.site_plan import CameraSite, ThermalSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from deploy.cameras.frames import Frame
    from deploy.cameras.state import State
    from engines.manifest import Modality

    Pixels = NDArray[np.uint8] | NDArray[np.uint16]

PATIENCE_S = 5.0  # a test that is right never waits so long
POLL_S = 0.005
LOST, UNREADABLE = "lost", "unreadable"


def picture(value: int = 90, *, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """A picture with some contrast; each value is another picture."""
    image_HWC = np.full((height, width, 3), value, np.uint8)
    image_HWC[: height // 2] //= 2
    return image_HWC


def site(name: str = "door", modality: Modality = "visible", **options: object) -> CameraSite:
    return CameraSite(name=name, uri="rtsp://admin:hunter2@10.0.0.5/live", modality=modality, **options)  # type: ignore[arg-type]


def thermal_site(name: str = "gate", **thermal: object) -> CameraSite:
    return site(name, "infrared", band="lwir", thermal=ThermalSettings(**thermal))  # type: ignore[arg-type]


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self, now_s: float = 1000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


class Waits:
    """The waits of a back-off: written down, let pass on the clock; with `gate`, only once that is set."""

    def __init__(self, clock: Clock, gate: threading.Event | None = None) -> None:
        self.seconds: list[float] = []
        self._clock, self._gate = clock, gate

    def __call__(self, stop: threading.Event, timeout_s: float) -> None:
        self.seconds.append(timeout_s)
        if self._gate is not None:
            self._gate.wait(PATIENCE_S)
        self._clock.now_s += timeout_s


class Driver:
    """A source whose every grab waits for a step: a picture, LOST, UNREADABLE, an error to raise, an event to hang on.

    `openings` are errors, one an attempt; after them opening works.
    """

    def __init__(self, *openings: Exception | threading.Event, live: bool = True, fps: float = 25.0) -> None:
        self.live, self.fps = live, fps
        self.openings = list(openings)
        self.steps: queue.Queue[Pixels | str | Exception | threading.Event] = queue.Queue()
        self.opened = self.closed = self.retrieved = 0
        self.threads: set[str] = set()
        self.working = False  # between two grabs
        self._pixels: Pixels | None = None

    def open(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.opened += 1
        trouble = self.openings.pop(0) if self.openings else None
        if isinstance(trouble, threading.Event):
            trouble.wait(PATIENCE_S)
        elif trouble is not None:
            raise trouble

    def grab(self) -> bool:
        self.threads.add(threading.current_thread().name)
        self.working = False
        step = self.steps.get(timeout=PATIENCE_S)
        self.working = True
        if isinstance(step, threading.Event):
            step.wait(PATIENCE_S)
            return self.grab()
        if isinstance(step, Exception):
            raise step
        self._pixels = None if isinstance(step, str) else step
        return not (isinstance(step, str) and step == LOST)

    def retrieve(self) -> Pixels | None:
        self.retrieved += 1
        return self._pixels

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed += 1


class Rig:
    """One camera over a driver, a clock and waits. `give` hands a picture in and returns the frame that comes out."""

    def __init__(self, of: CameraSite, driver: Driver | None = None, **options: object) -> None:
        self.driver, self.clock = driver or Driver(), Clock()
        self.waits = Waits(self.clock)
        options = {"clock": self.clock, "origin_s": self.clock.now_s, "wait": self.waits, **options}
        self.camera = Camera(of, self.driver, **options)  # type: ignore[arg-type]

    def give(self, pixels: Pixels, *, after_s: float = 0.0) -> Frame:
        """Let time pass, deliver a picture and take it."""
        self.clock.now_s += after_s
        self.camera.ask()
        self.driver.steps.put(pixels)
        frame = self.camera.take(PATIENCE_S)
        assert frame is not None
        return frame

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the camera's thread to come so far."""
        for _ in range(int(PATIENCE_S / POLL_S)):
            with self.camera.arrival:
                if condition():
                    return
                self.camera.arrival.wait(POLL_S)
        raise AssertionError("the camera's thread did not come so far")

    def until_state(self, state: State) -> None:
        self.until(lambda: self.camera.health().state == state)

    def states(self) -> list[State]:
        return [change.state for change in self.camera.changes()]

    def leave(self, *, hanging: threading.Event | None = None) -> None:
        """Let a waiting driver go, so that the thread ends at once."""
        if hanging is not None:
            hanging.set()
        self.camera.stop()
        self.driver.steps.put(LOST)
        self.camera.__exit__()

    def __enter__(self) -> Rig:
        self.camera.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.leave()
