"""What happens when the user gave something that cannot be used: one clear line, exit code 2."""

from __future__ import annotations

import logging
import reprlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BAD_INPUT_EXIT = 2
INTERRUPTED_EXIT = 130
LONGEST_LINE = 1000  # letters of a message: the value that it quotes may be a damaged file's megabyte


class BadInput(ValueError):
    """The message is one line for a person: what was expected, what came, what to do."""

    def __init__(self, message: object) -> None:
        super().__init__(one_line(str(message)))


def run_script(name: str, body: Callable[[], int | None]) -> int:
    """Run a script's body and turn BadInput into one line on stderr and exit code 2.

    Logging is configured here, once a process, so that imported modules never do it.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        return body() or 0
    except BadInput as error:
        line = " ".join(str(error).split())
        sys.stderr.write(f"{name}: {line}\n")
        return BAD_INPUT_EXIT
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted\n")
        return INTERRUPTED_EXIT


def one_line(text: str) -> str:
    """Return a text without line breaks and control characters, which a file or a camera may have put there.

    Of a long one the beginning and the end are kept: what was expected stands in the one, what to do in the other.
    """
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE - 305]} ... {text[-300:]}"
    return "".join(letter if letter.isprintable() else " " for letter in text)


def shown(value: object) -> str:
    """Return repr() of a value, of a large one the beginning: anchors of YAML can make a list of 2 ** 60 items."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 3, 80, 80
    return short.repr(value)


def first_line(error: Exception) -> str:
    """Return the first line of a runtime's message that says something; OpenVINO begins with places in its source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception from ")]
    return (told or [type(error).__name__])[0][:200]
