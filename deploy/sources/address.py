"""The parts of a camera's network address, with passwords as people write them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from deploy.sources.source import SourceError, failure

if TYPE_CHECKING:
    from deploy.settings.site_plan import CameraSite

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
UNESCAPED = "!$'()*+,;=-._~"  # FFmpeg keeps 128 characters of user and password for RTSP: escape only what must be
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\[\]:@\s]+))(?::(\d+))?")
NUMBER_OR_DOTTED = re.compile(r"localhost|[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True, kw_only=True)
class Address:
    """User and password as the camera knows them, not escaped."""

    scheme: str
    host: str
    port: int
    path: str  # with the query; may hold a token
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def tls(self) -> bool:
        return self.scheme in ("rtsps", "https")

    @property
    def place(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def bare(self) -> str:
        """The address without user and password, as a request line wants it."""
        return f"{self.scheme}://{self.place}{self.path}"

    @property
    def full(self) -> str:
        """The address as FFmpeg takes it, user and password escaped."""
        if self.user is None:
            return self.bare
        user, password = (quote(text, safe=UNESCAPED) for text in (self.user, self.password))
        return f"{self.scheme}://{user}:{password}@{self.place}{self.path}"


def parse_address(site: CameraSite) -> Address:
    """Return the parts of the site's URI; raise SourceError where there is no host in it.

    A password may hold @, / and :, although they should be escaped (%40, %2F, %3A): where the strict reading gives no
    host, or one without a dot, the text behind a later @ that looks like a host is taken.
    """
    scheme, _, rest = site.uri.partition("://")
    scheme = scheme.lower()
    if not site.uri.isprintable():
        # Where the password ends could not be told, so nothing of it is shown.
        reason = "an address cannot hold control characters; write them as %0A and so on"
        raise SourceError(f"camera {site.name!r} {scheme}://***: {reason}", kind="unsupported")
    userinfo, place, path = _split(rest)
    found = HOST.fullmatch(place)
    if found is None or len(found[3] or "") > 5 or int(found[3] or 1) > 65535:
        reason = (
            f"expected {scheme}://user:password@host:port/path, got no host that can be read; "
            "write @ as %40, / as %2F and : as %3A in user and password"
        )
        raise failure(site, reason, "unsupported")
    user, _, password = (userinfo or "").partition(":")
    return Address(
        scheme=scheme,
        host=found[1] or found[2],
        port=int(found[3] or PORTS[scheme]),
        path=path or "/",
        user=unquote(user) if userinfo is not None else None,
        password=unquote(password),
    )


def _split(rest: str) -> tuple[str | None, str, str]:
    """Return user information, host with port, and path."""
    strict = _split_at(rest, re.split(r"[/?#]", rest, maxsplit=1)[0].rfind("@"))
    found = HOST.fullmatch(strict[1])
    if found is not None and (found[1] or _is_number(found[2]) or (strict[0] and NUMBER_OR_DOTTED.fullmatch(found[2]))):
        return strict
    for at in reversed([match.start() for match in re.finditer("@", rest)]):
        later = _split_at(rest, at)
        host = HOST.fullmatch(later[1])
        # Behind a good host, /img@2x.png is a path: then only a number counts.
        if host is not None and (host[1] or _is_number(host[2])):
            return later
        doubtful = found is None or strict[0] is not None
        if host is not None and doubtful and NUMBER_OR_DOTTED.fullmatch(host[2]):
            return later
    return strict


def _split_at(rest: str, at: int) -> tuple[str | None, str, str]:
    userinfo, behind = (rest[:at], rest[at + 1 :]) if at >= 0 else (None, rest)
    place = re.split(r"[/?#]", behind, maxsplit=1)[0]
    return userinfo, place, behind[len(place) :]


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
