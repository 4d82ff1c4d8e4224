"""Scores that can be checked by hand: two people, two cameras, four frames each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deploy.scoring import Person, Run, Spot, read_run, read_truth, score
from deploy.sightings import TrackKey
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.scoring import Boxes

LEFT, RIGHT, NOWHERE = (0.0, 0.0, 10.0, 30.0), (50.0, 0.0, 10.0, 30.0), (90.0, 0.0, 10.0, 30.0)
FRAMES = range(4)
TRUTH: Boxes = {
    Spot(camera, number): [Person(401, LEFT), Person(402, RIGHT)]
    for camera in ("visible", "infrared")
    for number in FRAMES
}
V1, V2, I1, I2 = (TrackKey(camera, track) for camera in ("visible", "infrared") for track in (1, 2))
FOLLOWING: Boxes = {
    Spot(camera, number): [Person(1, LEFT), Person(2, RIGHT)] for camera in ("visible", "infrared") for number in FRAMES
}


@pytest.mark.parametrize(
    ("identities", "pairs", "ids", "matched"),
    [
        # pairs: predicted, true, correct; ids: IDTP, IDFP, IDFN out of 16 boxes
        ((1, 2, 1, 2), (2, 2, 2), (16, 0, 0), 2),  # perfect
        ((1, 2, 2, 1), (2, 2, 0), (8, 8, 8), 0),  # swapped
        ((1, 2, 3, 4), (0, 2, 0), (8, 8, 8), 0),  # nobody matched across
        ((1, 1, 1, 1), (4, 2, 2), (8, 8, 8), 2),  # everybody is one
        ((None, None, None, None), (0, 2, 0), (8, 8, 8), 0),  # no threshold
        ((1, 2, 1, 3), (1, 2, 1), (12, 4, 4), 1),  # one of two
    ],
    ids=("perfect", "swapped", "unmatched", "all one", "no identities", "half"),
)
def test_identities(
    identities: tuple[int | None, ...], pairs: tuple[int, ...], ids: tuple[int, ...], matched: int
) -> None:
    found = score(Run(boxes=FOLLOWING, identities=dict(zip((V1, V2, I1, I2), identities, strict=True))), TRUTH)
    assert (found.pairs_predicted, found.pairs_true, found.pairs_correct) == pairs
    assert (found.id_true_positive, found.id_false_positive, found.id_false_negative) == ids
    assert (found.people_in_both, found.people_matched) == (2, matched)
    assert found.idf1 == pytest.approx(2 * ids[0] / (2 * ids[0] + ids[1] + ids[2]))


def test_all_missed() -> None:
    found = score(Run(boxes={}, identities={}), TRUTH)
    assert (found.id_true_positive, found.id_false_positive, found.id_false_negative) == (0, 0, 16)
    assert (found.pair_precision, found.pair_recall, found.idf1) == (None, None, 0.0)


def test_nothing_and_nobody() -> None:
    found = score(Run(boxes={}, identities={}), {})
    assert found.idf1 is None
    assert "0 people" in str(found)


def test_all_false() -> None:
    boxes: Boxes = {Spot(camera, n): [Person(1, NOWHERE)] for camera in ("visible", "infrared") for n in FRAMES}
    found = score(Run(boxes=boxes, identities={V1: 1, I1: 1}), TRUTH)
    assert (found.id_true_positive, found.id_false_positive, found.id_false_negative) == (0, 8, 16)
    assert (found.pair_precision, found.pairs_true) == (0.0, 0)


def test_a_track_that_changes_person_counts_for_whom_it_follows_longest() -> None:
    boxes: Boxes = {Spot("visible", n): [Person(1, LEFT if n < 3 else RIGHT)] for n in FRAMES}
    boxes |= {Spot("infrared", n): [Person(1, LEFT)] for n in FRAMES}
    found = score(Run(boxes=boxes, identities={V1: 1, I1: 1}), TRUTH)
    assert (found.pair_precision, found.pair_recall) == (1.0, 1.0)
    assert (found.id_true_positive, found.id_false_positive, found.id_false_negative) == (7, 1, 9)


@pytest.mark.parametrize(("shift", "matches"), [(3.0, True), (4.0, False)])  # overlap 7 / 13 and 6 / 14
def test_the_least_overlap_is_a_half(shift: float, matches: bool) -> None:
    boxes: Boxes = {Spot("visible", 0): [Person(1, (shift, 0.0, 10.0, 30.0))]}
    found = score(Run(boxes=boxes, identities={V1: 1}), {Spot("visible", 0): [Person(401, LEFT)]})
    assert found.id_true_positive == matches


def test_files_are_read_and_merges_are_followed(tmp_path: Path) -> None:
    records: list[dict[str, object]] = [{"event": "run"}]
    for camera, identity in (("visible", 1), ("infrared", 2)):
        records += [
            {"event": "box", "frame": 0, "camera": camera, "track": 1, "box_px": LEFT, "score": 1.0},
            {"event": "track", "camera": camera, "modality": camera, "track": 1, "identity": identity},
        ]
    records.append({"event": "merge", "kept": 1, "absorbed": 2})
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    people = [{"frame": 0, "identity": 401, "box": LEFT}]
    (tmp_path / "t.json").write_text(json.dumps({"fps": 10, "cameras": {"visible": people, "infrared": people}}))
    found = score(read_run(tmp_path / "s.jsonl"), read_truth(tmp_path / "t.json"))
    assert (found.pair_precision, found.pair_recall, found.idf1) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("content", ["", "[]", '{"cameras": {"visible": [{"frame": 0}]}}'])
def test_a_file_that_is_no_truth_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(BadInput, match="expected a truth file"):
        read_truth(tmp_path / "t.json")


def test_sightings_without_boxes_cannot_be_scored(tmp_path: Path) -> None:
    line = {"event": "track", "camera": "visible", "modality": "visible", "track": 1, "identity": 1}
    (tmp_path / "s.jsonl").write_text(json.dumps(line))
    with pytest.raises(BadInput, match="--every-box"):
        read_run(tmp_path / "s.jsonl")
