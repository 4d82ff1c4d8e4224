"""What a run reports, one JSON object a line; the schema's number stands in the first.

| event    | when | what |
|---|---|---|
| run      | first line of every file | schema, start (UTC), cameras, engine, model, thresholds and their source |
| sighting | per track, at the evidence cadence | where the track is and who it is held to be at that moment |
| revision | a live track changes its identity | before and after |
| merge    | two identities turn out to be one person | the absorbed one's past belongs to the kept one from now on |
| split    | a track parts from an identity that goes on without it | the track, before and after |
| track    | a track has ended | its final identity, span, crops, best match and rejected crops by reason |
| box      | every tracked box, with --every-box | for scoring against a truth |
| camera   | a camera is lost, comes back, freezes | its state and the reason |
| load     | the loop degrades or recovers | the level and what it means |
| trouble  | a part fails, or works again | engine, detector or gallery, and the reason |
| end      | last line | totals of the run |

`time_s` counts from the start of the run (recordings: frame / fps); `started` in the run line makes it absolute.
`box_px` is [left, top, width, height]. A reader who wants final identities takes the `track` lines and follows the
`merge` lines. Within a schema, fields are added and never change their meaning.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from engines.manifest import Modality

SCHEMA = 2  # 1: two cameras; no camera, load, split and trouble lines

Box = tuple[float, float, float, float]


class TrackKey(NamedTuple):
    """A track of a run: its camera and its number there."""

    camera: str
    track: int


@dataclass(frozen=True, kw_only=True)
class RunStart:
    event: ClassVar[str] = "run"
    schema: int = SCHEMA
    started: str  # UTC, ISO 8601
    cameras: dict[str, dict[str, str]]  # by name: modality, band, place, source (no credentials)
    engine: str
    model: str  # engines.model_id
    method: str
    threshold: float | None  # of two tracks that are in the pictures at the same time; null: no identities
    false_match_rate: float | None
    thresholds: str  # where they come from
    gallery: str
    embed_every: int


@dataclass(frozen=True, kw_only=True)
class Sighting:
    event: ClassVar[str] = "sighting"
    time_s: float
    frame: int
    camera: str
    modality: Modality
    track: int
    identity: int | None
    box_px: Box
    similarity: float | None
    matched_track: TrackKey | None


@dataclass(frozen=True, kw_only=True)
class Revision:
    event: ClassVar[str] = "revision"
    time_s: float
    track: TrackKey
    before: int | None
    after: int


@dataclass(frozen=True, kw_only=True)
class Merge:
    event: ClassVar[str] = "merge"
    time_s: float
    kept: int
    absorbed: int
    similarity: float | None


@dataclass(frozen=True, kw_only=True)
class Split:
    event: ClassVar[str] = "split"
    time_s: float
    track: TrackKey
    before: int  # goes on without the track
    after: int


@dataclass(frozen=True, kw_only=True)
class TrackEnd:
    event: ClassVar[str] = "track"
    camera: str
    modality: Modality
    track: int
    identity: int | None
    first_s: float
    last_s: float
    first_frame: int
    last_frame: int
    crops: int
    similarity: float | None
    matched_track: TrackKey | None
    rejects: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TrackedFrame:
    event: ClassVar[str] = "box"
    frame: int
    camera: str
    track: int
    box_px: Box
    score: float


@dataclass(frozen=True, kw_only=True)
class CameraChanged:
    event: ClassVar[str] = "camera"
    time_s: float
    camera: str
    state: str  # deploy.cameras.state
    reason: str


@dataclass(frozen=True, kw_only=True)
class LoadChanged:
    event: ClassVar[str] = "load"
    time_s: float
    level: int  # deploy.loop.load
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Trouble:
    event: ClassVar[str] = "trouble"
    time_s: float
    part: str  # engine, detector, gallery
    reason: str
    over: bool  # True: it works again


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    event: ClassVar[str] = "end"
    reason: str
    seconds: float
    moments: int
    frames: dict[str, int]
    dropped: dict[str, int]
    reconnects: dict[str, int]
    tracks: dict[str, int]
    identities: int
    matched_identities: int  # seen in both modalities
    rejects: dict[str, int]
    embed_failures: int
    detect_failures: int
    lost_records: dict[str, int]  # by sink
    stage_ms: dict[str, float]  # per moment


Record = (
    RunStart
    | Sighting
    | Revision
    | Merge
    | Split
    | TrackEnd
    | TrackedFrame
    | CameraChanged
    | LoadChanged
    | Trouble
    | RunEnd
)


class Sink(Protocol):
    """Takes the records of a run. It never raises and never waits: a full disk does not stop tracking."""

    def write(self, record: Record) -> None: ...


def to_json(record: Record) -> str:
    """Return a record as one line of JSON, the event first; numbers to four decimals."""
    fields = {field.name: _plain(getattr(record, field.name)) for field in dataclasses.fields(record)}
    return json.dumps({"event": record.event, **fields}, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, TrackKey):
        return value._asdict()
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        table = cast("dict[str, Any]", value)
        return {name: _plain(item) for name, item in table.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in cast("tuple[Any, ...]", value)]
    return value
