"""Every way in which a source fails (cameras.md 4.2), provoked for real: its kind, and a message that helps."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from deploy.cameras.camera import Camera
from deploy.settings.site_plan import CameraSite
from deploy.sources import SourceError, make_source, stream
from deploy.sources.gstreamer import gi_has_gstreamer, opencv_has_gstreamer
from deploy.sources.opencv_capture import CaptureSource
from deploy.sources.stream import StreamSource
from tests.deploy.sources.test_network import certificate, site
from tests.deploy.sources.test_recordings import write_video
from tests.source_servers import Account, HttpCamera, LoopbackServer, RtspCamera, closed_port

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.sources import Source

__all__ = ["certificate"]

SECRET = "hunter2:hunter3@/x"


def refusal(uri: str, *, timeout_s: float = 2.0, **settings: Any) -> SourceError:
    """Return what opening the address raises."""
    source = StreamSource(site(uri, **settings), clock=lambda: 0.0, timeout_s=timeout_s)
    with pytest.raises(SourceError) as raised:
        source.open()
    source.close()
    return raised.value


class Scripted(LoopbackServer):
    """Says `content` to whatever it hears first, and closes."""

    content: bytes = b""

    def talk(self, connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(self.content)


def scripted(content: bytes) -> Scripted:
    server = Scripted()
    server.content = content
    return server


@pytest.mark.parametrize("kind", ["basic", "digest", "digest-sha", "digest-plain"])
@pytest.mark.parametrize("camera", [RtspCamera, HttpCamera])
def test_a_wrong_password_is_told_and_not_tried_again(camera: Any, kind: Any) -> None:
    with camera(account=Account("joe", "right", kind)) as server:
        error = refusal(server.uri(f"joe:{SECRET}"))
    assert (error.kind, error.permanent) == ("credentials", True)
    assert "401 unauthorized (wrong user or password); not tried again" in str(error)
    assert re.match(r"camera 'gate' (rtsp|http)://\*\*\*@127\.0\.0\.1:\d+/", str(error))


@pytest.mark.parametrize("camera", [RtspCamera, HttpCamera])
def test_a_missing_password_is_told(camera: Any) -> None:
    with camera(account=Account("joe", "right")) as server:
        error = refusal(server.uri())
    assert (error.kind, error.permanent) == ("credentials", True)
    assert "the address has no user and password" in str(error)


@pytest.mark.parametrize("camera", [RtspCamera, HttpCamera])
@pytest.mark.parametrize(
    ("status", "kind", "permanent", "message"),
    [
        ("403 Forbidden", "credentials", True, "may not see the stream"),
        ("404 Not Found", "not-found", False, "no such stream on the camera"),
        ("453 Not Enough Bandwidth", "busy", False, "no more viewers"),
        ("461 Unsupported Transport", "unsupported", False, "does not do what was asked"),
        ("503 Service Unavailable", "connection", False, "trouble of its own"),
    ],
)
def test_each_refusal_of_a_camera_has_its_kind(
    camera: Any, status: str, kind: str, permanent: bool, message: str
) -> None:
    with camera(status=status) as server:
        error = refusal(server.uri(f"joe:{SECRET}"))
    assert (error.kind, error.permanent) == (kind, permanent)
    assert status.lower() in str(error)
    assert message in str(error)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https"])
def test_a_port_on_which_nothing_listens_refuses(scheme: str) -> None:
    error = refusal(f"{scheme}://joe:{SECRET}@127.0.0.1:{closed_port()}/live")
    assert (error.kind, error.permanent) == ("refused", False)
    assert "connection refused: nothing listens on 127.0.0.1:" in str(error)


@pytest.mark.parametrize("camera", [RtspCamera, HttpCamera])
def test_a_camera_that_hangs_is_given_up_in_time(camera: Any) -> None:
    with camera(hangs=True) as server:
        error = refusal(server.uri(), timeout_s=0.2)
    assert (error.kind, error.permanent) == ("timeout", False)
    assert re.search(r"no answer from 127\.0\.0\.1:\d+ in 0\.2 s", str(error))


def test_a_camera_that_drips_its_answer_is_given_up_in_time() -> None:
    class Dripping(LoopbackServer):
        def talk(self, connection: socket.socket) -> None:
            while not self._over.wait(0.02):
                connection.sendall(b"x")

    with Dripping() as server:
        error = refusal(f"rtsp://127.0.0.1:{server.port}/live", timeout_s=0.3)
    assert error.kind == "timeout"


def test_a_host_without_a_name_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*place: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # a resolver is beyond the loopback
    error = refusal(f"rtsp://joe:{SECRET}@no-such-camera.example/live")
    assert (error.kind, error.permanent) == ("not-found", False)
    assert "no host 'no-such-camera.example' is known" in str(error)


def test_a_camera_that_closes_without_a_word_is_a_lost_connection() -> None:
    with scripted(b"") as server:
        error = refusal(f"rtsp://127.0.0.1:{server.port}/live")
    assert (error.kind, error.permanent) == ("connection", False)
    assert "closed the connection without an answer" in str(error)


def test_a_connection_that_is_reset_is_a_lost_connection() -> None:
    class Resetting(LoopbackServer):
        def talk(self, connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    with Resetting() as server:
        error = refusal(f"rtsp://127.0.0.1:{server.port}/live")
    assert (error.kind, error.permanent) == ("connection", False)


def test_a_web_server_is_no_rtsp_camera_and_the_other_way_round() -> None:
    with HttpCamera() as server:
        assert "expected RTSP from 127.0.0.1" in str(refusal(server.uri(scheme="rtsp")))
    with RtspCamera() as server:
        error = refusal(server.uri().replace("rtsp", "http", 1))
    assert (error.kind, error.permanent) == ("unsupported", True)
    assert "got RTSP/1.0; write rtsp://" in str(error)


def test_what_is_no_protocol_at_all_is_told() -> None:
    with scripted(b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as server:
        error = refusal(f"rtsp://127.0.0.1:{server.port}/live")
    assert (error.kind, error.permanent) == ("unsupported", True)
    assert "got 'SSH-2.0-OpenSSH_9.2'" in str(error)


def test_an_answer_without_end_is_not_read_for_ever() -> None:
    class Flooding(LoopbackServer):
        def talk(self, connection: socket.socket) -> None:
            while not self._over.is_set():
                connection.sendall(b"x" * 65536)

    with Flooding() as server:
        assert refusal(f"http://127.0.0.1:{server.port}/live").kind == "unsupported"


@pytest.mark.parametrize("scheme", ["https", "rtsps"])
def test_tls_asked_of_a_plain_server_is_told(scheme: str) -> None:
    with scripted(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        error = refusal(f"{scheme}://joe:{SECRET}@127.0.0.1:{server.port}/live")
    assert (error.kind, error.permanent) == ("tls", True)
    assert f"is it {scheme[:-1]}://" in str(error)


def test_the_alert_of_a_tls_server_is_understood() -> None:
    with scripted(b"\x15\x03\x01\x00\x02\x02\x46") as server:  # protocol version, as OpenSSL 3 sends it
        error = refusal(f"rtsp://127.0.0.1:{server.port}/live")
    assert (error.kind, error.permanent) == ("tls", True)
    assert "wants TLS: write rtsps://" in str(error)


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_plain_text_said_to_a_tls_server_names_tls(certificate: ssl.SSLContext, scheme: str) -> None:
    """A server that hangs up at once may take its own alert off the line: then it is a guess in the message."""
    with HttpCamera(tls=certificate) as server:
        error = refusal(server.uri(scheme=scheme))
    assert error.kind in ("tls", "connection")
    assert f"{scheme}s" in str(error)


def test_a_tls_greeting_without_an_answer_is_a_timeout() -> None:
    with RtspCamera(hangs=True) as server:
        error = refusal(server.uri().replace("rtsp", "rtsps", 1), timeout_s=0.2)
    assert (error.kind, error.permanent) == ("timeout", False)
    assert "does it speak rtsp:// only?" in str(error)


def test_a_codec_that_ffmpeg_does_not_know_is_named() -> None:
    with RtspCamera(media="m=video 0 RTP/AVP 96\r\na=rtpmap:96 NOPE/90000\r\n") as server:
        error = refusal(server.uri())
    assert (error.kind, error.permanent) == ("codec", False)
    assert f"opencv-python {cv2.__version__} finds no picture that it can decode in what comes (NOPE)" in str(error)


def test_a_login_that_ffmpeg_does_not_know_is_named() -> None:
    with RtspCamera(account=Account("joe", SECRET, "digest-sha")) as server:
        error = refusal(server.uri("joe:hunter2%3Ahunter3%40%2Fx"))
    assert (error.kind, error.permanent) == ("unsupported", True)
    assert "wants a SHA-256 login" in str(error)


@pytest.mark.parametrize(
    ("media", "message"),
    [("text/html", "a page for people"), ("image/jpeg", r"got one picture \(image/jpeg\)")],
)
def test_an_address_that_is_no_stream_is_told(media: str, message: str) -> None:
    with HttpCamera(media=media, content=b"<html>") as server:
        error = refusal(server.uri())
    assert (error.kind, error.permanent) == ("unsupported", True)
    assert re.search(message, str(error))


def test_a_stream_of_sound_alone_is_told() -> None:
    with RtspCamera(media="m=audio 0 RTP/AVP 0\r\n") as server:
        error = refusal(server.uri())
    assert (error.kind, error.permanent) == ("unsupported", True)
    assert "has no video stream" in str(error)


def test_credentials_do_not_follow_a_redirection_to_another_host() -> None:
    with HttpCamera(status="302 Found", headers=(f"Location: http://joe:{SECRET}@10.9.9.9/x?token=abcdef",)) as server:
        error = refusal(server.uri(f"joe:{SECRET}"))
    assert (error.kind, error.permanent) == ("not-found", True)
    assert "moved to another host" in str(error)
    assert "abcdef" not in str(error)


def test_a_redirection_in_a_circle_ends() -> None:
    with HttpCamera(status="302 Found", headers=("Location: /video",)) as server:
        assert "moved more than 5 times" in str(refusal(server.uri()))
    assert len(server.requests) == 6


@pytest.mark.parametrize("camera", [RtspCamera, HttpCamera])
def test_a_stream_that_falls_silent_is_told_from_one_that_ends(camera: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("deploy.sources.stream", "deploy.sources.opencv_capture"):
        monkeypatch.setattr(f"{place}.READ_TIMEOUT_S", 0.4)
    with camera(pictures=40, then="close") as server:
        source = make_source(site(server.uri()))
        source.open()
        drain(source)
        source.close()
    with camera(pictures=40, then="silence") as server:
        source = make_source(site(server.uri()))
        source.open()
        with pytest.raises(SourceError, match=r"no picture for 0\.4 s") as silence:
            drain(source)
        source.close()
    assert (silence.value.kind, silence.value.permanent) == ("timeout", False)


def test_no_message_of_a_source_holds_a_password() -> None:
    """Every kind of refusal above, with a password that needs care, in one sweep."""
    messages: list[str] = []
    for camera in (RtspCamera, HttpCamera):
        for status in ("401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Broken"):
            with camera(status=status) as server:
                messages.append(str(refusal(server.uri(f"joe:{SECRET}"))))
    messages.append(str(refusal(f"https://joe:{SECRET}@127.0.0.1:{closed_port()}/x?token=hunter4")))
    for message in messages:
        assert "hunter" not in message
        assert "joe" not in message
        assert "\n" not in message


def test_a_camera_of_the_loop_gives_the_reason_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), RtspCamera(account=Account("joe", "right")) as server:
        chosen = site(server.uri(f"joe:{SECRET}"))
        with pytest.raises(Exception, match=r"camera 'gate' rtsp://\*\*\*@.*401 unauthorized"):
            Camera(chosen, make_source(chosen)).__enter__()
    assert "hunter" not in caplog.text


@pytest.mark.skipif(
    opencv_has_gstreamer() or gi_has_gstreamer(), reason="GStreamer is here: nothing to say about its absence"
)
@pytest.mark.parametrize("uri", ["csi://0", "gst:videotestsrc"])
def test_without_gstreamer_what_to_install_is_told(uri: str) -> None:
    with pytest.raises(SourceError) as raised:
        make_source(site(uri))
    assert (raised.value.kind, raised.value.permanent) == ("unsupported", True)
    expected = (
        f"camera 'gate' {uri}: needs OpenCV with GStreamer; this opencv-python {cv2.__version__} has none. On Jetson"
    )
    assert str(raised.value).startswith(expected)


def open_failure(uri: Path) -> SourceError:
    with pytest.raises(SourceError) as raised:
        first_picture(make_source(site(str(uri))))
    return raised.value


def first_picture(source: Source) -> None:
    source.open()
    assert source.grab()
    source.retrieve()


def drain(source: Source) -> None:
    while source.grab():
        pass


def test_a_file_that_is_no_video_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 50)
    error = open_failure(tmp_path / "a.mp4")
    assert (error.kind, error.permanent) == ("codec", True)
    assert "expected a video that OpenCV can decode" in str(error)


def test_a_recording_that_was_not_finished_is_told(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", [10, 50, 90] * 20, code="mp4v").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert open_failure(tmp_path / "cut.mp4").kind == "codec"


def test_a_file_that_went_away_is_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [10])
    source = make_source(site(str(path)))
    path.unlink()
    with pytest.raises(SourceError, match="no such file any more") as raised:
        source.open()
    assert raised.value.kind == "not-found"


def test_a_folder_without_images_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    error = open_failure(tmp_path)
    assert (error.kind, error.permanent) == ("not-found", True)
    assert "expected a folder of images (.bmp, .jpeg" in str(error)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not an image")
    error = open_failure(tmp_path)
    assert (error.kind, error.permanent) == ("codec", True)
    assert "got a.png, which cannot be decoded; remove it" in str(error)


def test_sixteen_bits_of_a_visible_camera_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint16))
    error = open_failure(tmp_path)
    assert error.kind == "unsupported"
    assert "got uint16 grey of a visible camera" in str(error)


def test_a_hardware_decoder_that_does_not_start_gives_way_to_the_cpu(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def broken(pipeline: str, chosen: CameraSite) -> None:
        asked.append(pipeline)
        raise SourceError(f"camera {chosen.name!r} {chosen.uri}: no element nvv4l2decoder", kind="unsupported")

    monkeypatch.setattr(stream, "has_nvdec", lambda: True)
    monkeypatch.setattr(stream, "nvdec_pipeline", lambda address, codec: f"{codec} of {address.place}")
    monkeypatch.setattr(stream, "open_pipeline", broken)
    with RtspCamera(account=Account("joe", SECRET)) as server:
        source = make_source(site(server.uri("joe:hunter2%3Ahunter3%40%2Fx")))
        for _ in range(2):
            source.open()
            assert source.grab()
            source.close()
    assert isinstance(source, CaptureSource)
    assert asked == [f"JPEG of 127.0.0.1:{server.port}"]  # once: it is not tried again at each return
    assert [record.message for record in caplog.records] == [
        f"camera 'gate' rtsp://***@127.0.0.1:{server.port}/live: no element nvv4l2decoder; decoding on the CPU instead"
    ]
