"""Records and states for tests of what goes out."""

from __future__ import annotations

from typing import Any

from deploy.cameras.state import CameraHealth
from deploy.loop.run_state import RunState, SinkState
from deploy.sightings import Merge, RunStart, Sighting, TrackEnd, TrackKey


def run_start(**changes: Any) -> RunStart:
    fields: dict[str, Any] = {
        "started": "2026-11-21T12:00:00+00:00",
        "cameras": {"visible": {"modality": "visible"}},
        "engine": "fake",
        "model": "0123456789abcdef",
        "method": "mcja",
        "threshold": 0.5,
        "false_match_rate": 0.01,
        "thresholds": "engine",
        "gallery": "memory",
        "embed_every": 10,
    }
    return RunStart(**(fields | changes))


def sighting(**changes: Any) -> Sighting:
    fields: dict[str, Any] = {
        "time_s": 1.23456,
        "frame": 12,
        "camera": "visible",
        "modality": "visible",
        "track": 1,
        "identity": 3,
        "box_px": (1.0, 2.0, 3.0, 4.0),
        "similarity": 0.51239,
        "matched_track": TrackKey("infrared", 1),
    }
    return Sighting(**(fields | changes))


def merge(kept: int = 1) -> Merge:
    return Merge(time_s=0.0, kept=kept, absorbed=9, similarity=None)


def track_end(**changes: Any) -> TrackEnd:
    fields: dict[str, Any] = {
        "camera": "visible",
        "modality": "visible",
        "track": 1,
        "identity": 3,
        "first_s": 0.0,
        "last_s": 2.0,
        "first_frame": 0,
        "last_frame": 20,
        "crops": 2,
        "similarity": None,
        "matched_track": None,
        "rejects": {"edge": 2},
    }
    return TrackEnd(**(fields | changes))


def camera_health(**changes: Any) -> CameraHealth:
    fields: dict[str, Any] = {
        "camera": "visible",
        "state": "running",
        "reason": "",
        "since_s": 0.0,
        "reconnects": 0,
        "frames": 100,
        "dropped": 3,
        "age_s": 0.04,
        "fps": 10.0,
        "notes": (),
    }
    return CameraHealth(**(fields | changes))


def run_state(**changes: Any) -> RunState:
    fields: dict[str, Any] = {
        "round_s": 0.0,
        "rounds": 120,
        "cameras": (camera_health(), camera_health(camera="infrared", state="reconnecting", reason="refused")),
        "live_tracks": 2,
        "tracks": {"visible": 4, "infrared": 3},
        "skipped": {"visible": 1, "infrared": 0},
        "rejects": {"visible": {"edge": 5}, "infrared": {}},
        "crops": 17,
        "identities": 4,
        "matched_identities": 2,
        "people": 9,
        "tracklets": 20,
        "sinks": {"jsonl": SinkState(queued=1, lost=2, trouble="")},
        "meaning": "everything is done",
    }
    return RunState(**(fields | changes))
