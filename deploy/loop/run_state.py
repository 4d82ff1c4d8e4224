"""A picture of a run at one moment, for whoever looks from another thread: metrics, health, the web page.

The loop replaces it about once a second; it never changes afterwards, so that reading needs no lock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from deploy.cameras.state import CameraHealth


class SinkState(NamedTuple):
    queued: int
    lost: int
    trouble: str  # empty: it works


@dataclass(frozen=True, kw_only=True)
class RunState:
    """Counts are totals since the start. `round_s` is the monotonic clock when the loop was last alive."""

    round_s: float
    time_s: float = 0.0
    rounds: int = 0
    frames_per_s: float = 0.0  # of all cameras together
    cameras: tuple[CameraHealth, ...] = ()
    level: int = 0  # deploy.loop.load
    meaning: str = ""
    live_tracks: int = 0
    tracks: dict[str, int] = field(default_factory=dict[str, int])  # by camera
    skipped: dict[str, int] = field(default_factory=dict[str, int])  # frames that were taken and not worked on
    rejects: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])  # by camera and reason
    crops: int = 0  # embedded
    embed_failures: int = 0  # batches
    detect_failures: int = 0  # rounds
    identities: int = 0  # named in this run
    matched_identities: int = 0  # of those, seen in both modalities
    people: int = 0  # in the gallery
    tracklets: int = 0
    sinks: dict[str, SinkState] = field(default_factory=dict[str, SinkState])
    troubles: dict[str, str] = field(default_factory=dict[str, str])  # part and reason, as long as it lasts
    threshold: str = ""  # for people: where identities come from, or why there are none


@dataclass(eq=False)
class Newest:
    """Holds the newest state; the loop puts it here, everybody reads it."""

    state: RunState = field(default_factory=lambda: RunState(round_s=0.0))
