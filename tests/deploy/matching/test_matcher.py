"""Who is who: pairs, returns, splits, merges, and what is never allowed."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.matching.matcher import Decision
from deploy.sightings import Merge, Revision, Split, TrackKey
from deploy.thresholds.thresholds import fixed
from deploy.tracking.assignment import assign, pair_tracks
from tests.camera_fakes import vector
from tests.deploy.matching.matching_scenes import Scene, camera, thresholds

if TYPE_CHECKING:
    from deploy.matching.names import Change

V1, V2, V3 = (TrackKey("visible", number) for number in (1, 2, 3))
I1, I2, I3, I4 = (TrackKey("infrared", number) for number in (1, 2, 3, 4))
A, B, C = vector(1, 0, 0, 0), vector(0, 1, 0, 0), vector(0, 0, 1, 0)


@pytest.mark.parametrize(
    ("similarity", "threshold", "expected"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], 0.5, [(0, 0), (1, 1)]),
        ([[0.1, 0.9], [0.8, 0.2]], 0.5, [(0, 1), (1, 0)]),
        ([[0.9, 0.8], [0.8, 0.1]], 0.5, [(0, 0)]),  # mutual nearest first, though 0.8 + 0.8 is more
        ([[0.9, 0.8], [0.8, 0.6]], 0.5, [(0, 0), (1, 1)]),  # the rest is assigned
        ([[0.4, 0.3], [0.2, 0.1]], 0.5, []),  # nobody is similar enough
        ([[0.5]], 0.5, [(0, 0)]),  # at the threshold
        ([[0.9, 0.7]], 0.5, [(0, 0)]),
        ([[-np.inf, 0.6]], 0.5, [(0, 1)]),  # not at the same time
        ([[-0.2]], -1.0, [(0, 0)]),  # negative cosines are allowed where the threshold is
    ],
)
def test_pair_tracks(similarity: list[list[float]], threshold: float, expected: list[tuple[int, int]]) -> None:
    assert pair_tracks(np.array(similarity, np.float32), threshold) == expected


def test_nothing_is_assigned_to_nothing() -> None:
    assert pair_tracks(np.empty((0, 3), np.float32), 0.5) == []
    assert assign(np.empty((2, 0))) == []


def test_tracks_of_one_person_in_both_cameras_share_an_identity() -> None:
    scene = Scene()
    assert scene.step(0.0, {V1: A, V2: B, I1: B, I2: A}) == []
    one, other = scene.ids(V1, V2)
    assert one != other
    assert scene.ids(I2, I1) == [one, other]
    assert scene.matcher.decision(V1) == Decision(identity=one, similarity=1.0, matched=I2)


def test_different_people_get_different_identities() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: B})
    assert sorted(filter(None, scene.ids(V1, I1))) == [1, 2]
    assert scene.matcher.decision(V1).matched is None
    assert scene.matcher.decision(V1).similarity == pytest.approx(0.0)


def test_without_thresholds_there_are_similarities_and_no_identities() -> None:
    scene = Scene(thresholds=None)
    scene.step(0.0, {V1: A, I1: vector(1, 1, 0, 0)})
    assert (scene.matcher.decision(V1).identity, scene.matcher.decision(V1).matched) == (None, I1)
    assert scene.matcher.decision(V1).similarity == pytest.approx(0.7071, abs=1e-4)
    scene.finish()
    assert scene.final == {V1: None, I1: None}
    assert len(scene.gallery) == 0


def test_a_track_without_a_crop_has_no_identity() -> None:
    scene = Scene()
    scene.step(0.0, {V1: None})
    assert scene.matcher.decision(V1) == Decision()
    assert scene.matcher.decision(I1) == Decision()
    scene.finish()
    assert len(scene.gallery) == 0


def test_a_poor_crop_alone_makes_nobody_new_and_a_second_one_does() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A}, quality=0.2)
    assert scene.ids(V1) == [None]
    scene.step(1.0, {V1: A}, quality=0.2)
    assert scene.ids(V1) == [1]


def test_a_poor_crop_is_enough_to_know_somebody_again() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: A}, quality=0.2)
    assert scene.ids(V2) == [1]


def test_better_crops_count_for_more() -> None:
    scene = Scene(thresholds=None)
    scene.step(0.0, {V1: A, I1: A}, quality=0.9)
    scene.step(1.0, {V1: B}, quality=0.3)
    # The mean points along (0.9, 0.3): its cosine with A is 0.9 / sqrt(0.9) = 0.949; unweighted it were 0.707.
    assert scene.matcher.decision(V1).similarity == pytest.approx(0.9487, abs=1e-4)


def test_a_better_crop_takes_the_place_of_the_worst_of_eight() -> None:
    scene = Scene(thresholds=None)
    scene.step(0.0, {V1: B, I1: A}, quality=0.1)
    for time_s in range(1, 8):
        scene.step(float(time_s), {V1: A, I1: None}, quality=0.5)
    assert (scene.matcher.decision(V1).similarity or 1.0) < 0.9999
    scene.step(8.0, {V1: A, I1: None}, quality=0.5)
    assert scene.matcher.decision(V1).similarity == pytest.approx(1.0)


def test_somebody_who_comes_back_is_known_again() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: B})
    scene.step(9.5, {V3: A})
    assert scene.ids(V3, V2) == [1, 2]


def test_somebody_who_comes_back_in_the_other_camera_is_known_again() -> None:
    scene = Scene(thresholds=thresholds(0.6, across=0.75))
    scene.step(0.0, {V1: A, V2: C})
    scene.end(V1, V2)
    scene.step(9.0, {I1: vector(0.8, 0.6, 0, 0)})
    scene.step(9.5, {I2: vector(0, 0.7, 0.714, 0)})  # 0.714 with C
    assert scene.ids(I1, I2) == [1, 3]


def test_coming_back_asks_for_more_than_a_match_across_cameras() -> None:
    like_A = vector(0.7, 0.714, 0, 0)  # cosine 0.70 with A: over the threshold, under (0.6 + 1) / 2
    alone, across = Scene(), Scene()
    alone.step(0.0, {V1: A})
    alone.end(V1)
    alone.step(5.0, {V2: like_A})
    assert alone.ids(V2) == [2]
    across.step(0.0, {V1: A})
    across.end(V1)
    across.step(5.0, {I1: like_A})
    assert across.ids(I1) == [1]


def test_the_threshold_of_each_direction_is_used() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.65))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(5.0, {V2: vector(0.7, 0.714, 0, 0)})
    assert scene.ids(V2) == [1]


def test_a_direction_that_was_never_measured_matches_nobody() -> None:
    from deploy.thresholds.thresholds import Thresholds

    scene = Scene(thresholds=Thresholds(fixed={"together": 0.6}))
    scene.step(0.0, {V1: A, I1: A})
    assert scene.ids(V1, I1) == [1, 1]
    scene.end(V1, I1)
    scene.step(9.0, {V2: A, I2: A})
    assert scene.ids(V2, I2) == [2, 2]


def test_somebody_who_is_lost_and_found_in_one_camera_keeps_the_number_before_the_first_track_ends() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.step(1.0, {V2: A})  # the tracker still remembers V1
    assert scene.ids(V1, V2) == [1, 1]
    scene.finish()
    assert [stay.last_s for stay in scene.gallery.tracklets(1)] == [0.0, 1.0]


def test_a_lost_track_that_comes_back_beside_its_successor_is_somebody_else_on_record() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.step(1.0, {V2: A})
    changes = scene.step(1.1, {V1: None, V2: None})
    assert scene.ids(V1, V2) == [1, 2]
    assert changes == [Split(time_s=1.1, track=V2, before=1, after=2)]


def test_a_lost_track_that_comes_back_and_ends_at_once_leaves_no_impossible_past() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.step(1.0, {V2: A})
    scene.matcher.see(V1, "visible", 1.1)
    scene.matcher.see(V2, "visible", 1.1)
    scene.end(V1, V2)  # before anybody decided
    assert scene.step(2.0, {}) == [Split(time_s=1.0, track=V2, before=1, after=2)]
    assert scene.final == {V1: 1, V2: 2}


def test_a_new_track_of_somebody_joins_the_partner_of_the_old_one() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: A})
    scene.step(1.0, {I1: None})  # V1 is lost
    scene.step(1.2, {I1: None, V2: vector(0.7, 0.714, 0, 0)})
    assert scene.ids(V2) == [1]  # 0.7: as a return that were too little, beside I1 it is enough
    assert scene.matcher.decision(V2).matched == I1


def test_nobody_is_twice_in_one_camera_at_the_same_moment() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, V2: A})
    assert scene.ids(V1, V2) == [1, 2]
    scene.step(1.0, {V1: None, V2: None})
    scene.end(V1)  # was there together with V2: V2 cannot be that person
    scene.step(2.0, {V2: A})
    assert scene.ids(V2) == [2]


def test_an_identity_goes_to_one_of_two_who_come_back_alike() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: A, V3: A})
    assert sorted(filter(None, scene.ids(V2, V3))) == [1, 2]


def test_an_identity_goes_to_the_more_similar_of_two() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: vector(0.85, 0.527, 0, 0), V3: vector(0.95, 0, 0.312, 0)})
    assert scene.ids(V3) == [1]


def test_two_who_are_there_together_and_do_not_match_are_not_both_the_one_they_resemble() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A, I1: vector(0.65, 0.76, 0, 0)})
    assert scene.ids(V1, I1) == [1, 1]
    scene.end(V1, I1)
    scene.step(9.0, {V2: A, I2: vector(0.55, 0.835, 0, 0)})  # 0.99 with the stored infrared track, 0.55 with V2
    assert scene.ids(V2, I2) == [1, 2]


def test_a_decision_is_revised_when_evidence_comes_and_the_revision_is_recorded() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: B})
    first, second = scene.ids(V1, I1)
    # 1 + 3 crops: the mean's cosine with A is 3 / sqrt(10) = 0.95.
    changes: list[Change] = []
    for t in (1.0, 2.0, 3.0):
        changes += scene.step(t, {V1: A, I1: A})
    assert scene.ids(V1, I1) == [1, 1]
    track = V1 if first == 2 else I1
    assert sorted((first or 0, second or 0)) == [1, 2]
    assert changes == [Revision(time_s=1.0, track=track, before=2, after=1)]


def test_a_standing_pair_does_not_flicker() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: vector(0.80, 0.6, 0, 0), I2: vector(0.78, 0, 0.626, 0)})
    assert scene.matcher.decision(V1).matched == I1
    # I2 is now a little nearer (0.82), but not by the hysteresis.
    scene.step(1.0, {V1: None, I1: None, I2: vector(0.86, 0, 0.51, 0)})
    assert scene.matcher.decision(V1).matched == I1


def test_a_pair_at_the_threshold_stands_until_it_is_below_by_the_hysteresis() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: vector(0.6001, 0.8, 0, 0)})
    names = scene.ids(V1, I1)
    # The mean of crops at 0.6 and 0.52 lies at 0.56, that of 0.6, 0.52 and 0.3 at 0.48.
    assert scene.step(1.0, {V1: None, I1: vector(0.52, 0.854, 0, 0)}) == []
    assert scene.ids(V1, I1) == names == [1, 1]
    changes = scene.step(2.0, {V1: None, I1: vector(0.3, 0.954, 0, 0)})
    assert [type(change) for change in changes] == [Split]


def test_noise_around_the_threshold_changes_nothing_after_the_first_decision() -> None:
    """A pair at 0.6 +- 0.03, another candidate at 0.6 +- 0.03 and a return at 0.8 +- 0.03, a hundred times over."""
    rng = np.random.default_rng(3)

    def near(cosine: float, axis: int) -> np.ndarray:
        value = cosine + rng.uniform(-0.03, 0.03)
        rest = [0.0, 0.0, 0.0, 0.0]
        rest[0], rest[axis] = value, float(np.sqrt(1 - value**2))
        return vector(*rest)

    scene = Scene()
    scene.step(0.0, {TrackKey("visible", 9): A})
    scene.end(TrackKey("visible", 9))
    scene.step(5.0, {V1: near(0.83, 3), I1: near(0.63, 1), I2: near(0.62, 2)})
    for time_s in range(6, 14):
        scene.step(float(time_s), {V1: near(0.8, 3), I1: near(0.6, 1), I2: near(0.6, 2)})
    settled = scene.ids(V1, I1, I2)
    for time_s in range(14, 114):
        changes = scene.step(float(time_s), {V1: near(0.8, 3), I1: near(0.6, 1), I2: near(0.6, 2)})
        assert changes == []
    assert scene.ids(V1, I1, I2) == settled


def test_a_pair_that_was_wrong_is_split_on_record() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: A})
    changes = [c for t in range(1, 7) for c in scene.step(float(t), {V1: A, I1: B, V2: B})]
    assert scene.matcher.decision(V2).matched == I1
    assert scene.matcher.decision(V1).matched is None
    assert scene.ids(V1)[0] != scene.ids(I1)[0]
    assert changes


def test_two_known_people_who_turn_out_to_be_one_are_merged_on_record() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(5.0, {I1: B})
    scene.end(I1)
    scene.step(10.0, {V2: A, I2: B})
    assert scene.ids(V2, I2) == [1, 2]
    changes = [c for t in range(11, 16) for c in scene.step(float(t), {V2: A, I2: A})]
    assert scene.ids(V2, I2) == [1, 1]
    # At 11 the means' cosine is 0.71, over 0.6 by more than the hysteresis, with two crops on each side.
    assert [(c.kept, c.absorbed, c.time_s) for c in changes if isinstance(c, Merge)] == [(1, 2, 11.0)]
    assert [c.similarity for c in changes if isinstance(c, Merge)] == [pytest.approx(0.7071, abs=1e-4)]
    assert len(changes) == 1
    assert len(scene.gallery.tracklets(1)) == 2
    assert scene.final == {V1: 1, I1: 1}


def test_somebody_met_in_each_kind_of_camera_alone_is_one_person_when_both_see_them() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(5.0, {I1: vector(0.59, 0.807, 0, 0)})
    scene.end(I1)
    warm = vector(0.66, 0.751, 0, 0)  # 0.995 with the stored infrared track
    assert scene.step(10.0, {V2: A, I2: warm}) == []
    assert scene.ids(V2, I2) == [1, 1]  # one crop of each: no reason to change the past
    changes = scene.step(11.0, {V2: A, I2: warm})
    assert [(c.kept, c.absorbed, c.time_s) for c in changes if isinstance(c, Merge)] == [(1, 2, 11.0)]
    assert [c.similarity for c in changes if isinstance(c, Merge)] == [pytest.approx(0.66, abs=1e-3)]
    assert len(changes) == 1


def at(degrees: float) -> np.ndarray:
    """A unit vector at an angle from A towards B."""
    return vector(float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), 0, 0)


def test_somebody_who_was_met_in_both_kinds_of_cameras_is_not_merged_with_a_look_alike() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A, I1: at(42)})
    scene.end(V1, I1)
    scene.step(5.0, {I2: at(75)})
    scene.step(6.0, {I2: at(50)})
    assert scene.ids(I2) == [2]
    scene.end(I2)
    # Beside V2 there is a track a little more like the other one's second crop (1 degree) than like its own (7).
    changes = [c for t in (10, 11, 12) for c in scene.step(float(t), {V2: A, I4: at(49)})]
    assert scene.ids(V2, I4) == [1, 1]
    assert changes == []


def test_a_pair_that_just_reaches_the_threshold_is_not_enough_to_merge_two_pasts() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(5.0, {I1: vector(0.58, 0.815, 0, 0)})
    scene.end(I1)
    scene.step(10.0, {V2: A, I2: vector(0.58, 0.815, 0, 0)})
    scene.step(11.0, {V2: A, I2: vector(0.64, 0.768, 0, 0)})  # the mean is at 0.61
    assert scene.matcher.decision(V2).matched == I2
    assert scene.ids(V2, I2) == [1, 2]  # beside each other, and still two
    assert scene.changes == []


def test_people_seen_together_are_never_merged() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A, V3: B})
    scene.end(V1, V3)
    scene.step(10.0, {V2: A, I2: B})
    assert scene.ids(V2, I2) == [1, 2]
    changes = [c for t in range(11, 16) for c in scene.step(float(t), {V2: A, I2: A})]
    assert changes == [Split(time_s=11.0, track=I2, before=2, after=1)]
    assert len(scene.gallery.tracklets(1)) == len(scene.gallery.tracklets(2)) == 1


def test_people_with_two_names_are_never_merged() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(5.0, {I1: B})
    scene.end(I1)
    scene.gallery.rename(1, "Ada")
    scene.gallery.rename(2, "Bea")
    scene.step(10.0, {V2: A, I2: B})
    changes = [c for t in range(11, 16) for c in scene.step(float(t), {V2: A, I2: A})]
    assert not [change for change in changes if isinstance(change, Merge)]


def test_of_two_who_are_merged_the_named_one_stays() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.9))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(5.0, {I1: B})
    scene.end(I1)
    scene.gallery.rename(2, "Bea")
    scene.step(10.0, {V2: A, I2: B})
    changes = [c for t in range(11, 16) for c in scene.step(float(t), {V2: A, I2: A})]
    assert [(c.kept, c.absorbed) for c in changes if isinstance(c, Merge)] == [(2, 1)]


def test_a_wrong_return_is_taken_back_when_evidence_comes() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.7))
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: vector(0.75, 0.66, 0, 0)})
    assert scene.ids(V2) == [1]
    changes = [c for t in (10, 11, 12) for c in scene.step(float(t), {V2: B})]
    assert changes == [Split(time_s=10.0, track=V2, before=1, after=2)]  # the mean's cosine is 0.41


def test_a_return_is_corrected_to_somebody_clearly_more_similar() -> None:
    scene = Scene(thresholds=thresholds(0.6, same=0.7))
    scene.step(0.0, {V1: A, V2: B})
    one, other = scene.ids(V1, V2)
    assert one
    assert other
    scene.end(V1, V2)
    scene.step(9.0, {V3: vector(0.72, 0.694, 0, 0)})
    assert scene.ids(V3) == [one]
    changes = scene.step(10.0, {V3: vector(0.6, 0.8, 0, 0)})  # the mean is at 0.66 and 0.75
    assert changes == []  # not by the hysteresis and back
    changes = [c for t in (11, 12) for c in scene.step(float(t), {V3: B})]
    assert changes == [Split(time_s=12.0, track=V3, before=one, after=other)]


def test_a_match_outlives_the_partner() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: A})
    assert scene.matcher.end(V1) == Decision(identity=1, similarity=1.0, matched=I1)
    scene.live.pop(V1)
    scene.step(1.0, {I1: A})
    assert scene.matcher.decision(I1) == Decision(identity=1, similarity=1.0, matched=V1)


def test_a_partner_that_ended_keeps_its_identity_for_the_one_who_stays() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: A})
    scene.end(V1)
    changes = [c for t in range(1, 6) for c in scene.step(float(t), {I1: C})]  # its looks drift away
    assert changes == []
    assert scene.ids(I1) == [1]


def test_tracks_that_never_overlapped_are_not_paired() -> None:
    scene = Scene(thresholds=thresholds(0.6, across=2.0, same=0.9))
    scene.step(0.0, {V1: A})
    scene.step(5.0, {I1: A})  # V1 is still in the tracker's memory, but was last seen at 0
    assert scene.matcher.decision(I1).matched is None
    assert scene.ids(V1, I1) == [1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_that_comes_and_goes(seed: int) -> None:
    """Six of ten people at a time, seen by both cameras, for 60 rounds; some return under new track numbers.

    Embeddings are a person's direction, a modality's direction and noise, so that the cosines are like a trained
    network's: 0.65 for one person across modalities, 0.25 for two people of one modality.
    """
    rng = np.random.default_rng(seed)
    person_D = np.linalg.qr(rng.normal(size=(64, 64)))[0][:12]
    scene = Scene(thresholds=thresholds(0.45, same=0.6))
    present: dict[int, tuple[TrackKey, TrackKey]] = {}
    wrong = pairs = 0
    count = 0
    first_name: dict[int, int | None] = {}
    returns = known = 0
    for round_number in range(60):
        for person in list(present):
            if rng.random() < 0.1:
                scene.end(*present.pop(person))
        arrived: list[int] = []
        while len(present) < 6:
            person = int(rng.choice([p for p in range(10) if p not in present]))
            count += 1
            arrived.append(person)
            present[person] = (TrackKey("visible", count), TrackKey("infrared", count))
        seen: dict[TrackKey, np.ndarray | None] = {}
        for person, keys in present.items():
            for row, key in enumerate(keys):
                noise_D = rng.normal(size=64) * 0.04
                seen[key] = vector(*(person_D[person] * 0.85 + person_D[10 + row] * 0.5 + noise_D))
        scene.step(float(round_number), seen)
        for name in ("visible", "infrared"):
            live = [scene.ids(key)[0] for keys in present.values() for key in keys if key.camera == name]
            assert None not in live
            assert len(set(live)) == len(live)  # nobody is twice in one camera
        for visible, infrared in present.values():
            pairs += 1
            wrong += scene.ids(visible) != scene.ids(infrared)
        for person in arrived:
            name = scene.ids(present[person][0])[0]
            returns += person in first_name
            known += first_name.setdefault(person, name) == name and person in first_name
    assert wrong / pairs < 0.02
    assert len({identity for keys in present.values() for identity in scene.ids(*keys)}) == 6
    assert returns > 20
    assert known >= 0.95 * returns
    assert scene.gallery.last_identity <= 12  # ten people, and hardly a number wasted


def test_the_gallery_gets_absolute_times_and_records_the_runs() -> None:
    scene = Scene(origin_s=1.7e9)
    scene.step(5.0, {V1: A, I1: B})
    changes = scene.step(6.5, {V1: A, I1: A})
    assert [change.time_s for change in changes] == [6.5]
    scene.end(V1)
    stored = scene.gallery.tracklets(1)[0]
    assert (stored.first_s, stored.last_s) == (1.7e9 + 5.0, 1.7e9 + 6.5)


def test_somebody_who_expired_is_not_known_again() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.gallery.expire(100.0)
    scene.step(200.0, {V2: A})
    assert scene.ids(V2) == [2]


def test_somebody_erased_while_in_the_picture_goes_on_as_somebody_new_without_the_old_pictures() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: A, I1: B})
    assert scene.ids(V2, I1) == [1, 2]
    scene.gallery.erase(1)
    changes = scene.step(10.0, {V2: None, I1: None})
    assert changes == [Revision(time_s=10.0, track=V2, before=1, after=3)]
    assert scene.ids(V2, I1) == [3, 2]
    scene.finish()
    assert [person.identity for person in scene.gallery.people()] == [2]  # no picture of V2 is left to be stored


def test_somebody_erased_and_gone_before_the_next_decision_is_not_stored_again() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A})
    scene.end(V1)
    scene.step(9.0, {V2: A})
    scene.gallery.erase(1)
    scene.end(V2)
    scene.step(9.1, {})
    assert scene.gallery.people() == []
    assert scene.final[V2] == 2


def test_somebody_new_whom_an_operator_erases_by_number_leaves_nothing() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, I1: A})
    scene.gallery.erase(1)  # it holds nothing yet: only the matcher knows
    scene.matcher.forget(1)
    assert scene.step(0.1, {V1: None, I1: None}) == [
        Revision(time_s=0.0, track=I1, before=1, after=2),
        Revision(time_s=0.0, track=V1, before=1, after=2),
    ]
    scene.finish()
    assert scene.gallery.people() == []


def test_a_merge_by_an_operator_is_followed() -> None:
    scene = Scene()
    scene.step(0.0, {V1: A, V2: B})
    one, other = scene.ids(V1, V2)
    assert (one, other) == (1, 2)
    scene.end(V1, V2)
    scene.step(9.0, {V3: B})
    scene.gallery.merge(1, 2)
    scene.matcher.follow(1, 2)
    assert scene.step(9.1, {V3: B}) == [Merge(time_s=9.0, kept=1, absorbed=2, similarity=None)]
    assert scene.ids(V3) == [1]
    assert [scene.step(t, {V3: B}) for t in (10.0, 11.0)] == [[], []]


@pytest.mark.parametrize("order", list(itertools.permutations((V1, V2, I1, I2))))
def test_ties_do_not_depend_on_who_was_seen_first(order: tuple[TrackKey, ...]) -> None:
    scene = Scene()
    scene.step(0.0, dict.fromkeys(order, A))
    assert scene.matcher.decision(V1).matched == I1
    assert scene.matcher.decision(V2).matched == I2
    assert scene.ids(I1, V1, I2, V2) == [1, 1, 2, 2]


def test_somebody_enrolled_by_hand_while_in_the_picture_is_recognised() -> None:
    from deploy.gallery import Tracklet

    scene = Scene()
    scene.step(0.0, {V1: A})
    known = scene.gallery.new_identity()
    picture = Tracklet(
        identity=known,
        camera="picture",
        track=1,
        modality="visible",
        first_s=1.0,  # now: no rule speaks of a camera that is not of the site
        last_s=1.0,
        mean_D=A,
        prototype_PD=A[None],
    )
    scene.gallery.enrol(picture)
    changes = scene.step(2.0, {V1: None})
    assert changes == [Revision(time_s=2.0, track=V1, before=1, after=known)]


def test_one_camera_alone_works() -> None:
    scene = Scene(cameras=(camera("visible"),), thresholds=fixed(0.6))
    scene.step(0.0, {V1: A, V2: B})
    scene.end(V1)
    scene.step(9.0, {V3: A, V2: None})
    assert scene.ids(V3, V2) == [1, 2]
