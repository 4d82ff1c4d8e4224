"""Hostile input made from good input: noise fails at a parser's first look, a good file with one wrong value does not.

Trees are what JSON and YAML hold. A mutated tree has some values replaced, removed, renamed or moved; its text may have
a key twice, brackets twelve thousand deep, or bytes changed behind all of that.
"""

from __future__ import annotations

import copy
import json
import math
from typing import TYPE_CHECKING, Any

import yaml
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63, 2**64, -(2**63), 10**40, 10**400, 0.5, -0.0, 1e-320, 1e308, -1e308)
NO_NUMBERS = (math.nan, math.inf, -math.inf)
WORDS = (
    "", " ", "\0", "\n", "a\nb", "\x1b[2J", "\ud800", "\u202etxt", "٣", "é", "x" * 3000, "..", "../../etc/passwd", "/",
    "nan", "-inf", "1e999", "true", "null", "0x10", "%s%n", "{0}", "${HOME}", "${", "'", '"', "\\",
)  # fmt: skip
DEEP, DEEP_TEXT = "@deep@", "[" * 12_000
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(NO_NUMBERS),
    st.sampled_from(WORDS),
    st.just(DEEP),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
)
JUNK: st.SearchStrategy[Any] = st.one_of(
    LEAVES, st.lists(LEAVES, max_size=4), st.dictionaries(st.text(max_size=6), LEAVES, max_size=3)
)


@st.composite
def trees(draw: st.DrawFn, good: Any) -> Any:
    """Draw a good tree with up to three things changed."""
    tree = copy.deepcopy(good)
    for _ in range(draw(st.integers(0, 3))):
        places = _places(tree)
        if not places:
            return draw(JUNK)
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        _change(draw, parent, key, places)
    return tree


def _change(draw: st.DrawFn, parent: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
    match draw(st.sampled_from(("nudge", "nudge", "replace", "replace", "remove", "rename", "wrap", "copy", "grow"))):
        case "nudge":
            parent[key] = _nudged(draw, parent[key])
        case "replace":
            parent[key] = draw(JUNK)
        case "remove":
            del parent[key]
        case "rename" if isinstance(parent, dict):
            parent[draw(st.sampled_from(WORDS) | st.text(max_size=6))] = parent.pop(key)
        case "wrap":
            parent[key] = draw(st.sampled_from(([parent[key]], {"a": parent[key]}, [parent[key], parent[key]])))
        case "copy":
            other, place = places[draw(st.integers(0, len(places) - 1))]
            parent[key] = copy.deepcopy(other[place]) if place in other or isinstance(other, list) else None
        case _ if isinstance(parent, list):
            parent.append(draw(JUNK))
        case _:
            parent[draw(st.text(max_size=6))] = draw(JUNK)


def _nudged(draw: st.DrawFn, value: Any) -> Any:
    """Return something of the same kind, which a check may let pass."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + draw(st.sampled_from((-1, 1, -value, 7, 10**9)))
    if isinstance(value, float):
        return value * draw(st.sampled_from((-1.0, 0.0, 0.5, 1.5, 1e-9, 1e9)))
    if isinstance(value, str):
        return draw(st.sampled_from((value[1:], value + "x", value.upper(), value * 2)))
    return value[::-1] if isinstance(value, list) else dict(reversed(value.items()))


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Return the container and key of everything in a tree."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        found += [(node, key) for key in keys]
        waiting += [node[key] for key in keys]
    return found


def json_bytes(good: Any) -> st.SearchStrategy[bytes]:
    """Draw the text of a mutated tree."""
    return _texts(trees(good), lambda tree: json.dumps(tree))


def json_lines(good: list[Any]) -> st.SearchStrategy[bytes]:
    """Draw a mutated list, an item a line."""
    return _texts(trees(good), lambda tree: "\n".join(map(json.dumps, tree)) if isinstance(tree, list) else str(tree))


def yaml_bytes(good: Any) -> st.SearchStrategy[bytes]:
    return _texts(trees(good), lambda tree: yaml.safe_dump(_speakable(tree), sort_keys=False))


@st.composite
def _texts(draw: st.DrawFn, made: st.SearchStrategy[Any], write: Callable[[Any], str]) -> bytes:
    text = write(draw(made)).replace(f'"{DEEP}"', DEEP_TEXT).replace(DEEP, DEEP_TEXT)
    match draw(st.integers(0, 11)):
        case 0:  # a key twice: the second one may be another value than the one that was checked
            head, brace, rest = text.partition("{")
            name = rest[1:].partition('"')[0]
            text = f'{head}{brace}"{name}": {json.dumps(draw(LEAVES))}, {rest}'.replace(f'"{DEEP}"', DEEP_TEXT)
        case 1:
            return draw(changed_bytes(text.encode("utf-8", "surrogatepass")))
        case _:
            pass
    return text.encode("utf-8", "surrogatepass")


@st.composite
def changed_bytes(draw: st.DrawFn, good: bytes, most: int = 4) -> bytes:
    """Draw good bytes with some flipped, cut out, put in, doubled, or the end cut off."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        match draw(st.sampled_from(("flip", "flip", "cut", "put", "twice", "end"))):
            case "flip" if data:
                data[place] ^= draw(st.integers(1, 255))
            case "cut":
                del data[place : place + draw(st.integers(1, 40))]
            case "put":
                data[place:place] = draw(
                    st.binary(max_size=8) | st.sampled_from((b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 5000))
                )
            case "twice":
                data[place:place] = data[place : place + draw(st.integers(1, 200))]
            case _:
                del data[place:]
    return bytes(data)


def text_bytes(good: str) -> st.SearchStrategy[bytes]:
    """Draw a good text with bytes, or whole lines and words, changed."""
    return st.one_of(
        changed_bytes(good.encode()), _lines(good), st.text(max_size=60).map(str.encode), st.binary(max_size=60)
    )


@st.composite
def _lines(draw: st.DrawFn, good: str) -> bytes:
    lines = good.splitlines()
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(lines) - 1))
        words = lines[row].split(" ")
        match draw(st.sampled_from(("word", "twice", "swap", "empty"))):
            case "word":
                words[draw(st.integers(0, len(words) - 1))] = str(
                    draw(st.sampled_from(WORDS) | st.sampled_from(NUMBERS))
                )
                lines[row] = " ".join(words)
            case "twice":
                lines.insert(row, lines[row])
            case "swap":
                lines[row], lines[0] = lines[0], lines[row]
            case _:
                lines[row] = ""
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _speakable(tree: Any) -> Any:
    """Replace what PyYAML cannot write: lone surrogates."""
    if isinstance(tree, dict):
        return {_speakable(key): _speakable(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_speakable(item) for item in tree]
    return tree.replace("\ud800", "?") if isinstance(tree, str) else tree
