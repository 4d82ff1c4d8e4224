"""Hold a parser to its promise: a value, or BadInput in one line; soon, in little memory. Every case is counted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import resource
import signal
import time
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from calib.directions import Direction, Measured
from calib.impostors import Tail
from calib.ranges import RangeMethod
from deploy.settings.site_plan import CameraSite, PairSite, Transit
from deploy.sightings import TrackKey
from engines.errors import BadInput
from engines.manifest import Modality

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Value = TypeVar("Value")

LONGEST_LINE = 1200  # letters of a message
MOST_CPU_S = 5.0  # of one case; CPU time, for the machine may be busy. The slowest whole case was 0.3 s
MOST_MEMORY = 1 << 30  # bytes beyond what the process has mapped; a parser of kilobytes needs megabytes
PAGE = os.sysconf("SC_PAGE_SIZE")
# What modules import for their annotations alone.
NAMES = {item.__name__: item for item in (CameraSite, Mapping, Measured, PairSite, Path, Tail, TrackKey, Transit)} | {
    "Direction": Direction,
    "Modality": Modality,
    "RangeMethod": RangeMethod,
}


@dataclass
class Tally:
    """What was tried on one parser."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    slowest_ms: float = 0.0


TALLIES: dict[str, Tally] = {}


class Hang(BaseException):
    """No parser can swallow it."""


def attempt(
    parser: str, call: Callable[[], Value], refusals: tuple[type[Exception], ...] = (BadInput,)
) -> Value | None:
    """Return what the parser makes of a case, or None where it refuses it in one line; anything else is a failure."""
    tally = TALLIES.setdefault(parser, Tally())
    tally.cases += 1
    start_s = time.thread_time()
    try:
        with bounded():
            value = call()
    except refusals as error:
        check_line(str(error))
        tally.refused += 1
        return None
    finally:
        tally.slowest_ms = max(tally.slowest_ms, 1000 * (time.thread_time() - start_s))
    tally.accepted += 1
    return value


def count(parser: str, *, accepted: bool) -> None:
    """Count a case whose promise a test checks by itself."""
    tally = TALLIES.setdefault(parser, Tally())
    tally.cases += 1
    tally.accepted += accepted
    tally.refused += not accepted


def check_line(text: str) -> None:
    assert text, "a refusal without words"
    assert text.isprintable(), f"a refusal with control characters: {text!r}"
    assert len(text) <= LONGEST_LINE, f"a refusal of {len(text)} letters: {text[:200]!r}"


@contextlib.contextmanager
def bounded() -> Generator[None]:
    """Raise Hang after MOST_CPU_S, and let allocations beyond MOST_MEMORY fail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    before = signal.signal(signal.SIGVTALRM, _ring)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MOST_MEMORY, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, MOST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _ring(number: int, frame: object) -> None:
    raise Hang(f"no answer in {MOST_CPU_S:g} s of CPU time")


def check_types(value: object) -> None:
    """Hold a dataclass, and those inside it, to its annotations: what is of another kind fails later, elsewhere."""
    for name, hint in typing.get_type_hints(type(value), localns=NAMES).items():
        if name in {field.name for field in dataclasses.fields(typing.cast("Any", value))}:
            found = getattr(value, name)
            assert _fits(found, hint), f"{type(value).__name__}.{name}: expected {hint}, got {found!r:.80}"


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if origin is tuple and parts[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    if origin is tuple:
        return isinstance(value, tuple) and len(value) == len(parts) and all(map(_fits, value, parts))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return all(_fits(key, parts[0]) and _fits(item, parts[1]) for key, item in value.items())
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, hint):
        check_types(value)
        return True
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)
