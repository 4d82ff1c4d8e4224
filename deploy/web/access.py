"""Who may ask: the address that is listened at, the token, and requests that another site's page made.

Beyond loopback there is a token, always. On loopback without one, a page of some other site must neither read (its
name may have been pointed at 127.0.0.1: the Host header tells) nor change anything (the Origin header tells).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEAST_TOKEN = 16
MOST_GUESSES, GUESSES_S = 10, 60.0  # wrong tokens of one address, within so many seconds
MOST_GUESSERS = 1024  # addresses that are remembered
DEFAULT_HOST = "127.0.0.1"
MAKE_ONE = "python -c 'import secrets; print(secrets.token_urlsafe(24))'"
ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]*):)?(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered, in one line."""

    status: int
    reason: str


def parse_address(text: str) -> Address:
    """Read HOST:PORT, :PORT or PORT; without a host it is loopback, port 0 takes a free one."""
    match = ADDRESS.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise BadInput(f"web address: expected HOST:PORT such as 127.0.0.1:8080 or 0.0.0.0:8080, got {text!r}")
    return Address(host=(match["host"] or DEFAULT_HOST).strip("[]"), port=int(match["port"]))


def checked_token(address: Address, token: str | None) -> str | None:
    """Return the token that requests at this address must bring, None: they need none."""
    if not token:
        if address.is_loopback:
            return None
        raise BadInput(
            f"web address {address}: expected a token, got none: other machines reach this address; make one with "
            f"{MAKE_ONE}"
        )
    if len(token) < LEAST_TOKEN or not re.fullmatch(r"[A-Za-z0-9._~+/=-]+", token):
        raise BadInput(
            f"web token: expected {LEAST_TOKEN} or more letters, digits and any of . _ ~ + / = -, got {len(token)} "
            f"characters; make one with {MAKE_ONE}"
        )
    return token


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"


@dataclass(frozen=True)
class Access:
    """The door of one server; `port` tells its cookie from that of another run on this machine."""

    token: str | None
    port: int

    @property
    def cookie_name(self) -> str:
        return f"crosslight-{self.port}"

    def cookie(self) -> str:
        """Return the Set-Cookie line of whoever brought the token. It does not hold the token itself."""
        return f"{self.cookie_name}={self._session()}; Path=/; HttpOnly; SameSite=Strict"

    def brings_token(self, given: str) -> bool:
        """Compare in a time that tells neither the token nor its length."""
        return self.token is not None and hmac.compare_digest(_digest(given), _digest(self.token))

    def refuse(self, method: str, headers: Mapping[str, str], query_token: str) -> Refusal | None:
        """Return why this request is not answered, or None where it is."""
        host = headers.get("Host") or ""
        if self.token is None:
            if not is_loopback(_name_of(host)):
                return Refusal(403, f"this address answers to 127.0.0.1 and localhost, not to {host[:80]!r}")
        elif not self._known(headers, query_token):
            return Refusal(401, "a token is needed: open /?token=..., or send Authorization: Bearer ...")
        if method not in ("GET", "HEAD") and not _same_site(headers, host):
            return Refusal(403, "a page of another site may not change anything here")
        if not _own_part(headers):
            return Refusal(403, "a page of another site may not show anything of this one")
        return None

    def _known(self, headers: Mapping[str, str], query_token: str) -> bool:
        scheme, _, bearer = (headers.get("Authorization") or "").partition(" ")
        if query_token:
            return self.brings_token(query_token)
        if scheme.casefold() == "bearer":
            return self.brings_token(bearer.strip())
        try:
            morsel = SimpleCookie(headers.get("Cookie") or "").get(self.cookie_name)
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(_digest(morsel.value), _digest(self._session()))

    def _session(self) -> str:
        return hmac.new((self.token or "").encode(), b"crosslight page", hashlib.sha256).hexdigest()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _name_of(host: str) -> str:
    """Return the Host header without its port; a tunnel may have another one."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([^:]*)(?::\d+)?", host)
    return (match[1] or match[2] or "") if match else ""


def _same_site(headers: Mapping[str, str], host: str) -> bool:
    """A browser tells where a request comes from; a program that is no browser tells nothing."""
    if (headers.get("Sec-Fetch-Site") or "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("Origin")
    return origin is None or origin.partition("://")[2] == host


def _own_part(headers: Mapping[str, str]) -> bool:
    """A link from elsewhere may lead here, but no page of elsewhere may show a picture of here as a part of itself."""
    if (headers.get("Sec-Fetch-Site") or "same-origin") in ("same-origin", "none"):
        return True
    return (headers.get("Sec-Fetch-Mode"), headers.get("Sec-Fetch-Dest")) == ("navigate", "document")


class Guesses:
    """Wrong tokens by the address that they came from: who brought too many of them is not listened to for a while.

    A token of sixteen signs withstands any number of guesses; one that somebody thought up may not.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, list[float]] = OrderedDict()  # when, by address

    def too_many(self, address: str) -> bool:
        with self._lock:
            return len(self._recent(address)) >= MOST_GUESSES

    def note(self, address: str) -> None:
        with self._lock:
            self._wrong[address] = [*self._recent(address), self._clock()]
            self._wrong.move_to_end(address)
            while len(self._wrong) > MOST_GUESSERS:
                self._wrong.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        since_s = self._clock() - GUESSES_S
        return [when_s for when_s in self._wrong.get(address, ()) if when_s > since_s]
