"""A unit read as systemd reads it, written from systemd.syntax(7) and systemd.unit(5) without a look at our writer."""

from __future__ import annotations


def settings_of(unit: str) -> dict[str, list[str]]:
    """Return every setting's lines, whatever its section."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if line and not line.startswith(("#", ";", "[")):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def words_of(value: str) -> list[str]:
    """Split at blanks outside quotes; a backslash takes the next character as it is; then %% is a percent sign."""
    words: list[str] = []
    word, quote, inside, position = "", "", False, 0
    while position < len(value):
        character = value[position]
        if character == "\\":
            position += 1
            word, inside = word + value[position], True
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'" and not word:
            quote, inside = character, True
        elif not quote and character == " ":
            words += [word] if inside else []
            word, inside = "", False
        else:
            word, inside = word + character, True
        position += 1
    assert not quote, "a quote that does not end"
    return [_without_specifiers(word) for word in (*words, *([word] if inside else []))]


def _without_specifiers(word: str) -> str:
    parts = word.split("%%")
    assert not any("%" in part for part in parts), f"a specifier in {word}"
    return "%".join(parts)
