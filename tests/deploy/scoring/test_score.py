"""Scores that can be checked by hand, and random scenes against a slow second way to every count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import binomtest

from deploy.scoring.score import Person, Run, Share, Spot, Truth, TruthCamera, score
from deploy.sightings import TrackKey
from engines.errors import BadInput
from tests.deploy.scoring.scoring_reference import SlowTracks, slow_identity_counts

if TYPE_CHECKING:
    from deploy.scoring.score import Boxes, Score
    from engines.manifest import Modality

LEFT, RIGHT, NOWHERE = (0.0, 0.0, 10.0, 30.0), (50.0, 0.0, 10.0, 30.0), (90.0, 0.0, 10.0, 30.0)
FRAMES = range(4)
NAMES: tuple[Modality, Modality] = ("visible", "infrared")
CAMERAS = {name: TruthCamera(modality=name, place="", fps=10) for name in NAMES}
TRUTH = Truth(
    cameras=CAMERAS,
    boxes={Spot(camera, number): [Person(401, LEFT), Person(402, RIGHT)] for camera in NAMES for number in FRAMES},
)
V1, V2, I1, I2 = (TrackKey(camera, track) for camera in NAMES for track in (1, 2))
FOLLOWING: Boxes = {Spot(camera, number): [Person(1, LEFT), Person(2, RIGHT)] for camera in NAMES for number in FRAMES}


def counts(found: Score) -> tuple[int, int, int]:
    return found.identities.true_positive, found.identities.false_positive, found.identities.false_negative


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
    assert (found.cross.predicted, found.cross.true, found.cross.correct) == pairs
    assert counts(found) == ids
    assert (found.people_in_both, found.people_matched) == (2, matched)
    assert found.idf1 == found.idf1_in_both == pytest.approx(2 * ids[0] / (2 * ids[0] + ids[1] + ids[2]))


def test_all_missed() -> None:
    found = score(Run(boxes={}, identities={}), TRUTH)
    assert counts(found) == (0, 0, 16)
    assert (found.pair_precision, found.pair_recall, found.idf1) == (None, None, 0.0)


def test_nothing_and_nobody() -> None:
    found = score(Run(boxes={}, identities={}), Truth(cameras={}, boxes={}))
    assert (found.idf1, found.newcomers.rate, found.in_view.rate) == (None, None, None)
    assert "0 people" in str(found)


def test_all_false() -> None:
    boxes: Boxes = {Spot(camera, n): [Person(1, NOWHERE)] for camera in NAMES for n in FRAMES}
    found = score(Run(boxes=boxes, identities={V1: 1, I1: 1}), TRUTH)
    assert counts(found) == (0, 8, 16)
    assert (found.pair_precision, found.cross.true, found.stray_tracks) == (0.0, 0, 2)


def test_a_track_that_changes_person_counts_for_whom_it_follows_longest() -> None:
    boxes: Boxes = {Spot("visible", n): [Person(1, LEFT if n < 3 else RIGHT)] for n in FRAMES}
    boxes |= {Spot("infrared", n): [Person(1, LEFT)] for n in FRAMES}
    found = score(Run(boxes=boxes, identities={V1: 1, I1: 1}), TRUTH)
    assert (found.pair_precision, found.pair_recall) == (1.0, 1.0)
    assert counts(found) == (7, 1, 9)
    assert (found.switches, found.fragments) == (1, 0)


def test_two_boxes_of_one_identity_on_one_person_are_one_agreement() -> None:
    boxes: Boxes = {Spot("visible", n): [Person(1, LEFT), Person(2, LEFT)] for n in FRAMES}
    found = score(Run(boxes=boxes, identities={V1: 1, V2: 1}), TRUTH)
    assert counts(found) == (4, 4, 12)


@pytest.mark.parametrize(
    ("tracks", "switches", "fragments"),
    [
        ([(1, 2)] * 4, 0, 0),
        ([(1, 2), (1, 2), (3, 2), (3, 2)], 0, 1),  # the left one's track broke
        ([(1, 2), (1, 2), (2, 1), (2, 1)], 2, 2),  # swapped
        ([(1, 2), (2, 1), (1, 2), (2, 1)], 6, 6),  # again and again
        ([(1, 2), (0, 2), (0, 2), (1, 2)], 0, 0),  # lost and found under the same number
        ([(1, 2), (0, 2), (3, 2), (3, 2)], 0, 1),  # missed once, then another track
        ([(1, 0), (0, 2), (0, 1), (0, 1)], 1, 1),  # track 1 goes over to the right one, who had track 2
    ],
)
def test_switches_and_fragments(tracks: list[tuple[int, int]], switches: int, fragments: int) -> None:
    boxes: Boxes = {
        Spot("visible", n): [Person(track, box) for track, box in zip(pair, (LEFT, RIGHT), strict=True) if track]
        for n, pair in enumerate(tracks)
    }
    found = score(Run(boxes=boxes, identities={}), TRUTH)
    assert (found.switches, found.fragments) == (switches, fragments)


@pytest.mark.parametrize(("away_s", "fragments"), [(1.9, 1), (2.1, 0)])
def test_who_leaves_and_comes_back_may_have_another_track(away_s: float, fragments: int) -> None:
    later = round(away_s * 10)
    truth = Truth(cameras=CAMERAS, boxes={Spot("visible", n): [Person(401, LEFT)] for n in (0, later)})
    boxes: Boxes = {Spot("visible", 0): [Person(1, LEFT)], Spot("visible", later): [Person(2, LEFT)]}
    assert score(Run(boxes=boxes, identities={}), truth).fragments == fragments


@pytest.mark.parametrize(("shift", "matches"), [(3.0, True), (4.0, False)])  # overlap 7 / 13 and 6 / 14
def test_the_least_overlap_is_a_half(shift: float, matches: bool) -> None:
    boxes: Boxes = {Spot("visible", 0): [Person(1, (shift, 0.0, 10.0, 30.0))]}
    truth = Truth(cameras=CAMERAS, boxes={Spot("visible", 0): [Person(401, LEFT)]})
    assert counts(score(Run(boxes=boxes, identities={V1: 1}), truth))[0] == matches


# A door with two cameras and a yard with one that starts 100 s later. One box a stay is enough here.
SITE = {
    "door-rgb": TruthCamera(modality="visible", place="door", fps=10),
    "door-ir": TruthCamera(modality="infrared", place="door", fps=10),
    "yard-ir": TruthCamera(modality="infrared", place="yard", fps=5, start_s=100),
}


def stays(*rows: tuple[str, int, int | None, int | None]) -> tuple[Run, Truth]:
    """Make a scene of (camera, frame, person, identity): each is one track of one box; person None is a stray."""
    boxes: Boxes = {}
    people: Boxes = {}
    identities: dict[TrackKey, int | None] = {}
    for number, (camera, frame, person, identity) in enumerate(rows):
        at = (20.0 * number, 0.0, 10.0, 30.0)
        boxes.setdefault(Spot(camera, frame), []).append(Person(number, at))
        identities[TrackKey(camera, number)] = identity
        if person is not None:
            people.setdefault(Spot(camera, frame), []).append(Person(person, at))
    modalities: dict[TrackKey, str] = {key: SITE[key.camera].modality for key in identities}
    truth = Truth(cameras=SITE, boxes=people, unknowns=frozenset({9}))
    return Run(boxes=boxes, identities=identities, modalities=modalities), truth


@pytest.mark.parametrize(
    ("rows", "wrong", "searched", "directions"),
    [
        ((("door-rgb", 0, 1, 5),), 0, 0, {}),  # nobody to be taken for
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 2, 6)), 0, 1, {"visible->visible": (0, 1)}),
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 2, 5)), 1, 1, {"visible->visible": (1, 1)}),
        ((("door-rgb", 0, 1, 5), ("yard-ir", 0, 2, 5)), 1, 1, {"infrared->visible": (1, 1)}),
        ((("door-rgb", 0, 1, 5), ("door-ir", 0, 2, 5)), 1, 1, {"together": (1, 1)}),
        ((("door-rgb", 0, 1, 5), ("door-ir", 5, 2, 5)), 1, 1, {"infrared->visible": (1, 1)}),  # not at the same time
        ((("yard-ir", 0, 2, 5), ("door-rgb", 1001, 1, 5)), 1, 1, {"visible->infrared": (1, 1)}),
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 1, 6)), 0, 0, {}),  # who comes again is no newcomer
        ((("door-rgb", 0, 1, None), ("door-rgb", 50, 2, None)), 0, 1, {"visible->visible": (0, 1)}),
        ((("door-rgb", 0, None, 5), ("door-rgb", 50, 2, 5)), 0, 0, {}),  # a stray track is nobody
        # 2 is taken for 1, and the later 3 for that identity too: matched with its latest track
        (
            (("door-rgb", 0, 1, 5), ("door-ir", 50, 2, 5), ("door-rgb", 90, 3, 5)),
            *(2, 2, {"infrared->visible": (1, 1), "visible->infrared": (1, 1), "visible->visible": (0, 1)}),
        ),
    ],
)
def test_newcomers_who_are_taken_for_somebody(
    rows: tuple[tuple[str, int, int | None, int | None], ...],
    wrong: int,
    searched: int,
    directions: dict[str, tuple[int, int]],
) -> None:
    found = score(*stays(*rows))
    assert found.newcomers == Share(part=wrong, whole=searched)
    told = {entry.direction: (entry.newcomers.part, entry.newcomers.whole) for entry in found.directions}
    assert {name: count for name, count in told.items() if count[1]} == directions


@pytest.mark.parametrize(
    ("rows", "wrong", "searches"),
    [
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 1, 5)), 0, 1),
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 1, 6)), 0, 1),  # missed is not falsely matched
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 2, 6), ("door-rgb", 90, 1, 6)), 1, 2),
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 2, 5), ("door-rgb", 90, 2, 5)), 1, 2),  # 2 is known under 5 by then
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, None, 5), ("door-rgb", 90, 2, None)), 0, 1),
    ],
)
def test_searches_that_find_somebody_else(
    rows: tuple[tuple[str, int, int | None, int | None], ...], wrong: int, searches: int
) -> None:
    assert score(*stays(*rows)).searches == Share(part=wrong, whole=searches)


def test_the_direction_of_a_false_match_is_that_of_the_track_that_the_run_names() -> None:
    run, truth = stays(("door-rgb", 0, 1, 5), ("door-ir", 20, 1, 5), ("door-rgb", 90, 3, 5))
    by_default = [entry.direction for entry in score(run, truth).directions if entry.newcomers.part]
    named = Run(
        boxes=run.boxes, identities=run.identities, modalities=run.modalities,
        matched={TrackKey("door-rgb", 2): TrackKey("door-rgb", 0)},
    )  # fmt: skip
    by_name = [entry.direction for entry in score(named, truth).directions if entry.newcomers.part]
    assert (by_default, by_name) == (["visible->infrared"], ["visible->visible"])


@pytest.mark.parametrize(
    ("rows", "joined", "pairs"),
    [
        ((("door-rgb", 0, 1, 5), ("door-ir", 0, 2, 5)), 1, 1),
        ((("door-rgb", 0, 1, 5), ("door-ir", 0, 2, 6)), 0, 1),
        ((("door-rgb", 0, 1, 5), ("door-ir", 0, 1, 5)), 0, 0),  # one person
        ((("door-rgb", 0, 1, 5), ("door-ir", 1, 2, 5)), 0, 0),  # one after the other
        ((("door-rgb", 1000, 1, 5), ("yard-ir", 0, 2, 5)), 0, 0),  # at once, elsewhere: no view of the same ground
        ((("door-rgb", 0, 1, None), ("door-ir", 0, 2, None)), 0, 1),
    ],
)
def test_people_in_view_together_who_are_joined(
    rows: tuple[tuple[str, int, int | None, int | None], ...], joined: int, pairs: int
) -> None:
    assert score(*stays(*rows)).in_view == Share(part=joined, whole=pairs)


@pytest.mark.parametrize(
    ("rows", "kept", "whole"),
    [
        ((("door-rgb", 0, 9, 5), ("door-ir", 0, 9, 5), ("door-rgb", 50, 1, 6)), 1, 1),
        ((("door-rgb", 0, 9, 5), ("door-rgb", 50, 1, 5)), 0, 1),  # a resident is given the stranger's identity
        ((("door-rgb", 0, 1, 5), ("door-rgb", 50, 9, 5)), 0, 1),  # and the other way round
        ((("door-rgb", 0, 9, None), ("door-rgb", 50, 1, None)), 1, 1),
        ((("door-rgb", 0, 1, 5),), 0, 0),  # the stranger was not tracked
        ((("door-rgb", 0, 9, 5), ("door-rgb", 50, None, 5)), 1, 1),  # a stray track is nobody
    ],
)
def test_unknowns_kept_unknown(
    rows: tuple[tuple[str, int, int | None, int | None], ...], kept: int, whole: int
) -> None:
    assert score(*stays(*rows)).unknowns_kept == Share(part=kept, whole=whole)


def test_idf1_of_people_in_both_modalities_leaves_the_others_boxes_out() -> None:
    run, truth = stays(("door-rgb", 0, 1, 5), ("door-ir", 0, 1, 5), ("door-rgb", 30, 2, 6), ("door-rgb", 60, None, 7))
    found = score(run, truth)
    assert counts(found) == (3, 1, 0)
    both = found.identities_in_both
    assert (both.true_positive, both.false_positive, both.false_negative) == (2, 1, 0)  # the stray box stays an error


def random_scene(seed: int) -> tuple[Run, Truth]:
    """Let four people stand in fixed spots of three cameras, under tracks that break, swap and stray."""
    rng = np.random.default_rng(seed)
    boxes: Boxes = {}
    people: Boxes = {}
    keys: set[TrackKey] = set()
    for camera in SITE:
        track_of = {person: person for person in range(4)}
        fresh = 10
        for frame in range(8):
            spot = Spot(camera, frame * 6)
            for person in range(4):
                if rng.random() < 0.15:
                    fresh += 1
                    track_of[person] = fresh
                if rng.random() < 0.1:
                    other = int(rng.integers(4))
                    track_of[person], track_of[other] = track_of[other], track_of[person]
            for person in range(4):
                at = (40.0 * person, 0.0, 10.0, 30.0)
                present, tracked = rng.random() < 0.6, rng.random() < 0.8
                present = present and (person < 3 or camera == "door-rgb")  # the last one is in one modality only
                if present:
                    people.setdefault(spot, []).append(Person(person, at))
                if tracked and (present or rng.random() < 0.2):
                    boxes.setdefault(spot, []).append(Person(track_of[person], at))
                    keys.add(TrackKey(camera, track_of[person]))
    identities: dict[TrackKey, int | None] = {key: (None, 1, 2, 3, 4)[int(rng.integers(5))] for key in sorted(keys)}
    return Run(boxes=boxes, identities=identities), Truth(cameras=SITE, boxes=people)


@pytest.mark.parametrize("seed", range(12))
def test_counts_equal_a_slow_second_way(seed: int) -> None:
    run, truth = random_scene(seed)
    found, slow = score(run, truth), SlowTracks(run, truth)
    cross, returns = slow.links()
    assert (found.cross.predicted, found.cross.true, found.cross.correct) == cross
    assert (found.returns.predicted, found.returns.true, found.returns.correct) == returns
    assert (found.newcomers.part, found.newcomers.whole) == slow.newcomers()
    assert (found.in_view.part, found.in_view.whole) == slow.in_view()
    assert (found.searches.part, found.searches.whole) == slow.searches()
    assert sum(entry.newcomers.part for entry in found.directions) == found.newcomers.part
    assert sum(entry.searches.part for entry in found.directions) == found.searches.part
    assert counts(found) == slow_identity_counts(run, truth)
    both = found.identities_in_both
    seen = {
        label: {SITE[spot.camera].modality for spot, row in truth.boxes.items() for p in row if p.label == label}
        for label in range(4)
    }
    only = {label for label, modalities in seen.items() if len(modalities) == 2}
    slow_both = slow_identity_counts(run, truth, only)
    assert (both.true_positive, both.false_positive, both.false_negative) == slow_both


@pytest.mark.parametrize(("part", "whole"), [(0, 1), (0, 20), (1, 20), (10, 20), (20, 20), (3, 1000)])
def test_the_interval_is_wilsons(part: int, whole: int) -> None:
    expected = binomtest(part, whole).proportion_ci(0.95, method="wilson")
    assert Share(part=part, whole=whole).interval == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_nothing_searched_leaves_the_rate_open() -> None:
    assert Share(part=0, whole=0).interval == (0.0, 1.0)


def test_sightings_of_another_site_are_refused() -> None:
    with pytest.raises(BadInput, match="cameras visible, infrared, which the truth has, got camera 'gate'"):
        score(Run(boxes={Spot("gate", 0): [Person(1, LEFT)]}, identities={}), TRUTH)
