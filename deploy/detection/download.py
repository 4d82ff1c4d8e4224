"""Get a published file by its address and SHA-256: whole and right, or not at all."""

from __future__ import annotations

import http.client
import logging
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import IO, TYPE_CHECKING

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.manifest import sha256_of
from engines.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 16
TIMEOUT_S = 20.0
ATTEMPTS = 4  # a connection that is cut goes on where it was
CUT = (http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
MOST_BYTES = 1 << 30  # a detector is some megabytes; what sends more is no detector


def download(urls: Sequence[str], target: Path, sha256: str, *, timeout_s: float = TIMEOUT_S) -> bool:
    """Write the first of urls that has the file to target; say whether it was fetched, or was there already.

    The hash is checked before the file gets its name. A connection that is cut is taken up again where the server can.
    """
    if target.is_file() and sha256_of(target) == sha256:
        return False
    for number, url in enumerate(urls, 1):
        try:
            _download(url, target, sha256, timeout_s)
            return True
        except BadInput as error:
            if number == len(urls):
                raise
            log.warning("%s; trying another address", error)
    raise BadInput("expected an address to fetch from, got none")


def _download(url: str, target: Path, sha256: str, timeout_s: float) -> None:
    if not url.startswith(("https://", "http://")):
        raise BadInput(f"expected an address that begins with https:// or http://, got {url!r}")
    try:
        with atomic_path(target) as temporary:
            _fetch(url, temporary, timeout_s)
            found = sha256_of(temporary)
            if found != sha256:
                raise BadInput(
                    f"{url}: expected a file of SHA-256 {sha256}, got {found}; it is another file, or was changed on "
                    "its way, and is not kept"
                )
    except OSError as error:
        raise BadInput(f"could not write {target}: {error}; free some disk or name another folder") from error


def name_of(url: str) -> str:
    """Return the file's name in an address."""
    name = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)).name
    if not name:
        raise BadInput(f"expected an address that ends with a file's name, got {url!r}")
    return name


def _fetch(url: str, temporary: Path, timeout_s: float) -> None:
    """Fill the file; each attempt begins where the last one stopped."""
    with temporary.open("r+b") as file:
        for attempt in range(1, ATTEMPTS + 1):
            have = file.tell()
            try:
                _receive(url, file, timeout_s)
                return
            except urllib.error.HTTPError as error:
                raise BadInput(f"{url}: expected a file, got HTTP {error.code} {error.reason}") from error
            except (*CUT, urllib.error.URLError) as error:
                reason = getattr(error, "reason", None) or error
                # Once is enough where nothing ever came: no network, no such host.
                if attempt == ATTEMPTS or (attempt > 1 and file.tell() == have == 0):
                    raise BadInput(
                        f"{url}: expected the whole file, got {file.tell()} bytes and then: {reason}; check the "
                        "network, or fetch it elsewhere and copy it here"
                    ) from error
                log.warning("%s: cut after %d bytes (%s); going on", url, file.tell(), reason)


def _receive(url: str, file: IO[bytes], timeout_s: float) -> None:
    """Append what is missing, or everything from the start where the server does not continue files."""
    have = file.tell()
    request = urllib.request.Request(url, headers={"User-Agent": "crosslight", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        if have and (answer.status != 206 or not _continues(answer.headers.get("Content-Range", ""), have)):
            file.seek(0)
            file.truncate()
        announced = answer.headers.get("Content-Length")
        expected = int(announced) if announced and announced.isdigit() else None
        blocks = None if expected is None else -(-expected // BLOCK_BYTES)
        received = 0
        for block in progress(_blocks(answer), total=blocks, unit="blocks of 64 kB", label="fetching"):
            received += file.write(block)
            if file.tell() > MOST_BYTES:
                raise BadInput(f"{url}: expected a detector of at most 1 GB, got more; check the address")
        if expected is not None and received < expected:
            raise ConnectionError(f"the connection ended after {received} of {expected} bytes")


def _continues(content_range: str, have: int) -> bool:
    return content_range.replace("bytes ", "bytes=").startswith(f"bytes={have}-")


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(BLOCK_BYTES):
        yield block
