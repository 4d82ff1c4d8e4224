"""Records to a web address: one POST each, JSON, in order."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deploy.cameras.redact import redact
from deploy.sightings import to_json
from deploy.sinks.worker import Refused
from engines.errors import BadInput

if TYPE_CHECKING:
    from deploy.sightings import Record

TIMEOUT_S = 5.0
LEFT_OUT = frozenset({"box"})  # a line for every frame: for scoring, not for a network


class Webhook:
    """POSTs to one address. The token, if any, goes into the Authorization header."""

    name = "webhook"

    def __init__(self, url: str, token: str | None = None) -> None:
        try:
            parts = urlsplit(url if url.isprintable() else "")
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is none, or brackets that hold no IPv6 address
            usable = False
        if not usable:
            raise BadInput(f"--webhook: expected an http:// or https:// address, got {redact(url)!r}")
        self._url = url
        self._headers = {"Content-Type": "application/json", "User-Agent": "crosslight"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def deliver(self, record: Record) -> None:
        if record.event in LEFT_OUT:
            return
        request = urllib.request.Request(self._url, to_json(record).encode(), self._headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):
                return
        except urllib.error.HTTPError as error:
            error.close()
            told = f"{redact(self._url)} answered {error.code} {error.reason}"
            # 408, 425 and 429 ask to come again; every other 4xx means that this will never be taken.
            if 400 <= error.code < 500 and error.code not in (408, 425, 429):
                raise Refused(told) from error
            raise ConnectionError(told) from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise ConnectionError(
                f"{redact(self._url)} cannot be reached: {getattr(error, 'reason', error)}"
            ) from error

    def idle(self) -> None: ...

    def close(self) -> None: ...
