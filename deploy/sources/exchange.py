"""One question and one answer with a camera, HTTP or RTSP, so that a failure can be told from another.

What FFmpeg says about a failed open is on stderr only, and at the price of the whole process's stderr. Here every wait
has a limit, and each failure its kind. Certificates are not checked, as FFmpeg does not: cameras sign their own.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.sources.challenge import answer
from deploy.sources.source import failure

if TYPE_CHECKING:
    from deploy.settings.site_plan import CameraSite
    from deploy.sources.address import Address
    from deploy.sources.source import FailureKind, SourceError

AGENT = "Crosslight"
MOST_BYTES = 65536  # an answer's head, and a description; both take a few hundred
UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}


@dataclass(frozen=True, kw_only=True)
class Answer:
    protocol: str  # such as RTSP/1.0
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]  # names in lower case
    body: bytes = b""

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")


class Line:
    """A connection to one camera. Every failure of it is raised as SourceError; timeout_s is for the whole talk."""

    def __init__(self, site: CameraSite, address: Address, timeout_s: float) -> None:
        self._site, self._address, self._timeout_s = site, address, timeout_s
        self._end_s = time.monotonic() + timeout_s
        self._count = 0
        self.challenges: tuple[str, ...] = ()  # of the last answer that asked for user and password
        self._received = b""
        try:
            self._socket = socket.create_connection((address.host, address.port), timeout_s)
        except (OSError, UnicodeError) as error:
            raise self.failure(error) from None
        if address.tls:
            self._encrypt()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def ask(self, method: str, uri: str, headers: tuple[str, ...] = (), *, body: bool = False) -> Answer:
        """Send a request, answer its challenge where the address has a user, and return the last answer."""
        found = self._exchange(method, uri, headers, body)
        if found.status != 401 or self._address.user is None:
            return found
        self.challenges = tuple(value for name, value in found.headers if name == "www-authenticate")
        user, password = self._address.user, self._address.password
        said = answer(self.challenges, method=method, uri=uri, user=user, password=password)
        if said is None:
            return found
        headers = (*headers, f"Authorization: {said}")
        if found.protocol.startswith("RTSP/"):
            return self._exchange(method, uri, headers, body)
        with Line(self._site, self._address, max(0.1, self._end_s - time.monotonic())) as again:
            return again._exchange(method, uri, headers, body)

    def failure(self, error: Exception) -> SourceError:
        """Return what went wrong with the connection in our words."""
        kind, reason = _explain(error, self._address, self._timeout_s)
        return failure(self._site, reason, kind)

    def _exchange(self, method: str, uri: str, headers: tuple[str, ...], body: bool) -> Answer:
        self._count += 1
        rtsp = self._address.scheme.startswith("rtsp")
        protocol, own = ("RTSP/1.0", f"CSeq: {self._count}") if rtsp else ("HTTP/1.1", f"Host: {self._address.place}")
        lines = [f"{method} {uri} {protocol}", own, f"User-Agent: {AGENT}", *headers]
        try:
            self._socket.settimeout(self._left_s())
            self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
            return self._answer(body)
        except OSError as error:
            raise self.failure(error) from None

    def _answer(self, body: bool) -> Answer:
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *rest = head.decode("utf-8", "replace").split("\r\n")
        protocol, _, told = first.partition(" ")
        number, _, reason = told.partition(" ")
        if not re.fullmatch(r"[0-9]{3}", number) or not protocol.startswith(("RTSP/", "HTTP/", "ICY")):
            raise failure(self._site, _other_protocol(head, self._address), "unsupported")
        pairs = tuple(
            (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in rest)
        )
        found = Answer(protocol=protocol, status=int(number), reason=reason, headers=pairs)
        length = found.header("content-length")
        # A body is read where it is wanted, or where the next answer on this line stands behind it.
        if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > MOST_BYTES or not (body or found.status == 401):
            return found
        while len(self._received) < int(length):
            self._receive()
        content, self._received = self._received[: int(length)], self._received[int(length) :]
        return Answer(protocol=protocol, status=found.status, reason=reason, headers=pairs, body=content)

    def _receive(self) -> None:
        self._socket.settimeout(self._left_s())
        data = self._socket.recv(4096)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "closed without an answer")
        self._received += data
        if self._received[:2] == b"\x15\x03":  # the alert of a TLS server that was spoken to in plain text
            raise failure(self._site, _other_protocol(self._received, self._address), "tls")
        if len(self._received) > 2 * MOST_BYTES:
            raise failure(self._site, _other_protocol(self._received, self._address), "unsupported")

    def _left_s(self) -> float:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s

    def _encrypt(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            self._socket.settimeout(self._left_s())
            self._socket = context.wrap_socket(self._socket, server_hostname=self._address.host)
        except TimeoutError:
            self._socket.close()
            reason = f"no answer to a TLS greeting from {self._address.place} in {self._timeout_s:g} s"
            plain = self._address.scheme.removesuffix("s")
            raise failure(self._site, f"{reason}; does it speak {plain}:// only?", "timeout") from None
        except OSError as error:
            self._socket.close()
            raise self.failure(error) from None


def _explain(error: Exception, address: Address, timeout_s: float) -> tuple[FailureKind, str]:
    place = address.place
    if isinstance(error, ssl.SSLError):
        plain = address.scheme.removesuffix("s")
        return "tls", f"no TLS with {place} ({error.reason or error}); is it {plain}://, or too old for this machine?"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "not-found", f"no host {address.host!r} is known; check the name and this machine's DNS"
    if isinstance(error, ConnectionRefusedError):
        return "refused", f"connection refused: nothing listens on {place}; is the camera on, and is that its port?"
    if isinstance(error, TimeoutError):
        return "timeout", f"no answer from {place} in {timeout_s:g} s; check cable, power and firewall"
    if isinstance(error, OSError) and error.errno in UNREACHABLE:
        return "connection", f"no way to {place} ({error.strerror}); check network and address"
    if isinstance(error, ConnectionError):
        spoken = address.scheme if address.tls else f"{address.scheme}, and not {address.scheme}s"
        return "connection", f"{place} closed the connection without an answer; does it speak {spoken}?"
    return "connection", f"the connection to {place} failed ({error}); check network and camera"


def _other_protocol(head: bytes, address: Address) -> str:
    if head[:2] == b"\x15\x03":
        return f"{address.place} wants TLS: write {address.scheme}s://"
    shown = ascii(head[:40].decode("latin-1"))
    return f"expected an answer in {address.scheme.upper()} from {address.place}, got {shown}; check scheme and port"
