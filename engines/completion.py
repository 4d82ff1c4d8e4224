"""Complete a command line in the shell, through argcomplete; imported only when a shell asks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

MAY_BE_FILES = {"SOURCE", "WHERE"}  # and may be more


def complete(parser: argparse.ArgumentParser) -> NoReturn:
    """Answer the shell and stop; without argcomplete too, for the shell asks by starting the script without options."""
    try:
        import argcomplete
        from argcomplete.completers import DirectoriesCompleter, FilesCompleter
    except ImportError:
        sys.exit(1)
    for action in _actions(parser):
        if action.choices is not None:
            continue  # argcomplete knows them
        completer: object = _nothing
        if action.metavar == "FOLDER":
            completer = DirectoriesCompleter()
        elif action.type is Path or action.metavar in MAY_BE_FILES:
            completer = FilesCompleter()
        action.completer = completer  # pyright: ignore[reportAttributeAccessIssue]
    argcomplete.autocomplete(parser)
    sys.exit(1)  # not reached where argcomplete could answer: it leaves by itself


def _nothing(**_: object) -> tuple[str, ...]:
    """Offer nothing for a number or a word of one's own: argcomplete's SuppressCompleter would hide the option too."""
    return ()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # pyright: ignore[reportPrivateUsage]
        yield action
        commands: object = action.choices
        if isinstance(commands, dict):  # of a parser for each subcommand
            for command in cast("dict[str, argparse.ArgumentParser]", commands).values():
                yield from _actions(command)
