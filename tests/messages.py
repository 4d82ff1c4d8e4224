"""Every message that reaches a person, read from the source, and the pages of docs/troubleshooting that answer them.

`python tests/messages.py` lists the messages that no page has, under the page where each probably belongs. An entry is
the message as it is printed there, in a ```text block with the why and the what-to-do below it, or in the first column
of a table where one sentence is enough. `python tests/messages.py 'LINE'` names the entry of a line that was seen.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.message_text import MARK, TELLING_WORDS, VARIES, Scope, Texts, read_module, words  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.message_text import Function, Module

PACKAGES = ("engines", "train", "calib", "deploy")
PAGES = ROOT / "docs" / "troubleshooting"
BREAK = "⏎"  # where a text has a second line
CODE = re.compile(r"(`+)(.+?)\1(?!`)")  # a span of code in Markdown
Kind = Literal["refusal", "fault", "log", "finding", "state", "answer"]


class Place(NamedTuple):
    """Which argument of a call is the text."""

    kind: Kind
    argument: int
    keyword: str = ""


# What a call of this name does with its text: refusals end the command with one line; faults are shown in brackets
# inside another message or in the log; states are those of a camera; answers are those of the page and its API.
CALLS = {
    **dict.fromkeys(("BadInput", "SourceError", "Unknown"), Place("refusal", 0)),
    **dict.fromkeys(("GalleryError", "NoAnswer", "Unavailable", "Refused", "CudaGraphError"), Place("fault", 0)),
    **dict.fromkeys(("RuntimeError", "ValueError", "OSError", "ArithmeticError"), Place("fault", 0)),
    **dict.fromkeys(("ConnectionError", "TimeoutError"), Place("fault", 0)),
    **dict.fromkeys(("ConnectionResetError", "IsADirectoryError"), Place("fault", 1)),
    "Loss": Place("state", 1, "reason"),
    "Stand": Place("state", 1, "reason"),
    "Finding": Place("finding", 9, "text"),
    "error_answer": Place("answer", 1, "reason"),
    "Refusal": Place("answer", 1, "reason"),
    "ArgumentError": Place("refusal", 1),
}
METHODS = {  # the same for methods, by their bare name
    "turn": Place("state", 1),
    "warning": Place("log", 0),
    "error": Place("log", 0),
    "exception": Place("log", 0),
}
OBSTACLES = "obstacles"  # a list of refusals, of which the first is raised
LOGGERS = frozenset({"log", "self"})  # self.error is that of a command line
REASONS = {  # functions whose texts stand inside another message
    "engines/command_line.py": ("_reworded",),
    "engines/plan_target.py": ("refusal",),
    "engines/tensorrt_refusal.py": ("failed_build", "_refused_node"),
    "calib/half_ranges.py": ("out_of_range", "_power_out_of_range"),
    "calib/half_rules.py": ("_lost_digits", "_bias_reason"),
}
# Texts that only a mistake of ours could show: no page answers them.
OURS = {
    "auto_build needs a rebuild function": "an argument that open_engine's callers give",
    "the unit has no …": "a test fills the unit that is shipped",
    "expected a picture that fits into a JPEG file, got …": "frames are smaller; OpenCV's limit is 65500 pixels",
    "a report fetches nothing": "the report catches it: weights that are not here are left out",
    "the request took too long": "ends the connection; nobody reads it",
    "camera … …: the recording is over": "ends a recording that is played as if live",
    "synthetic: the … s that were asked for are over": "the same, of a synthetic camera",
}


PAGE_OF = {  # the first prefix of a path that fits
    "engines/command_line.py": "command-line-and-files",
    "engines/atomic.py": "command-line-and-files",
    "engines/strict_json.py": "command-line-and-files",
    "engines/cuda": "tensorrt",
    "engines/tensorrt": "tensorrt",
    "engines/plan_target.py": "tensorrt",
    "engines/": "engines",
    "calib/opset17.py": "tensorrt",
    "calib/half": "tensorrt",
    "calib/implicit.py": "tensorrt",
    "calib/tensorrt_cache.py": "tensorrt",
    "calib/graph_cost.py": "engines",
    "calib/": "calibration-and-thresholds",
    "train/datasets/": "datasets",
    "train/make_": "datasets",
    "train/importing.py": "checkpoints",
    "train/imagenet.py": "checkpoints",
    "train/weights.py": "checkpoints",
    "train/checkpoint.py": "checkpoints",
    "train/method.py": "checkpoints",
    "train/protocol": "scoring-and-reports",
    "train/metrics.py": "scoring-and-reports",
    "train/rerank": "scoring-and-reports",
    "train/evaluation": "scoring-and-reports",
    "train/reports/": "scoring-and-reports",
    "train/": "training",
    "deploy/score_sightings.py": "scoring-and-reports",
    "deploy/scoring/": "scoring-and-reports",
    "deploy/building/": "engines",
    "deploy/parity/": "engines",
    "deploy/demo/": "command-line-and-files",
    "deploy/cameras/darkroom.py": "thermal-and-alignment",
    "deploy/cameras/thermal.py": "thermal-and-alignment",
    "deploy/alignment/": "thermal-and-alignment",
    "deploy/cameras/": "cameras",
    "deploy/sources/": "cameras",
    "deploy/assembly/": "site-and-options",
    "deploy/matching/rules.py": "site-and-options",
    "deploy/detection/": "detectors",
    "deploy/fetch_detector.py": "detectors",
    "deploy/gallery/": "gallery",
    "deploy/matching/": "gallery",
    "deploy/thresholds/": "calibration-and-thresholds",
    "deploy/web/": "page-and-outputs",
    "deploy/sinks/": "page-and-outputs",
    "deploy/drawing/": "page-and-outputs",
    "deploy/tracking/": "page-and-outputs",
    "deploy/loop/": "service",
    "deploy/systemd/": "service",
    "deploy/install_service.py": "service",
    "deploy/diagnosis/": "doctor",
    "deploy/bundle/": "device-bundle",
    "deploy/make_bundle.py": "device-bundle",
    "deploy/containers/": "device-bundle",
    "deploy/": "site-and-options",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Message:
    text: str  # as a person sees it, what varies as an ellipsis
    path: str
    line: int
    kind: Kind


@dataclass(frozen=True)
class Inventory:
    messages: tuple[Message, ...]
    ours: frozenset[str]  # those of OURS that were found
    unreadable: tuple[tuple[str, int, str], ...]  # path, line, source of the argument


class _Reader:
    """Finds the calls and reads their texts."""

    def __init__(self, modules: list[Module]) -> None:
        self._modules, self._texts = modules, Texts(modules)
        self._callers: dict[Function, list[tuple[ast.Call, Scope]]] = {}
        self._found: set[Message] = set()
        self._ours: set[str] = set()
        self._unreadable: set[tuple[str, int, str]] = set()

    def read(self) -> Inventory:
        for module in self._modules:
            for call, scope in module.calls:
                called = self._texts.called(call, scope)
                if called is not None:
                    self._callers.setdefault(called[1], []).append((call, scope))
        for module in self._modules:
            for call, scope in module.calls:
                self._read_call(call, scope)
            for addition, scope in module.additions:
                if _is_obstacles(addition.target):
                    added = addition.value
                    for item in added.elts if isinstance(added, ast.List) else [added]:
                        self._keep(item.elt if isinstance(item, ast.ListComp) else item, "refusal", scope)
            for name in REASONS.get(module.path, ()):
                self._read_returns(module, name)
        return Inventory(tuple(sorted(self._found)), frozenset(self._ours), tuple(sorted(self._unreadable)))

    def _read_call(self, call: ast.Call, scope: Scope) -> None:
        place, text = _place_of(call)
        if place is None or text is None or (place.kind == "finding" and _is_good(call)):
            return
        if place.kind == "log":
            self._read_log(text, call.args[1:], scope)
        else:
            self._keep(text, place.kind, scope)

    def _read_returns(self, module: Module, name: str) -> None:
        for function in module.functions[name]:
            for text in self._texts.returned(module, function, partly=True) or ():
                self._add(text, Scope(module, (function,)), function.lineno, "fault")

    def _read_log(self, text: ast.expr, values: list[ast.expr], scope: Scope) -> None:
        for form in self._texts.whole(text, scope) or ():
            parts = re.split(r"%[-.\d]*[sdrfg]", form)
            given = [self._texts.field(value, scope) for value in values[: len(parts) - 1]]
            given += [[VARIES]] * (len(parts) - 1 - len(given))
            if form == "%s" and values:  # the line of an exception, or one that was made here
                given = [self._texts.whole(values[0], scope) or [VARIES]]
            for chosen in product(*given):
                line = "".join(part + value for part, value in zip(parts, (*chosen, ""), strict=True))
                self._add(line.replace("%%", "%"), scope, text.lineno, "log")

    def _keep(self, text: ast.expr, kind: Kind, scope: Scope) -> None:
        found = self._texts.whole(text, scope)
        if found is None and not _is_exception(text):
            self._unreadable.add((scope.module.path, text.lineno, ast.unparse(text)))
        for item in found or ():
            self._add(item, scope, text.lineno, kind)

    def _add(self, text: str, scope: Scope, line: int, kind: Kind, depth: int = 4) -> None:
        """Keep a text; one with an open parameter once for each call that gives it words."""
        match = re.search(f"{MARK}(.*?){MARK}", text)
        if match is None or depth == 0:
            plain = re.sub(rf"{VARIES}({VARIES})+", VARIES, " ".join(text.replace("\n", f" {BREAK} ").split()))
            if plain in OURS:
                self._ours.add(plain)
            elif words(plain):
                self._found.add(Message(plain, scope.module.path, line, kind))
            return
        function = scope.functions[-1]
        calls = self._callers.get(function, [])
        given = [(_argument(call, function, match[1]), where, call.lineno) for call, where in calls]
        for argument, where, at in given or [(None, scope, line)]:
            values = self._texts.whole(argument, where) if argument is not None else None
            for value in values if values is not None else [VARIES]:
                filled = text.replace(match[0], value)
                # Where the part cannot be read, what is around it must say enough.
                if value != VARIES or words(filled) >= TELLING_WORDS:
                    self._add(filled, where, at, kind, depth - 1)


def read_messages(root: Path = ROOT) -> Inventory:
    """Read every message out of the four packages."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    return _Reader([read_module(root, path) for path in paths]).read()


def _place_of(call: ast.Call) -> tuple[Place | None, ast.expr | None]:
    name = call.func
    if isinstance(name, ast.Name):
        place = CALLS.get(name.id)
    elif isinstance(name, ast.Attribute):
        place = METHODS.get(name.attr)
        owner = name.value
        if place is not None and place.kind == "log" and not (isinstance(owner, ast.Name) and owner.id in LOGGERS):
            place = None
        if name.attr == "append" and _is_obstacles(owner):
            place = Place("refusal", 0)
    else:
        return None, None
    if place is None:
        return None, None
    named = next((item.value for item in call.keywords if place.keyword and item.arg == place.keyword), None)
    return place, named or (call.args[place.argument] if len(call.args) > place.argument else None)


def _is_obstacles(node: ast.expr) -> bool:
    return OBSTACLES in (getattr(node, "attr", ""), getattr(node, "id", ""))


def _is_good(call: ast.Call) -> bool:
    """Tell whether a finding of the doctor says that something is as it should be."""
    return any(item.arg == "state" and getattr(item.value, "value", "") == "ok" for item in call.keywords)


def _is_exception(node: ast.expr) -> bool:
    """Tell whether the text is that of a caught exception, which was read where it was made."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("str", "first_line", "redact") and node.args:
        return _is_exception(node.args[0])
    return isinstance(node, ast.Name) and node.id == "error"


def _argument(call: ast.Call, function: Function, name: str) -> ast.expr | None:
    for item in call.keywords:
        if item.arg == name:
            return item.value
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    position = names.index(name) - (names[0] == "self") if name in names else len(call.args)
    return call.args[position] if position < len(call.args) else None


class Entry(NamedTuple):
    """Where a page has a message."""

    page: str
    line: int
    text: str


def read_entries(pages: Path = PAGES) -> list[Entry]:
    """Read the messages of ```text blocks, and of the first columns of tables."""
    entries: list[Entry] = []
    for path in sorted(pages.glob("*.md")):
        fence = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("```"):
                fence = "" if fence else line
            elif fence == "```text":
                entries.append(Entry(path.stem, number, line))
            elif not fence and line.startswith("| `"):
                column = re.split(r"(?<!\\) \| ", line[2:])[0].replace("\\|", "|")
                entries += [Entry(path.stem, number, found[2]) for found in CODE.finditer(column)]
    return entries


def page_of(message: Message) -> str:
    """Return the page where a message of this file probably belongs."""
    return next(page for prefix, page in PAGE_OF.items() if message.path.startswith(prefix))


def entry_of(line: str, entries: Iterable[Entry]) -> Entry | None:
    """Return the entry of a line that somebody saw: the one with the most words of its own that fits."""
    fitting = [entry for entry in entries if re.search(pattern_of(entry.text), line)]
    return max(fitting, key=lambda entry: len(entry.text.replace(VARIES, "")), default=None)


def pattern_of(text: str) -> str:
    """Return the regular expression of the lines that a message can be."""
    return ".*".join(map(re.escape, text.split(VARIES)))


def main(argv: list[str]) -> int:
    """Print the entry of a line, or the messages without an entry; 1 where there is none, or are some."""
    entries = read_entries()
    if argv:
        entry = entry_of(" ".join(argv), entries)
        found = f"docs/troubleshooting/{entry.page}.md:{entry.line}: {entry.text}" if entry else "no page has it"
        sys.stdout.write(f"{found}\n")
        return 0 if entry else 1
    listed = {entry.text for entry in entries}
    missing = [message for message in read_messages().messages if message.text not in listed]
    for message in sorted(missing, key=lambda message: (page_of(message), message.path, message.line)):
        where = f"{message.path}:{message.line}"
        sys.stdout.write(f"docs/troubleshooting/{page_of(message)}.md  ({where})\n{message.text}\n\n")
    return 1 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
