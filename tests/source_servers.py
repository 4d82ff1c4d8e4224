"""Small network cameras on the loopback: an RTSP server that streams motion JPEG over TCP, and an HTTP one.

Written from RFC 7826's predecessor 2326 (RTSP), 2435 (JPEG over RTP) and 7616 (digest); one thread a connection.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import socketserver
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from numpy.typing import NDArray

SIZE_PX = (160, 120)
QUALITY = 80  # of the JPEG; the same number makes the same tables in RFC 2435
NONCE = "b7a1f7c3d9"


def grey_level(index: int) -> int:
    """The brightness of picture index: a step that survives JPEG, so that pictures can be told apart."""
    return 40 + 10 * (index % 20)


def jpeg(index: int) -> bytes:
    width, height = SIZE_PX
    picture: NDArray[np.uint8] = np.full((height, width, 3), grey_level(index), np.uint8)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


@dataclass
class Account:
    """Who may look, and how that is asked."""

    user: str
    password: str
    kind: Literal["basic", "digest", "digest-sha", "digest-plain"] = "digest"

    @property
    def challenges(self) -> list[str]:
        if self.kind == "basic":
            return ['Basic realm="cam, one"']
        if self.kind == "digest-plain":  # RFC 2069: no qop
            return [f'Digest realm="cam, one", nonce="{NONCE}"', 'Basic realm="cam"']
        name = "SHA-256" if self.kind == "digest-sha" else "MD5"
        return [f'Digest realm="cam, one", qop="auth", algorithm={name}, nonce="{NONCE}", opaque="o"']

    def accepts(self, method: str, header: str) -> bool:
        if self.kind == "basic":
            return header == "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        if not header.startswith("Digest "):
            return False
        given = {name: a or b for name, a, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)}
        make = hashlib.sha256 if self.kind == "digest-sha" else hashlib.md5

        def digest(text: str) -> str:
            return make(text.encode()).hexdigest()

        first = digest(f"{self.user}:cam, one:{self.password}")
        second = digest(f"{method}:{given.get('uri')}")
        middle = f"{NONCE}:{given.get('nc')}:{given.get('cnonce')}:auth" if "qop" in given else NONCE
        return given.get("username") == self.user and given.get("response") == digest(f"{first}:{middle}:{second}")


@dataclass
class LoopbackServer:
    """Answers each connection with `talk`, in a thread of its own, until it is left."""

    requests: list[str] = field(default_factory=list)  # first lines, in the order of arrival
    port: int = 0
    connected: threading.Event = field(default_factory=threading.Event)

    def talk(self, connection: socket.socket) -> None:
        raise NotImplementedError

    def __enter__(self) -> Any:
        outer, self._over = self, threading.Event()

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                outer.connected.set()
                with suppress(OSError):  # the other side has gone
                    outer.talk(self.request)

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hold(self) -> None:
        """Say nothing until the server is left."""
        self._over.wait(30)

    def read_head(self, connection: socket.socket) -> list[str]:
        """Return the next request's lines; empty where the other side has gone."""
        received = b""
        while b"\r\n\r\n" not in received:
            if received[:1] == b"$" and len(received) >= 4:  # a report of the receiver, between two requests
                length = 4 + struct.unpack("!H", received[2:4])[0]
                if len(received) >= length:
                    received = received[length:]
                    continue
            data = connection.recv(4096)
            if not data:
                return []
            received += data
        lines = received.split(b"\r\n\r\n")[0].decode().split("\r\n")
        self.requests.append(lines[0])
        return lines


def header(lines: list[str], name: str) -> str:
    return next((line.partition(":")[2].strip() for line in lines if line.lower().startswith(f"{name.lower()}:")), "")


@dataclass
class RtspCamera(LoopbackServer):
    """Streams `pictures` pictures of grey_level(index) at fps, then is silent, closes, or never began (hangs)."""

    pictures: int = 30
    fps: float = 50.0
    status: str = "200 OK"  # of DESCRIBE
    account: Account | None = None
    media: str = "m=video 0 RTP/AVP 26\r\n"
    hangs: bool = False
    then: Literal["silence", "close"] = "close"

    def uri(self, credentials: str = "") -> str:
        return f"rtsp://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}/live"

    def talk(self, connection: socket.socket) -> None:
        if self.hangs:
            self.hold()
        while lines := self.read_head(connection):
            method, url = lines[0].split()[:2]
            if not self._answer(connection, method, url, lines):
                break

    def _answer(self, connection: socket.socket, method: str, url: str, lines: list[str]) -> bool:
        def reply(status: str, *headers: str, body: str = "") -> None:
            text = [f"RTSP/1.0 {status}", f"CSeq: {header(lines, 'CSeq')}", *headers]
            text += [f"Content-Length: {len(body)}"] if body else []
            connection.sendall("\r\n".join([*text, "", body]).encode())

        if method == "OPTIONS":
            reply("200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif self.account and not self.account.accepts(method, header(lines, "Authorization")):
            reply("401 Unauthorized", *(f"WWW-Authenticate: {text}" for text in self.account.challenges))
        elif method == "DESCRIBE" and not self.status.startswith("200"):
            reply(self.status)
        elif method == "DESCRIBE":
            start = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
            body = f"{start}{self.media}a=control:track0\r\n"
            reply("200 OK", "Content-Type: application/sdp", f"Content-Base: {url}/", body=body)
        elif method == "SETUP":
            reply("200 OK", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1", "Session: 1")
        elif method == "PLAY":
            reply("200 OK", "Session: 1")
            self._stream(connection)
            return False
        else:
            reply("200 OK", "Session: 1")
        return True

    def _stream(self, connection: socket.socket) -> None:
        sequence = 0
        for index in range(self.pictures):
            for packet in rtp_packets(jpeg(index), sequence, int(90000 * index / self.fps)):
                connection.sendall(b"$\0" + struct.pack("!H", len(packet)) + packet)
                sequence += 1
            time.sleep(1 / self.fps)
        if self.then == "silence":
            self.hold()


def rtp_packets(picture: bytes, sequence: int, stamp: int) -> list[bytes]:
    """Cut a JPEG into RTP packets: its tables are told by their quality, only the scan travels (RFC 2435)."""
    scan_head = picture.index(b"\xff\xda")
    start = scan_head + 2 + struct.unpack("!H", picture[scan_head + 2 : scan_head + 4])[0]
    scan = picture[start : picture.rindex(b"\xff\xd9")]
    width, height = SIZE_PX
    packets: list[bytes] = []
    for offset in range(0, len(scan), 1200):
        part = scan[offset : offset + 1200]
        last = offset + len(part) == len(scan)
        head = struct.pack("!BBHII", 0x80, 26 | (0x80 if last else 0), (sequence + len(packets)) & 0xFFFF, stamp, 7)
        # Type 1: colour at half size both ways, which is OpenCV's.
        jpeg_head = struct.pack("!I", offset) + bytes([1, QUALITY, width // 8, height // 8])
        packets.append(head + jpeg_head + part)
    return packets


@dataclass
class HttpCamera(LoopbackServer):
    """Motion JPEG over HTTP, or whatever `answer` sends; `status` is of every answer with leave to look."""

    pictures: int = 30
    fps: float = 50.0
    status: str = "200 OK"
    media: str = "multipart/x-mixed-replace; boundary=picture"
    account: Account | None = None
    headers: tuple[str, ...] = ()
    content: bytes = b""  # instead of pictures, with its length
    hangs: bool = False
    then: Literal["silence", "close"] = "close"
    tls: ssl.SSLContext | None = None

    def uri(self, credentials: str = "", scheme: str = "http") -> str:
        return f"{scheme}://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}/video"

    def talk(self, connection: socket.socket) -> None:
        if self.hangs:
            self.hold()
        elif self.tls is None:
            self._serve(connection)
        else:
            with self.tls.wrap_socket(connection, server_side=True) as wrapped:
                self._serve(wrapped)

    def _serve(self, connection: socket.socket) -> None:
        lines = self.read_head(connection)
        if not lines:
            return
        method = lines[0].split()[0]
        if self.account and not self.account.accepts(method, header(lines, "Authorization")):
            asked = "".join(f"WWW-Authenticate: {text}\r\n" for text in self.account.challenges)
            connection.sendall(f"HTTP/1.1 401 Unauthorized\r\n{asked}Content-Length: 0\r\n\r\n".encode())
            return
        own = [f"Content-Length: {len(self.content)}", "Accept-Ranges: none"] if self.content else []
        head = [f"HTTP/1.1 {self.status}", f"Content-Type: {self.media}", "Connection: close", *own, *self.headers]
        connection.sendall("\r\n".join([*head, "", ""]).encode() + self.content)
        if self.content or not self.status.startswith("200"):
            return
        for index in range(self.pictures):
            picture = jpeg(index)
            part = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
            connection.sendall(part.encode() + picture + b"\r\n")
            time.sleep(1 / self.fps)
        if self.then == "silence":
            self.hold()


def closed_port() -> int:
    """Return a port of the loopback on which nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
