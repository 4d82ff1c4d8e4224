"""A recording at the speed of life: a live camera's stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.sources.source import Pixels, Source, failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings.site_plan import CameraSite


MOST_SKIPPING_S = 0.5


class PacedSource:
    """Frame n comes n / fps after the start, and what nobody took in time has passed, as with a camera.

    Recordings that belong together need one start_s: each opens at its own pace, and without it they would stay
    apart by as much. None: the first grab. At the end grab() raises SourceError "ended".
    """

    live = True

    def __init__(
        self,
        source: Source,
        site: CameraSite,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        start_s: float | None,
    ) -> None:
        self._source, self._site = source, site
        self._clock, self._sleep, self._given_start_s = clock, sleep, start_s
        self._start_s, self._count = start_s, 0
        self._due_s: float | None = None

    @property
    def fps(self) -> float:
        return self._source.fps

    def open(self) -> None:
        self._source.open()
        self._start_s, self._count = self._given_start_s, 0

    def grab(self) -> bool:
        if self._source.live:  # an http:// address, which only its answer tells
            return self._source.grab()
        began_s = self._clock()
        while True:
            if not self._source.grab():
                raise failure(self._site, "the recording is over", "ended")
            start_s = self._start_s = self._clock() if self._start_s is None else self._start_s
            self._due_s = start_s + self._count / self.fps
            wait_s = self._due_s - self._clock()
            self._count += 1
            # Where decoding is slower than the recording, it is never in time: then a late picture is better than none.
            if wait_s > -1 / self.fps or self._clock() - began_s >= MOST_SKIPPING_S:
                break
        if wait_s > 0:
            self._sleep(wait_s)
        return True

    def stamp_s(self) -> float | None:
        """Return when the picture was due: two recordings keep step better than two threads do."""
        return None if self._source.live else self._due_s

    def retrieve(self) -> Pixels | None:
        return self._source.retrieve()

    def close(self) -> None:
        self._source.close()
