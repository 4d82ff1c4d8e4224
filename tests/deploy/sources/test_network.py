"""Network cameras that work: real servers on the loopback, opened by OpenCV's FFmpeg; and how addresses are read."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from deploy.settings.site_plan import CameraSite
from deploy.sources import make_source
from deploy.sources.address import Address, parse_address
from deploy.sources.challenge import answer
from deploy.sources.opencv_capture import OPTIONS_NAME, PLAIN_OPTIONS, open_ffmpeg
from deploy.sources.probes import video_codecs
from tests.deploy.sources.test_recordings import levels, write_video
from tests.source_servers import SIZE_PX, Account, HttpCamera, RtspCamera, grey_level

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.sources import Source

PASSWORD = "p@ss/w:rd%é"


def site(uri: str, **settings: Any) -> CameraSite:
    return CameraSite(name="gate", uri=uri, **{"modality": "visible", **settings})


def opened(uri: str, **settings: Any) -> Source:
    source = make_source(site(uri, **settings))
    source.open()
    return source


def test_an_rtsp_camera_gives_its_pictures_until_it_goes() -> None:
    with RtspCamera(pictures=40) as camera:
        source = opened(camera.uri())
        assert (source.live, source.fps) == (True, 50.0)
        found = levels(source)
        source.close()
    # The first pictures go into finding out what the stream is; from then on each comes, in order, to the last.
    assert len(found) >= 2
    assert found == [grey_level(index) for index in range(40)][-len(found) :]
    assert camera.requests[:2] == [f"{verb} {camera.uri()} RTSP/1.0" for verb in ("OPTIONS", "DESCRIBE")]
    assert camera.requests[-1].startswith("PLAY")


def test_an_rtsp_picture_is_rgb_of_the_cameras_size() -> None:
    with RtspCamera() as camera:
        source = opened(camera.uri())
        assert source.grab()
        pixels = source.retrieve()
        source.close()
    assert pixels is not None
    assert (pixels.dtype, pixels.shape) == (np.uint8, (SIZE_PX[1], SIZE_PX[0], 3))


def test_a_motion_jpeg_camera_gives_its_pictures_until_it_goes() -> None:
    with HttpCamera(pictures=10) as camera:
        source = opened(camera.uri())
        assert source.live
        found = levels(source)
        source.close()
    assert len(found) >= 8
    assert found == [grey_level(index) for index in range(10)][10 - len(found) :]


@pytest.mark.parametrize("kind", ["basic", "digest", "digest-plain"])
@pytest.mark.parametrize("camera", [RtspCamera, HttpCamera])
def test_user_and_password_open_the_stream_however_they_are_written(
    camera: type[RtspCamera | HttpCamera], kind: Literal["basic", "digest", "digest-plain"]
) -> None:
    with camera(account=Account("ad min", PASSWORD, kind), pictures=40) as server:
        for written in (PASSWORD, "p%40ss%2Fw%3Ard%25%C3%A9"):
            source = opened(server.uri(f"ad%20min:{written}"))
            assert source.grab()
            source.close()


def test_a_file_behind_http_is_a_recording(tmp_path: Path) -> None:
    content = write_video(tmp_path / "a.avi", [10, 50, 90, 130]).read_bytes()
    with HttpCamera(content=content, media="video/x-msvideo") as server:
        source = opened(server.uri())
        assert not source.live
        assert levels(source) == [10, 50, 90, 130]
        source.close()
        again = opened(server.uri(), loop=True)
        assert levels(again, most=6) == [10, 50, 90, 130, 10, 50]
        again.close()


def test_a_redirection_on_the_same_camera_is_followed() -> None:
    class Moved(HttpCamera):
        def read_head(self, connection: Any) -> list[str]:
            lines = super().read_head(connection)
            moved = bool(lines) and "/video" in lines[0]
            self.status = "302 Found" if moved else "200 OK"
            self.headers = ("Location: /other?token=hunter2",) if moved else ()
            return lines

    with Moved(pictures=10) as camera:
        source = opened(camera.uri())
        assert source.grab()
        source.close()
    assert camera.requests[:2] == ["GET /video HTTP/1.1", "GET /other?token=hunter2 HTTP/1.1"]


@pytest.fixture
def certificate(tmp_path: Path) -> ssl.SSLContext:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing: no certificate for the camera")
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    order = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    order += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=camera"]
    subprocess.run(order, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def test_a_camera_that_signs_for_itself_is_opened_over_tls(certificate: ssl.SSLContext) -> None:
    with HttpCamera(tls=certificate, pictures=10) as camera:
        source = opened(camera.uri(scheme="https"))
        assert source.grab()
        source.close()


def test_streaming_options_reach_streams_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[str] = []

    def capture(address: str, backend: int, timeouts: list[int]) -> None:
        seen.append(os.environ[OPTIONS_NAME])

    monkeypatch.setenv(OPTIONS_NAME, PLAIN_OPTIONS)
    monkeypatch.setattr("cv2.VideoCapture", capture)
    open_ffmpeg("rtsp://h/x", low_delay=True)
    open_ffmpeg(str(tmp_path / "a.avi"))
    assert seen == ["rtsp_transport;tcp|fflags;nobuffer|flags;low_delay", PLAIN_OPTIONS]
    monkeypatch.setenv(OPTIONS_NAME, "rtsp_transport;udp")  # the user's own
    open_ffmpeg("rtsp://h/x", low_delay=True)
    assert seen[-1] == os.environ[OPTIONS_NAME] == "rtsp_transport;udp"


def test_many_threads_open_and_read_at_once() -> None:
    """Four cameras, each on a thread of its own, opened, read to the end and closed twice."""
    counts: list[int] = []

    def watch(uri: str) -> None:
        for _ in range(2):
            source = opened(uri)
            counts.append(len(levels(source)))
            source.close()

    with RtspCamera(pictures=30) as rtsp, HttpCamera(pictures=12) as http:
        threads = [threading.Thread(target=watch, args=(server.uri(),)) for server in (rtsp, http) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(counts) == 8
    assert min(counts) >= 1


def test_a_host_that_hangs_does_not_hold_up_the_opening_of_another() -> None:
    """FFmpeg opens one at a time; our own question to the hanging host waits outside of that."""
    with RtspCamera(hangs=True) as hanging, HttpCamera(pictures=20) as camera:
        threads = [threading.Thread(target=_try, args=(hanging.uri(),), daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        assert hanging.connected.wait(5)
        start_s = time.monotonic()
        source = opened(camera.uri())
        took_s = time.monotonic() - start_s
        source.close()
    for thread in threads:
        thread.join(10)
    assert took_s < 2.0  # three hanging hosts would be 15 s


def _try(uri: str) -> None:
    from deploy.sources import SourceError

    try:
        opened(uri).close()
    except SourceError:
        return


def test_the_published_examples_of_digest_are_reproduced() -> None:
    """RFC 2617 section 3.5, and RFC 7616 section 3.9.1 for both hashes."""
    old = (
        'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
        'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
    )
    nonce, client = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    new = f'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=ALGORITHM, nonce="{nonce}"'
    for challenge, password, cnonce, response in (
        (old, "Circle Of Life", "0a4f113b", "6629fae49393a05397450978507c4ef1"),
        (new.replace("ALGORITHM", "MD5"), "Circle of Life", client, "8ca523f5e9506fed4657c9700eebdbec"),
        (
            new.replace("ALGORITHM", "SHA-256"),
            "Circle of Life",
            client,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ):
        said = answer(
            [challenge],
            method="GET",
            uri="/dir/index.html",
            user="Mufasa",
            password=password,
            nonce=lambda chosen=cnonce: chosen,
        )
        assert said is not None
        assert f'response="{response}"' in said


def test_digest_goes_before_basic_and_what_is_not_understood_is_passed_over() -> None:
    def said(*challenges: str) -> str:
        return (answer(challenges, method="GET", uri="/", user="a", password="b") or "none").split()[0]

    assert said('Basic realm="x"', 'Digest realm="x", nonce="n"') == "Digest"
    assert said('Digest realm="x", nonce="n", algorithm=SHA-512-256', 'Basic realm="x"') == "Basic"
    assert said('Digest realm="x", nonce="n", qop="auth-int"') == "none"
    assert said("Negotiate") == "none"


@pytest.mark.parametrize(
    ("uri", "user", "password", "place", "path"),
    [
        ("rtsp://10.0.0.5/live", None, "", "10.0.0.5:554", "/live"),
        ("rtsps://10.0.0.5", None, "", "10.0.0.5:322", "/"),
        ("http://cam:8080/v?a=b", None, "", "cam:8080", "/v?a=b"),
        ("https://cam.example.org/v", None, "", "cam.example.org:443", "/v"),
        ("rtsp://joe:secret@cam/live", "joe", "secret", "cam:554", "/live"),
        ("rtsp://joe@cam/live", "joe", "", "cam:554", "/live"),
        ("rtsp://joe:a:b@[fe80::1]:8554/live", "joe", "a:b", "[fe80::1]:8554", "/live"),
        ("rtsp://joe:p%40ss%2Fw%3A@cam/live", "joe", "p@ss/w:", "cam:554", "/live"),
        ("rtsp://joe:p@ss@10.0.0.5/live", "joe", "p@ss", "10.0.0.5:554", "/live"),
        ("rtsp://joe:p/ss@10.0.0.5/live", "joe", "p/ss", "10.0.0.5:554", "/live"),
        ("rtsp://joe:12/34@10.0.0.5/live", "joe", "12/34", "10.0.0.5:554", "/live"),
        ("rtsp://joe:p@ss/w@10.0.0.5:554/live?x=1", "joe", "p@ss/w", "10.0.0.5:554", "/live?x=1"),
        ("rtsp://joe:p?s#@cam.example.org/live", "joe", "p?s#", "cam.example.org:554", "/live"),
        ("rtsp://joe:100%sure@10.0.0.5/live", "joe", "100%sure", "10.0.0.5:554", "/live"),
        # An @ in the path is one.
        ("http://10.0.0.5/img@2x.png", None, "", "10.0.0.5:80", "/img@2x.png"),
        ("http://cam/img@2x.png", None, "", "cam:80", "/img@2x.png"),
        ("rtsp://joe:secret@10.0.0.5/cam@2.sdp", "joe", "secret", "10.0.0.5:554", "/cam@2.sdp"),
        ("rtsp://joe:secret@cam/stream@2", "joe", "secret", "cam:554", "/stream@2"),
    ],
)
def test_addresses_are_read_as_people_write_them(
    uri: str, user: str | None, password: str, place: str, path: str
) -> None:
    address = parse_address(site(uri))
    assert (address.user, address.password, address.place, address.path) == (user, password, place, path)
    assert parse_address(site(address.full)) == address  # what FFmpeg gets says the same
    assert password == "" or password not in repr(address)


def test_ffmpeg_gets_no_character_that_would_end_user_or_host() -> None:
    address = Address(scheme="rtsp", host="cam", port=554, path="/x", user="a b", password="@/:?#%[]&")
    assert address.full == "rtsp://a%20b:%40%2F%3A%3F%23%25%5B%5D%26@cam:554/x"


def test_the_codecs_of_a_description_are_its_video_streams() -> None:
    text = (
        "v=0\r\nm=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\n"
        "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\nm=video 0 RTP/AVP 26\r\nm=video 0 RTP/AVP 99\r\n"
    )
    assert video_codecs(text) == ["H265", "JPEG", "UNKNOWN"]
    assert video_codecs("v=0\nm=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\n") == ["H264"]
    assert video_codecs("v=0\r\nm=audio 0 RTP/AVP 0\r\n") == []
