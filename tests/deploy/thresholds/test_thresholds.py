"""Thresholds by gallery size, and the file and the manifest that they are read from."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calib.directions import DIRECTIONS, Measured
from calib.impostors import Tail
from deploy.thresholds.thresholds import Thresholds, direction_of, fixed, from_manifest, load_thresholds
from engines.errors import BadInput
from engines.manifest import Graph, Manifest
from engines.model_id import model_id

if TYPE_CHECKING:
    from pathlib import Path

TAIL = Tail(
    rates=(0.5, 0.1, 0.01, 0.001), cosines=(0.1, 0.3, 0.5, 0.6), slope=0.05, pairs=5000, people=60, effective_pairs=1500
)
MEASURED = Measured(tails=(TAIL,), genuine=(0.2, 0.4, 0.6, 0.8, 1.0), genuine_pairs=50)
GRAPH = Graph(file="model.onnx", sha256="0" * 64, modality="visible", precision="fp32", form="onnx")
MANIFEST = Manifest(method="m", height_px=8, width_px=4, embedding_dim=2, graphs=(GRAPH,), created="2026-01-02")


def thresholds(rate: float = 0.1) -> Thresholds:
    return Thresholds(
        measured={"together": MEASURED, "visible->infrared": MEASURED},
        false_match_rate=rate,
        source="site",
        model="0123456789abcdef",
        engine="mcja",
        created="2026-11-21",
    )


def test_a_search_among_more_people_asks_for_more() -> None:
    """Of each pair may match what makes one search in ten wrong: 1 - 0.9^(1/N)."""
    target = thresholds(0.1)
    assert target.pair_rate(1) == pytest.approx(0.1)
    for people in (2, 7, 1_000_000):
        assert 1 - (1 - target.pair_rate(people)) ** people == pytest.approx(0.1)
    assert target.least("together", 1) == 0.3
    assert target.least("together", 10) == 0.5  # 0.0105: the point at 0.01 is the first that keeps it
    assert target.least("together", 11) == 0.6  # 0.0095


def test_the_cosine_at_a_rate_between_two_points_is_that_of_the_stricter_one() -> None:
    assert [TAIL.least(rate) for rate in (0.9, 0.5, 0.49, 0.1, 0.011, 0.01)] == [0.1, 0.1, 0.3, 0.3, 0.5, 0.5]


def test_thresholds_never_fall_with_the_number_of_people_and_never_pass_1() -> None:
    target = thresholds(0.01)
    found = [target.least("together", people) for people in (0, 1, 2, 5, 20, 60, 1000, 10**9)]
    assert found == sorted(found)
    assert found[0] == found[1]
    assert found[-1] == 1.0


def test_beyond_the_measured_end_the_threshold_grows_with_the_logarithm() -> None:
    rate = 0.001 / math.e**2
    assert TAIL.least(rate) == pytest.approx(0.6 + 2 * 0.05)


def test_a_search_is_supported_where_three_independent_pairs_are_expected_above() -> None:
    """3 of 1500 independent pairs: a rate of 0.002, which 1 - 0.9^(1/52) is above and 1 - 0.9^(1/53) below."""
    target = thresholds(0.1)
    assert [target.supported("together", people) for people in (1, 52, 53)] == [True, True, False]
    assert target.most_people("together") == 52
    assert target.most_people("visible->visible") == 0
    assert thresholds(0.001).most_people("together") == 0


@pytest.mark.parametrize("rate", [0.5, 0.1, 0.01, 0.0021, 0.0019])
@pytest.mark.parametrize("effective_pairs", [10.0, 300.0, 1499.0, 1e6])
def test_as_many_people_are_promised_as_are_supported(rate: float, effective_pairs: float) -> None:
    tail = dataclasses.replace(TAIL, effective_pairs=effective_pairs)
    target = Thresholds(measured={"together": Measured(tails=(tail,))}, false_match_rate=rate)
    most = target.most_people("together")
    assert most == 0 or target.supported("together", most)
    assert not target.supported("together", most + 1)


def test_every_tail_of_a_direction_must_keep_the_promise() -> None:
    stricter = dataclasses.replace(TAIL, cosines=(0.2, 0.35, 0.45, 0.7))
    both = Measured(tails=(TAIL, stricter))
    assert [both.least(rate) for rate in (0.5, 0.1, 0.01, 0.001)] == [0.2, 0.35, 0.5, 0.7]


def test_an_unknown_direction_matches_nobody() -> None:
    assert thresholds().least("infrared->infrared", 1) == math.inf
    assert not thresholds().supported("infrared->infrared", 1)
    assert thresholds().true_match_rate("infrared->infrared", 1) is None


def test_one_cosine_for_everything_promises_nothing() -> None:
    target = fixed(0.6)
    assert {name: target.least(name, 50) for name in DIRECTIONS} == {
        "together": 0.6,
        "visible->infrared": 0.6,
        "infrared->visible": 0.6,
        "visible->visible": 0.8,  # half of the way to 1
        "infrared->infrared": 0.8,
    }
    assert target.false_match_rate is None
    assert not target.supported("together", 1)
    assert target.at(0.5) == target
    with pytest.raises(BadInput, match=r"--threshold: expected a cosine from -1 to 1, got 1\.5"):
        fixed(1.5)


def test_what_a_site_did_not_measure_is_taken_from_the_engine() -> None:
    site = Thresholds(measured={"together": MEASURED}, false_match_rate=0.02, model="m")
    other = Measured(tails=(dataclasses.replace(TAIL, slope=0.2),))
    engine = Thresholds(measured={"together": other, "visible->visible": other}, false_match_rate=0.1, source="labels")
    both = site.over(engine)
    assert both.measured == {"together": MEASURED, "visible->visible": other}
    assert (both.false_match_rate, both.model, both.source) == (0.02, "m", "")
    assert site.over(None) == site
    assert site.over(fixed(0.5)).least("infrared->infrared", 9) == 0.75
    assert site.over(fixed(0.5)).least("together", 1) == site.least("together", 1)


def test_another_rate_needs_no_new_measurement() -> None:
    assert thresholds(0.1).at(0.01).least("together", 1) == 0.5


def test_a_true_match_is_told_by_the_threshold_that_it_must_reach() -> None:
    assert thresholds(0.1).true_match_rate("together", 1) == pytest.approx(1 - 0.125)  # 0.3 between 0.2 and 0.4
    assert thresholds(0.01).true_match_rate("together", 1) == pytest.approx(1 - 0.375)


def test_directions_are_named_by_query_and_stored() -> None:
    assert {direction_of(a, b) for a in ("visible", "infrared") for b in ("visible", "infrared")} == set(DIRECTIONS[1:])


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    thresholds().save(path)
    assert load_thresholds(path, "0123456789abcdef") == thresholds()
    assert [file.name for file in tmp_path.iterdir()] == ["thresholds.json"]


def test_a_file_of_another_model_is_refused_naming_both(tmp_path: Path) -> None:
    thresholds().save(tmp_path / "t.json")
    with pytest.raises(BadInput) as caught:
        load_thresholds(tmp_path / "t.json", "feedfeedfeedfeed")
    assert "model feedfeedfeedfeed, got those of model 0123456789abcdef (mcja)" in str(caught.value)
    assert "\n" not in str(caught.value)


def first_tail(record: dict[str, Any]) -> dict[str, Any]:
    return record["directions"]["together"]["tails"][0]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda r: r.update(false_match_rate=0), "false_match_rate: expected a share between 0 and 1, got 0"),
        (lambda r: r.update(false_match_rate="a"), "expected a number for false_match_rate, got 'a'"),
        (lambda r: r.update(false_match_rate=math.nan), "expected a number for false_match_rate, got nan"),
        (lambda r: r.update(format=2), "format 2"),
        (lambda r: r.update(extra=1), "got another file (extra)"),
        (lambda r: r.pop("source"), "got another file (source)"),
        (lambda r: r.update(directions={}), "expected at least one direction"),
        (lambda r: r.update(directions=[1]), "directions: expected a JSON object, got list"),
        (lambda r: r["directions"].update(sideways={}), "got 'sideways'"),
        (lambda r: r["directions"]["together"].update(tails=[]), "together: expected at least one tail, got none"),
        (lambda r: r["directions"]["together"].update(genuine=[0.5, 0.4]), "expected rising cosines from -1 to 1"),
        (lambda r: first_tail(r).update(cosines=[0.1, 0.3, 0.2, 0.6]), "together: expected rising cosines"),
        (lambda r: first_tail(r).update(cosines=[0.1, 0.3, 0.5, 1.6]), "together: expected rising cosines"),
        (lambda r: first_tail(r).update(cosines=[0.1]), "4 rates, 1 cosines"),
        (lambda r: first_tail(r).update(rates=[0.5, 0.6, 0.01, 0.001]), "expected falling rates"),
        (lambda r: first_tail(r).update(rates=[0.5, 0.1, 0.01, 0]), "expected falling rates"),
        (lambda r: first_tail(r).update(slope=-1), "slope -1"),
        (lambda r: first_tail(r).pop("slope"), "expected a number for slope, got None"),
        (lambda r: first_tail(r).update(effective_pairs=0), "expected a positive number for effective_pairs, got 0"),
    ],
)
def test_a_damaged_file_is_one_line(damage: Any, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    thresholds().save(path)
    record = json.loads(path.read_text())
    damage(record)
    path.write_text(json.dumps(record))
    with pytest.raises(BadInput) as caught:
        load_thresholds(path, "0123456789abcdef")
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_json_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected a file of thresholds, found none; make one with deploy/calibrate"):
        load_thresholds(tmp_path / "t.json", "m")
    for text in ("{", "[]", "\x00"):
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(BadInput, match="expected"):
            load_thresholds(tmp_path / "t.json", "m")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.json").mkdir()
    with pytest.raises(BadInput, match=r"could not write .*t\.json"):
        thresholds().save(tmp_path / "t.json")
    assert [file.name for file in tmp_path.iterdir()] == ["t.json"]


def test_a_manifest_gives_back_what_the_build_measured(tmp_path: Path) -> None:
    manifest = dataclasses.replace(MANIFEST, matching=thresholds().as_manifest())
    manifest.save(tmp_path)
    for read in (
        manifest,
        dataclasses.replace(MANIFEST, matching=json.loads((tmp_path / "manifest.json").read_text())["matching"]),
    ):
        found = from_manifest(read)
        assert found is not None
        assert (found.measured, found.false_match_rate) == (thresholds().measured, 0.1)
        assert (found.model, found.engine, found.created) == (model_id(MANIFEST), "m", "2026-01-02")


def test_a_manifest_keeps_single_cosines_for_older_readers() -> None:
    known = thresholds().as_manifest()
    assert known["threshold"] == 0.3
    assert known["recall_threshold"] == thresholds().least("visible->infrared", 10)
    assert known["same_modality_threshold"] is None
    assert (known["false_match_rate"], known["pairs"], known["source"]) == (0.1, 5000, "site")


def test_an_engine_of_before_keeps_its_three_cosines() -> None:
    old = {"threshold": 0.5, "recall_threshold": 0.6, "same_modality_threshold": 0.7, "false_match_rate": 0.01}
    found = from_manifest(dataclasses.replace(MANIFEST, matching=old))
    assert found is not None
    assert [found.least(name, 20) for name in DIRECTIONS] == [0.5, 0.6, 0.6, 0.7, 0.7]
    assert found.false_match_rate is None  # its rate was of pairs, on the mean: no promise
    assert not found.supported("together", 1)
    first = from_manifest(dataclasses.replace(MANIFEST, matching={"threshold": 0.5}))
    assert first is not None
    assert [first.least(name, 1) for name in DIRECTIONS] == [0.5, 0.5, 0.5, 0.75, 0.75]


def test_an_engine_without_a_measurement_gives_none() -> None:
    assert from_manifest(MANIFEST) is None


@pytest.mark.parametrize("matching", [{"threshold": "high"}, {"threshold": 0.5, "directions": {}}, {"threshold": None}])
def test_a_damaged_manifest_is_one_line(matching: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"manifest, matching: expected .*rebuild with deploy/build_engine.py"):
        from_manifest(dataclasses.replace(MANIFEST, matching=matching))


def test_measured_directions_need_a_rate() -> None:
    with pytest.raises(BadInput, match="expected a share for the measured directions, got none"):
        Thresholds(measured={"together": MEASURED})


def test_false_matches_among_more_people_stay_at_the_promised_rate() -> None:
    """Searches among strangers drawn with the very distribution that was measured."""
    rng = np.random.default_rng(4)
    from calib.impostors import impostor_tail

    people = 300
    first_N, second_N = np.triu_indices(people, 1)
    tail = impostor_tail(rng.normal(0.1, 0.12, len(first_N)), first_N, second_N)
    target = Thresholds(measured={"visible->infrared": Measured(tails=(tail,))}, false_match_rate=0.05)
    for among in (5, 20, 60):
        best_Q = rng.normal(0.1, 0.12, (20_000, among)).max(1)
        found = (best_Q >= target.least("visible->infrared", among)).mean()
        assert target.supported("visible->infrared", among)
        assert 0.02 < found <= 0.05
