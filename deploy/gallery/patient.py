"""A gallery whose disk or server may fail for a while: what the loop writes waits in memory and is written later.

Only what the cameras bring is waited for (enrolments, merges, new numbers). What an operator asks (a name, an erasure)
must happen now or be refused, or he would believe that it had.

Shapes: Q queries, D embedding.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from deploy.cameras.redact import redact
from deploy.gallery import GalleryError, Hit
from engines.errors import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import numpy as np
    from numpy.typing import NDArray

    from deploy.gallery import Gallery, Person, Tracklet
    from engines.manifest import Modality

    Float = NDArray[np.float32]
    Write = Callable[[Gallery], None]

log = logging.getLogger(__name__)

MOST_WAITING = 2000  # tracklets of five rows of 2048 floats: 80 MB
RETRY_S = 5.0
FLUSH_S = 5.0
TIDY_S = 600.0


class Waiting(NamedTuple):
    """What is written later; a tracklet among it is part of its person's past already."""

    what: str
    write: Write
    tracklet: Tracklet | None


class PatientGallery:
    """Behaves as the gallery that it holds; `trouble` says what fails at the moment, `lost` what was given up."""

    def __init__(self, inner: Gallery, clock: Callable[[], float]) -> None:
        self.trouble = ""
        self.lost = 0
        self._inner, self._clock = inner, clock
        self._waiting: deque[Waiting] = deque()
        self._merged: dict[int, int] = {}  # not written yet
        self._last = inner.last_identity
        self._due_s = self._flush_s = 0.0
        self._away, self._away_until_s = False, float("-inf")  # it does not answer; when it is asked again
        self._size = 0
        self._tidy_s = clock() + TIDY_S

    @property
    def model(self) -> str:
        return self._inner.model

    @property
    def dim(self) -> int | None:
        return self._inner.dim

    @property
    def last_identity(self) -> int:
        found: list[int] = []
        if not self._read(lambda: found.append(self._inner.last_identity)):
            raise GalleryError(self.trouble)
        return max(self._last, found[0])

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def tend(self) -> None:
        """Write what waits, when it is time to try again, and flush now and then."""
        now_s = self._clock()
        if self._waiting and now_s >= self._due_s:
            self._write_waiting()
        if now_s >= self._flush_s:
            self._flush_s = now_s + FLUSH_S
            self._try(self._inner.flush)

    def rest(self) -> None:
        """Compact now and then; called when nobody is in the pictures."""
        if self._clock() >= self._tidy_s:
            self._tidy_s = self._clock() + TIDY_S
            self._try(self._inner.tidy)

    def new_identity(self) -> int:
        given: list[int] = []
        if not self._waiting and self._try(lambda: given.append(self._inner.new_identity())):
            self._last = max(self._last, given[0])
            return given[0]
        number = self._last = self.last_identity + 1
        self._put("number", lambda inner: inner.skip(number))
        return number

    def skip(self, last_identity: int) -> None:
        self._inner.skip(last_identity)

    def enrol(self, tracklet: Tracklet) -> None:
        self._write("tracklet", lambda inner: inner.enrol(tracklet), tracklet)

    def merge(self, kept: int, absorbed: int) -> None:
        if not self._write("merge", lambda inner: inner.merge(kept, absorbed)):
            self._merged[absorbed] = kept

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        if self._clock() >= self._away_until_s:
            self._try(lambda: self._inner.keep_face(identity, modality, jpeg, quality))

    def search(
        self, query_QD: Float, modality: Modality, limit: int, *, cameras: Collection[str] | None = None
    ) -> list[list[Hit]]:
        """Return nobody where the search fails; merges that wait count as done."""
        found: list[list[list[Hit]]] = []
        if not self._read(lambda: found.append(self._inner.search(query_QD, modality, limit, cameras=cameras))):
            return [[] for _ in query_QD]
        return [self._follow(hits) for hits in found[0]] if self._merged else found[0]

    def tracklets(self, identity: int) -> list[Tracklet]:
        """Return a person's tracklets, also those that wait to be written."""
        found: list[Tracklet] = []
        numbers = (identity, *(absorbed for absorbed, kept in self._merged.items() if kept == identity))
        for number in numbers:
            self._read(lambda number=number: found.extend(self._inner.tracklets(number)))
        found += [item.tracklet for item in self._waiting if item.tracklet and item.tracklet.identity in numbers]
        return sorted(found, key=lambda tracklet: (tracklet.first_s, tracklet.camera, tracklet.track))

    def people(self) -> list[Person]:
        return self._inner.people()

    def count_people(self) -> int:
        found: list[int] = []
        return found[0] if self._read(lambda: found.append(self._inner.count_people())) else 0

    def rename(self, identity: int, label: str) -> None:
        self._inner.rename(identity, label)

    def face(self, identity: int, modality: Modality) -> bytes | None:
        return self._inner.face(identity, modality)

    def face_quality(self, identity: int, modality: Modality) -> float | None:
        return self._inner.face_quality(identity, modality)

    def expire(self, before_s: float) -> int:
        found: list[int] = []
        return found[0] if self._try(lambda: found.append(self._inner.expire(before_s))) else 0

    def erase(self, identity: int) -> int:
        """Erase now or raise; what waits for the disk goes first, or it would come back with the disk."""
        if self._waiting and not self._write_waiting():
            raise GalleryError(f"nobody can be erased while the gallery cannot be written ({self.trouble})")
        return self._inner.erase(identity)

    def __len__(self) -> int:
        """Return the number of tracklets; where nobody answers, what it was."""
        found: list[int] = []
        if self._read(lambda: found.append(len(self._inner))):
            self._size = found[0]
        return self._size

    def flush(self) -> None:
        if self._waiting:
            self._write_waiting()
        self._try(self._inner.flush)

    def tidy(self) -> None:
        self._inner.tidy()

    def check(self) -> list[str]:
        return self._inner.check()

    def close(self) -> None:
        self.flush()
        if self._waiting:
            log.error("gallery: %d writes are lost at the end (%s)", len(self._waiting), self.trouble)
        self._inner.close()

    def _write(self, what: str, write: Write, tracklet: Tracklet | None = None) -> bool:
        """Write now, in the order of the calls, or later."""
        if not self._waiting and self._try(lambda: write(self._inner)):
            return True
        self._put(what, write, tracklet)
        return False

    def _put(self, what: str, write: Write, tracklet: Tracklet | None = None) -> None:
        if len(self._waiting) >= MOST_WAITING:
            given_up = self._waiting.popleft().what
            self.lost += 1
            if self.lost in (1, 10, 100, 1000):
                log.error("gallery: too much waits to be written; a %s is given up (%d so far)", given_up, self.lost)
        self._waiting.append(Waiting(what, write, tracklet))

    def _write_waiting(self) -> bool:
        self._due_s = self._clock() + RETRY_S
        while self._waiting:
            write = self._waiting[0].write
            if not self._try(lambda write=write: write(self._inner)):
                return False
            self._waiting.popleft()
        self._merged.clear()
        self._recover()
        return True

    def _read(self, work: Callable[[], object]) -> bool:
        """Ask, but not soon again after a failure: a server that is away may take seconds each time to say so."""
        if self._clock() < self._away_until_s:
            return False
        try:
            work()
        except GalleryError as error:
            self._note(error)
            self._away, self._away_until_s = True, self._clock() + RETRY_S
            return False
        # What can be read says nothing of a disk that is full.
        if self._away and not self._waiting:
            self._recover()
        self._away = False
        return True

    def _try(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except GalleryError as error:
            self._note(error)
            return False
        if not self._waiting:
            self._recover()
        return True

    def _note(self, error: GalleryError) -> None:
        if not self.trouble:
            log.error("gallery: %s; what is new waits in memory", redact(first_line(error)))
        self.trouble = redact(first_line(error))

    def _recover(self) -> None:
        if self.trouble:
            log.info("gallery: works again")
        self.trouble = ""

    def _follow(self, hits: list[Hit]) -> list[Hit]:
        best: dict[int, float] = {}
        for hit in hits:
            identity = hit.identity
            while identity in self._merged:
                identity = self._merged[identity]
            best[identity] = max(best.get(identity, -1.0), hit.similarity)
        return [Hit(*item) for item in sorted(best.items(), key=lambda item: (-item[1], item[0]))]
