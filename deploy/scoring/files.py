"""What is compared when a run is scored: a truth file and a sightings file.

A truth is JSON, as train/make_site.py writes it; boxes are [left, top, width, height] in pixels:

    {"unknowns": [2021], "cameras": {"door-ir": {"modality": "infrared", "place": "door", "fps": 10, "start_s": 0.0,
     "boxes": [{"frame": 0, "identity": 2001, "box": [x, y, w, h]}, ...]}, ...}}

`start_s` is when the camera's frame 0 lies on the clock of the run, `unknowns` are the people who come once. The older
form `{"fps": 10, "cameras": {"visible": [boxes], "infrared": [boxes]}}` is two cameras over the same ground. A run is a
sightings file written with --every-box.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from deploy.sightings import TrackKey
from engines.errors import BadInput
from engines.manifest import MODALITIES
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engines.manifest import Modality


FARTHEST = 1e12  # pixels or seconds: further away is no number of ours, and overflows in single precision


class Spot(NamedTuple):
    """A frame of a camera."""

    camera: str
    frame: int


class Person(NamedTuple):
    """A box of somebody: the true identity or the track's number."""

    label: int
    box: tuple[float, float, float, float]


Boxes = dict[Spot, list[Person]]


@dataclass(frozen=True, kw_only=True)
class TruthCamera:
    """A camera as the truth describes it; cameras of one place see the same ground."""

    modality: Modality
    place: str
    fps: float
    start_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Who is where; unknowns are those who come once."""

    cameras: dict[str, TruthCamera]
    boxes: Boxes
    unknowns: frozenset[int] = frozenset()

    def time_s(self, spot: Spot) -> float:
        camera = self.cameras[spot.camera]
        return camera.start_s + spot.frame / camera.fps


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a sightings file says: every tracked box and the final identity of every track (None: none)."""

    boxes: Boxes
    identities: dict[TrackKey, int | None]
    modalities: dict[TrackKey, str] = field(default_factory=dict[TrackKey, str])
    matched: dict[TrackKey, TrackKey | None] = field(default_factory=dict[TrackKey, TrackKey | None])
    false_match_rate: float | None = None  # that the run was asked to keep


def read_truth(path: Path) -> Truth:
    """Read a truth file of either form."""
    try:
        raw: Any = parse_json(path.read_text(encoding="utf-8"))
        cameras: dict[str, TruthCamera] = {}
        boxes: Boxes = defaultdict(list)
        for name, entry in raw["cameras"].items():
            old = isinstance(entry, list)
            table: dict[str, Any] = {"modality": name, "place": "", "fps": raw["fps"], "boxes": entry} if old else entry
            cameras[name] = _camera(table)
            for row in table["boxes"]:
                boxes[Spot(name, _whole(row["frame"]))].append(Person(_whole(row["identity"]), _box(row["box"])))
        unknowns = frozenset(_whole(identity) for identity in raw.get("unknowns", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: expected a truth file with cameras, frames, identities and boxes, got {error!r}"
        ) from error
    return Truth(cameras=cameras, boxes=dict(boxes), unknowns=unknowns)


def _camera(table: dict[str, Any]) -> TruthCamera:
    modality, fps = table["modality"], _number(table["fps"])
    if modality not in MODALITIES or fps <= 0:
        raise ValueError(f"modality {modality!r} at {fps:g} frames a second")
    return TruthCamera(
        modality=modality, place=str(table["place"]), fps=fps, start_s=_number(table.get("start_s", 0.0))
    )


def read_run(path: Path) -> Run:
    """Read a sightings file that was written with --every-box."""
    reader = _RunReader()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            if line != following and following.startswith(line):
                continue  # a full disk cut it short; the whole line follows
            reader.take(cast("dict[str, Any]", parse_json(line)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: expected a sightings file of run_cameras, got {error!r}") from error
    if reader.identities and not reader.boxes:
        raise BadInput(f"{path}: expected a record of every box, found none; run run_cameras with --every-box")
    return Run(
        boxes=dict(reader.boxes),
        identities=reader.identities,
        modalities=reader.modalities,
        matched=reader.matched,
        false_match_rate=reader.false_match_rate,
    )


class _RunReader:
    """Follows the records in their order, so that at the end every track has its final identity."""

    def __init__(self) -> None:
        self.boxes: Boxes = defaultdict(list)
        self.identities: dict[TrackKey, int | None] = {}
        self.modalities: dict[TrackKey, str] = {}
        self.matched: dict[TrackKey, TrackKey | None] = {}
        self.false_match_rate: float | None = None
        self._absorbed: dict[int, int] = {}

    def take(self, record: dict[str, Any]) -> None:
        match record["event"]:
            case "run":
                rate = record.get("false_match_rate")
                self.false_match_rate = None if rate is None else _number(rate)
            case "box":
                spot = Spot(str(record["camera"]), _whole(record["frame"]))
                self.boxes[spot].append(Person(_whole(record["track"]), _box(record["box_px"])))
            case "sighting" | "track":
                # A track has a sighting before its end: a run that was killed leaves no more than that.
                key = TrackKey(str(record["camera"]), _whole(record["track"]))
                self.modalities[key] = str(record["modality"])
                self.matched[key] = _track(record.get("matched_track"))
                self._identify(key, None if record["identity"] is None else _whole(record["identity"]))
            case "revision":
                self._identify(_track(record["track"]), _whole(record["after"]))
            case "split":
                after = _whole(record["after"])
                self._absorbed.pop(after, None)  # an identity that was absorbed may come back by a split
                self._identify(_track(record["track"]), after)
            case "merge":
                self._merge(_whole(record["kept"]), _whole(record["absorbed"]))
            case _:
                pass

    def _identify(self, key: TrackKey | None, identity: int | None) -> None:
        if key is None:
            raise ValueError("a revision or split without a track")
        while identity in self._absorbed:
            identity = self._absorbed[identity]
        self.identities[key] = identity

    def _merge(self, kept: int, absorbed: int) -> None:
        if kept == absorbed:
            raise ValueError(f"a merge of identity {kept} with itself")
        self._absorbed.pop(kept, None)
        self._absorbed[absorbed] = kept
        for key, identity in self.identities.items():
            if identity == absorbed:
                self.identities[key] = kept


def _track(raw: object) -> TrackKey | None:
    if raw is None:
        return None
    table = cast("dict[str, Any]", raw)
    return TrackKey(str(table["camera"]), _whole(table["track"]))


def _box(raw: Sequence[Any]) -> tuple[float, float, float, float]:
    left, top, width, height = (_number(value) for value in raw)
    return left, top, width, height


def _number(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not abs(raw) < FARTHEST:
        raise ValueError(f"{raw!r} in the place of a number")
    return float(raw)


def _whole(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError(f"{raw!r} in the place of a whole number")
    return raw
