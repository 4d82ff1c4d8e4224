"""Look through every camera of a site, say what it gives, keep one picture of all, start nothing.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deploy.assembly.installation import make_sources, quieten, refusal_of_device
from deploy.cameras.camera import Camera
from deploy.cameras.pairing import moments
from deploy.cameras.redact import redact
from deploy.drawing.display import Display, Status
from deploy.drawing.pictures import write_png
from deploy.loop.stopping import stop_on_signals

if TYPE_CHECKING:
    from deploy.cameras.frames import Frame
    from deploy.settings.options import Options
    from deploy.sources import Pixels, Source

PICTURE = Path("dry-run.png")
FRAMES = 30
MOST_S = 20.0


class ObservedSource:
    """A source whose raw pictures are described before they become 8 bits."""

    def __init__(self, source: Source) -> None:
        self.raw = ""
        self._source = source

    @property
    def live(self) -> bool:
        return self._source.live

    @property
    def fps(self) -> float:
        return self._source.fps

    def open(self) -> None:
        self._source.open()

    def grab(self) -> bool:
        return self._source.grab()

    def retrieve(self) -> Pixels | None:
        pixels = self._source.retrieve()
        if pixels is not None:
            channels = f"x{pixels.shape[2]}" if pixels.ndim == 3 else ""
            self.raw = f"{pixels.shape[1]}x{pixels.shape[0]}{channels} {pixels.dtype}"
        return pixels

    def close(self) -> None:
        self._source.close()


@dataclass(kw_only=True)
class Look:
    """What was seen of one camera."""

    camera: Camera
    source: ObservedSource
    frames: int = 0
    last: Frame | None = None
    ages_s: list[float]
    refusal: str = ""  # why this device cannot be a camera: nothing is waited for

    @property
    def enough(self) -> bool:
        state = self.camera.health().state
        return bool(self.refusal) or self.frames >= FRAMES or self.camera.ended or state == "failed"

    @property
    def verdict(self) -> tuple[bool, str]:
        """Return whether it can be used, and a line about it."""
        health = self.camera.health()
        name = f"{self.camera.name} ({self.camera.modality}, {redact(self.camera.site.uri)})"
        if self.last is None:
            return False, f"{name}: no picture; {self.refusal or health.reason or health.state}"
        parts = [
            f"{name}: {self.source.raw}",
            f"{self.frames} frames",
            f"{health.fps if self.camera.live else self.camera.fps:.1f} fps",
        ]
        if self.camera.live and self.ages_s:
            parts.append(f"age {1000 * float(np.median(self.ages_s)):.0f} ms")
        parts.append("; ".join(health.notes) or "fine")
        return True, ", ".join(parts)


def dry_run(options: Options) -> int:
    """Return 0 where every camera gave a picture, else 1; a source that cannot be is refused as in a run."""
    quieten()
    origin_s = time.monotonic()
    arrival = threading.Condition()
    sources = [ObservedSource(source) for source in make_sources(options.cameras, origin_s)]
    with ExitStack() as stack:
        stop = stack.enter_context(stop_on_signals())
        looks: dict[str, Look] = {}
        for site, source in zip(options.cameras, sources, strict=True):
            camera = Camera(site, source, arrival=arrival, origin_s=origin_s, patient=True)
            looks[site.name] = Look(camera=camera, source=source, ages_s=[], refusal=refusal_of_device(site))
            camera.start()
        for look in looks.values():
            stack.enter_context(look.camera)
        cameras = [look.camera for look in looks.values()]
        end_s = time.monotonic() + MOST_S

        def over() -> bool:
            return stop.is_set() or time.monotonic() > end_s or all(look.enough for look in looks.values())

        for moment in moments(cameras, stopped=over):
            for frame in moment.frames:
                look = looks[frame.camera]
                if look.frames >= FRAMES:
                    continue
                look.frames, look.last = look.frames + 1, frame
                look.ages_s.append(time.monotonic() - origin_s - frame.time_s)
        verdicts = [look.verdict for look in looks.values()]
        _save(list(looks.values()))
    for _, line in verdicts:
        sys.stdout.write(line + "\n")
    sys.stdout.write(f"{PICTURE.resolve()}\n")
    return 0 if all(good for good, _ in verdicts) else 1


def _save(looks: list[Look]) -> None:
    display = Display([(look.camera.name, look.camera.size_px) for look in looks])
    for look in looks:
        if look.last is not None:
            display.update(look.last, {}, {})
        else:
            display.note(look.camera.name, "no picture")
    status = Status(engine="dry run", time_s=0.0, frames_per_s=0.0, summary="nothing was started, nothing is kept")
    write_png(PICTURE, display.compose(status), private=True)
