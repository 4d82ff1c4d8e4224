"""The port before somebody who means harm: odd requests, sizes, guesses, slow readers, other sites."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
import time
import warnings
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from deploy.web import access, handler, server, uploads
from deploy.web.access import Access, Guesses
from deploy.web.handler import HEADERS
from deploy.web.socket_files import Prompt
from engines.errors import BadInput
from tests.web_run import TOKEN, WebRun

if TYPE_CHECKING:
    from deploy.web.server import WebServer


def say(web: WebServer, content: bytes, timeout_s: float = 10) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and return status, headers and body of the first answer; status 0: none."""
    address = ("127.0.0.1", web.address.port)
    with socket.create_connection(address, timeout=timeout_s) as client, client.makefile("rb") as reader:
        client.sendall(content)
        line = reader.readline().split()
        if not line:
            return 0, {}, b""
        headers = {name.lower(): value for name, value in http.client.parse_headers(reader).items()}
        return int(line[1]), headers, reader.read(int(headers.get("content-length", 0)))


def get(web: WebServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return say(web, "\r\n".join([*lines, "", ""]).encode())


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET /\r\n\r\n", 505),  # HTTP/0.9: without headers
        (b"GET / HTTP/3.0\r\n\r\n", 505),
        (b"GET / HTTP/x\r\n\r\n", 400),
        (b"<script>alert(1)</script>\r\n\r\n", 400),
        (b"PATCH / HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 501),
        (b"GET http://[/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /?" + b"a=b&" * 30 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 150 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"b" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
        (b"DELETE /api/people/1 HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nOrigin: x\r\n\r\n", 400),
        (b"POST /api/merge HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 411),
        (b"POST /api/merge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0000000000009999999999\r\n\r\n", 411),
        (b"POST /api/merge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /api/state HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
    ],
    ids=range(18),
)
def test_every_refusal_bears_the_headers_and_repeats_nothing(
    web: WebServer, monkeypatch: pytest.MonkeyPatch, content: bytes, status: int
) -> None:
    monkeypatch.setattr(handler, "DRAIN_S", 0.1)
    found, headers, body = say(web, content)
    assert found == status
    assert {name: headers.get(name.lower()) for name in HEADERS} == HEADERS
    assert b"script" not in body
    assert json.loads(body)["error"]


def test_the_headers_say_what_they_must() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert HEADERS["Cache-Control"] == "no-store"
    assert HEADERS["X-Content-Type-Options"] == "nosniff"
    assert {HEADERS[f"Cross-Origin-{of}-Policy"] for of in ("Resource", "Opener")} == {"same-origin"}


def test_who_is_turned_away_at_the_door_gets_the_headers_too(run: WebRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 1)
    with run.serve() as web, socket.create_connection(("127.0.0.1", web.address.port)):
        time.sleep(0.2)
        status, headers, _ = get(web, "/api/state")
        assert status == 503
        assert {name: headers.get(name.lower()) for name in HEADERS} == HEADERS


def test_one_other_machine_cannot_take_every_connection(run: WebRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_OF_ONE", 1)
    monkeypatch.setattr(server, "is_loopback", lambda host: False)  # as if this machine were another one
    with run.serve() as web:
        with socket.create_connection(("127.0.0.1", web.address.port)):
            time.sleep(0.2)
            assert get(web, "/api/state")[0] == 503
        end = time.monotonic() + 5
        while get(web, "/api/state")[0] == 503:  # until the server has seen that the first one went
            assert time.monotonic() < end


@pytest.mark.parametrize(
    "given", ["", "a", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "é" * 22, "\0", "\udcff", "x" * 20_000]
)
def test_a_wrong_token_of_any_kind_is_wrong(given: str) -> None:
    door = Access(TOKEN, 8080)
    assert not door.brings_token(given)
    assert door.brings_token(TOKEN)
    assert not Access(None, 8080).brings_token(given)


def test_a_token_in_odd_letters_is_refused_and_not_a_failure(locked: WebServer) -> None:
    head = b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n"
    for field in (
        b"Authorization: Bearer \xff\xfe\xe9",
        b"Cookie: crosslight-1=\xff; \xe9=1",
        b'Cookie: a="\\777',
        b"Cookie: ;;,,==",
    ):
        assert say(locked, head + field + b"\r\n\r\n")[0] == 401
    assert get(locked, "/api/state?token=%ff%00%c3")[0] == 401


def test_who_guesses_tokens_has_to_wait_and_others_have_not(locked: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_GUESSES", 3)
    assert [get(locked, f"/api/state?token=wrong-{turn}-wrong-wrong")[0] for turn in range(4)] == [401, 401, 401, 429]
    assert (
        get(locked, "/api/state", Authorization=f"Bearer {TOKEN}")[0] == 429
    )  # not even the right one: that is the point
    cookie = Access(TOKEN, locked.address.port).cookie().partition(";")[0]
    assert get(locked, "/api/state", Cookie=cookie)[0] == 200  # an operator who is in stays in
    assert get(locked, "/api/state")[0] == 401  # to bring none is no guess


def test_guesses_are_forgotten_after_a_while_and_so_are_the_oldest_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_GUESSERS", 2)
    now_s = [0.0]
    guesses = Guesses(lambda: now_s[0])
    for _ in range(access.MOST_GUESSES):
        assert not guesses.too_many("10.0.0.7")
        guesses.note("10.0.0.7")
    assert guesses.too_many("10.0.0.7")
    assert not guesses.too_many("10.0.0.8")
    now_s[0] = access.GUESSES_S + 1
    assert not guesses.too_many("10.0.0.7")
    for last in range(9):
        guesses.note(f"10.0.1.{last}")
    assert len(guesses._wrong) == 2


def test_no_token_is_in_a_log(locked: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    get(locked, f"/api/state?token={TOKEN}")
    get(locked, "/api/people?token=a-wrong-but-long-token")
    get(locked, f"//[?token={TOKEN}")
    assert "/api/state" in caplog.text
    assert TOKEN not in caplog.text
    assert "a-wrong-but" not in caplog.text


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, 403),
        ({"Sec_Fetch_Site": "same-site", "Sec_Fetch_Mode": "cors", "Sec_Fetch_Dest": "empty"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "iframe"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}, 200),  # a link
        ({"Sec_Fetch_Site": "same-origin", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}, 200),
        ({"Sec_Fetch_Site": "none", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}, 200),
    ],
)
def test_another_site_may_link_here_and_not_show_a_picture_of_here(
    web: WebServer, fields: dict[str, str], status: int
) -> None:
    assert get(web, "/live/door.jpg", **fields)[0] == status


@pytest.mark.parametrize("path", ["/page.css", "/healthz", "/favicon.ico", "/api/search?modality=visible"])
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_whoever_has_no_token_sends_no_body(locked: WebServer, path: str, method: str) -> None:
    """Refused by its head: else four strangers could keep every operator's picture out."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n"
    began_s = time.monotonic()
    assert say(locked, head.encode())[0] == 401
    assert time.monotonic() - began_s < 5


def test_so_many_pictures_on_their_way_and_no_more(run: WebRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_BODIES", 1)
    monkeypatch.setattr(handler, "SMALL_BODY", 10)
    head = b"POST /api/merge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n"
    with run.serve() as web:
        with socket.create_connection(("127.0.0.1", web.address.port)) as slow:
            slow.sendall(head + b"{")
            time.sleep(0.2)
            assert say(web, head + b" " * 20)[0] == 503
            assert get(web, "/api/state")[0] == 200
        end = time.monotonic() + 5
        while (status := say(web, head + b"{}".ljust(20))[0]) == 503:  # the place is free again
            assert time.monotonic() < end
        assert status == 400


def test_a_body_that_comes_a_byte_at_a_time_is_given_up(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "BODY_S", 0.3)
    began_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", web.address.port), timeout=5) as client:
        client.sendall(b"POST /api/merge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
        try:
            for _ in range(100):
                client.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            pass
    assert time.monotonic() - began_s < 3


def test_whoever_takes_a_byte_at_a_time_is_hung_up_on() -> None:
    """The time-out is for all that is sent: a reader that takes a little every now and then does not begin it anew."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    done = threading.Event()

    def sip() -> None:
        while not done.wait(0.05):
            theirs.recv(64)

    reader = threading.Thread(target=sip, daemon=True)
    reader.start()
    writer = Prompt(ours, 0.4)
    writer.write(bytes(4_000_000))
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        writer.flush()
    assert time.monotonic() - began_s < 3
    done.set()
    ours.close()
    reader.join()
    theirs.close()


def test_requests_behind_each_other_on_one_connection_are_answered_one_by_one(web: WebServer) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    body = b"POST /api/merge HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
    with socket.create_connection(("127.0.0.1", web.address.port), timeout=10) as client:
        client.sendall(one + body + one + body + one.replace(b"Host", b"Connection: close\r\nHost"))
        reader = client.makefile("rb")
        statuses: list[int] = []
        while line := reader.readline():
            statuses.append(int(line.split()[1]))
            reader.read(int(http.client.parse_headers(reader)["Content-Length"]))
    assert statuses == [200, 400, 200, 400, 200]


def png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_a_picture_is_measured_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it was unpacked")

    content = png(Image.new("L", (40, 30)))
    monkeypatch.setattr(Image.Image, "load", fail)
    monkeypatch.setattr(uploads, "MOST_PIXELS", 1000)
    with pytest.raises(BadInput, match="megapixels at most, got 40 x 30"):
        uploads.decode_picture(content, "search")


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "TGA", "PDF", "EPS"])
def test_a_picture_of_a_kind_that_nobody_needs_is_refused(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, kind)
    with pytest.raises(BadInput, match="expected a JPEG, PNG, WebP, BMP or TIFF"):
        uploads.decode_picture(out.getvalue(), "search")


def test_damaged_tags_are_no_line_on_the_screen() -> None:
    """Pillow warns of each, and what comes from outside must not fill a log."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(out, "JPEG", exif=exif)
    content = bytearray(out.getvalue())
    place = content.index(b"Exif\0\0") + 6
    content[place + 8 : place + 10] = b"\xff\xff"  # so many tags, and none of them there
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(BadInput):
            uploads.decode_picture(bytes(content), "search")
    assert not caught


def test_one_picture_is_unpacked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most = [0], [0]
    unpack = uploads._pixels

    def slow(image: Image.Image) -> object:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        time.sleep(0.02)
        at_once[0] -= 1
        return unpack(image)

    monkeypatch.setattr(uploads, "_pixels", slow)
    content = png(Image.new("RGB", (8, 8)))
    threads = [threading.Thread(target=uploads.decode_picture, args=(content, "it")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
