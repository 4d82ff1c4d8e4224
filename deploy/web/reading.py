"""A request, and its values checked one by one: what is missing or of another kind is one line for a person."""

from __future__ import annotations

import base64
import binascii
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from deploy.web.desk_views import Picture
from deploy.web.uploads import decode_picture
from engines.errors import BadInput
from engines.manifest import MODALITIES
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.manifest import Modality

MOST_PICTURES = 12


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    trusted: bool = True  # has the token, where one is needed


def read_object(request: Request) -> dict[str, Any]:
    try:
        wish: object = parse_json(request.body)
    except ValueError as error:
        raise BadInput(f"expected a JSON object, got {len(request.body)} bytes that are none") from error
    if not isinstance(wish, dict):
        raise BadInput(f"expected a JSON object, got {type(wish).__name__}")
    return cast("dict[str, Any]", wish)


def read_pictures(listed: object) -> list[Picture]:
    if not isinstance(listed, list) or not 1 <= len(cast("list[object]", listed)) <= MOST_PICTURES:
        raise BadInput(f"expected pictures: a list of 1 to {MOST_PICTURES}, got another")
    pictures: list[Picture] = []
    for number, item in enumerate(cast("list[object]", listed), start=1):
        if not isinstance(item, dict):
            raise BadInput(f"picture {number}: expected {{modality, data, person}}, got {type(item).__name__}")
        entry = cast("dict[str, Any]", item)
        try:
            content = base64.b64decode(read_text(entry, "data"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadInput(f"picture {number}: expected its bytes in base64, got another") from error
        person = read_integer(entry, "person") if "person" in entry else 0
        modality = read_modality(read_text(entry, "modality"))
        pictures.append(Picture(decode_picture(content, f"picture {number}"), modality, person))
    return pictures


def read_modality(text: str) -> Modality:
    for modality in MODALITIES:
        if text == modality:
            return modality
    raise BadInput(f"expected a modality out of {', '.join(MODALITIES)}, got {text[:40]!r}")


def read_text(table: Mapping[str, Any], name: str) -> str:
    value: object = table.get(name)
    if not isinstance(value, str):
        raise BadInput(f"expected a text for {name!r}, got {'nothing' if value is None else type(value).__name__}")
    return value


def read_integer(table: Mapping[str, Any], name: str) -> int:
    value: object = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise BadInput(f"expected a whole number for {name!r}, got {str(value)[:40]!r}")
    return value


def query_number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if text and not re.fullmatch(r"\d{1,15}", text):
        raise BadInput(f"expected a whole number for {name!r}, got {text[:40]!r}")
    return int(text) if text else default


def query_limit(query: Mapping[str, str], default: int, most: int) -> int:
    return min(max(query_number(query, "limit", default), 1), most)


def query_seconds(query: Mapping[str, str], name: str) -> float:
    text = query.get(name, "")
    try:
        value = float(text) if text else -math.inf
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadInput(f"expected seconds for {name!r}, got {text[:40]!r}")
    return value
