"""Calibration on site: what the recorder keeps, what is known of tracks without labels, and what is promised."""

from __future__ import annotations

import dataclasses
import sys
import types
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.calibrate_threshold import main
from deploy.sightings import TrackKey
from deploy.thresholds.evidence import Evidence, EvidenceTrack, Meeting, load_evidence
from deploy.thresholds.recorder import MOST_EMBEDDINGS, EvidenceRecorder
from deploy.thresholds.relations import Walk, relate
from deploy.thresholds.report import table
from deploy.thresholds.site import calibrate, verdict
from deploy.thresholds.thresholds import load_thresholds
from engines.errors import BadInput
from engines.manifest import Graph, Manifest
from engines.model_id import model_id

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.settings.options import Options
    from deploy.sightings import Box
    from engines.manifest import Modality

DIM = 32
GROUNDS = {"door": "place 1", "door-ir": "place 1", "yard": "place 2"}
LEFT: Box = (0.0, 0.0, 50.0, 100.0)
RIGHT: Box = (200.0, 0.0, 50.0, 100.0)
PROMISE = 0.1


def recorder(**options: int) -> EvidenceRecorder:
    target = EvidenceRecorder(**options)
    target.start(model="m1", engine="mcja openvino int8", created="2026-11-21", grounds=GROUNDS)
    return target


def walk(target: EvidenceRecorder, seen: dict[TrackKey, Box | None], from_s: float, to_s: float) -> None:
    """Show tracks in every frame, ten a second; of a new one also an embedding."""
    for frame in range(round(10 * from_s), round(10 * to_s) + 1):
        for key, box_4 in seen.items():
            modality: Modality = "infrared" if key.camera.endswith("ir") else "visible"
            target.see(key, modality, frame / 10, box_4)
            if frame == round(10 * from_s):
                target.add(key, np.eye(DIM, dtype=np.float32)[key.track], 0.5)


def met(target: EvidenceRecorder) -> dict[tuple[TrackKey, TrackKey], tuple[float, float]]:
    evidence = target.evidence()
    return {
        (evidence.tracks[m.first].key, evidence.tracks[m.second].key): (round(m.apart_s, 3), round(m.at_one_s, 3))
        for m in evidence.meetings
    }


A, B, C = TrackKey("door", 1), TrackKey("door", 2), TrackKey("door", 3)
A_IR, B_IR = TrackKey("door-ir", 1), TrackKey("door-ir", 2)
YARD = TrackKey("yard", 4)


def test_two_people_in_one_picture_are_apart_for_as_long_as_both_are_in_it() -> None:
    target = recorder()
    walk(target, {A: LEFT}, 0, 1)
    walk(target, {A: LEFT, B: RIGHT}, 1.1, 3.1)
    walk(target, {B: RIGHT}, 3.2, 9)
    assert met(target) == {(A, B): (2.0, 0.0)}
    assert target.evidence().seconds == 9.0


@pytest.mark.parametrize(
    ("second", "apart"),
    [
        (RIGHT, True),
        ((40.0, 0.0, 50.0, 100.0), True),  # a fifth covered
        ((10.0, 0.0, 50.0, 100.0), False),  # two boxes on one person
        ((10.0, 20.0, 20.0, 30.0), False),  # a head in a body
        ((5.0, 110.0, 45.0, 60.0), False),  # legs under a body
        ((5.0, 400.0, 45.0, 60.0), True),  # somebody far in front
    ],
)
def test_boxes_that_may_be_one_person_are_not_apart(second: Box, apart: bool) -> None:
    target = recorder()
    walk(target, {A: LEFT, B: second}, 0, 2)
    assert met(target) == ({(A, B): (2.0, 0.0)} if apart else {})


def test_cameras_of_two_grounds_see_different_people_and_of_one_ground_perhaps_the_same() -> None:
    target = recorder()
    walk(target, {A: LEFT, A_IR: RIGHT, YARD: LEFT}, 0, 4)
    assert met(target) == {(A, YARD): (4.0, 0.0), (A_IR, YARD): (4.0, 0.0)}


def test_time_away_is_not_time_together() -> None:
    target = recorder()
    walk(target, {A: LEFT, B: RIGHT}, 0, 1)
    walk(target, {A: LEFT}, 1.1, 3)
    walk(target, {A: LEFT, B: RIGHT}, 3.1, 4.1)
    assert met(target) == {(A, B): (2.0, 0.0)}


def test_cameras_of_different_rates_count_the_time_once() -> None:
    """30 frames a second against 5."""
    target = recorder()
    for frame in range(121):
        target.see(A, "visible", frame / 30)
        if frame % 6 == 0:
            target.see(YARD, "visible", frame / 30)
    target.add(A, np.ones(DIM, np.float32), 1.0)
    target.add(YARD, np.ones(DIM, np.float32), 1.0)
    assert met(target) == {(A, YARD): (4.0, 0.0)}


def test_a_camera_without_a_frame_at_that_moment_tells_nothing() -> None:
    target = recorder()
    walk(target, {A: LEFT}, 0, 4)
    walk(target, {YARD: LEFT}, 4.5, 9)
    assert met(target) == {}


class Beside:
    """An alignment that compares left edges."""

    def agreement(self, visible_box_4: Box, infrared_box_4: Box) -> float:
        return 1.0 - abs(visible_box_4[0] - infrared_box_4[0]) / 50


def test_aligned_cameras_tell_who_is_at_one_spot_and_who_cannot_be() -> None:
    target = EvidenceRecorder()
    pairs = {("door", "door-ir"): Beside()}
    target.start(
        model="m", engine="e", created="", grounds=GROUNDS, alignment=lambda visible, ir: pairs.get((visible, ir))
    )
    walk(target, {A: LEFT, A_IR: (5.0, 0.0, 50.0, 90.0), B_IR: RIGHT}, 0, 3)
    assert met(target) == {(A, A_IR): (0.0, 3.0), (A, B_IR): (3.0, 0.0), (A_IR, B_IR): (3.0, 0.0)}


def test_of_many_crops_the_best_are_kept_in_their_order() -> None:
    target = recorder()
    target.see(A, "visible", 0.0)
    for number in range(MOST_EMBEDDINGS + 3):
        target.add(A, np.full(DIM, number, np.float32), 0.1 if number in (2, 5, 6) else 0.9)
    (track,) = target.evidence().tracks
    assert track.embedding_ND[:, 0].tolist() == [0, 1, 3, 4, 7, 8, 9, 10]
    assert len(track.quality_N) == MOST_EMBEDDINGS


def test_a_full_recorder_gives_up_who_met_nobody_and_then_leaves_new_ones_out() -> None:
    target = recorder(most_tracks=3)
    walk(target, {TrackKey("yard", 9): LEFT}, 0, 1)
    target.end(TrackKey("yard", 9))
    walk(target, {A: LEFT, B: RIGHT}, 1, 3)
    walk(target, {C: (400.0, 0.0, 50.0, 100.0), A: LEFT}, 4, 6)
    assert [track.key for track in target.evidence().tracks] == [A, B, C]
    walk(target, {TrackKey("door", 4): LEFT}, 7, 8)
    assert [track.key for track in target.evidence().tracks] == [A, B, C]
    assert target.evidence().left_out == 2
    assert met(target) == {(A, B): (2.0, 0.0), (A, C): (2.0, 0.0)}


def test_memory_stays_flat_over_a_long_watch() -> None:
    target = recorder(most_tracks=20)
    for number in range(500):
        key, other = TrackKey("door", number), TrackKey("door", 1000 + number)
        for moment in range(3):
            for seen, box in ((key, LEFT), (other, RIGHT)):
                target.see(seen, "visible", 2.0 * number + moment / 10, box)
        target.add(key, np.ones(DIM, np.float32), 1.0)
        target.end(key)
        target.end(other)  # never embedded: forgotten with all its meetings
    assert len(target._tracks) <= 20
    assert not target._met
    assert not target._live
    assert not target._refused


def test_a_number_that_is_used_again_is_another_track() -> None:
    target = recorder()
    walk(target, {A: LEFT}, 0, 1)
    target.end(A)
    walk(target, {A: LEFT, B: RIGHT}, 5, 7)
    evidence = target.evidence()
    assert [(track.key, track.first_s) for track in evidence.tracks] == [(A, 0.0), (A, 5.0), (B, 5.0)]
    assert [(m.first, m.second) for m in evidence.meetings] == [(1, 2)]


def track(key: TrackKey, first_s: float, last_s: float, row_ND: np.ndarray | None = None) -> EvidenceTrack:
    rows = np.eye(DIM, dtype=np.float32)[:2] if row_ND is None else row_ND.astype(np.float32)
    modality: Modality = "infrared" if key.camera.endswith("ir") else "visible"
    quality_N = np.ones(len(rows), np.float32)
    return EvidenceTrack(
        key=key, modality=modality, first_s=first_s, last_s=last_s, embedding_ND=rows, quality_N=quality_N
    )


def evidence_of(tracks: list[EvidenceTrack], meetings: list[tuple[int, int, float, float]]) -> Evidence:
    return Evidence(
        model="m1",
        engine="mcja openvino int8",
        created="2026-11-21",
        seconds=100.0,
        grounds=GROUNDS,
        tracks=tuple(tracks),
        meetings=tuple(Meeting(first=a, second=b, apart_s=apart, at_one_s=at_one) for a, b, apart, at_one in meetings),
    )


def known(flags_TT: np.ndarray) -> set[tuple[int, int]]:
    assert np.array_equal(flags_TT, flags_TT.T)
    return {(int(a), int(b)) for a, b in np.argwhere(np.triu(flags_TT))}


def test_only_tracks_that_are_apart_long_enough_are_different() -> None:
    """A moment in one picture may be a box that jumped; two places need longer, for their clocks may differ."""
    tracks = [track(A, 0, 9), track(B, 0, 9), track(C, 0, 9), track(YARD, 0, 9)]
    found = relate(evidence_of(tracks, [(0, 1, 1.5, 0), (0, 2, 0.4, 0), (0, 3, 1.5, 0), (1, 3, 3.5, 0)]))
    assert known(found.different_TT) == {(0, 1), (1, 3)}
    assert not found.same_TT.any()


def test_who_is_beside_the_walker_is_not_the_walker_in_the_other_modality_either() -> None:
    tracks = [track(A, 0, 30), track(A_IR, 1, 18), track(B, 12, 30), track(B_IR, 13, 20)]
    evidence = evidence_of(tracks, [(0, 2, 18.0, 0), (1, 3, 5.0, 0)])
    assert known(relate(evidence).different_TT) == {(0, 2), (1, 3)}
    found = relate(evidence, [Walk(from_s=0, to_s=10)])
    assert known(found.same_TT) == {(0, 1)}
    assert known(found.different_TT) == {(0, 2), (1, 3), (1, 2), (0, 3)}  # of 2 and 3 nothing is known
    assert found.person_T[0] == found.person_T[1] != found.person_T[2]


def test_walkers_with_two_names_are_two_people() -> None:
    tracks = [track(A, 0, 8), track(A_IR, 1, 8), track(B, 20, 28), track(B_IR, 21, 28)]
    evidence = evidence_of(tracks, [])
    walks = [Walk(from_s=0, to_s=10, name="anna"), Walk(from_s=20, to_s=30, name="ben")]
    assert known(relate(evidence, walks).different_TT) == {(0, 2), (0, 3), (1, 2), (1, 3)}
    again = [Walk(from_s=0, to_s=10), Walk(from_s=20, to_s=30)]
    assert known(relate(evidence, again).same_TT) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}


def test_a_walk_that_is_not_what_it_should_be_is_one_line() -> None:
    tracks = [track(A, 0, 8), track(B, 2, 8), track(C, 50, 60)]
    evidence = evidence_of(tracks, [(0, 1, 6.0, 0)])
    with pytest.raises(BadInput, match=r"'walker' is in two places at once .tracks door 1 and door 2.; name a shorter"):
        relate(evidence, [Walk(from_s=0, to_s=10)])
    with pytest.raises(BadInput, match="--walker 20 30: expected somebody in the views in that time, found no track"):
        relate(evidence, [Walk(from_s=20, to_s=30)])
    with pytest.raises(BadInput, match="expected 'anna' and 'ben' at different times, got one track for both"):
        relate(evidence, [Walk(from_s=50, to_s=54, name="anna"), Walk(from_s=55, to_s=60, name="ben")])
    with pytest.raises(BadInput, match="--walker: expected a time and a later one, got 9 and 3 s"):
        Walk(from_s=9, to_s=3)


def test_long_at_one_spot_of_two_aligned_cameras_is_one_person_unless_that_is_impossible() -> None:
    tracks = [track(A, 0, 9), track(B, 0, 9), track(A_IR, 0, 9), track(B_IR, 0, 9)]
    found = relate(evidence_of(tracks, [(0, 1, 9.0, 0), (0, 2, 0, 8.0), (1, 2, 0, 4.0), (1, 3, 0.2, 5.0)]))
    assert known(found.same_TT) == {(0, 2), (1, 3)}
    assert (1, 2) in known(found.different_TT)


def test_tracks_that_look_alike_count_as_one_person_and_stay_out_of_the_pairs() -> None:
    rng = np.random.default_rng(0)
    people_KD = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:2]
    rows = [people_KD[place % 2] + 0.02 * rng.normal(size=(6, DIM)) for place in range(20)]
    rows = [row_ND / np.linalg.norm(row_ND, axis=1, keepdims=True) for row_ND in rows]
    tracks = [track(TrackKey("door", place), 10 * place, 10 * place + 9, row_ND) for place, row_ND in enumerate(rows)]
    found = relate(evidence_of(tracks, [(0, 1, 5.0, 0)]))
    assert len(set(found.person_T.tolist())) == 2
    assert known(found.different_TT) == {(0, 1)}
    assert not found.same_TT.any()


def site_evidence(people: int, seed: int, *, cameras: tuple[str, ...] = ("door", "yard")) -> Evidence:
    """Draw a site: people come in threes, each in one camera or the other, and are embedded eight times."""
    rng = np.random.default_rng(seed)
    centre_KD = rng.normal(size=(people, DIM))
    centre_KD /= np.linalg.norm(centre_KD, axis=1, keepdims=True)
    tracks: list[EvidenceTrack] = []
    meetings: list[tuple[int, int, float, float]] = []
    for person in range(people):
        row_ND = centre_KD[person] + 0.08 * rng.normal(size=(8, DIM))
        row_ND /= np.linalg.norm(row_ND, axis=1, keepdims=True)
        key = TrackKey(cameras[person % len(cameras)], person)
        first_s = 10.0 * (person // 3)
        tracks.append(track(key, first_s, first_s + 9, row_ND))
        meetings += [(other, person, 5.0, 0.0) for other in range(person - person % 3, person)]
    return evidence_of(tracks, meetings)


def test_a_direction_without_evidence_is_refused_and_the_others_are_written() -> None:
    found = calibrate(site_evidence(120, 0, cameras=("door",)), false_match_rate=PROMISE)
    by_name = {finding.direction: finding for finding in found.findings}
    assert list(found.thresholds.measured) == ["visible->visible"]
    assert verdict(by_name["visible->visible"], PROMISE) == "written"
    assert len(by_name["visible->visible"].impostor_N) == 2 * 120  # three pairs of each three, both ways
    assert by_name["visible->visible"].genuine_source == "halves of a track"
    assert "let a known person walk through the views alone" in verdict(by_name["together"], PROMISE)
    assert "no two people were in one infrared picture" in verdict(by_name["infrared->infrared"], PROMISE)
    assert found.thresholds.model == "m1"
    assert "120 tracks of about 120 people in 1.7 minutes" in found.thresholds.source


def test_a_direction_that_nobody_could_reach_is_refused_and_says_why() -> None:
    """Everybody has a double who was seen at the same time: tracks that were swapped look like that."""
    evidence = site_evidence(120, 0, cameras=("door",))
    tracks = [
        dataclasses.replace(one, embedding_ND=evidence.tracks[3 * (place // 3)].embedding_ND)
        for place, one in enumerate(evidence.tracks)
    ]
    found = calibrate(dataclasses.replace(evidence, tracks=tuple(tracks)), false_match_rate=0.5)
    finding = found.findings[3]
    assert finding.measured is not None
    assert finding.measured.supported(0.5)
    assert not found.thresholds.measured
    assert "not written: nobody would reach it" in verdict(finding, 0.5)


def test_too_little_evidence_says_how_much_more_is_needed() -> None:
    found = calibrate(site_evidence(30, 0, cameras=("door",)), false_match_rate=0.01)
    assert not found.thresholds.measured
    said = verdict(found.findings[3], 0.01)
    tail = found.findings[3].measured
    assert tail is not None
    assert f"worth {tail.tails[0].effective_pairs:.0f} independent pairs, 1 % needs 300" in said
    assert "times as many different people, or ask for --false-match-rate 0.1" in said
    rate = float(said.rsplit(" ", 1)[1])
    assert rate >= tail.least_rate
    assert (
        "visible->visible"
        in calibrate(site_evidence(30, 0, cameras=("door",)), false_match_rate=rate).thresholds.measured
    )


def test_one_pair_told_in_many_tracks_is_not_much_evidence() -> None:
    """Two people all day, in forty tracks each: the tracker lost them again and again."""
    rng = np.random.default_rng(1)
    people_KD = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:2]
    tracks, meetings = [], []
    for turn in range(40):
        for person in range(2):
            row_ND = people_KD[person] + 0.03 * rng.normal(size=(8, DIM))
            row_ND /= np.linalg.norm(row_ND, axis=1, keepdims=True)
            tracks.append(track(TrackKey("door", 2 * turn + person), 10 * turn, 10 * turn + 9, row_ND))
        meetings.append((2 * turn, 2 * turn + 1, 9.0, 0.0))
    found = calibrate(evidence_of(tracks, meetings), false_match_rate=PROMISE)
    finding = found.findings[3]
    assert found.people == 2
    assert len(finding.impostor_N) == 80
    assert not finding.written
    assert "worth 1 independent pairs, 10 % needs 30" in verdict(finding, PROMISE)


def test_two_places_at_once_give_strangers_across_the_modalities() -> None:
    evidence = dataclasses.replace(
        site_evidence(240, 3, cameras=("yard", "door-ir", "yard")), grounds={**GROUNDS, "yard-ir": "place 2"}
    )
    found = calibrate(evidence, false_match_rate=PROMISE)
    assert {"together", "visible->infrared", "infrared->visible"} <= set(found.thresholds.measured)
    assert found.thresholds.true_match_rate("together", 1) is None
    assert "unknown" in table(found)


def test_promises_of_a_site_hold_for_people_who_come_later() -> None:
    """Twenty sites; visitors who come later are strangers to each other and to all before."""
    broken, mean = 0, []
    for seed in range(20):
        found = calibrate(site_evidence(150, seed, cameras=("door",)), false_match_rate=PROMISE)
        later = site_evidence(150, 1000 + seed, cameras=("door",)).tracks
        mean_TD = np.stack([seen.embedding_ND.mean(0) for seen in later])
        mean_TD /= np.linalg.norm(mean_TD, axis=1, keepdims=True)
        best_TT = np.max([mean_TD @ np.stack([seen.embedding_ND[crop] for seen in later]).T for crop in range(8)], 0)
        share = (best_TT[~np.eye(150, dtype=bool)] >= found.thresholds.least("visible->visible", 1)).mean()
        broken += share > PROMISE
        mean.append(share)
    assert broken <= 4  # of 20 promises at 95 %; more than 4 in 1 of 400 runs
    assert 0.02 < np.mean(mean) < PROMISE


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    site_evidence(240, 3, cameras=("yard", "door-ir", "yard")).save(tmp_path / "evidence.npz")
    return tmp_path / "evidence.npz"


def test_evidence_is_read_as_it_was_saved(saved: Path) -> None:
    expected, found = site_evidence(240, 3, cameras=("yard", "door-ir", "yard")), load_evidence(saved)
    assert saved.stat().st_mode & 0o777 == 0o600  # it says what people look like
    assert (found.model, found.engine, found.seconds, found.grounds) == ("m1", expected.engine, 100.0, GROUNDS)
    assert found.meetings == expected.meetings
    for one, other in zip(found.tracks, expected.tracks, strict=True):
        assert (one.key, one.modality, one.first_s, one.last_s) == (
            other.key,
            other.modality,
            other.first_s,
            other.last_s,
        )
        assert np.array_equal(one.embedding_ND, other.embedding_ND)
        assert np.array_equal(one.quality_N, other.quality_N)


def test_evidence_of_nobody_is_saved_and_refused_with_a_hint(tmp_path: Path) -> None:
    recorder().evidence().save(tmp_path / "e.npz")
    with pytest.raises(BadInput, match="expected tracks of people in the evidence, got 0; record for longer"):
        calibrate(load_evidence(tmp_path / "e.npz"), false_match_rate=0.1)


def test_damaged_evidence_is_one_line(saved: Path, tmp_path: Path) -> None:
    with np.load(saved) as file:
        arrays = dict(file)
    wrong = tmp_path / "wrong.npz"
    for name, value in (
        ("embedding_ND", arrays["embedding_ND"][1:]),
        ("embedding_ND", np.full_like(arrays["embedding_ND"], np.nan)),
        ("count_T", arrays["count_T"][1:]),
        ("meeting_P4", arrays["meeting_P4"] + 1e6),
        ("about", np.array("{}")),
        ("about", np.array("[]")),
    ):
        np.savez(wrong, **{**arrays, name: value})
        with pytest.raises(BadInput, match="expected recorded evidence, got a file that cannot be read"):
            load_evidence(wrong)
    for content in (b"", saved.read_bytes()[:2000], b"PK\x03\x04"):
        wrong.write_bytes(content)
        with pytest.raises(BadInput, match="expected recorded evidence"):
            load_evidence(wrong)
    with pytest.raises(BadInput, match="expected a file of recorded evidence, found none"):
        load_evidence(tmp_path / "none.npz")


def test_the_script_writes_thresholds_a_table_and_a_picture(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "thresholds.json"
    argv = ["--evidence", str(saved), "--out", str(out), "--false-match-rate", "0.1"]
    assert main(argv) == 0
    told = capsys.readouterr().out
    assert "least cosines for 10 % false matches in a search, 95 % sure" in told
    assert "infrared->infrared: not written: no two people were in one infrared picture, or in two places" in told
    assert "together: written; most alike strangers: " in told
    found = load_thresholds(out, "m1")
    assert "together" in found.measured
    assert f"{found.least('together', 5):.3f}" in told
    picture_HWC = cv2.imread(str(tmp_path / "thresholds.png"))
    assert picture_HWC is not None
    assert (picture_HWC == (0, 94, 213)).all(2).sum() > 20  # BGR of the strangers' colour
    first = out.read_bytes()
    assert main(argv) == 0
    assert out.read_bytes() == first


def test_cameras_are_watched_for_the_minutes_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[list[str], float]] = []

    def collect_evidence(options: Options, target: EvidenceRecorder, *, seconds: float) -> None:
        asked.append(([camera.uri for camera in options.cameras], seconds))
        target.start(model="m1", engine="e", created="2026-11-21", grounds=GROUNDS)
        walk(target, {A: LEFT, B: RIGHT}, 0, 3)

    stand_in = types.ModuleType("deploy.assembly.installation")
    monkeypatch.setattr(stand_in, "collect_evidence", collect_evidence, raising=False)
    monkeypatch.setitem(sys.modules, "deploy.assembly.installation", stand_in)
    argv = ["--rgb", "0", "--ir", "2", "--minutes", "0.5", "--save-evidence", str(tmp_path / "e.npz")]
    assert main([*argv, "--out", str(tmp_path / "t.json"), "--walker", "90", "99"]) == 2  # nobody then
    assert asked == [(["0", "2"], 30.0)]
    assert [seen.key for seen in load_evidence(tmp_path / "e.npz").tracks] == [A, B]  # kept, whatever came after
    assert "expected somebody in the views in that time" in capsys.readouterr().err


def test_nothing_is_written_where_nothing_is_supported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site_evidence(9, 0).save(tmp_path / "e.npz")
    assert main(["--evidence", str(tmp_path / "e.npz"), "--out", str(tmp_path / "t.json")]) == 1
    assert not (tmp_path / "t.json").exists()
    assert "no thresholds were written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "expected --evidence FILE, --site FILE, or --rgb and --ir, got none of them"),
        (["--evidence", "e.npz", "--rgb", "0"], "expected --evidence or cameras, got both (--rgb); leave one out"),
        (["--evidence", "e.npz"], "--evidence: expected a file of recorded evidence, found none at e.npz"),
        (["--rgb", "0", "--minutes", "0"], "--minutes: expected more than 0, got 0"),
        (["--rgb", "0", "--false-match-rate", "1"], "--false-match-rate: expected a share between 0 and 1, got 1"),
        (["--rgb", "0", "--walker", "3"], "--walker: expected FROM TO [NAME], times in seconds, got 3"),
        (["--rgb", "0", "--walker", "a", "b"], "--walker: expected FROM TO [NAME], times in seconds, got a b"),
        (["--rgb", "0", "--walker", "1", "2", "c", "d"], "--walker: expected FROM TO [NAME], times in seconds, got 1"),
        (["--rgb", "0", "--walker", "5", "2"], "--walker: expected a time and a later one, got 5 and 2 s"),
        (["--rgb", "0", "--picture", "p.jpg"], "--picture: expected a file name that ends in .png, got p.jpg"),
        (["--rgb", "0", "--out", "t.png"], "--out: expected a file for the thresholds, got t.png"),
    ],
)
def test_bad_input_is_one_line(
    argv: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("calibrate_threshold: ")
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_evidence_of_another_model_is_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = Graph(file="model.onnx", sha256="0" * 64, modality="visible", precision="fp32", form="onnx")
    manifest = Manifest(method="m", height_px=8, width_px=4, embedding_dim=2, graphs=(graph,))
    (tmp_path / "engine").mkdir()
    manifest.save(tmp_path / "engine")
    assert (
        main(["--evidence", str(saved), "--engine", str(tmp_path / "engine"), "--out", str(tmp_path / "t.json")]) == 2
    )
    line = capsys.readouterr().err
    assert f"model {model_id(manifest)}, got that of model m1 (mcja openvino int8)" in line
    assert not (tmp_path / "t.json").exists()
