"""Answers of the server, and the run's values as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from deploy.drawing.display import colour_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.cameras.state import CameraHealth
    from deploy.loop.run_state import RunState
    from deploy.settings.site_plan import CameraSite
    from deploy.web.desk_views import Enrolled, PersonDetail, PersonView, SearchHit, SearchResult
    from deploy.web.page_state import PageState
    from deploy.web.timeline import Gap, Stay

Json: TypeAlias = "dict[str, Json] | list[Json] | str | float | int | bool | None"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One complete answer. Nothing is kept by a browser, but where `headers` say so."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def json_answer(value: Json, status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps(value, allow_nan=False).encode())


def error_answer(status: int, reason: str) -> Answer:
    return json_answer({"error": reason}, status)


def state_json(page: PageState) -> Json:
    state = page.state()
    health = {camera.camera: camera for camera in state.cameras}
    people: dict[str, int] = {}
    live = page.timeline.stays(live=True)
    for stay in live:
        people[stay.camera] = people.get(stay.camera, 0) + 1
    ready, reason = page.readyz()
    silent_s = max(0.0, page.clock() - state.round_s)
    return {
        "engine": page.engine,
        "threshold": state.threshold,
        "recording": page.recording,
        "now_s": page.timeline.origin_s + state.time_s + (0.0 if page.recording else silent_s),
        "silent_s": round(silent_s, 2),
        "ready": ready,
        "problems": [] if ready else list[Json](reason.split("; ")),
        "remarks": list[Json](page.remarks()),
        "fps": round(state.frames_per_s, 1),
        "load": {"level": state.level, "meaning": state.meaning},
        "counts": _counts(state),
        "cameras": [
            _camera(site, health.get(site.name), people.get(site.name, 0), page.tiles.version(site.name))
            for site in page.cameras
        ],
        "tracks": [stay_json(stay) for stay in live],
    }


def person_json(person: PersonView) -> dict[str, Json]:
    return {
        "id": person.identity,
        "label": person.label,
        "colour": colour_json(person.identity),
        "enrolled": person.enrolled,
        "first_s": person.first_s,
        "last_s": person.last_s,
        "cameras": list[Json](person.cameras),
        "modalities": list[Json](person.modalities),
        "tracklets": person.tracklets,
        "here": list[Json](person.here),
        "similarity": _rounded(person.similarity),
        "faces": {"visible": person.visible_face, "infrared": person.infrared_face},
    }


def detail_json(detail: PersonDetail) -> Json:
    return {
        **person_json(detail.person),
        "across": _rounded(detail.across),
        "stays": [stay_json(stay) for stay in detail.stays],
    }


def search_json(result: SearchResult) -> Json:
    return {
        "width": result.width_px,
        "height": result.height_px,
        "boxes": [[round(value, 1) for value in box] for box in result.boxes],
        "chosen": result.chosen,
        "people": result.people,
        "least": {"visible": _rounded(result.least_visible), "infrared": _rounded(result.least_infrared)},
        "hits": _hits(result.hits),
    }


def enrolled_json(enrolled: Enrolled) -> Json:
    return {"person": person_json(enrolled.person), "similar": _hits(enrolled.similar)}


def timeline_json(stays: Sequence[Stay], gaps: Sequence[Gap], now_s: float) -> Json:
    return {
        "now_s": now_s,
        "stays": [stay_json(stay) for stay in stays],
        "gaps": [
            {"camera": g.camera, "state": g.state, "reason": g.reason, "first_s": g.first_s, "last_s": g.last_s}
            for g in gaps
        ],
    }


def stay_json(stay: Stay) -> dict[str, Json]:
    return {
        "camera": stay.camera,
        "modality": stay.modality,
        "track": stay.track,
        "id": stay.identity,
        "colour": colour_json(stay.identity),
        "first_s": round(stay.first_s, 3),
        "last_s": round(stay.last_s, 3),
        "similarity": _rounded(stay.similarity),
        "live": stay.live,
    }


def colour_json(identity: int | None) -> str:
    """Return the colour of a person's boxes in the pictures."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(identity))


def _hits(hits: Sequence[SearchHit]) -> list[Json]:
    return [
        {
            "person": person_json(hit.person),
            "visible": _rounded(hit.visible),
            "infrared": _rounded(hit.infrared),
            "above": hit.above,
        }
        for hit in hits
    ]


def _counts(state: RunState) -> Json:
    return {
        "identities": state.identities,
        "matched": state.matched_identities,
        "people": state.people,
        "tracklets": state.tracklets,
        "live_tracks": state.live_tracks,
    }


def _camera(site: CameraSite, health: CameraHealth | None, people: int, version: int) -> Json:
    return {
        "name": site.name,
        "modality": site.modality,
        "band": site.band,
        "place": site.place,
        "state": health.state if health else "opening",
        "reason": health.reason if health else "",
        "since_s": health.since_s if health else 0.0,
        "fps": round(health.fps, 1) if health else 0.0,
        "frames": health.frames if health else 0,
        "dropped": health.dropped if health else 0,
        "reconnects": health.reconnects if health else 0,
        "age_s": round(health.age_s, 1) if health and health.age_s is not None else None,
        "notes": list[Json](health.notes) if health else [],
        "people": people,
        "picture": version,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 4)
