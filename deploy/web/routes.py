"""What is served where. Times are absolute seconds (of recordings: from their start), boxes left, top, width, height.

| address | answer |
|---|---|
| GET / , /page.css , /page.js | the page |
| GET /live/CAMERA.jpg ?after=V | the newest picture, people marked; header X-Picture is its number; 204 where none is newer than V |
| GET /live/CAMERA.mjpg ?fps=N | the same as a stream (`deploy.web.streams`) |
| GET /api/state | STATE below |
| GET /api/people ?text= &limit= | {people: [PERSON], total}: who is in the pictures now, then by last seen |
| GET /api/people/ID | PERSON with across (best cosine of what visible and infrared cameras saw) and stays: [STAY] |
| GET /api/people/ID/visible.jpg , infrared.jpg | the face |
| GET /api/timeline ?since= &limit= | {now_s, stays: [STAY], gaps: [{camera, state, reason, first_s, last_s or null}]} |
| POST /api/search ?modality= &person= | body: a picture. {width, height, boxes, chosen, people, least: {visible, infrared}, hits: [HIT]} |
| POST /api/enrol | body: {name, pictures: [{modality, data (base64), person}], id} or {name, track: {camera, track}}. {person: PERSON, similar: [HIT]} |
| POST /api/people/ID/name | body: {name}; an empty one takes it away. PERSON |
| POST /api/merge | body: {kept, absorbed}. PERSON |
| DELETE /api/people/ID | {id, tracklets, stays}: how many were erased |
| GET /metrics | Prometheus text |
| GET /healthz , /readyz | 200 or 503 and a line of text; without the token only the status |

STATE: engine, threshold (text), recording, now_s, silent_s (since the loop last turned), ready, problems: [text], remarks: [text],
fps, load: {level, meaning}, counts: {identities, matched, people, tracklets, live_tracks}, tracks: [STAY],
cameras: [{name, modality, band, place, state (deploy.cameras.state), reason, since_s, fps, frames, dropped, reconnects, age_s, notes, people, picture}].
PERSON: id, label, colour, enrolled, first_s, last_s, cameras, modalities, tracklets, here (cameras that see him now), similarity, faces: {visible, infrared} (digits that change with the picture, or null).
STAY: camera, modality, track, id, colour, first_s, last_s, similarity, live. HIT: person, visible, infrared (cosines or null), above (true, false; null: not calibrated).

Errors are {error: one line}: 400 cannot be used, 401 no token, 403 not from here, 404 nothing there, 413 too large, 503 the loop does
not answer in time. Fields are added and never change their meaning.
"""  # noqa: E501

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from deploy.sightings import TrackKey
from deploy.web.answers import (
    Answer,
    detail_json,
    enrolled_json,
    error_answer,
    json_answer,
    person_json,
    search_json,
    state_json,
    timeline_json,
)
from deploy.web.desk_people import Unknown
from deploy.web.desk_views import Picture
from deploy.web.reading import (
    query_limit,
    query_number,
    query_seconds,
    read_integer,
    read_modality,
    read_object,
    read_pictures,
    read_text,
)
from deploy.web.uploads import decode_picture
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.web.page_state import PageState
    from deploy.web.reading import Request

Result = TypeVar("Result")

READ_S = 2.0  # the loop answers between two moments: 0.05 s at 20 frames a second
WORK_S = 15.0  # a picture through detector and network
MOST_LISTED = 1000
HERE = Path(__file__).resolve().parent
ASSETS = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


def answer(page: PageState, request: Request) -> Answer:
    """Answer a request that may be answered; what cannot be used raises BadInput, what is not there Unknown."""
    methods: set[str] = set()
    for method, pattern, handle in ROUTES:
        match = pattern.fullmatch(request.path)
        if match is None:
            continue
        if method == request.method:
            return handle(page, request, match)
        methods.add(method)
    if methods:
        refusal = error_answer(405, f"expected {' or '.join(sorted(methods))} here, got {request.method}")
        return Answer(status=405, body=refusal.body, headers={"Allow": ", ".join(sorted(methods))})
    return error_answer(404, "nothing is here")


def asset(path: str) -> Answer:
    name, content_type = ASSETS[path]
    return Answer(body=(HERE / name).read_bytes(), content_type=content_type)


def _asset(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    return asset(request.path)


def _no_icon(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    return Answer(status=204)  # every browser asks


def _picture(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    name = match["camera"]
    if name not in {camera.name for camera in page.cameras}:
        raise Unknown(f"expected a camera out of {', '.join(c.name for c in page.cameras)}, got {name!r}")
    after = query_number(request.query, "after", 0)
    if page.tiles.version(name) <= after:
        return Answer(status=204)
    tile = page.tiles.newest(name)
    if tile is None:
        return Answer(status=204)
    return Answer(body=tile.jpeg, content_type="image/jpeg", headers={"X-Picture": str(tile.version)})


def _state(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    return json_answer(state_json(page))


def _people(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    text, limit = request.query.get("text", ""), query_limit(request.query, 200, MOST_LISTED)
    found = _ask(page, lambda: page.desk.people(text, limit))
    return json_answer({"people": [person_json(person) for person in found.people], "total": found.total})


def _person(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    return json_answer(detail_json(_ask(page, lambda: page.desk.person(int(match["id"])))))


def _face(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    identity, modality = int(match["id"]), read_modality(match["modality"])
    jpeg = _ask(page, lambda: page.desk.face(identity, modality))
    if jpeg is None:
        raise Unknown(f"there is no {modality} picture of person {identity}")
    return Answer(body=jpeg, content_type="image/jpeg")


def _timeline(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    since_s = query_seconds(request.query, "since")
    stays = page.timeline.stays(since_s=since_s, limit=query_limit(request.query, MOST_LISTED, MOST_LISTED))
    now_s = page.timeline.origin_s + page.state().time_s
    return json_answer(timeline_json(stays, page.timeline.gaps(since_s), now_s))


def _search(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    modality, person = read_modality(request.query.get("modality", "")), query_number(request.query, "person", 0)
    picture = Picture(decode_picture(request.body, "search"), modality, person)
    return json_answer(search_json(_ask(page, lambda: page.desk.search(picture), WORK_S)))


def _enrol(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    wish = read_object(request)
    name = read_text(wish, "name")
    if "track" in wish:
        track: object = wish["track"]
        if not isinstance(track, dict):
            raise BadInput(f"expected track: {{camera, track}}, got {type(track).__name__}")
        place = cast("dict[str, Any]", track)
        key = TrackKey(read_text(place, "camera"), read_integer(place, "track"))
        enrolled = _change(page, lambda: page.desk.enrol_track(key, name))
    else:
        pictures = read_pictures(wish.get("pictures"))
        identity = read_integer(wish, "id") if wish.get("id") is not None else None
        enrolled = _change(page, lambda: page.desk.enrol(name, pictures, identity))
    return json_answer(enrolled_json(enrolled))


def _name(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    name = read_text(read_object(request), "name")
    person = _change(page, lambda: page.desk.rename(int(match["id"]), name))
    return json_answer(person_json(person))


def _merge(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    wish = read_object(request)
    kept, absorbed = read_integer(wish, "kept"), read_integer(wish, "absorbed")
    person = _change(page, lambda: page.desk.merge(kept, absorbed))
    return json_answer(person_json(person))


def _erase(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    erased = _change(page, lambda: page.desk.erase(int(match["id"])))
    return json_answer({"id": erased.identity, "tracklets": erased.tracklets, "stays": erased.stays})


def _metrics(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    if page.metrics_text is None:
        raise Unknown("this run measures nothing")
    return Answer(body=page.metrics_text(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _health(page: PageState, request: Request, match: re.Match[str]) -> Answer:
    fine, reason = page.healthz() if request.path == "/healthz" else page.readyz()
    text = reason if request.trusted else ("ok" if fine else "failed")
    return Answer(status=200 if fine else 503, body=f"{text}\n".encode(), content_type="text/plain; charset=utf-8")


ROUTES: tuple[tuple[str, re.Pattern[str], Callable[[PageState, Request, re.Match[str]], Answer]], ...] = (
    ("GET", re.compile(r"/|/page\.css|/page\.js"), _asset),
    ("GET", re.compile(r"/favicon\.ico"), _no_icon),
    ("GET", re.compile(r"/live/(?P<camera>[A-Za-z0-9_-]{1,64})\.jpg"), _picture),
    ("GET", re.compile(r"/api/state"), _state),
    ("GET", re.compile(r"/api/people"), _people),
    ("GET", re.compile(r"/api/people/(?P<id>\d{1,15})"), _person),
    ("DELETE", re.compile(r"/api/people/(?P<id>\d{1,15})"), _erase),
    ("GET", re.compile(r"/api/people/(?P<id>\d{1,15})/(?P<modality>visible|infrared)\.jpg"), _face),
    ("POST", re.compile(r"/api/people/(?P<id>\d{1,15})/name"), _name),
    ("GET", re.compile(r"/api/timeline"), _timeline),
    ("POST", re.compile(r"/api/search"), _search),
    ("POST", re.compile(r"/api/enrol"), _enrol),
    ("POST", re.compile(r"/api/merge"), _merge),
    ("GET", re.compile(r"/metrics"), _metrics),
    ("GET", re.compile(r"/healthz|/readyz"), _health),
)


def _ask(page: PageState, question: Callable[[], Result], timeout_s: float | None = None) -> Result:
    return page.mailbox.ask(question, READ_S if timeout_s is None else timeout_s)


def _change(page: PageState, change: Callable[[], Result]) -> Result:
    """Ask for a change; the pictures get the names that hold afterwards."""
    result, page.tiles.names = _ask(page, lambda: (change(), page.desk.names()), WORK_S)
    return result
