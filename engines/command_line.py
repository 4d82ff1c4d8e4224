"""The command line of every script: its help, its refusals in one line, its version, its completion in a shell.

Standard library only, and little of it: --help answers before anything heavy is loaded.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
WIDEST = 100  # columns: prose in longer lines is hard to follow
OPTION = re.compile(r"--?[A-Za-z][^\s=]*")


class Parser(argparse.ArgumentParser):
    """argparse whose help begins with what the script is for, and whose refusals are one line that says what to type.

    purpose is the docstring of the script: its first paragraph is shown. Examples are whole commands, which may end in
    a comment; notes are paragraphs that stand above them. Options cannot be abbreviated: a command in somebody's start
    script must not change its meaning when we add an option.
    """

    def __init__(
        self, prog: str, purpose: str | None, examples: Sequence[str] = (), *, notes: str = "", **more: Any
    ) -> None:
        # more: what argparse gives the parser of a subcommand, such as color from Python 3.14 on.
        super().__init__(prog, formatter_class=_Formatter, add_help=False, allow_abbrev=False, **more)
        self.purpose = " ".join((purpose or "").split("\n\n")[0].split())
        self.examples, self.notes = tuple(examples), notes
        self._last = self.add_argument_group("help")
        self._last.add_argument("-h", "--help", action="help", help="show this and stop")
        if " " not in prog:  # a subcommand bears the name of its script before its own
            unstored = argparse.SUPPRESS
            self._last.add_argument(
                "--version", action=_Version, nargs=0, dest=unstored, help="show the version and stop"
            )

    def format_usage(self) -> str:
        """Return what must be typed, and [options] for all that may be typed."""
        words = [*self._command(), *self._asked(), "[options]"]
        return textwrap.fill(" ".join(["usage:", *words]), _columns(), subsequent_indent=" " * 7) + "\n"

    def format_help(self) -> str:
        """Return purpose, usage, groups, notes and examples, at most 100 columns wide."""
        formatter = self._get_formatter()
        formatter.add_text(self.purpose)
        formatter.add_usage(self.format_usage().removeprefix("usage: ").strip().replace("%", "%%"), [], [])
        for group in [*(group for group in self._action_groups if group is not self._last), self._last]:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)  # pyright: ignore[reportPrivateUsage]
            formatter.end_section()
        for paragraph in self.notes.split("\n\n"):
            formatter.add_text(paragraph)
        folded = "".join(f"  {line}\n" for text in self.examples for line in _folded(text, _columns() - 2))
        return formatter.format_help() + (f"\nexamples:\n{folded}" if folded else "")

    def error(self, message: str) -> NoReturn:
        """Write one line and stop with exit code 2."""
        told = " ".join(self._reworded(message).split())
        self.exit(2, f"{self.prog}: {told}\n")

    def _command(self) -> list[str]:
        """Return how the script is started: what stands before its options in an example."""
        script, *further = self.prog.split()
        for words in map(str.split, self.examples):
            for place, word in enumerate(words):
                if word.endswith(f"{script}.py"):
                    return [*words[: place + 1], *further]
        return [self.prog]

    def _asked(self) -> Iterator[str]:
        """Name what a command line cannot do without, and the places that need no option."""
        for action in self._actions:
            if not action.option_strings:
                yield _typed(action) if action.required else f"[{_typed(action)}]"
        for group in self._mutually_exclusive_groups:
            if group.required:
                yield f"({' | '.join(map(_typed, group._group_actions))})"  # pyright: ignore[reportPrivateUsage]
        yield from (_typed(action) for action in self._actions if action.required and action.option_strings)

    def _example(self) -> str:
        return f"; for example: {self.examples[0].split('  #')[0]}" if self.examples else "; see --help"

    def _parse_known_args(self, arg_strings: list[str], namespace: argparse.Namespace, *more: Any) -> Any:
        if "_ARGCOMPLETE" in os.environ:
            from engines.completion import complete

            complete(self)
        self._refuse_unknown(arg_strings)
        return super()._parse_known_args(arg_strings, namespace, *more)

    def _refuse_unknown(self, words: Sequence[str]) -> None:
        """Refuse the first unknown option, before argparse complains of what is missing because of it."""
        for word in words:
            if word == "--" or (self._subparsers is not None and not word.startswith("-")):
                return
            name = word.split("=")[0]
            if OPTION.fullmatch(name) and name not in self._option_string_actions:
                from engines.spelling import did_you_mean

                otherwise = (
                    f" here; options stand behind the command{self._example()}" if self._subparsers else "; see --help"
                )
                hint = did_you_mean(name, self._option_string_actions, shown=str) or otherwise
                self.error(f"unknown option {name}{hint}")

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            raise argparse.ArgumentError(None, f"{_name(action)}: {error.message}") from None

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        known = None if action.choices is None else [str(choice) for choice in action.choices]
        if known is not None and str(value) not in known:
            from engines.spelling import did_you_mean

            hint = did_you_mean(str(value), known)
            raise argparse.ArgumentError(None, f"{_name(action)}: expected {_either(known)}, got {value!r}{hint}")

    def _match_argument(self, action: argparse.Action, arg_strings_pattern: str) -> int:
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except argparse.ArgumentError:
            given = len(arg_strings_pattern) - len(arg_strings_pattern.lstrip("A"))
            wanted = _typed(action).removeprefix(f"{_name(action)} ")
            got = f"{given} of them" if given else "nothing"
            raise argparse.ArgumentError(None, f"{_name(action)}: expected {wanted}, got {got}; see --help") from None

    def _reworded(self, message: str) -> str:
        """Return a message of argparse in our form; one that is in it already stays."""
        typed = {
            "/".join(action.option_strings) or str(action.metavar or action.dest): action for action in self._actions
        }
        if found := re.fullmatch(r"the following arguments are required: (.*)", message):
            missing = [_typed(typed[name]) if name in typed else name for name in found[1].split(", ")]
            return (
                f"expected {' and '.join(missing)}, got {'neither' if len(missing) == 2 else 'none'}{self._example()}"
            )
        if found := re.fullmatch(r"one of the arguments (.*) is required", message):
            either = [_typed(typed[name]) if name in typed else name for name in found[1].split()]
            return f"expected {_either(either)}, got none{self._example()}"
        if found := re.fullmatch(r"argument (\S+): not allowed with argument (\S+)", message):
            return f"expected {found[2]} or {found[1]}, got both; leave one out"
        if found := re.fullmatch(r"argument (\S+): ignored explicit argument (.*)", message):
            return f"{found[1]}: expected no value, got {found[2]}"
        if found := re.fullmatch(r"unrecognized arguments: (.*)", message):
            return f"expected nothing more, got {found[1]}; see --help"
        return message


def version() -> str:
    """Return the version of the project and the git revision of its files, as far as they are known."""
    from engines.provenance import git_revision

    project = ROOT / "pyproject.toml"
    found = (
        re.search(r'^version = "(.+)"', project.read_text(encoding="utf-8"), re.MULTILINE)
        if project.is_file()
        else None
    )
    if found:
        number = found[1]
    else:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as installed

        try:
            number = installed("crosslight")
        except PackageNotFoundError:
            number = "of unknown version"
    commit, changes, _ = git_revision().partition("+")
    return f"crosslight {number}" + (f" ({commit[:12]}{changes and '+changes'})" if commit != "unknown" else "")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        sys.stdout.write(f"{version()}\n")
        parser.exit()


class _Formatter(argparse.HelpFormatter):
    """Columns that fit the terminal up to the widest, one name for many values, and the default behind each help."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, max_help_position=32, width=_columns(), **more)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)  # "visible-to-infrared" is one word

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.indent("\n".join(self._split_lines(text, width - len(indent))), indent)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs == "+":
            return _many(action.metavar or default_metavar)
        return super()._format_args(action, default_metavar)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        """Append what happens without the option, where its help does not say so."""
        text, value = action.help or "", action.default
        if "default" in text or "required" in text or "instead of" in text or action.nargs == 0:
            return text
        if action.required:
            return f"{text}; required"
        if not action.option_strings and action.nargs != "?":  # a subcommand in the list of them
            return text
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        shown = " ".join(f"{each:g}" if isinstance(each, float) else str(each) for each in values if each is not None)
        return f"{text} (default: {shown.replace('%', '%%') or 'none'})"


def _columns() -> int:
    """Return the width of the terminal, 80 without one, at most the widest; shutil's own costs 4 ms of import."""
    try:
        columns = int(os.environ.get("COLUMNS", "0")) or os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        columns = 80
    return max(40, min(columns, WIDEST))


def _folded(command: str, columns: int) -> Iterator[str]:
    """Break a command that is too long in front of its options, and put its comment above it."""
    if len(command) <= columns:
        yield command
        return
    line, _, comment = command.partition("  # ")
    if comment:
        yield f"# {comment}"
    parts = re.split(r" (?=-{1,2}[A-Za-z])", line)
    line = parts[0]
    for part in parts[1:]:
        if len(line) + len(part) + 3 > columns:
            yield f"{line} \\"
            line = f"    {part}"
        else:
            line = f"{line} {part}"
    yield line


def _name(action: argparse.Action) -> str:
    return max(action.option_strings, key=len) if action.option_strings else str(action.metavar or action.dest)


def _typed(action: argparse.Action) -> str:
    """Return an option with its value, or the name of a place, as somebody types it."""
    if action.nargs == 0:
        return _name(action)
    metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar or action.dest.upper()
    value = _many(metavar) if action.nargs == "+" else metavar
    return f"{_name(action)} {value}" if action.option_strings else value


def _many(metavar: str | tuple[str, ...]) -> str:
    """Return a name for one or more values; a metavar that says itself which may be left out stays."""
    return str(metavar) if "[" in metavar else f"{metavar} ..."


def _either(names: Sequence[str]) -> str:
    """Return a, b or c."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
