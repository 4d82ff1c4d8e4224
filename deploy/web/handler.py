"""One connection of the port: requests read under deadlines, refused or answered, with the same headers on everything.

It never touches the loop's parts: they are asked through the mailbox.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

from deploy.gallery import GalleryError
from deploy.loop.mailbox import NoAnswer
from deploy.web.access import Refusal
from deploy.web.answers import Answer, error_answer
from deploy.web.desk import Unavailable
from deploy.web.desk_people import Unknown
from deploy.web.reading import Request, query_number
from deploy.web.routes import answer, asset
from deploy.web.socket_files import Patient, Prompt, TooMuch
from deploy.web.streams import CONTENT_TYPE, DEFAULT_FPS, MOST_FPS, stream_pictures
from engines.errors import BadInput, first_line

if TYPE_CHECKING:
    from deploy.web.server import PageServer

log = logging.getLogger(__name__)

MOST_HEAD = 32 * 1024  # bytes of a request line and its headers; a browser sends 2 KiB
MOST_BODY = 24 * 2**20  # twelve photographs of a telephone, scaled down by the page
IDLE_S = 20.0  # to send a request, the pause before it included
BODY_S = 30.0
WRITE_S = 10.0
SMALL_BODY = 64 * 1024  # larger ones are few at a time
# What is refused is read on for so long, or the browser never shows the refusal.
DRAIN_S, MOST_DRAINED = 2.0, 2**20
COMPLAIN_S = 60.0
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
FREE = frozenset({"/page.css", "/page.js", "/favicon.ico"})  # what the page needs to ask for the token
PROBES = frozenset({"/healthz", "/readyz"})
# What http.server refuses by itself, in our words: it would repeat what was sent, and without the headers.
NOT_HTTP, TOO_LONG = "expected a request in HTTP/1.1", "expected fewer and shorter headers"
REASONS = {414: TOO_LONG, 431: TOO_LONG, 501: "expected GET, HEAD, POST or DELETE"}
ONCE = ("Host", "Origin", "Authorization")  # which of two would count is told differently by proxies


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Crosslight", ""
    command = requestline = ""  # until there is a request

    @property
    def _port(self) -> PageServer:
        return cast("PageServer", self.server)

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.wfile.close()
        self._patient = Patient(self.connection)
        self.rfile = io.BufferedReader(self._patient)
        self.wfile = Prompt(self.connection, WRITE_S)

    def handle_one_request(self) -> None:
        self._patient.allow(IDLE_S, MOST_HEAD)
        try:
            super().handle_one_request()
        except TooMuch:
            self.send_error(431)

    def do_GET(self) -> None:
        self._patient.allow(BODY_S, 0)
        self.close_connection = self.close_connection or self._port.closing.is_set()
        try:
            if self.request_version == "HTTP/0.9":  # it has no headers, so no Host either
                self.send_error(505)
            else:
                self._serve()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    do_HEAD = do_POST = do_DELETE = do_GET

    def _serve(self) -> None:
        method = "GET" if self.command == "HEAD" else self.command
        parts = _split(self.path)
        if parts is None or any(len(self.headers.get_all(name, ())) > 1 for name in ONCE):
            self.send_error(400)
            return
        try:
            query = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
        except ValueError:
            self._refuse(400, "expected at most 20 parameters")
            return
        token = query.pop("token", "")
        refusal = self._refusal(method, token)
        trusted = refusal is None
        if refusal is not None and not (refusal.status == 401 and parts.path in FREE | PROBES):
            self._complain(refusal.status)
            if refusal.status == 401 and parts.path == "/" and method == "GET":
                self.close_connection = True
                self._send(asset("/"), status=401)  # the page asks for the token
            else:
                self._refuse(refusal.status, refusal.reason)
            return
        length = self._length()
        if length is None:
            return
        if refusal is not None and (length or method != "GET"):  # a stranger's body is not read
            self._refuse(refusal.status, refusal.reason)
        elif length <= SMALL_BODY:
            self._serve_body(method, parts.path, query, token, trusted, length)
        elif self._port.bodies.acquire(blocking=False):
            try:
                self._serve_body(method, parts.path, query, token, trusted, length)
            finally:
                self._port.bodies.release()
        else:
            self._refuse(503, "as many pictures are being sent as there may be; try again")
            self._drain(length)

    def _refusal(self, method: str, token: str) -> Refusal | None:
        """Return why the request is not answered; who brought many wrong tokens has to wait."""
        address, guessed = self.client_address[0], bool(token or self.headers.get("Authorization"))
        if guessed and self._port.guesses.too_many(address):
            return Refusal(429, "too many wrong tokens came from this address; wait a minute")
        refusal = self._port.access.refuse(method, _Headers(self.headers), token)
        if refusal is not None and refusal.status == 401 and guessed:
            self._port.guesses.note(address)
        return refusal

    def _serve_body(
        self, method: str, path: str, query: dict[str, str], token: str, trusted: bool, length: int
    ) -> None:
        self._patient.allow(BODY_S, length)
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        request = Request(method=method, path=path, query=query, body=body, trusted=trusted)
        if method == "GET" and path.startswith("/live/") and path.endswith(".mjpg"):
            self._stream(request)
            return
        reply = self._reply(request)
        if trusted and path == "/" and (token or self.headers.get("Authorization")):
            reply = Answer(
                body=reply.body, content_type=reply.content_type, headers={"Set-Cookie": self._port.access.cookie()}
            )
        self._send(reply)

    def _reply(self, request: Request) -> Answer:
        try:
            return answer(self._port.page, request)
        except Unknown as error:
            return error_answer(404, str(error))
        except BadInput as error:
            return error_answer(400, str(error))
        except (NoAnswer, Unavailable, GalleryError) as error:
            return error_answer(503, first_line(error))
        except Exception:
            log.exception("web: %s %s", request.method, request.path)
            return error_answer(500, "this failed inside; the log of the run has the reason")

    def _length(self) -> int | None:
        """Return how long the body is, or None where it was refused."""
        lengths = self.headers.get_all("Content-Length") or ["0"]
        length = lengths[0]
        if self.headers.get("Transfer-Encoding") or lengths[1:] or not re.fullmatch(r"[0-9]{1,12}", length):
            self._refuse(411, "expected a body with one Content-Length")
            return None
        if int(length) > MOST_BODY:
            self._refuse(413, f"expected {MOST_BODY // 2**20} MiB at most, got {int(length) / 2**20:.0f} MiB")
            self._drain(int(length))
            return None
        return int(length)

    def _drain(self, length: int) -> None:
        self._patient.allow(DRAIN_S, length)
        with contextlib.suppress(OSError, TooMuch):
            while length > 0 and (piece := self.rfile.read1(min(length, 65536))):
                length -= len(piece)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what http.server cannot read or does not know."""
        self.request_version = self.protocol_version  # in HTTP/0.9 there would be no headers
        self._refuse(code, REASONS.get(code, NOT_HTTP))
        if code in (414, 431):
            self._drain(MOST_DRAINED)

    def _refuse(self, status: int, reason: str) -> None:
        """Answer without having read the body, so that the connection cannot be used any further."""
        self.close_connection = True
        self._send(error_answer(status, reason))

    def _send(self, reply: Answer, status: int | None = None) -> None:
        self.send_response(status or reply.status)
        if reply.status != 204:
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
        for name, value in {**HEADERS, **reply.headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _stream(self, request: Request) -> None:
        page, name = self._port.page, request.path.removeprefix("/live/").removesuffix(".mjpg")
        self.close_connection = True
        if name not in {camera.name for camera in page.cameras}:
            self._send(error_answer(404, "there is no such camera"))
            return
        try:
            fps = min(max(query_number(request.query, "fps", DEFAULT_FPS), 1), MOST_FPS)
        except BadInput as error:
            self._send(error_answer(400, str(error)))
            return
        if not self._port.streams.acquire(blocking=False):
            self._send(error_answer(503, "as many streams are being watched as there may be"))
            return
        try:
            self.send_response(200)
            for header, value in {**HEADERS, "Content-Type": CONTENT_TYPE, "Connection": "close"}.items():
                self.send_header(header, value)
            self.end_headers()
            self.wfile.flush()
            if self.command != "HEAD":
                for part in stream_pictures(page.tiles, name, fps, self._port.closing.is_set):
                    self.wfile.write(part)
                    self.wfile.flush()
        finally:
            self._port.streams.release()

    def _complain(self, status: int) -> None:
        """Log refused requests, once a minute at most."""
        now_s = time.monotonic()
        if now_s - self._port.complained_s >= COMPLAIN_S:
            self._port.complained_s = now_s
            log.warning("web: a request from %s was refused (%d)", self.client_address[0], status)

    def version_string(self) -> str:
        return self.server_version

    def log_message(self, format: str, *args: Any) -> None:
        # Without what stands behind the question mark: a token may.
        log.debug("web: %s %s", self.client_address[0], ascii(getattr(self, "path", "").partition("?")[0][:200]))


def _split(path: str) -> SplitResult | None:
    try:
        return urlsplit(path)
    except ValueError:  # a whole address, with brackets that hold no IPv6 address
        return None


class _Headers(dict[str, str]):
    """The headers of a request by the names that we use."""

    def __init__(self, message: Any) -> None:
        names = ("Host", "Origin", "Authorization", "Cookie", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest")
        super().__init__({name: message[name] for name in names if message[name] is not None})
