"""What the cameras saw in a while, kept to calibrate thresholds without labels: tracks, their embeddings, and which of
them were seen apart or at one spot at the same moments.

A file of NumPy arrays, so that a site's evidence can be calibrated on again, and elsewhere. It holds no picture.

Shapes: T tracks, N embeddings of all tracks, D embedding, P pairs of tracks.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deploy.sightings import TrackKey
from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.manifest import MODALITIES, Modality
from engines.npz_file import read_arrays
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Float = NDArray[np.float32]

FORMAT = 1
AGAIN = "record it again with deploy/calibrate_threshold.py --save-evidence"


@dataclass(frozen=True, kw_only=True, eq=False)
class EvidenceTrack:
    """A track with at least one embedding, in the order in which they were cut. Times on the clock of the run."""

    key: TrackKey
    modality: Modality
    first_s: float
    last_s: float
    embedding_ND: Float
    quality_N: Float


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Two tracks, by their places in the evidence, that were in pictures of the same moments."""

    first: int
    second: int
    apart_s: float  # for so long in two places at once
    at_one_s: float  # for so long at one spot, as the alignment of two cameras tells


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """`grounds` names what each camera sees; cameras of one ground see the same people at the same time."""

    model: str  # engines.model_id
    engine: str
    created: str
    seconds: float
    grounds: Mapping[str, str]
    tracks: tuple[EvidenceTrack, ...]
    meetings: tuple[Meeting, ...]
    left_out: int = 0  # tracks for which there was no room

    def save(self, path: Path) -> None:
        """Write the file whole or not at all."""
        about = {
            "format": FORMAT,
            "model": self.model,
            "engine": self.engine,
            "created": self.created,
            "seconds": self.seconds,
            "left_out": self.left_out,
            "grounds": dict(self.grounds),
            "tracks": [[*track.key, track.modality, track.first_s, track.last_s] for track in self.tracks],
        }
        rows = [track.embedding_ND for track in self.tracks]
        try:
            with atomic_path(path, private=True) as temporary, temporary.open("wb") as file:
                np.savez(
                    file,
                    about=np.array(json.dumps(about)),
                    embedding_ND=np.concatenate(rows) if rows else np.empty((0, 1), np.float32),
                    quality_N=np.concatenate([np.empty(0, np.float32), *(track.quality_N for track in self.tracks)]),
                    count_T=np.array([len(row_ND) for row_ND in rows], np.int64),
                    meeting_P4=np.array(
                        [(m.first, m.second, m.apart_s, m.at_one_s) for m in self.meetings], np.float64
                    ).reshape(-1, 4),
                )
        except OSError as error:
            raise BadInput(f"could not write {path}: {error}; free some disk or name another file") from error


def load_evidence(path: Path) -> Evidence:
    """Read a file of `save`; every defect is one line."""
    if not path.is_file():
        raise BadInput(f"--evidence: expected a file of recorded evidence, found none at {path}; {AGAIN}")
    try:
        arrays = read_arrays(path)
        about: object = parse_json(str(arrays["about"]))
        return _evidence(cast("dict[str, Any]", about), arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"{path}: expected recorded evidence, got a file that cannot be read ({error}); {AGAIN}"
        ) from error


def _evidence(about: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Evidence:
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']!r} instead of {FORMAT}")
    embedding_ND, quality_N, count_T = (arrays[name] for name in ("embedding_ND", "quality_N", "count_T"))
    meeting_P4 = arrays["meeting_P4"]
    forms = ((embedding_ND, 2, "f"), (quality_N, 1, "f"), (count_T, 1, "i"), (meeting_P4, 2, "f"))
    if any(array.ndim != axes or array.dtype.kind != kind for array, axes, kind in forms):
        raise ValueError("parts of other shapes or kinds")
    listed: list[list[Any]] = about["tracks"]
    if len(listed) != len(count_T) or (count_T < 1).any() or (count_T > len(embedding_ND)).any():
        raise ValueError(f"{len(listed)} tracks with {len(count_T)} counts")
    if not len(embedding_ND) == len(quality_N) == count_T.sum():
        raise ValueError(f"{len(embedding_ND)} embeddings, {len(quality_N)} qualities, {count_T.sum()} counted")
    if not all(np.isfinite(array).all() for array in (embedding_ND, quality_N, meeting_P4)):
        raise ValueError("an embedding is not finite")
    ends = np.cumsum(count_T)[:-1]
    rows = zip(np.split(embedding_ND, ends), np.split(quality_N, ends), strict=True)
    grounds: dict[str, str] = {str(camera): str(ground) for camera, ground in about["grounds"].items()}
    tracks = tuple(_track(values, *row, grounds) for values, row in zip(listed, rows, strict=True)) if listed else ()
    meetings = tuple(
        Meeting(first=int(first), second=int(second), apart_s=apart, at_one_s=at_one)
        for first, second, apart, at_one in meeting_P4.tolist()
    )
    if any(not 0 <= m.first < len(tracks) or not 0 <= m.second < len(tracks) for m in meetings):
        raise ValueError("a meeting of tracks that are not there")
    words = {name: str(about[name]) for name in ("model", "engine", "created")}
    return Evidence(
        seconds=_seconds(about["seconds"]),
        grounds=grounds,
        tracks=tracks,
        meetings=meetings,
        left_out=_whole(about["left_out"]),
        **words,
    )


def _track(values: list[Any], embedding_ND: Float, quality_N: Float, grounds: Mapping[str, str]) -> EvidenceTrack:
    camera, number, modality, first_s, last_s = values
    if modality not in MODALITIES or camera not in grounds:
        raise ValueError(f"a track of camera {camera!r}, modality {modality!r}")
    return EvidenceTrack(
        key=TrackKey(camera, _whole(number)),
        modality=modality,
        first_s=_seconds(first_s),
        last_s=_seconds(last_s),
        embedding_ND=np.asarray(embedding_ND, np.float32),
        quality_N=np.asarray(quality_N, np.float32),
    )


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("parts of other shapes or kinds")
    return value


def _seconds(value: object) -> float:
    seconds = float(cast("float", value))
    if not math.isfinite(seconds):
        raise ValueError("a time is not finite")
    return seconds
