"""Ask a network camera what it has before FFmpeg is let near it, so that a refusal has a reason."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from deploy.sources.challenge import ffmpeg_can_answer
from deploy.sources.exchange import Line
from deploy.sources.source import failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.settings.site_plan import CameraSite
    from deploy.sources.address import Address
    from deploy.sources.exchange import Answer
    from deploy.sources.source import FailureKind, SourceError

RTPMAP = re.compile(r"a=rtpmap:(\d+) ([^/\s]+)")
FIXED_PAYLOADS = {"26": "JPEG", "32": "MPV", "33": "MP2T"}  # RFC 3551: known without a name
MOST_REDIRECTIONS = 5


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """What an address has to give."""

    codec: str  # of the first video stream, in capitals; or the media type of an HTTP answer
    recorded: bool  # has an end and may be read at any speed
    login: bool = True  # FFmpeg can give user and password the way it is asked


def probe_rtsp(site: CameraSite, address: Address, timeout_s: float) -> StreamFacts:
    """Return what DESCRIBE tells; raise SourceError with the reason where there is no video to be had."""
    with Line(site, address, timeout_s) as line:
        options = line.ask("OPTIONS", address.bare)
        _check_rtsp(site, address, options)
        described = line.ask("DESCRIBE", address.bare, ("Accept: application/sdp",), body=True)
    _check_rtsp(site, address, described)
    if described.status in (301, 302, 303, 305):
        return StreamFacts(codec="", recorded=False)  # FFmpeg follows
    if described.status != 200:
        raise refusal(site, address, described)
    codecs = video_codecs(described.body.decode("utf-8", "replace"))
    if not codecs:
        raise failure(site, "has no video stream, only other media; check the path", "unsupported")
    return StreamFacts(codec=codecs[0], recorded=False, login=ffmpeg_can_answer(line.challenges))


def probe_http(site: CameraSite, address: Address, timeout_s: float) -> StreamFacts:
    """Return what the answer's head tells; raise SourceError where it is no video. Redirections are followed."""
    uri = address.path
    for _ in range(MOST_REDIRECTIONS + 1):
        with Line(site, address, timeout_s) as line:
            found = line.ask("GET", uri, ("Accept: */*", "Connection: close"))
        if not found.protocol.startswith(("HTTP/", "ICY")):
            raise failure(
                site, f"expected HTTP, got {found.protocol}; write {found.protocol[:4].lower()}://", "unsupported"
            )
        target = found.header("location")
        if found.status not in (301, 302, 303, 307, 308) or not target:
            return _http_facts(site, address, found, line.challenges)
        try:
            absolute = urljoin(f"{address.scheme}://{address.place}{uri}", target)
        except ValueError:  # brackets that hold no IPv6 address
            absolute = target
        start = f"{address.scheme}://{address.place}"
        if not absolute.startswith(f"{start}/"):
            # Credentials must not go to another host, and FFmpeg would send them.
            reason = "moved to another host, scheme or port; give that address instead"
            raise failure(site, f"{reason} ({absolute})", "not-found", permanent=True)
        uri = absolute.removeprefix(start)
    raise failure(site, f"moved more than {MOST_REDIRECTIONS} times; give the address where it ends", "connection")


def video_codecs(description: str) -> list[str]:
    """Return the codec of each video stream of a session description (SDP, RFC 8866), in its order."""
    codecs: list[str] = []
    for media in re.split(r"^m=", description, flags=re.MULTILINE)[1:]:
        words = media.split("\n", 1)[0].split()
        if words[:1] == ["video"] and len(words) >= 4:
            names = dict(RTPMAP.findall(media))
            codecs.append(names.get(words[3], FIXED_PAYLOADS.get(words[3], "unknown")).upper())
    return codecs


def refusal(site: CameraSite, address: Address, found: Answer) -> SourceError:
    """Return the error that an answer other than success stands for."""
    told = f"{found.status} {found.reason.lower()}".strip()
    kind: FailureKind = "connection"
    if found.status in (401, 407):
        kind = "credentials"
        given = "wrong user or password" if address.user is not None else "the address has no user and password"
        return failure(site, f"{told} ({given}); not tried again until the configuration changes", kind)
    if found.status == 403:
        return failure(
            site, f"{told} (this user may not see the stream); allow it on the camera; not tried again", "credentials"
        )
    if found.status in (404, 410):
        kind, advice = "not-found", "no such stream on the camera; check the path"
    elif found.status in (453, 454, 486):
        kind, advice = "busy", "the camera serves no more viewers; close one"
    elif found.status in (400, 405, 415, 451, 461, 501, 505, 551):
        kind, advice = "unsupported", "the camera does not do what was asked; check path and port"
    else:
        advice = "the camera has trouble of its own; restart it"
    return failure(site, f"{told}: {advice}", kind, permanent=False)


def _check_rtsp(site: CameraSite, address: Address, found: Answer) -> None:
    if not found.protocol.startswith("RTSP/"):
        reason = f"expected RTSP from {address.place}, got {found.protocol} {found.status}; check scheme and port"
        raise failure(site, reason, "unsupported")
    if found.status in (401, 403):
        raise refusal(site, address, found)


def _http_facts(site: CameraSite, address: Address, found: Answer, challenges: Sequence[str]) -> StreamFacts:
    if found.status not in (200, 206):
        raise refusal(site, address, found)
    media = found.header("content-type").split(";")[0].strip().lower()
    if media in ("text/html", "application/json", "text/plain"):
        reason = f"expected a stream or a video, got {media}: a page for people; give the address of the stream itself"
        raise failure(site, reason, "unsupported")
    if media.startswith("image/"):
        reason = f"expected a stream, got one picture ({media}); give the address of the camera's video stream"
        raise failure(site, reason, "unsupported")
    endless = media.startswith("multipart/") or "mpegurl" in media or not found.header("content-length").isdigit()
    return StreamFacts(codec=media or "no media type", recorded=not endless, login=ffmpeg_can_answer(challenges))
