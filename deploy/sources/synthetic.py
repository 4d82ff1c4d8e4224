"""Drawn people as a camera: `synthetic:people=4&seed=1&size=640x360&fps=10&live=1`.

| key      | default | what |
|----------|---------|------|
| people   | 4       | who walk up and down; 7 of 10 are in the picture at any time, and they stay the same |
| seed     | 0       | sources of one seed show the same people at the same time, whatever their modality |
| size     | 640x360 | width and height |
| fps      | 10      | frames a second |
| live     | 0       | 0: a recording, every frame; 1: a camera, at the speed of life by the clock |
| infrared | nir     | what an infrared camera is: nir, 8 bits; thermal, 16 bits |
| seconds  | 60      | length; a live camera goes on for ever without it |
| loop     | 0       | 1: a recording begins again at its end |
| lost     |         | live: `20-35`: gone from 20 s to 35 s after it was first opened; several with commas |

A frame of 640 x 360 costs 0.4 CPU-ms, and 2.9 ms more for each person in the picture: 16 people, 33 ms.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, fields
from math import floor, inf
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import cv2
import numpy as np

from deploy.settings.site_file import suggest
from deploy.sources.source import Pixels, SourceError
from train.datasets.synthetic_site_view import CrowdRenderer

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.manifest import Modality
    from train.datasets.synthetic_material import InfraredKind

RECORDING_S = 60.0
MOST_PEOPLE = 64


@dataclass(frozen=True, kw_only=True)
class SyntheticOptions:
    """What the address says; the fields are its keys."""

    people: int = 4
    seed: int = 0
    size: tuple[int, int] = (640, 360)
    fps: float = 10.0
    live: bool = False
    infrared: InfraredKind = "nir"
    seconds: float | None = None
    loop: bool = False
    lost: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        _check(0 <= self.people <= MOST_PEOPLE, f"people of 0 to {MOST_PEOPLE}", self.people)
        _check(self.seed >= 0, "a seed of 0 or more", self.seed)
        _check(all(64 <= side <= 4096 for side in self.size), "a size of 64x64 to 4096x4096", self.size)
        _check(1 <= self.fps <= 120, "fps of 1 to 120", self.fps)
        _check(self.infrared in ("nir", "thermal"), "infrared of nir or thermal", self.infrared)
        _check(self.seconds is None or 1 <= self.seconds * self.fps < inf, "seconds for a frame or more", self.seconds)
        _check(all(0 <= start < end for start, end in self.lost), "lost as START-END, the lower first", self.lost)
        _check(self.live or not self.lost, "live=1 with lost: a recording cannot be lost", self.lost)
        _check(not (self.live and self.loop), "loop without live=1: a live camera goes on anyway", "both")


class SyntheticSource:
    """Renders frame after frame; a frame is drawn only when it is retrieved."""

    def __init__(
        self,
        query: str,
        modality: Modality,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.options = parse_options(query)
        self.live, self.fps = self.options.live, self.options.fps
        self._modality: Modality = modality
        self._clock, self._sleep = clock, sleep
        self._renderer: CrowdRenderer | None = None
        self._number = -1
        self._opened_s: float | None = None  # for the first time

    def open(self) -> None:
        options = self.options
        if self._opened_s is None:
            self._opened_s = self._clock()
        back_s = self._back_s()
        if back_s is not None:
            raise SourceError(f"synthetic: the camera is lost, for another {back_s:.1f} s", kind="connection")
        self._number = -1
        self._renderer = CrowdRenderer(
            self._modality, people=options.people, seed=options.seed, size_px=options.size, fps=options.fps,
            infrared=options.infrared,
        )  # fmt: skip

    def grab(self) -> bool:
        if self._renderer is None:
            return False
        return self._wait() if self.live else self._advance()

    def stamp_s(self) -> float | None:
        """Return when the picture of a live camera was due: those of two sources are of the same moment."""
        return self._number / self.fps if self.live and self._number >= 0 else None

    def retrieve(self) -> Pixels | None:
        if self._renderer is None or self._number < 0:
            return None
        image, _ = self._renderer.frame(self._number)
        if image.dtype == np.uint16:
            return np.asarray(image, np.uint16)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        self._renderer = None

    def _advance(self) -> bool:
        frames = round((self.options.seconds or RECORDING_S) * self.fps)
        following = self._number + 1
        if following >= frames and not self.options.loop:
            return False
        self._number = following % frames
        return True

    def _wait(self) -> bool:
        """Sleep until the next frame is due; frames that nobody waited for have passed.

        A frame's number counts from the clock's zero, so that sources of one clock agree whenever they were opened.
        """
        now_s = self._clock()
        newest = floor(now_s * self.fps + 1e-6)
        if newest <= self._number:
            newest = self._number + 1
            self._sleep(max(0.0, newest / self.fps - now_s))
        if self._back_s() is not None:
            return False
        seconds = self.options.seconds
        if seconds is not None and self._age_s() >= seconds:
            raise SourceError(f"synthetic: the {seconds:g} s that were asked for are over", kind="ended")
        self._number = newest
        return True

    def _age_s(self) -> float:
        return self._clock() - (self._opened_s or 0.0)

    def _back_s(self) -> float | None:
        """Return in how many seconds a lost camera comes back; None: it is there."""
        age_s = self._age_s()
        return next((end - age_s for start, end in self.options.lost if start <= age_s < end), None)


def parse_options(query: str) -> SyntheticOptions:
    """Read what stands behind `synthetic:`; raise SourceError, permanent, that says what was expected."""
    values: dict[str, Any] = {}
    known = [field.name for field in fields(SyntheticOptions)]
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            raise _mistake(f"unknown key {name!r}{suggest(name, known)}")
        if name in values:
            raise _mistake(f"expected {name} once, got it twice")
        try:
            values[name] = _value(name, text)
        except ValueError as error:
            raise _mistake(f"expected {EXPECTED[name]}, got {name}={text}") from error
    return SyntheticOptions(**values)


EXPECTED = {
    "people": "people=4",
    "seed": "seed=1",
    "size": "size=640x360",
    "fps": "fps=10",
    "live": "live=0 or live=1",
    "infrared": "infrared=nir or infrared=thermal",
    "seconds": "seconds=60",
    "loop": "loop=0 or loop=1",
    "lost": "lost=20-35",
}


def _value(name: str, text: str) -> object:
    match name:
        case "people" | "seed":
            return int(text)
        case "fps" | "seconds":
            return float(text)
        case "size":
            width, height = text.split("x")
            return int(width), int(height)
        case "live" | "loop":
            return ("0", "1").index(text) == 1
        case "lost":
            return tuple(_span(part) for part in text.split(","))
        case _:
            return text


def _span(text: str) -> tuple[float, float]:
    start, end = text.split("-")
    return float(start), float(end)


def _check(right: bool, expected: str, got: object) -> None:
    if not right:
        raise _mistake(f"expected {expected}, got {got}")


def _mistake(reason: str) -> SourceError:
    return SourceError(f"synthetic: {reason}", kind="unsupported")
