"""Addresses of cameras, brokers, pages and galleries, and what a camera says when it is asked."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.cameras.device_nodes import explain_refusal
from deploy.cameras.redact import redact
from deploy.gallery.opening import open_gallery
from deploy.settings.site_plan import CameraSite
from deploy.sinks.mqtt import MqttDestination
from deploy.sinks.webhook import Webhook
from deploy.sources.address import parse_address
from deploy.sources.challenge import answer, ffmpeg_can_answer
from deploy.sources.exchange import Line
from deploy.sources.probes import probe_http, probe_rtsp, video_codecs
from deploy.sources.synthetic import parse_options
from deploy.sources.uri import SCHEMES, make_source
from deploy.web.access import Address, checked_token
from deploy.web.access import parse_address as parse_web_address
from tests.fuzz.harness import attempt, bounded, check_types, count
from tests.fuzz.mutations import WORDS, changed_bytes
from tests.record_material import run_state

if TYPE_CHECKING:
    from collections.abc import Generator

PASSWORD = "s3cr3t-w0rd"
URIS = (
    f"rtsp://user:{PASSWORD}@10.0.0.5:554/main?channel=1&token={PASSWORD}",
    f"rtsps://user:{PASSWORD}@[fe80::1]/main",
    f"http://us%40er:{PASSWORD}@cam.local:8080/img@2x.mjpg",
    "rtsp://10.0.0.5",
    "csi://0",
    "gst:videotestsrc ! appsink",
    "synthetic:people=4&seed=1&size=640x360&fps=10&live=1&lost=20-35",
    "/dev/video99",
    "0",
    "file:///tmp/nothing%20here.mp4",
    "folder/of/images",
    "²",
    "rtsp://10.0.0.5:" + "9" * 5000,
    "file://" + "%00",
    "http://[",
)
CHALLENGES = (
    'Digest realm="cam, one", qop="auth,auth-int", algorithm=SHA-256-sess, nonce="b7a1", opaque="o\\"x"',
    'Digest realm="cam", nonce="b7a1"',
    'Basic realm="cam"',
    'Digest nonce="' + "\\" * 3000,
    "Digest " + "a=b, " * 2000,
)
SDP = "v=0\r\nm=audio 0 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nm=video 0 RTP/AVP 26\r\n"
UNAUTHORISED = (
    b"RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nContent-Length: 4\r\n"
    b'WWW-Authenticate: Digest realm="cam", nonce="b7a1", qop="auth"\r\n\r\nbody'
)
DESCRIBED = f"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: {len(SDP)}\r\n\r\n{SDP}".encode()
RTSP = (b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n" + DESCRIBED, UNAUTHORISED + DESCRIBED + DESCRIBED)
HTTP = (
    b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=a\r\n\r\n--a",
    b"HTTP/1.1 302 Found\r\nLocation: /other?x=1\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: http://[/\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: \xc2\xb2\r\n\r\n",
)


def texts(*good: str) -> st.SearchStrategy[str]:
    """Draw good texts, some with bytes changed, and bad ones."""
    changed = st.sampled_from(good).flatmap(lambda text: changed_bytes(text.encode())).map(_text)
    return st.one_of(st.sampled_from(good), changed, changed, st.sampled_from(WORDS), st.text(max_size=40))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def camera(uri: str, modality: Any = "visible") -> CameraSite:
    return CameraSite(name="door", uri=uri, modality=modality)


@given(uri=texts(*URIS), modality=st.sampled_from(("visible", "infrared")))
def test_a_camera_s_address(uri: str, modality: str) -> None:
    site = attempt("camera URI", lambda: camera(uri, modality))
    if site is None:
        return
    attempt("camera URI", lambda: make_source(site) and None)
    if uri.isdigit() or uri.startswith("/dev/"):
        refusal = attempt("camera URI", lambda: explain_refusal(site.name, uri))
        assert refusal is None or refusal.reason


@given(uri=texts(*(uri for uri in URIS if "://" in uri)))
def test_the_parts_of_a_network_address(uri: str) -> None:
    if uri.partition("://")[0].lower() not in SCHEMES[:4]:
        return
    found = attempt("network address", lambda: parse_address(camera(uri)))
    if found is not None:
        check_types(found)
        assert found.host
        assert 0 <= found.port <= 65535
        again = attempt("network address", lambda: parse_address(camera(found.full)), ())
        assert again is not None
        assert (again.host.lower(), again.port, again.user, again.password) == (
            found.host.lower(),
            found.port,
            found.user,
            found.password,
        )


WRAPPED = (
    "{}",
    "camera 'a' {}: refused",
    '["{}"]',
    "{} {}",
    "Authorization: {}",
    "x" * 2000 + "{}",
    "://:" * 500 + "{}",
)


@given(uri=texts(*URIS[:3]), wrapped=st.sampled_from(WRAPPED))
def test_a_redacted_line_keeps_no_password(uri: str, wrapped: str) -> None:
    text = wrapped.replace("{}", uri)
    with bounded():
        hidden = redact(text)
        assert redact(hidden) == hidden
    if uri in URIS:
        assert PASSWORD not in hidden
    count("redaction", accepted=True)


@pytest.mark.parametrize(
    "text",
    [
        "a://" * 4000,
        "rtsp://a:b " * 3000,
        "a://b:c@" * 3000,
        "key=" * 5000,
        "key_" * 12_000,
        "a://1:" + "1:" * 20_000,
        "x " * 20_000 + "@",
        "://a:b c" * 4000,
        'pw="' + "\\" * 20000,
        "a" * 50_000,
    ],
)
def test_no_line_makes_redaction_slow(text: str) -> None:
    with bounded():
        redact(text)
    count("redaction", accepted=True)


@given(query=texts("people=4&seed=1&size=640x360&fps=10&live=1&lost=20-35,40-50", "infrared=thermal&seconds=3&loop=1"))
def test_a_synthetic_camera_s_options(query: str) -> None:
    options = attempt("synthetic: options", lambda: parse_options(query))
    if options is not None:
        assert options.people <= 64
        assert max(options.size) <= 4096


@given(
    url=texts("mqtt://user:pass@10.0.0.5:1883/site/one", "mqtts://broker.local", "mqtt://[::1]:1883/a/b", "mqtt://[")
)
def test_a_broker_s_address(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paho.Client, "loop_start", lambda self: None)  # it only notes the address until then
        attempt("MQTT URL", lambda: MqttDestination(url, run_state) and None)


@given(url=texts("https://user:pass@example.org:8443/hook?token=x", "http://[::1]/a", "http://[", "http://h:99999/"))
def test_a_webhook_s_address(url: str) -> None:
    attempt("webhook URL", lambda: Webhook(url, "token") and None)


@given(text=texts("127.0.0.1:8080", "[::1]:0", ":80", "8080", "localhost:65535", "٣", "1" * 5000))
def test_the_page_s_address(text: str) -> None:
    address = attempt("web address", lambda: parse_web_address(text))
    if address is not None:
        assert parse_web_address(str(address)) == address
        attempt("web address", lambda: address.is_loopback)


@given(token=texts("a-token-of-twenty-signs"), host=st.sampled_from(("127.0.0.1", "0.0.0.0", "::1", "")))
def test_the_page_s_token(token: str, host: str) -> None:
    found = attempt("web token", lambda: checked_token(Address(host, 80), token) or "")
    assert found is None or found == "" or found.isascii()


@given(
    where=texts("qdrant+http://127.0.0.1:1/people", "qdrant+https://[", "qdrant+http://h:99999/a", "ftp://x", "memory")
)
def test_a_gallery_s_address(where: str) -> None:
    if where.startswith("qdrant:") or "://" not in where:  # a file or a folder, which would be made
        return
    if where.startswith(("qdrant+http://", "qdrant+https://")):
        from deploy.gallery.server_points import connect

        attempt("gallery address", lambda: connect(where.removeprefix("qdrant+"))[0].close())
        return
    attempt("gallery address", lambda: open_gallery(where, "m", 4).close())


def spoken(*good: str) -> st.SearchStrategy[str]:
    """Draw texts as they are behind the decoding of an answer or the check of an address: without lone surrogates."""
    return texts(*good).map(lambda text: text.encode("utf-8", "replace").decode())


@given(challenges=st.lists(spoken(*CHALLENGES), max_size=3), user=spoken("admin"), password=spoken(PASSWORD))
def test_a_camera_s_challenge(challenges: list[str], user: str, password: str) -> None:
    said = attempt(
        "WWW-Authenticate",
        lambda: answer(challenges, method="DESCRIBE", uri="rtsp://h/1", user=user, password=password) or "",
    )
    assert said is not None
    assert "\r" not in said
    assert "\n" not in said
    attempt("WWW-Authenticate", lambda: ffmpeg_can_answer(challenges))


@given(text=texts(SDP))
def test_a_session_description(text: str) -> None:
    codecs = attempt("session description", lambda: video_codecs(text))
    assert codecs is not None


class Speaker:
    """A camera on the loopback that says the same whatever it is asked, then closes."""

    def __init__(self) -> None:
        self.says = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                try:
                    client.sendall(self.says)
                    client.shutdown(socket.SHUT_WR)
                    client.settimeout(1)
                    while client.recv(65536):
                        pass
                except OSError:
                    pass

    def close(self) -> None:
        # Closing alone does not wake the thread that waits in accept().
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._listener.close()
        self._thread.join(5)


@pytest.fixture(scope="module")
def speaker() -> Generator[Speaker]:
    speaker = Speaker()
    yield speaker
    speaker.close()


@given(
    says=st.sampled_from((*RTSP, *HTTP)).flatmap(changed_bytes)
    | st.sampled_from((*RTSP, *HTTP, b"", b"\x15\x03\x01\x00\x02\x02F", b"HTTP/1.1 " + b"9" * 5000, b"a" * 200_000))
    | st.binary(max_size=60),
    scheme=st.sampled_from(("rtsp", "http")),
)
def test_what_a_camera_answers(speaker: Speaker, says: bytes, scheme: str) -> None:
    speaker.says = says
    site = camera(f"{scheme}://user:{PASSWORD}@127.0.0.1:{speaker.port}/main")
    address = parse_address(site)
    probe = probe_rtsp if scheme == "rtsp" else probe_http
    attempt("camera's answer", lambda: probe(site, address, 2.0))
    count("camera's answer", accepted=True)


def test_a_line_is_closed_behind_an_answer_that_cannot_be_read(speaker: Speaker) -> None:
    speaker.says = b"RTSP/1.0 \xc2\xb2 OK\r\n\r\n"  # a digit for str.isdigit, and none for int
    site = camera(f"rtsp://127.0.0.1:{speaker.port}/main")

    def ask() -> object:
        with Line(site, parse_address(site), 2.0) as line:
            return line.ask("OPTIONS", "rtsp://h/1")

    attempt("camera's answer", ask)
