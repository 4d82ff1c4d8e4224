"""docs/sightings.md against the records: events, fields, types, and examples that are what a run would write."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import pytest

from deploy.scoring.files import read_run
from deploy.sightings import SCHEMA, Record, TrackKey, to_json
from tests import record_material

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sightings.md").read_text(encoding="utf-8")
RECORDS: dict[str, type[Any]] = {record.event: record for record in get_args(Record)}
WORDS = {
    "Box": "box",
    "Modality": "text",
    "TrackKey": "track",
    "bool": "true or false",
    "dict[str, dict[str, str]]": "table of tables of text",
    "dict[str, float]": "table of numbers",
    "dict[str, int]": "table of whole numbers",
    "float": "number",
    "int": "whole number",
    "str": "text",
}


class Row(NamedTuple):
    event: str
    field: str
    type: str


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows() -> Iterator[Row]:
    """Yield the fields of the page's table; a row that names an event opens it."""
    event = ""
    for line in section("Every field").splitlines()[3:]:
        if not line.startswith("|"):
            continue
        first, fields, kind, *_ = (cell.strip() for cell in line.strip("|").split("|"))
        event = first.strip("`") or event
        names = re.findall(r"`(\w+)`", fields)
        assert bool(first) != bool(names), f"expected an event or its fields: {line}"
        yield from (Row(event, name, kind) for name in names)


def in_words(annotation: str) -> str:
    kind, _, rest = annotation.partition(" | ")
    return WORDS[kind] + (" or null" if rest == "None" else "")


def examples() -> list[str]:
    return section("Examples").partition("```json\n")[2].partition("\n```")[0].splitlines()


def rebuild(line: str) -> Record:
    """Return the record of a line, by the types of its fields."""
    values: dict[str, Any] = json.loads(line)
    kind = RECORDS[values.pop("event")]
    for field in dataclasses.fields(kind):
        value: Any = values[field.name]
        if "TrackKey" in str(field.type) and value is not None:
            values[field.name] = TrackKey(**value)
        elif field.type == "Box":
            values[field.name] = tuple(values[field.name])
    return kind(**values)


def run_the_pages_script(path: Path) -> dict[tuple[str, int], int | None]:
    script = section("Read it").partition("```python\n")[2].partition("\n```")[0]
    assert '"sightings.jsonl"' in script
    names: dict[str, Any] = {}
    exec(script.replace('"sightings.jsonl"', repr(str(path))), names)
    return names["who"]


def test_the_page_names_the_schema() -> None:
    assert f"This page is schema {SCHEMA};" in PAGE


def test_every_event_is_in_the_page_and_no_other() -> None:
    opened = re.findall(r"^\| `(\w+)` \|", section("Every field"), re.MULTILINE)
    assert sorted(opened) == sorted(RECORDS)


@pytest.mark.parametrize("event", RECORDS)
def test_the_page_has_the_fields_of_an_event_with_their_types(event: str) -> None:
    told = [(row.field, row.type) for row in rows() if row.event == event]
    # As written, for the annotations are strings: names of types stay readable.
    assert told == [(field.name, in_words(str(field.type))) for field in dataclasses.fields(RECORDS[event])]


def test_every_event_has_an_example() -> None:
    assert {json.loads(line)["event"] for line in examples()} == set(RECORDS)


@pytest.mark.parametrize("line", examples(), ids=lambda line: json.loads(line)["event"])
def test_an_example_is_a_line_that_a_run_writes(line: str) -> None:
    assert to_json(rebuild(line)) == line


def test_the_reader_takes_the_examples(tmp_path: Path) -> None:
    path = tmp_path / "sightings.jsonl"
    path.write_text("\n".join(examples()) + "\n", encoding="utf-8")
    run = read_run(path)
    assert run.identities == {("door-ir", 60): 29}
    assert run.matched == {("door-ir", 60): ("door-rgb", 25)}
    assert run_the_pages_script(path) == run.identities


def test_the_pages_script_follows_merges(tmp_path: Path) -> None:
    """Track 1 ends as 9, who turns out to be 3; track 2 ends as nobody, track 3 as 4; then 3 turns out to be 4."""
    path = tmp_path / "sightings.jsonl"
    records = [
        record_material.run_start(),
        record_material.track_end(track=1, identity=9),
        record_material.merge(kept=3),  # absorbs 9
        record_material.track_end(track=2, identity=None),
        record_material.track_end(track=3, identity=4),
        dataclasses.replace(record_material.merge(kept=4), absorbed=3),
    ]
    path.write_text("".join(to_json(record) + "\n" for record in records), encoding="utf-8")
    assert run_the_pages_script(path) == {("visible", 1): 4, ("visible", 2): None, ("visible", 3): 4}
