"""Truth and sightings files, and what is read out of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deploy import score_sightings
from deploy.scoring.score import Person, Spot, TruthCamera, read_run, read_truth, score
from deploy.sightings import TrackKey
from engines.errors import BadInput
from tests.exit_code import exit_code

if TYPE_CHECKING:
    from pathlib import Path

LEFT = (0.0, 0.0, 10.0, 30.0)
NAMES = ("visible", "infrared")


def write_run(path: Path, *records: dict[str, object]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def box_of(camera: str, track: int) -> dict[str, object]:
    return {"event": "box", "frame": 0, "camera": camera, "track": track, "box_px": LEFT, "score": 1.0}


def end_of(camera: str, track: int, identity: int | None) -> dict[str, object]:
    return {"event": "track", "camera": camera, "modality": camera, "track": track, "identity": identity}


def test_files_are_read_and_merges_are_followed(tmp_path: Path) -> None:
    write_run(
        tmp_path / "s.jsonl",
        {"event": "run", "schema": 2, "false_match_rate": 0.01},
        *(box_of(camera, 1) for camera in NAMES),
        *(end_of(camera, 1, identity) for camera, identity in zip(NAMES, (1, 2), strict=True)),
        {"event": "merge", "kept": 1, "absorbed": 2},
        {"event": "end"},
    )
    people = [{"frame": 0, "identity": 401, "box": LEFT}]
    (tmp_path / "t.json").write_text(json.dumps({"fps": 10, "cameras": {"visible": people, "infrared": people}}))
    found = score(read_run(tmp_path / "s.jsonl"), read_truth(tmp_path / "t.json"))
    assert (found.pair_precision, found.pair_recall, found.idf1) == (1.0, 1.0, 1.0)
    assert found.false_match_rate == 0.01


def test_a_line_that_a_full_disk_cut_short_is_passed_over_where_the_whole_one_follows(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    write_run(path, box_of("visible", 1), end_of("visible", 1, 3))
    whole = path.read_text().splitlines(keepends=True)
    path.write_text(whole[0][:40] + "\n" + "".join(whole))
    found = read_run(path)
    assert (sum(map(len, found.boxes.values())), found.identities) == (1, {TrackKey("visible", 1): 3})
    path.write_text(whole[0][:40] + "\n" + whole[1])
    with pytest.raises(BadInput, match="expected a sightings file of run_cameras"):
        read_run(path)


KEY = {"camera": "visible", "track": 1}
SEEN = {"event": "sighting", "camera": "visible", "modality": "visible", "track": 1, "identity": 1}


@pytest.mark.parametrize(
    ("records", "identity"),
    [
        ([end_of("visible", 1, 3)], 3),
        ([SEEN], 1),  # killed before the track ended
        ([SEEN, {"event": "revision", "track": KEY, "before": 1, "after": 2}], 2),
        ([SEEN, {"event": "merge", "kept": 5, "absorbed": 1}], 5),
        ([{"event": "merge", "kept": 5, "absorbed": 1}, end_of("visible", 1, 1)], 5),
        (
            [end_of("visible", 1, 1), {"event": "merge", "kept": 5, "absorbed": 1},
             {"event": "merge", "kept": 7, "absorbed": 5}],
            7,
        ),
        ([end_of("visible", 1, 1), {"event": "split", "track": KEY, "before": 1, "after": 8}], 8),
        # merged by mistake, then parted again under the old number
        (
            [end_of("visible", 1, 1), {"event": "merge", "kept": 5, "absorbed": 1},
             {"event": "split", "track": KEY, "before": 5, "after": 1}],
            1,
        ),
        ([SEEN, {"event": "camera", "camera": "visible", "state": "silent"}, end_of("visible", 1, None)], None),
    ],
)  # fmt: skip
def test_the_records_are_followed_to_the_final_identity(
    tmp_path: Path, records: list[dict[str, object]], identity: int | None
) -> None:
    write_run(tmp_path / "s.jsonl", box_of("visible", 1), *records)
    assert read_run(tmp_path / "s.jsonl").identities == {TrackKey("visible", 1): identity}


def test_an_identity_that_was_split_off_takes_nobody_along(tmp_path: Path) -> None:
    split = {"event": "split", "track": {"camera": "visible", "track": 1}, "before": 1, "after": 2}
    write_run(
        tmp_path / "s.jsonl",
        *(box_of(camera, 1) for camera in NAMES),
        *(end_of(camera, 1, 1) for camera in NAMES),
        split,
    )
    assert set(read_run(tmp_path / "s.jsonl").identities.values()) == {1, 2}


def test_a_site_truth_has_modalities_places_and_offsets(tmp_path: Path) -> None:
    camera = {"modality": "infrared", "place": "yard", "fps": 5, "start_s": 100.0, "frames": 9, "gaps_s": []}
    camera["boxes"] = [{"frame": 5, "identity": 2001, "box": LEFT}]
    (tmp_path / "t.json").write_text(json.dumps({"unknowns": [2009], "cameras": {"yard-ir-2": camera}}))
    truth = read_truth(tmp_path / "t.json")
    assert truth.cameras == {"yard-ir-2": TruthCamera(modality="infrared", place="yard", fps=5, start_s=100)}
    assert truth.time_s(Spot("yard-ir-2", 5)) == 101
    assert (truth.boxes, truth.unknowns) == ({Spot("yard-ir-2", 5): [Person(2001, LEFT)]}, {2009})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"cameras": {"visible": [{"frame": 0}]}}',
        '{"fps": 10, "cameras": {"front": []}}',  # the old form names its cameras by modality
        '{"cameras": {"a": {"modality": "thermal", "place": "", "fps": 10, "boxes": []}}}',
        '{"cameras": {"a": {"modality": "visible", "place": "", "fps": 0, "boxes": []}}}',
    ],
)
def test_a_file_that_is_no_truth_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(BadInput, match="expected a truth file"):
        read_truth(tmp_path / "t.json")


def test_sightings_without_boxes_cannot_be_scored(tmp_path: Path) -> None:
    write_run(tmp_path / "s.jsonl", end_of("visible", 1, 1))
    with pytest.raises(BadInput, match="--every-box"):
        read_run(tmp_path / "s.jsonl")


def test_the_script_writes_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(
        tmp_path / "s.jsonl",
        {"event": "run", "false_match_rate": 0.05},
        *(box_of(camera, 1) for camera in NAMES),
        *(end_of(camera, 1, 1) for camera in NAMES),
    )
    people = [{"frame": 0, "identity": 401, "box": LEFT}]
    (tmp_path / "t.json").write_text(json.dumps({"fps": 10, "cameras": {"visible": people, "infrared": people}}))
    files = [str(tmp_path / "s.jsonl"), str(tmp_path / "t.json")]
    assert score_sightings.main(files) == 0
    table = capsys.readouterr().out
    assert "cross-modality links, precision     1.000 (1 of 1)" in table
    assert "-; 5.0 % promised" in table
    assert score_sightings.main([*files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pair_precision"], found["idf1"], found["newcomers_falsely_matched"]) == (1.0, 1.0, None)
    assert found["cross"] == {"predicted": 1, "true": 1, "correct": 1}
    assert exit_code(score_sightings.main, [*files, "--overlap", "0"]) == 2
    assert "above 0" in capsys.readouterr().err
