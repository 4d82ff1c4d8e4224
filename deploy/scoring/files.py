"""What is compared when a run is scored: a truth file and a sightings file.

A truth is JSON, as train/make_site.py writes it; boxes are [left, top, width, height] in pixels:

    {"unknowns": [2021], "cameras": {"door-ir": {"modality": "infrared", "place": "door", "fps": 10, "start_s": 0.0,
     "boxes": [{"frame": 0, "identity": 2001, "box": [x, y, w, h]}, ...]}, ...}}

`start_s` is when the camera's frame 0 lies on the clock of the run, `unknowns` are the people who come once. The older
form `{"fps": 10, "cameras": {"visible": [boxes], "infrared": [boxes]}}` is two cameras over the same ground. A run is a
sightings file written with --every-box.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from deploy.sightings import TrackKey
from engines.errors import BadInput
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engines.manifest import Modality


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
        raw = json.loads(path.read_text(encoding="utf-8"))
        cameras: dict[str, TruthCamera] = {}
        boxes: Boxes = defaultdict(list)
        for name, entry in raw["cameras"].items():
            old = isinstance(entry, list)
            table: dict[str, Any] = {"modality": name, "place": "", "fps": raw["fps"], "boxes": entry} if old else entry
            cameras[name] = _camera(table)
            for row in table["boxes"]:
                boxes[Spot(name, int(row["frame"]))].append(Person(int(row["identity"]), _box(row["box"])))
        unknowns = frozenset(int(identity) for identity in raw.get("unknowns", []))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: expected a truth file with cameras, frames, identities and boxes, got {error!r}"
        ) from error
    return Truth(cameras=cameras, boxes=dict(boxes), unknowns=unknowns)


def _camera(table: dict[str, Any]) -> TruthCamera:
    modality, fps = table["modality"], float(table["fps"])
    if modality not in MODALITIES or fps <= 0:
        raise ValueError(f"modality {modality!r} at {fps:g} frames a second")
    return TruthCamera(modality=modality, place=str(table["place"]), fps=fps, start_s=float(table.get("start_s", 0.0)))


def read_run(path: Path) -> Run:
    """Read a sightings file that was written with --every-box."""
    reader = _RunReader()
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            reader.take(json.loads(line))
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
                self.false_match_rate = None if rate is None else float(rate)
            case "box":
                spot = Spot(record["camera"], record["frame"])
                self.boxes[spot].append(Person(record["track"], _box(record["box_px"])))
            case "sighting" | "track":
                # A track has a sighting before its end: a run that was killed leaves no more than that.
                key = TrackKey(record["camera"], record["track"])
                self.modalities[key] = record["modality"]
                self.matched[key] = _track(record.get("matched_track"))
                self._identify(key, record["identity"])
            case "revision":
                self._identify(_track(record["track"]), record["after"])
            case "split":
                self._absorbed.pop(record["after"], None)  # an identity that was absorbed may come back by a split
                self._identify(_track(record["track"]), record["after"])
            case "merge":
                self._merge(record["kept"], record["absorbed"])
            case _:
                pass

    def _identify(self, key: TrackKey | None, identity: int | None) -> None:
        if key is None:
            raise ValueError("a revision or split without a track")
        while identity in self._absorbed:
            identity = self._absorbed[identity]
        self.identities[key] = identity

    def _merge(self, kept: int, absorbed: int) -> None:
        self._absorbed.pop(kept, None)
        self._absorbed[absorbed] = kept
        for key, identity in self.identities.items():
            if identity == absorbed:
                self.identities[key] = kept


def _track(raw: object) -> TrackKey | None:
    if raw is None:
        return None
    table = cast("dict[str, Any]", raw)
    return TrackKey(str(table["camera"]), int(table["track"]))


def _box(raw: Sequence[Any]) -> tuple[float, float, float, float]:
    left, top, width, height = (float(value) for value in raw)
    return left, top, width, height
