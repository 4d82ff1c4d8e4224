"""The port: HTTP from the standard library, with limits on everything that somebody outside can take.

Each connection has a thread of its own (`handler`), and there are so many and no more. There is no TLS here: beyond a
trusted network put a proxy or a tunnel before it.
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
from collections import Counter
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any

from deploy.web.access import Access, Address, Guesses, checked_token, is_loopback, parse_address
from deploy.web.handler import HEADERS, Handler
from engines.errors import BadInput

if TYPE_CHECKING:
    from deploy.web.page_state import PageState

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 48  # a browser opens six
MOST_OF_ONE = 32  # of one other machine: one alone must not keep everybody else out
MOST_STREAMS = 8
MOST_BODIES = 4  # pictures on their way, at 24 MiB each


FULL = "".join(
    f"{line}\r\n"
    for line in (
        "HTTP/1.1 503 Service Unavailable",
        "Content-Length: 0",
        "Connection: close",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
        "",
    )
).encode()


class WebServer:
    """Listens once made, answers between `start` and `close`. Without a token it listens on loopback only."""

    def __init__(self, address: str, token: str | None, page: PageState) -> None:
        asked = parse_address(address)
        token = checked_token(asked, token)
        self._server = _listen(asked, page)
        self.address = Address(asked.host, self._server.server_address[1])
        self._server.access = Access(token, self.address.port)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="web", daemon=True)

    @property
    def url(self) -> str:
        """The address to open, without the token."""
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(self.address.host)
        return f"http://{Address(host or self.address.host, self.address.port)}/"

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Listen no longer; connections end with their next answer, streams within half a second."""
        self._server.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def __enter__(self) -> WebServer:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def _listen(address: Address, page: PageState) -> PageServer:
    try:
        return PageServer(address, page)
    except OSError as error:
        reason = {
            errno.EADDRINUSE: "the port is in use; end what listens there, or name another port",
            errno.EACCES: "ports below 1024 need more rights; name another port",
            errno.EADDRNOTAVAIL: "this machine has no such address",
        }.get(error.errno or 0, error.strerror or str(error))
        raise BadInput(f"web address {address}: {reason}") from error


class PageServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: Address, page: PageState) -> None:
        self.page = page
        self.access = Access(None, address.port)
        self.closing = threading.Event()
        self.streams = threading.BoundedSemaphore(MOST_STREAMS)
        self.bodies = threading.BoundedSemaphore(MOST_BODIES)
        self.guesses = Guesses()
        self.complained_s = float("-inf")
        self._connections = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._of, self._counting = Counter[str](), threading.Lock()
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        super().__init__((address.host, address.port), Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's asks the name service for this machine's name, which can take long

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._enter(client_address[0]):
            self._turn_away(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._leave(client_address[0])
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(client_address[0])

    def _enter(self, host: str) -> bool:
        with self._counting:
            if self._of[host] >= MOST_OF_ONE and not is_loopback(host):
                return False
            if not self._connections.acquire(blocking=False):
                return False
            self._of[host] += 1
            return True

    def _leave(self, host: str) -> None:
        with self._counting:
            self._connections.release()
            self._of[host] -= 1
            if not self._of[host]:
                del self._of[host]

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("web: a connection broke off: %s", sys.exc_info()[1])

    def _turn_away(self, request: socket.socket) -> None:
        try:
            request.settimeout(0.1)
            request.sendall(FULL)
        except OSError:
            pass
        finally:
            self.shutdown_request(request)
