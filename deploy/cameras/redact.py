"""Take credentials out of text: what a log, an error, a metric or a file may say of an address.

Rather too much than too little: a password may hold @, /, ?, : and %, so everything from :// to the last @ of the word
goes, and a word ends at white space only. Give it values, not whole documents: in JSON without spaces it would take the
commas too. White space cannot stand in an address; a password that holds it must be written with %20 (the sources
refuse any other).
"""

from __future__ import annotations

import re

HIDDEN = "***"

# An address begins where a scheme does; a second one in the same word ("rtsp://...","http://...") begins anew. Only
# schemes in use count for that: "://" alone may stand in a password.
SCHEMES = r"(?:rtsps?|rtspt|rtmps?|https?|wss?|mqtts?|tcp|tls|udp|srt|file|ftps?|s?ftp|qdrant\+https?)"
# Every pattern takes a time that grows with the text and no faster (tests/fuzz): a camera may answer with a megabyte.
ADDRESS = re.compile(rf"([A-Za-z][A-Za-z0-9+.\-]{{0,40}}://)((?:(?!{SCHEMES}://)[^ \t\r\n])*)", re.IGNORECASE)
# A password with white space all the same, where what stands before it cannot be a host with a port.
SPACED = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,40}://)(?=[^\s@/\[\]:]*:[0-9]*[^\s@/0-9])[^\r\n@ \t]*[ \t][^\r\n]*@")
SECRET_NAME = r"(?:pass|pwd|psw|pw|secret|token|key|auth|sig|cred|jwt|session|usr|user|login|account)"
# ?token=..., &pwd=..., user-pw="...", /user=admin_password=... ; a quoted value may go on behind its quote.
SETTING = re.compile(
    rf"(?<![A-Za-z0-9_.\-])(?=[A-Za-z0-9_.\-]+=)([A-Za-z0-9_.\-]*?{SECRET_NAME}[A-Za-z0-9_.\-]*=)"
    r"""((?:"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*')?[^ \t\r\n&]*)""",
    re.IGNORECASE,
)
HEADER = re.compile(r"((?:proxy-)?authorization\s*[:=]\s*)[^\r\n]+", re.IGNORECASE)


def redact(text: str) -> str:
    """Return text with user, password and tokens of every address in it hidden; doing it twice changes nothing."""
    text = HEADER.sub(rf"\g<1>{HIDDEN}", text)
    text = SPACED.sub(rf"\g<1>{HIDDEN}@", text)
    text = ADDRESS.sub(_without_user, text)
    return SETTING.sub(_without_value, text)


def _without_user(match: re.Match[str]) -> str:
    scheme, rest = match[1], match[2]
    head, at, tail = rest.rpartition("@")
    # An address that was redacted before and has an @ in its path keeps its host.
    return f"{scheme}{HIDDEN}@{tail}" if at and not head.startswith(f"{HIDDEN}@") else match[0]


def _without_value(match: re.Match[str]) -> str:
    return f"{match[1]}{HIDDEN}" if match[2] else match[0]
