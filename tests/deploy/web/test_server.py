"""The port: who may ask, what is answered, and what happens to those who ask for too much."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from deploy.gallery import GalleryError
from deploy.web import handler, routes, server, uploads
from deploy.web.access import Access, Address, parse_address
from deploy.web.server import WebServer
from engines.errors import BadInput
from tests.web_run import EVIL, TOKEN, WebRun, draw_person, picture_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping


class Reply:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    web: WebServer, path: str, method: str = "GET", body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", web.address.port, timeout=10)
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        reply = connection.getresponse()
        return Reply(reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read())
    finally:
        connection.close()


def post(web: WebServer, path: str, value: object) -> Reply:
    return ask(web, path, "POST", json.dumps(value).encode())


def test_the_page_and_its_parts_are_served(web: WebServer) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        reply = ask(web, path)
        assert (reply.status, reply.headers["content-type"].split(";")[0]) == (200, kind)
    assert b"http" not in ask(web, "/").body.replace(b"http-equiv", b"")  # nothing comes from elsewhere
    assert b"style=" not in ask(web, "/").body  # the content policy would refuse it


def test_every_answer_bears_the_security_headers(web: WebServer) -> None:
    for path in ("/", "/api/state", "/nothing", "/live/door.jpg"):
        headers = ask(web, path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_the_state_tells_of_cameras_tracks_and_thresholds(web: WebServer) -> None:
    state = ask(web, "/api/state").json()
    cameras = {camera["name"]: camera for camera in state["cameras"]}
    assert [cameras[name]["state"] for name in ("door", "door-ir", "yard")] == ["running", "running", "reconnecting"]
    assert (cameras["yard"]["reason"], cameras["door"]["people"], cameras["door-ir"]["people"]) == (
        "no answer in 5 s",
        2,
        1,
    )
    assert sorted((track["camera"], track["id"]) for track in state["tracks"] if track["id"]) == [
        ("door", 2),
        ("door-ir", 2),
    ]
    assert state["threshold"] == "calibrated: 1 % false matches"
    assert state["silent_s"] < 2


def test_a_person_with_face_and_stays(web: WebServer) -> None:
    people = ask(web, "/api/people").json()
    assert [person["id"] for person in people["people"]] == [2, 3, 1]
    person = ask(web, "/api/people/1").json()
    assert [stay["camera"] for stay in person["stays"]] == ["door-ir", "door"]
    face = ask(web, f"/api/people/1/infrared.jpg?v={person['faces']['infrared']}")
    assert (face.status, face.body[:2], face.headers["content-type"]) == (200, b"\xff\xd8", "image/jpeg")
    assert ask(web, "/api/people/3/infrared.jpg").status == 404
    assert ask(web, "/api/people/99").json() == {
        "error": "expected a person, got the number 99; he may have been merged, erased or expired"
    }
    assert ask(web, "/api/people?text=id%203").json()["total"] == 1


def test_the_timeline_begins_where_it_is_asked_to(run: WebRun, web: WebServer) -> None:
    every = ask(web, "/api/timeline").json()
    assert len(every["stays"]) == 7
    assert every["gaps"][0]["camera"] == "yard"
    since_s = run.origin_s + run.time_s - 150
    assert {stay["track"] for stay in ask(web, f"/api/timeline?since={since_s}").json()["stays"]} == {3, 7, 8}
    assert len(ask(web, "/api/timeline?limit=2").json()["stays"]) == 2
    assert ask(web, "/api/timeline?since=nan").status == 400


def test_a_picture_is_sent_once_to_whoever_has_it(run: WebRun, web: WebServer) -> None:
    first = ask(web, "/live/door.jpg")
    assert (first.status, first.body[:2]) == (200, b"\xff\xd8")
    number = first.headers["x-picture"]
    assert ask(web, f"/live/door.jpg?after={number}").status == 204
    run.look()
    assert ask(web, f"/live/door.jpg?after={number}").status == 200
    assert ask(web, "/live/yard.jpg").status == 204  # it gave no picture yet
    assert ask(web, "/live/nowhere.jpg").status == 404
    assert ask(web, "/live/door.jpg?after=-1").status == 400


def test_a_stream_gives_pictures_as_they_come(run: WebRun, web: WebServer) -> None:
    with socket.create_connection(("127.0.0.1", web.address.port), timeout=10) as client:
        client.sendall(b"GET /live/door.mjpg?fps=20 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        reader = client.makefile("rb")
        head = b"".join(iter(reader.readline, b"\r\n"))
        assert b"multipart/x-mixed-replace" in head
        for _ in range(3):
            assert reader.readline() == b"--crosslight\r\n"
            fields = dict(line.strip().split(b": ") for line in iter(reader.readline, b"\r\n"))
            assert reader.read(int(fields[b"Content-Length"]))[:2] == b"\xff\xd8"
            assert reader.readline() == b"\r\n"
            run.look()


def test_so_many_streams_and_no_more(run: WebRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_STREAMS", 1)
    with run.serve() as web:
        first = http.client.HTTPConnection("127.0.0.1", web.address.port, timeout=10)
        first.request("GET", "/live/door.mjpg")
        assert first.getresponse().status == 200
        assert ask(web, "/live/door.mjpg").status == 503
        first.close()
        end = time.monotonic() + 5
        while ask(web, "/live/door.mjpg", "HEAD").status == 503:  # the place is free again once the reader is gone
            run.look()
            assert time.monotonic() < end
    assert ask_gone(web)


def ask_gone(web: WebServer) -> bool:
    try:
        ask(web, "/healthz")
    except OSError:
        return True
    return False


def test_search_by_picture(web: WebServer) -> None:
    body = picture_bytes(draw_person(1, "infrared"), ".jpg")
    reply = ask(web, "/api/search?modality=infrared", "POST", body)
    result = reply.json()
    assert (reply.status, result["hits"][0]["person"]["id"], result["hits"][0]["above"]) == (200, 1, True)
    assert (result["width"], result["height"], result["least"]) == (100, 240, {"visible": 0.8, "infrared": 0.9})
    for path, sent, words in (
        ("/api/search?modality=visible", b"", "got nothing"),
        ("/api/search?modality=visible", b"GIF89a, or so it says", "JPEG, PNG"),
        ("/api/search?modality=radar", body, "radar"),
        ("/api/search?modality=visible&person=5", body, "person"),
    ):
        refused = ask(web, path, "POST", sent)
        assert refused.status == 400
        assert words in refused.json()["error"]


def test_enrol_rename_merge_and_erase(web: WebServer) -> None:
    pictures = [
        {"modality": kind, "data": base64.b64encode(picture_bytes(draw_person(4, kind))).decode()}  # type: ignore[arg-type]
        for kind in ("visible", "infrared")
    ]
    done = post(web, "/api/enrol", {"name": "Dora", "pictures": pictures})
    assert done.status == 200, done.body
    dora = done.json()["person"]
    assert (dora["label"], dora["enrolled"], dora["modalities"]) == ("Dora", True, ["visible", "infrared"])
    assert post(web, f"/api/people/{dora['id']}/name", {"name": "Dora D."}).json()["label"] == "Dora D."
    assert post(web, "/api/merge", {"kept": dora["id"], "absorbed": 1}).json()["tracklets"] == 4
    assert ask(web, "/api/people/1").status == 404
    gone = ask(web, f"/api/people/{dora['id']}", "DELETE")
    assert gone.json() == {"id": dora["id"], "tracklets": 4, "stays": 2}
    assert ask(web, f"/api/people/{dora['id']}/visible.jpg").status == 404


def test_a_track_in_the_picture_is_given_a_name(run: WebRun, web: WebServer) -> None:
    done = post(web, "/api/enrol", {"name": "Dora", "track": {"camera": "door", "track": 8}})
    assert done.json()["person"]["label"] == "Dora"
    assert run.tiles.names == {3: EVIL, done.json()["person"]["id"]: "Dora"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[1]",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"name": 1}',
        b'{"name": "A"}',
        b'{"name": "A", "pictures": []}',
        b'{"name": "A", "pictures": [1]}',
        b'{"name": "A", "pictures": [{"modality": "visible", "data": "!!"}]}',
        b'{"name": "A", "pictures": [{"modality": "visible", "data": "AAAA"}]}',
        b'{"name": "A", "track": 5}',
        b'{"name": "A", "track": {"camera": "door", "track": true}}',
    ],
)
def test_what_cannot_be_enrolled_is_one_line(run: WebRun, web: WebServer, body: bytes) -> None:
    reply = ask(web, "/api/enrol", "POST", body)
    assert reply.status == 400
    assert "\n" not in reply.json()["error"]
    assert reply.json()["error"].startswith(("expected", "picture 1: expected"))
    assert run.gallery.last_identity == 3


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/page.css/../../tiles.py",
        "/%2e%2e/%2e%2e/pyproject.toml",
        "/live/../../etc/passwd.jpg",
        "/live/..%2f..%2fetc%2fpasswd.jpg",
        "/api/people/1/../../state",
        "/server.py",
        "/etc/passwd",
        "//etc/passwd",
    ],
)
def test_no_path_leads_to_another_file(web: WebServer, path: str) -> None:
    with socket.create_connection(("127.0.0.1", web.address.port), timeout=10) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        assert client.makefile("rb").readline().split()[1] == b"404"


def test_the_wrong_method_is_told_the_right_one(web: WebServer) -> None:
    reply = ask(web, "/api/search")
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert ask(web, "/api/people/1", "POST", b"{}").status == 405
    assert ask(web, "/api/state", "HEAD").body == b""
    assert ask(web, "/api/state", "PATCH").status == 501


def test_a_body_that_is_too_large_is_refused_with_an_answer(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "MOST_BODY", 2**20)
    reply = ask(web, "/api/search?modality=visible", "POST", bytes(24 * 2**20))
    assert reply.status == 413
    assert "1 MiB at most" in reply.json()["error"]


def test_a_body_without_one_length_is_refused(web: WebServer) -> None:
    for fields in ("Transfer-Encoding: chunked", "Content-Length: 3\r\nContent-Length: 4", "Content-Length: -1"):
        with socket.create_connection(("127.0.0.1", web.address.port), timeout=10) as client:
            client.sendall(f"POST /api/merge HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n".encode())
            assert client.makefile("rb").readline().split()[1] == b"411"


def test_somebody_who_sends_a_byte_now_and_then_is_hung_up_on(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "IDLE_S", 0.3)
    with socket.create_connection(("127.0.0.1", web.address.port), timeout=5) as client:
        began_s = time.monotonic()
        assert drips_until_hung_up(client)
        assert time.monotonic() - began_s < 3


def drips_until_hung_up(client: socket.socket) -> bool:
    try:
        for _ in range(100):
            client.sendall(b"G")
            time.sleep(0.05)
    except OSError:  # reset or broken pipe, as the system likes
        return True
    return False


def test_so_many_connections_and_no_more(run: WebRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    with run.serve() as web:
        idle = [socket.create_connection(("127.0.0.1", web.address.port), timeout=5) for _ in range(2)]
        time.sleep(0.3)
        assert ask(web, "/api/state").status == 503
        for client in idle:
            client.close()
        end = time.monotonic() + 5
        while ask(web, "/api/state").status == 503:
            assert time.monotonic() < end


def test_a_stuck_loop_is_503_and_what_needs_no_loop_is_still_answered(
    run: WebRun, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "READ_S", 0.2)
    monkeypatch.setattr(routes, "WORK_S", 0.2)
    run.stick()
    time.sleep(0.05)
    assert ask(web, "/api/people").status == 503
    refused = ask(web, "/api/people/1", "DELETE")
    assert (refused.status, "nothing was done" in refused.json()["error"]) == (503, True)
    state = ask(web, "/api/state").json()
    assert state["silent_s"] >= 0.4
    assert ask(web, "/live/door.jpg").status == 200
    assert ask(web, "/api/timeline").status == 200
    run.stick(False)
    assert ask(web, "/api/people/1").status == 200  # the erasure that was given up did not happen later


def test_an_ended_loop_is_503(run: WebRun, web: WebServer) -> None:
    run.close()
    assert ask(web, "/api/people").json() == {"error": "the camera loop has ended"}


def test_failures_of_parts_are_told_and_those_inside_are_not(
    run: WebRun, web: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise GalleryError("gallery site.db: the disk is full")

    def broken(*_: object) -> None:
        raise KeyError("a secret place in the code")

    monkeypatch.setattr(run.gallery, "rename", full)
    reply = post(web, "/api/people/1/name", {"name": "Anna"})
    assert (reply.status, reply.json()["error"]) == (503, "gallery site.db: the disk is full")
    monkeypatch.setattr(run.gallery, "rename", broken)
    reply = post(web, "/api/people/1/name", {"name": "Anna"})
    assert (reply.status, b"secret place" in reply.body) == (500, False)
    assert "secret place" in caplog.text
    run.part.failing = True
    reply = ask(web, "/api/search?modality=visible", "POST", picture_bytes(draw_person(1, "visible")))
    assert (reply.status, "device lost" in reply.json()["error"]) == (503, True)


def test_health_and_metrics(run: WebRun, web: WebServer) -> None:
    assert ask(web, "/healthz").body == b"ok\n"
    assert ask(web, "/metrics").body == b"crosslight_up 1\n"
    assert ask(web, "/metrics").headers["content-type"].startswith("text/plain; version=0.0.4")


def test_beyond_loopback_a_token_is_demanded(run: WebRun) -> None:
    with pytest.raises(BadInput, match=r"0\.0\.0\.0:0: expected a token, got none"):
        WebServer("0.0.0.0:0", None, run.page)
    with pytest.raises(BadInput, match="16 or more"):
        WebServer("0.0.0.0:0", "short", run.page)
    with WebServer("0.0.0.0:0", TOKEN, run.page) as web:
        assert ask(web, "/api/state").status == 401


def test_a_port_in_use_is_one_line(run: WebRun, web: WebServer) -> None:
    with pytest.raises(BadInput, match=f"127.0.0.1:{web.address.port}: the port is in use"):
        WebServer(str(web.address), None, run.page)


@pytest.mark.parametrize("text", ["", "here", "1.2.3.4", "127.0.0.1:99999", "a b:80", "http://127.0.0.1:80", ":-1"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="expected HOST:PORT"):
        parse_address(text)


def test_addresses() -> None:
    assert parse_address("8080") == parse_address(":8080") == Address("127.0.0.1", 8080)
    assert parse_address("[::1]:80") == Address("::1", 80)
    assert [Address(host, 1).is_loopback for host in ("127.0.0.9", "localhost", "::1", "0.0.0.0", "gate.local")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_without_the_token_nothing_of_the_run_is_told(locked: WebServer) -> None:
    for path in (
        "/api/state",
        "/api/people",
        "/live/door.jpg",
        "/live/door.mjpg",
        "/metrics",
        "/api/people/1/visible.jpg",
    ):
        reply = ask(locked, path)
        assert (reply.status, reply.json()["error"].startswith("a token is needed")) == (401, True)
    page = ask(locked, "/")
    assert (page.status, page.headers["content-type"]) == (401, "text/html; charset=utf-8")  # it asks for the token
    assert (ask(locked, "/page.js").status, ask(locked, "/page.css").status) == (200, 200)
    assert ask(locked, "/healthz").body == b"ok\n"


def test_the_token_comes_by_address_header_or_cookie(locked: WebServer) -> None:
    opened = ask(locked, f"/?token={TOKEN}")
    cookie = opened.headers["set-cookie"]
    assert opened.status == 200
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    assert TOKEN not in cookie
    assert ask(locked, "/api/state", headers={"Cookie": f"other=1; {cookie.partition(';')[0]}"}).status == 200
    assert ask(locked, "/api/state", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert ask(locked, f"/live/door.jpg?token={TOKEN}").status == 200
    assert "set-cookie" not in ask(locked, f"/api/state?token={TOKEN}").headers
    for headers in (
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"crosslight-{locked.address.port}={TOKEN}"},
        {"Cookie": f"crosslight-{locked.address.port}="},
        {"Cookie": "a=b; ;;; =="},
    ):
        assert ask(locked, "/api/state", headers=headers).status == 401
    assert ask(locked, "/?token=wrong-and-long-enough").status == 401
    assert "set-cookie" not in ask(locked, "/?token=wrong-and-long-enough").headers


def test_reasons_of_ill_health_are_for_those_with_the_token(run: WebRun) -> None:
    access = {"Authorization": f"Bearer {TOKEN}"}
    object.__setattr__(run.page, "readyz", lambda: (False, "camera yard: 10.0.0.5 refused"))
    with run.serve(TOKEN) as web:
        assert (ask(web, "/readyz").status, ask(web, "/readyz").body) == (503, b"failed\n")
        assert ask(web, "/readyz", headers=access).body == b"camera yard: 10.0.0.5 refused\n"
        assert ask(web, "/api/state", headers=access).json()["problems"] == ["camera yard: 10.0.0.5 refused"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.7", ""])
def test_on_loopback_a_name_that_was_pointed_here_is_refused(web: WebServer, host: str) -> None:
    assert ask(web, "/api/people", headers={"Host": host}).status == 403
    assert ask(web, "/page.js", headers={"Host": host}).status == 403


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9000", "[::1]:8080", "LOCALHOST:1"])
def test_a_tunnel_with_another_port_is_loopback_too(web: WebServer, host: str) -> None:
    assert ask(web, "/api/people", headers={"Host": host}).status == 200


def test_a_page_of_another_site_changes_nothing(run: WebRun, web: WebServer) -> None:
    here = f"127.0.0.1:{web.address.port}"
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{here}.evil.example"},
        {"Origin": f"http://localhost:{web.address.port + 1}", "Host": here},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": f"http://{here}"},
    ):
        assert ask(web, "/api/people/1", "DELETE", headers=headers).status == 403
    assert len(run.gallery.tracklets(1)) == 2
    own = {"Origin": f"http://{here}", "Sec-Fetch-Site": "same-origin"}
    assert ask(web, "/api/people/1", "DELETE", headers=own).status == 200


def test_with_the_token_in_a_cookie_another_site_changes_nothing_either(locked: WebServer) -> None:
    cookie = Access(TOKEN, locked.address.port).cookie().partition(";")[0]
    headers = {"Cookie": cookie, "Origin": "http://evil.example"}
    assert ask(locked, "/api/people/1", "DELETE", headers=headers).status == 403


def test_answers_stand_while_many_ask_at_once(run: WebRun, web: WebServer) -> None:
    failed: list[int] = []

    def hammer() -> None:
        for path in ("/api/state", "/api/people", "/live/door.jpg", "/api/timeline") * 5:
            status = ask(web, path).status
            if status != 200:
                failed.append(status)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def test_pictures_of_all_kinds_become_rgb() -> None:
    assert uploads.decode_picture(encoded(Image.new("L", (30, 40), 77), "PNG"), "it")[0, 0].tolist() == [77, 77, 77]
    clear = encoded(Image.new("RGBA", (30, 40), (255, 0, 0, 0)), "PNG")
    assert uploads.decode_picture(clear, "it")[0, 0].tolist() == [255, 255, 255]
    assert uploads.decode_picture(encoded(Image.new("RGB", (4000, 3000)), "JPEG"), "it").shape == (1440, 1920, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the telephone was held upright
    assert uploads.decode_picture(encoded(Image.new("RGB", (40, 20)), "JPEG", exif=exif), "it").shape == (40, 20, 3)


def test_sixteen_bits_of_a_thermal_camera_are_stretched() -> None:
    raw_HW = np.full((60, 80), 30_000, np.uint16)
    raw_HW[:, 40:] = 30_200
    image_HWC = uploads.decode_picture(encoded(Image.fromarray(raw_HW), "PNG"), "it")
    assert (image_HWC[0, 0, 0], image_HWC[0, 79, 0]) == (0, 255)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_PIXELS", 10_000)
    with pytest.raises(BadInput, match="got 200 x 100"):
        uploads.decode_picture(encoded(Image.new("1", (200, 100)), "PNG"), "it")
    whole = encoded(Image.effect_noise((90, 90), 50), "PNG")
    with pytest.raises(BadInput, match="that is whole"):
        uploads.decode_picture(whole[: len(whole) // 2], "it")
