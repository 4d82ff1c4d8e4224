"""Answers to WWW-Authenticate, for HTTP and RTSP alike (RFC 7616 digest, RFC 7617 basic)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARAMETER = re.compile(r'(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# MD5 is what cameras speak; it protects nothing here but the road to them.
HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def answer(
    challenges: Sequence[str],
    *,
    method: str,
    uri: str,
    user: str,
    password: str,
    nonce: Callable[[], str] | None = None,
) -> str | None:
    """Return the Authorization header's value, digest before basic; None where no challenge is understood.

    uri is the request line's. nonce makes the client's nonce.
    """
    for challenge in sorted(challenges, key=lambda text: not text.lower().startswith("digest")):
        kind, _, rest = challenge.strip().partition(" ")
        if kind.lower() == "digest":
            given = {match[1].lower(): match[2] or match[3] or "" for match in PARAMETER.finditer(rest)}
            found = _digest(given, f"{method}:{uri}", uri, user, password, nonce or _random_nonce)
            if found is not None:
                return found
        elif kind.lower() == "basic":
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def ffmpeg_can_answer(challenges: Sequence[str]) -> bool:
    """Tell whether FFmpeg can log in: the one in opencv-python 5.0 does basic and MD5, not SHA-256 (tried)."""
    texts = [text.lower() for text in challenges]
    return not texts or any(text.startswith("basic") or "algorithm" not in text or "md5" in text for text in texts)


def _digest(
    given: dict[str, str], request: str, uri: str, user: str, password: str, nonce: Callable[[], str]
) -> str | None:
    name = given.get("algorithm", "MD5").upper()
    make = HASHES.get(name.removesuffix("-SESS"))
    offered = [text.strip() for text in given.get("qop", "").split(",") if text.strip()]
    if make is None or "nonce" not in given or (offered and "auth" not in offered):
        return None
    if not all(text.isprintable() for text in (user, *given.values())):  # a line end would begin another header
        return None
    user_name = user.replace("\\", "\\\\").replace('"', '\\"')

    def digest(text: str) -> str:
        return make(text.encode()).hexdigest()

    client, realm, server = nonce(), given.get("realm", ""), given["nonce"]
    secret = digest(f"{user}:{realm}:{password}")
    if name.endswith("-SESS"):
        secret = digest(f"{secret}:{server}:{client}")
    middle = f"{server}:00000001:{client}:auth" if offered else server
    fields = [f'username="{user_name}"', f'realm="{realm}"', f'nonce="{server}"', f'uri="{uri}"']
    fields += [f'response="{digest(f"{secret}:{middle}:{digest(request)}")}"']
    if "algorithm" in given:
        fields.append(f"algorithm={given['algorithm']}")
    if offered or name.endswith("-SESS"):
        fields += ["qop=auth", "nc=00000001", f'cnonce="{client}"'] if offered else [f'cnonce="{client}"']
    if "opaque" in given:
        fields.append(f'opaque="{given["opaque"]}"')
    return "Digest " + ", ".join(fields)


def _random_nonce() -> str:
    return os.urandom(8).hex()
