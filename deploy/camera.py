"""A camera: one thread that owns its source, and the frames that it leaves for one consumer.

Live sources keep the newest frame only and count what they drop; recordings wait until a frame was taken, so that
every frame is seen. Trouble before the first frame is raised where the camera is opened; later it ends the stream
and stands in `failure`.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from deploy.frames import Frame
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deploy.sources import Source
    from engines.manifest import Modality

log = logging.getLogger(__name__)

QUEUE_FRAMES = 4  # decoding ahead of a recording; 4 frames of 1080p are 25 MB
STOP_TIMEOUT_S = 2.0  # a driver that hangs in a read may not hold up the end of the run


class Camera:
    """Frames of one source. Entering opens it and waits for the first frame; leaving stops the thread."""

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        modality: Modality,
        arrival: threading.Condition | None = None,
        clock: Callable[[], float] = time.monotonic,
        origin_s: float = 0.0,
        open_timeout_s: float = 10.0,
    ) -> None:
        self.name = name
        self.modality: Modality = modality
        self.dropped = 0
        self.failure = ""
        self.size_px = (0, 0)  # width, height of the first frame
        self.arrival = arrival or threading.Condition()
        self._source, self._clock, self._origin_s = source, clock, origin_s
        self._open_timeout_s = open_timeout_s
        self._frames: deque[Frame] = deque()
        self._delivered = self._finished = self._stopping = False
        self._thread = threading.Thread(target=self._capture, name=f"camera {name}", daemon=True)

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def fps(self) -> float:
        return self._source.fps

    @property
    def pending(self) -> bool:
        """True where a frame can be taken without waiting."""
        return bool(self._frames)

    @property
    def ended(self) -> bool:
        """True where no frame is left and none will come."""
        return self._finished and not self._frames

    def take(self, timeout_s: float) -> Frame | None:
        """Return the next frame (live: the newest); None where none came in time or the stream has ended."""
        with self.arrival:
            self.arrival.wait_for(lambda: self._frames or self._finished, timeout_s)
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self.arrival.notify_all()
            return frame

    def __enter__(self) -> Camera:
        self._thread.start()
        with self.arrival:
            answered = self.arrival.wait_for(lambda: self._delivered or self._finished, self._open_timeout_s)
        if self._delivered:
            return self
        self._stopping = True
        if not answered:
            self.failure = (
                f"{self.name} camera: expected a picture within {self._open_timeout_s:g} s, got none; check "
                "its cable and that no other program holds it"
            )
        raise BadInput(self.failure or f"{self.name} camera: expected pictures, got an empty stream")

    def __exit__(self, *failure: object) -> None:
        with self.arrival:
            self._stopping = True
            self.arrival.notify_all()
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            # Releasing it from here would crash the process; the thread ends with it.
            log.warning("%s camera: the driver does not answer; left behind", self.name)

    def _capture(self) -> None:
        try:
            self._source.open()
            self._pump()
        except BadInput as error:
            self.failure = str(error)
        except Exception as error:  # a driver may raise anything, and the consumer must hear of it
            self.failure = f"{self.name} camera: {type(error).__name__}: {error}"
        finally:
            self._source.close()
            with self.arrival:
                self._finished = True
                self.arrival.notify_all()

    def _pump(self) -> None:
        index = 0
        while not self._stopping and self._source.grab():
            # Stamped before decoding: that is when the light was caught, as near as it can be told.
            time_s = self._clock() - self._origin_s if self.live else index / self.fps
            image_HWC = self._source.retrieve()
            if image_HWC is None:
                break
            self._put(Frame(image_HWC=image_HWC, time_s=time_s, index=index, camera=self.name, modality=self.modality))
            index += 1
        if self.live and not self._stopping:
            self.failure = f"{self.name} camera: the device stopped delivering; check its cable"

    def _put(self, frame: Frame) -> None:
        with self.arrival:
            if self.live:
                self.dropped += len(self._frames)
                self._frames.clear()
            else:
                self.arrival.wait_for(lambda: self._stopping or len(self._frames) < QUEUE_FRAMES)
            if not self._delivered:
                self.size_px = (frame.image_HWC.shape[1], frame.image_HWC.shape[0])
            self._frames.append(frame)
            self._delivered = True
            self.arrival.notify_all()


def wait_any(cameras: Sequence[Camera], timeout_s: float) -> None:
    """Wait until one of cameras, which share `arrival`, has a frame or all have ended."""
    with cameras[0].arrival:
        cameras[0].arrival.wait_for(
            lambda: any(camera.pending for camera in cameras) or all(camera.ended for camera in cameras), timeout_s
        )
