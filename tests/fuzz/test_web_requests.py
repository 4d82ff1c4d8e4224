"""Raw bytes, addresses, fields and bodies to the real server over the loopback: an answer in HTTP or a closed line."""

from __future__ import annotations

import base64
import http.client
import io
import json
import logging
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.web import handler
from deploy.web.access import Access, is_loopback
from deploy.web.handler import HEADERS
from deploy.web.reading import Request, read_object, read_pictures
from tests.fuzz.harness import attempt, check_line, count
from tests.fuzz.mutations import WORDS, changed_bytes, json_bytes
from tests.fuzz.test_binary_files import PICTURES
from tests.web_run import WebRun

if TYPE_CHECKING:
    from collections.abc import Generator

    from deploy.web.server import WebServer

PATHS = (
    "/", "/page.js", "/favicon.ico", "/live/door.jpg?after=1", "/api/state", "/api/people?text=a&limit=5",
    "/api/people/1", "/api/people/1/visible.jpg", "/api/people/99999999999999999999/name", "/api/timeline?since=nan",
    "/api/timeline?since=1e999&limit=-1", "/api/search?modality=visible&person=0", "/api/enrol", "/api/merge",
    "/healthz", "/readyz", "/metrics", "/live/..%2f..%2fetc%2fpasswd.jpg", "/live/nowhere.mjpg", "/?token=x",
)  # fmt: skip
FIELDS = (
    "Host: localhost", "Host: 127.0.0.1:80", "Host: evil.example", "Host:", "Content-Length: 5",
    "Content-Length: 00005", "Content-Length: -5", "Content-Length: ٥", "Transfer-Encoding: chunked",
    "Expect: 100-continue", "Connection: close", "Connection: keep-alive", "Origin: http://localhost", "Origin: null",
    "Authorization: Bearer x", "Authorization: Basic", 'Cookie: a="\\777"; b=;; =', "Sec-Fetch-Site: cross-site",
    "Range: bytes=0-", "Upgrade: h2c", " folded", ": empty",
)  # fmt: skip
ENROL: dict[str, Any] = {
    "name": "Ada",
    "pictures": [{"modality": "visible", "data": base64.b64encode(PICTURES["png"]).decode(), "person": 0}],
    "id": 1,
    "track": {"camera": "door", "track": 7},
}
ALLOWED = {200, 204, 400, 401, 403, 404, 405, 408, 411, 413, 414, 429, 431, 501, 503, 505}


@pytest.fixture(scope="module")
def web() -> Generator[WebServer]:
    run = WebRun().populate().start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handler, "IDLE_S", 5.0)
        patch.setattr(handler, "DRAIN_S", 0.05)
        with run.serve() as web:
            yield web
    run.close()


class Watch(logging.Handler):
    """Holds what the server logged as a failure inside."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture(scope="module")
def failures() -> Generator[list[logging.LogRecord]]:
    watch = Watch()
    logging.getLogger("deploy.web").addHandler(watch)
    yield watch.records
    logging.getLogger("deploy.web").removeHandler(watch)


def exchange(web: WebServer, content: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Send bytes and return every answer until the server closes the line; behind a HEAD the first one alone."""
    answers: list[tuple[int, dict[str, str], bytes]] = []
    address = ("127.0.0.1", web.address.port)
    with socket.create_connection(address, timeout=10) as client, client.makefile("rb") as reader:
        try:
            client.sendall(content)
            client.shutdown(socket.SHUT_WR)
            while line := reader.readline():
                assert line.startswith(b"HTTP/1.1 "), line
                status, headers = int(line.split()[1]), dict(http.client.parse_headers(reader).items())
                if b"HEAD" in content:
                    return [(status, headers, b"")]
                answers.append((status, headers, reader.read(int(headers.get("Content-Length", 0)))))
        except ConnectionError:  # refused before all of it was read
            pass
    return answers


def check(answers: list[tuple[int, dict[str, str], bytes]]) -> None:
    for status, headers, body in answers:
        if status == 100:
            continue
        assert status in ALLOWED, (status, body)
        assert {name: headers.get(name) for name in HEADERS} == HEADERS
        if status >= 400 and headers.get("Content-Type") == "application/json" and body:
            check_line(json.loads(body)["error"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(("GET",) * 9 + ("HEAD", "POST", "DELETE", "PUT", "TRACE", "get", "", "G\0T")))
    path = draw(
        st.sampled_from(PATHS)
        | st.sampled_from(PATHS)
        | st.sampled_from(PATHS).flatmap(lambda text: changed_bytes(text.encode(), 2))
    )
    path = path if isinstance(path, bytes) else path.encode()
    version = draw(st.sampled_from(("HTTP/1.1",) * 12 + ("HTTP/1.0", "HTTP/0.9", "HTTP/9.9", "HTTP", "")))
    fields = draw(st.one_of(st.just([]), st.lists(st.sampled_from(FIELDS), max_size=4)))
    lines = [*(["Host: localhost"] if draw(st.integers(0, 6)) else []), *fields]
    head = method.encode() + b" " + path.replace(b"\n", b"") + b" " + version.encode()
    return b"\r\n".join([head, *(line.encode() for line in lines), b"", draw(st.binary(max_size=12))])


@given(
    content=st.one_of(
        requests(),
        requests().flatmap(changed_bytes),
        st.binary(max_size=60),
        st.lists(requests(), min_size=2, max_size=3).map(b"".join),
    )
)
def test_raw_bytes(web: WebServer, failures: list[logging.LogRecord], content: bytes) -> None:
    answers = exchange(web, content)
    check(answers)
    assert not failures, failures[0].getMessage()
    count("web: raw request", accepted=any(status < 400 for status, _, _ in answers))


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@given(
    path=st.sampled_from(("/api/enrol", "/api/merge", "/api/people/1/name")),
    body=json_bytes(ENROL)
    | json_bytes({"kept": 1, "absorbed": 2})
    | json_bytes({"name": "Ada"})
    | st.binary(max_size=40),
)
def test_bodies_of_json(web: WebServer, failures: list[logging.LogRecord], path: str, body: bytes) -> None:
    answers = exchange(web, post(path, body))
    assert len(answers) == 1
    check(answers)
    assert not failures, failures[0].getMessage()
    count("web: JSON body", accepted=answers[0][0] == 200)


@given(
    content=st.sampled_from(sorted(PICTURES)).flatmap(lambda name: changed_bytes(PICTURES[name]))
    | st.binary(max_size=60),
    query=st.sampled_from(
        ("modality=visible", "modality=infrared&person=1", "modality=%00", "person=%D9%A3&modality=visible")
    ),
)
def test_uploads(web: WebServer, failures: list[logging.LogRecord], content: bytes, query: str) -> None:
    answers = exchange(web, post(f"/api/search?{query}", content))
    assert len(answers) == 1
    check(answers)
    assert not failures, failures[0].getMessage()
    count("web: upload", accepted=answers[0][0] == 200)


@given(body=json_bytes(ENROL))
def test_the_pictures_of_somebody_who_is_enrolled(body: bytes) -> None:
    wish = attempt("web: JSON object", lambda: read_object(Request(method="POST", path="/api/enrol", body=body)))
    if wish is not None:
        attempt("web: pictures in JSON", lambda: read_pictures(wish.get("pictures")))


HEADER_TEXT = st.sampled_from(WORDS).filter(lambda text: "\ud800" not in text) | st.text(max_size=20)


@given(
    host=HEADER_TEXT | st.sampled_from(("localhost", "[::1]:80", "127.0.0.1", "LOCALHOST:", "[", "::1", "localhost.")),
    cookie=HEADER_TEXT | st.sampled_from(("crosslight-80=x", 'crosslight-80="\\', "=;=;", "a" * 5000)),
    bearer=HEADER_TEXT,
    origin=HEADER_TEXT,
    method=st.sampled_from(("GET", "POST")),
)
def test_who_may_ask(host: str, cookie: str, bearer: str, origin: str, method: str) -> None:
    headers = {"Host": host, "Cookie": cookie, "Authorization": f"Bearer {bearer}", "Origin": origin}
    locked = attempt("web: access", lambda: Access("a-token-of-twenty-signs", 80).refuse(method, headers, ""), ())
    assert locked is not None
    assert locked.status == 401
    open_ = attempt("web: access", lambda: (Access(None, 80).refuse(method, headers, ""),), ())
    assert open_ is not None
    if open_[0] is None:
        name = host.strip("[]") if host.startswith("[") and host.endswith("]") else host.rpartition(":")[0] or host
        assert is_loopback(name.strip("[]")) or is_loopback(host)


def test_a_bomb_is_refused_by_its_size(web: WebServer) -> None:
    """Ten thousand by ten thousand pixels of one colour are 12 kB."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(out, "PNG")
    assert len(out.getvalue()) < 20_000
    answers = exchange(web, post("/api/search?modality=visible", out.getvalue()))
    assert answers[0][0] == 400
    assert b"megapixels at most, got 10000 x 10000" in answers[0][2]
    count("web: upload", accepted=False)
