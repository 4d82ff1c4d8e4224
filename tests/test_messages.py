"""The messages and docs/troubleshooting keep together, and the messages keep to one form and one set of words."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from deploy.gallery.administration import parse_age
from deploy.sources import SourceError
from deploy.sources.synthetic import parse_options
from engines.errors import BadInput
from engines.manifest import load_manifest
from tests.messages import (
    BREAK,
    OURS,
    PAGE_OF,
    PAGES,
    VARIES,
    Inventory,
    entry_of,
    page_of,
    read_entries,
    read_messages,
)
from train.recipe import Recipe, override

# Texts that are handed on: where they were made, they are read.
RELAYED = {
    ("deploy/assembly/installation.py", "refusal"): "deploy/cameras/device_nodes.py",
    ("deploy/sources/device.py", "refusal.reason"): "deploy/cameras/device_nodes.py",
    ("deploy/cameras/camera.py", "self.failure"): "the reason of a camera's state: deploy/cameras/camera.py, Loss",
    ("deploy/cameras/reconnect.py", "reason"): "the line of a SourceError, or what a driver raised",
    ("deploy/detection/file_detector.py", "line"): "the line of a file, told by its caller",
    ("deploy/diagnosis/checks.py", "line"): "a defect that a gallery's check returns: deploy/gallery/stored.py",
    ("deploy/gallery/patient.py", "self.trouble"): "the line of an earlier GalleryError",
    (
        "deploy/systemd/install.py",
        "service.obstacles[0] + (f' (and {more} more; --print lists them)' if more else '')",
    ): "the obstacles of deploy/systemd/plan.py and survey.py",
}
EXPECTED = re.compile(r"\b(expected|needs?|wants?|takes?|only|alone)\b")
CAME = re.compile(
    r"\b(got|found|missing|has|have|holds?|is|are|was|were|lists?|cannot|could not|does not|not|no|names?|sends|moved|"
    r"fixes|denied|permitted|refused|failed|closed|ended|stopped|unknown|fails|contradict)\b"
)
VERBS = (
    "add|allow|ask|build|calibrate|change|check|choose|clone|close|compare|convert|copy|declare|delete|does|end|enrol|"
    "export|fetch|free|get|give|import|install|keep|leave|look|lower|make|measure|move|name|pass|pin|plug|put|raise|read|"
    "rebuild|record|remove|rename|repeat|restart|restore|run|save|score|set|show|start|stop|switch|take|train|try|unpack|"
    "update|use|wait|write"
)
REMEDY = re.compile(
    rf"(?:[;:.)]|,|\bor|\band|\bthen) (?:or |and |to |again |at least )?(?:{VERBS})\b|[;:?] see |\?$|did you mean|"
    r"\w+\.py\b|--[a-z]|pip install|sudo |chmod |until the configuration changes|shows who|belongs? to"
)
NEAREST = "the nearest name that is known stands behind it, or all of them"
TENSORRT = "TensorRT's own reason stands behind it, and what to do where that is known"
SEEN = "what came stands before it"
# Refusals with one of the three alone, and why that is enough.
ONE_IS_ENOUGH = {
    "…: unknown key …": NEAREST,
    "synthetic: unknown key …": NEAREST,
    "… has no setting …": NEAREST,
    "…: … could not build a plan: …": TENSORRT,
    "…: … refuses the graph: …": TENSORRT,
    "the new plan could not be loaded (…)": TENSORRT,
    "web address …: …": SEEN,
    "web address …: this machine has no such address": SEEN,
    "there is no … picture of person …": "an answer to a program that asked for it",
    "this run measures nothing": "the same",
    "synthetic: the camera is lost, for another … s": "the address asked for it",
}
JARGON = re.compile(
    r"\b(None|NoneType|null|dict|dtype|tuple|ndarray|array|tensors?|kwargs?|uint8|float32|float16|"
    r"[A-Z][a-z]+Error|errno|repr)\b|(?i:traceback|exception)"
)
TENSORS = "of a graph's inner values, for somebody who exports networks: they have no other name"
PYTHON = "for somebody who calls the engine from Python"
JARGON_IS_MEANT = {
    "…: expected a state dict of named tensors, got …; save model.state_dict() alone": "what PyTorch calls it",
    "expected a uint8 batch of shape (B, …, …, 3), got … …; engines.preprocess.batch_crops makes one": PYTHON,
    "expected an RGB crop of shape (height, width, 3) and dtype uint8, got … …": PYTHON,
    "…: expected float32 embeddings of … images, got …; rebuild the engine with deploy/build_engine.py": PYTHON,
    "…: expected a plan from UINT8 … to FLOAT …, as the manifest says, got …; rebuild it": "TensorRT's names",
    "…: expected 'tensor: 8 hexadecimal digits' in line …, got …": TENSORS,
    "expected FP16 tensors that fit half precision, but …; keep their nodes in FP32": TENSORS,
    "expected an FP32 graph, got one with FP16 tensors; give the graph that the export wrote": TENSORS,
    "expected tensor names of one line, got …; export the model again": TENSORS,
    "expected a range for at least one tensor, got none; calibrate again": TENSORS,
    "expected a range that TensorRT takes for tensor …, got …": TENSORS,
    "expected ranges of the graph's tensors, got none that it has; calibrate this graph": TENSORS,
    "calibration table: expected amax and lowest of the same tensors, got one of …": TENSORS,
    "the calibration table has no range for … tensors, such as …; calibrate this graph": TENSORS,
    "the calibration table has no range for … tensors, such as …; calibrate this graph for implicit quantisation": (
        TENSORS
    ),
}
# One word for one thing; a flag such as --dataset keeps its name.
WORDS = {
    r"(?<!-)\bdatasets?\b": "data set",
    r"(?<!-)\b(director(y|ies)|dir)\b": "folder",
    r"\b(RGB|colour) cameras?\b": "visible camera",
    r"\bIR (camera|picture|image)s?\b": "infrared",
    r"\b(engine|model|output|run) (dir|directory|path)\b": "engine folder, run folder",
    r"\b(invalid|illegal|malformed|bad|wrong value)\b": "expected ..., got ...",
    r"\b(failed|unable) to\b": "cannot",
    r"(?<!CUDA )\b(please|sorry|oops|error)\b": "nothing: what was expected, what came, what to do",
    r"\w+n't\b": "not",
    r"\b(e\.g\.|i\.e\.|etc\.?)": "such as, that is",
    r"\bre-?identification\b": "nothing: the person is meant",
    r"\b(database|DB)\b": "gallery",
    r"\bconfig\b": "site file, recipe",
    r"[!]$": "a full line says it",
}


@pytest.fixture(scope="module")
def inventory() -> Inventory:
    return read_messages()


def test_every_message_has_an_entry(inventory: Inventory) -> None:
    listed = {entry.text for entry in read_entries()}
    missing = [
        f"{message.path}:{message.line}  ->  docs/troubleshooting/{page_of(message)}.md\n    {message.text}"
        for message in inventory.messages
        if message.text not in listed
    ]
    assert not missing, "messages without an entry; `python tests/messages.py` prints them:\n" + "\n".join(missing)


def test_every_entry_is_a_message(inventory: Inventory) -> None:
    known = {message.text for message in inventory.messages}
    stale = [
        f"docs/troubleshooting/{entry.page}.md:{entry.line}\n    {entry.text}"
        for entry in read_entries()
        if entry.text not in known
    ]
    assert not stale, "entries of messages that nothing in the code says any more:\n" + "\n".join(stale)


def test_no_message_has_two_entries() -> None:
    counts = Counter(entry.text for entry in read_entries())
    assert not [text for text, count in counts.items() if count > 1]


def test_messages_that_cannot_be_read_are_handed_on_from_where_they_can(inventory: Inventory) -> None:
    found = {(path, source): line for path, line, source in inventory.unreadable}
    new = [f"{path}:{found[path, source]}  {source}" for path, source in found if (path, source) not in RELAYED]
    assert not new, "say the message where it is raised, as a literal or an f-string:\n" + "\n".join(new)
    assert not set(RELAYED) - set(found)


def test_the_tables_of_exceptions_name_messages_that_are_there(inventory: Inventory) -> None:
    texts = {message.text for message in inventory.messages}
    assert inventory.ours == set(OURS)
    assert not (set(JARGON_IS_MEANT) | set(ONE_IS_ENOUGH)) - texts


def test_the_index_names_every_page() -> None:
    index = (PAGES.parent / "troubleshooting.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\(troubleshooting/([a-z-]+)\.md\)", index))
    assert linked == {path.stem for path in PAGES.glob("*.md")} == set(PAGE_OF.values())


def test_messages_are_one_line(inventory: Inventory) -> None:
    long = [message for message in inventory.messages if BREAK in message.text]
    assert not long


def test_messages_are_without_the_words_of_programmers(inventory: Inventory) -> None:
    offending = [
        f"{message.path}:{message.line}  {found[0]!r} in: {message.text}"
        for message in inventory.messages
        if (found := JARGON.search(message.text)) and message.text not in JARGON_IS_MEANT
    ]
    assert not offending, "\n".join(offending)


def test_refusals_say_two_of_what_was_expected_what_came_and_what_to_do(inventory: Inventory) -> None:
    """A part that is handed on (a reason behind a colon, a line before a semicolon) counts as what came."""
    poor = [
        f"{message.path}:{message.line}  {message.text}"
        for message in inventory.messages
        if message.kind == "refusal" and _parts(message.text) < 2 and message.text not in ONE_IS_ENOUGH
    ]
    assert not poor, "\n".join(poor)


@pytest.mark.parametrize("pattern", WORDS)
def test_one_thing_has_one_name(pattern: str, inventory: Inventory) -> None:
    offending = [
        f"{message.path}:{message.line}  {found[0]!r}, say {WORDS[pattern]}: {message.text}"
        for message in inventory.messages
        if (found := re.search(pattern, message.text))
    ]
    assert not offending, "\n".join(offending)


@pytest.mark.parametrize("make", ["folder", "age", "setting", "synthetic"])
def test_what_a_person_sees_finds_its_entry(make: str, tmp_path: Path) -> None:
    calls = {
        "folder": (lambda: load_manifest(tmp_path), "engines", "expected an engine folder with manifest.json, got …"),
        "age": (lambda: parse_age("7 days"), "gallery", "expected an age such as 7d, 12h or 30m, got …"),
        "setting": (lambda: override(Recipe(), ["epoch=3"]), "training", "… has no setting …"),
        "synthetic": (lambda: parse_options("fps=0"), "cameras", "synthetic: expected fps of 1 to 120, got …"),
    }
    call, page, begin = calls[make]
    with pytest.raises((BadInput, SourceError)) as raised:
        call()
    entry = entry_of(f"run_cameras: {raised.value}", read_entries())
    assert entry is not None
    assert (entry.page, entry.text[: len(begin)]) == (page, begin)


def _parts(text: str) -> int:
    relayed = bool(re.search(rf": {VARIES}|\({VARIES}\)|^{VARIES};", text))
    return bool(EXPECTED.search(text)) + (bool(CAME.search(text)) or relayed) + bool(REMEDY.search(text))


def read_source(tmp_path: Path, **files: str) -> Inventory:
    """Read messages out of engines/NAME.py with these contents."""
    (tmp_path / "engines").mkdir()
    for name, source in files.items():
        (tmp_path / "engines" / f"{name}.py").write_text(textwrap.dedent(source), encoding="utf-8")
    return read_messages(tmp_path)


def texts(inventory: Inventory) -> set[str]:
    return {message.text for message in inventory.messages}


def test_what_varies_is_an_ellipsis_and_texts_side_by_side_are_one(tmp_path: Path) -> None:
    source = """
        raise BadInput(f"{path}: expected {len(names)} "
                       f"files{more}{hint}, got {got!r}; add them")
        log.warning("%s: %d lost, %.1f %% of all\\nSecond line", name, lost, share)
    """
    expected = {"…: expected … files…, got …; add them", "…: … lost, … % of all ⏎ Second line"}
    assert texts(read_source(tmp_path, some=source)) == expected


def test_names_constants_tables_and_functions_are_followed(tmp_path: Path) -> None:
    source = """
        from engines.other import AGAIN, explain
        ADVICE = {"dark": "the picture is dark", "flat": "the picture has no contrast"}

        def refuse(path, kind, error):
            if error:
                reason = f"{path} is not here; {AGAIN}"
                raise BadInput(reason)
            reason = explain(error)
            raise BadInput(f"{path}: {reason}")

        def advise(note):
            log.warning("camera: %s", ADVICE[note])
            raise BadInput("expected one, got none" if note else "expected two, got one")
    """
    other = """
        AGAIN = "make it again"

        def explain(error):
            if error is None:
                return "nobody answers at all"
            return f"it said {error} and was gone"
    """
    assert texts(read_source(tmp_path, some=source, other=other)) == {
        "… is not here; make it again",
        "…: nobody answers at all",
        "…: it said … and was gone",
        "camera: the picture is dark",
        "camera: the picture has no contrast",
        "expected one, got none",
        "expected two, got one",
    }


def test_a_function_that_takes_part_of_a_message_says_it_where_it_is_called(tmp_path: Path) -> None:
    source = """
        def failure(site, reason):
            return BadInput(f"camera {site}: {reason}")

        def use(site, error):
            raise failure(site, "it is not there")
            raise failure(site, reason=f"it said {error}")
    """
    found = read_source(tmp_path, some=source)
    assert {(message.text, message.line) for message in found.messages} == {
        ("camera …: it is not there", 6),
        ("camera …: it said …", 7),
    }


def test_a_message_from_nowhere_is_reported(tmp_path: Path) -> None:
    source = """
        def use(self):
            raise BadInput(self.line)
            raise BadInput(str(error))
            raise BadInput(wording(self))
    """
    found = read_source(tmp_path, some=source)
    assert found.messages == ()
    assert found.unreadable == (("engines/some.py", 3, "self.line"), ("engines/some.py", 5, "wording(self)"))


def test_entries_are_read_from_blocks_and_tables(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(
        "```text\n…: one\n```\n```\npython no.py\n```\n| message | what to do |\n|---|---|\n"
        "| `two`<br>``three `make` or \\| four`` | `five` |\n",
        encoding="utf-8",
    )
    found = [(entry.line, entry.text) for entry in read_entries(tmp_path)]
    assert found == [(2, "…: one"), (9, "two"), (9, "three `make` or | four")]
