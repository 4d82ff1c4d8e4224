"""Who is who: pairs, returns, splits, merges, and what is never allowed."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.assignment import assign, pair_tracks
from deploy.gallery import MemoryGallery, Tracklet, choose_prototypes
from deploy.matching import Decision, Matcher, MatchSettings
from deploy.sightings import Merge, Revision, TrackKey
from tests.camera_fakes import vector

V1, V2, V3 = (TrackKey("visible", number) for number in (1, 2, 3))
I1, I2, I3 = (TrackKey("infrared", number) for number in (1, 2, 3))
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


def matcher(threshold: float | None = 0.6, same: float | None = None) -> Matcher:
    return Matcher(MemoryGallery(), MatchSettings(threshold=threshold, same_modality_threshold=same))


def step(target: Matcher, time_s: float, seen: dict[TrackKey, np.ndarray | None]) -> list[Revision | Merge]:
    """Let tracks be seen at a time, with an embedding or without one."""
    for key, embedding in seen.items():
        target.see(key, "visible" if key.camera == "visible" else "infrared", time_s)
        if embedding is not None:
            target.add(key, embedding)
    return target.decide(time_s)


def identities(target: Matcher, *keys: TrackKey) -> list[int | None]:
    return [target.decision(key).identity for key in keys]


@pytest.mark.parametrize(("recall", "expected"), [(None, 1), (0.75, 1), (0.85, 2)])
def test_somebody_met_earlier_in_the_other_modality_needs_the_recall_threshold(
    recall: float | None, expected: int
) -> None:
    target = Matcher(MemoryGallery(), MatchSettings(threshold=0.6, recall_threshold=recall))
    step(target, 0.0, {V1: A})
    target.end(V1)
    step(target, 9.0, {I1: vector(0.8, 0.6, 0, 0)})
    assert identities(target, I1) == [expected]


def test_tracks_of_one_person_in_both_cameras_share_an_identity() -> None:
    target = matcher()
    assert step(target, 0.0, {V1: A, V2: B, I1: B, I2: A}) == []
    assert identities(target, V1, I2) == [1, 1]
    assert identities(target, V2, I1) == [2, 2]
    assert target.decision(V1) == Decision(identity=1, similarity=1.0, matched=I2)


def test_different_people_get_different_identities() -> None:
    target = matcher()
    step(target, 0.0, {V1: A, I1: B})
    assert sorted(filter(None, identities(target, V1, I1))) == [1, 2]
    assert target.decision(V1).matched is None
    assert target.decision(V1).similarity == pytest.approx(0.0)


def test_without_a_threshold_there_are_similarities_and_no_identities() -> None:
    target = matcher(threshold=None)
    step(target, 0.0, {V1: A, I1: vector(1, 1, 0, 0)})
    assert (target.decision(V1).identity, target.decision(V1).matched) == (None, I1)
    assert target.decision(V1).similarity == pytest.approx(0.7071, abs=1e-4)
    assert target.end(V1).identity is None


def test_a_track_without_a_crop_has_no_identity() -> None:
    target = matcher()
    step(target, 0.0, {V1: None})
    assert target.decision(V1) == Decision()
    assert target.decision(I1) == Decision()


def test_somebody_who_comes_back_is_known_again() -> None:
    target = matcher()
    step(target, 0.0, {V1: A})
    target.end(V1)
    step(target, 9.0, {V2: B})
    step(target, 9.5, {V3: A})
    assert identities(target, V3, V2) == [1, 2]


def test_coming_back_asks_for_more_than_a_match_across_cameras() -> None:
    like_A = vector(0.7, 0.714, 0, 0)  # cosine 0.70 with A: over the threshold, under (0.6 + 1) / 2
    alone, across = matcher(), matcher()
    step(alone, 0.0, {V1: A})
    alone.end(V1)
    step(alone, 5.0, {V2: like_A})
    assert identities(alone, V2) == [2]
    step(across, 0.0, {V1: A})
    across.end(V1)
    step(across, 5.0, {I1: like_A})
    assert identities(across, I1) == [1]


def test_a_measured_threshold_for_coming_back_is_used() -> None:
    target = matcher(same=0.65)
    step(target, 0.0, {V1: A})
    target.end(V1)
    step(target, 5.0, {V2: vector(0.7, 0.714, 0, 0)})
    assert identities(target, V2) == [1]


def test_nobody_is_twice_in_one_camera_at_the_same_moment() -> None:
    target = matcher()
    step(target, 0.0, {V1: A, V2: A})
    assert identities(target, V1, V2) == [1, 2]
    step(target, 1.0, {V1: None, V2: None})
    target.end(V1)  # was there together with V2: V2 cannot be that person
    step(target, 2.0, {V2: A})
    assert identities(target, V2) == [2]


def test_an_identity_goes_to_one_of_two_who_come_back_alike() -> None:
    target = matcher()
    step(target, 0.0, {V1: A})
    target.end(V1)
    step(target, 9.0, {V2: A, V3: A})
    assert sorted(filter(None, identities(target, V2, V3))) == [1, 2]


def test_a_decision_is_revised_when_evidence_comes_and_the_revision_is_recorded() -> None:
    target = matcher()
    step(target, 0.0, {V1: A, I1: B})
    assert identities(target, V1, I1) == [1, 2]
    # 1 + 3 crops: the mean's cosine with A is 3 / sqrt(10) = 0.95.
    changes: list[Revision | Merge] = []
    for t in (1.0, 2.0, 3.0):
        changes += step(target, t, {V1: A, I1: A})
    assert identities(target, V1, I1) == [1, 1]
    assert changes == [Revision(time_s=1.0, track=I1, before=2, after=1)]


def test_a_standing_pair_does_not_flicker() -> None:
    target = matcher()
    step(target, 0.0, {V1: A, I1: vector(0.80, 0.6, 0, 0), I2: vector(0.78, 0, 0.626, 0)})
    assert target.decision(V1).matched == I1
    # I2 is now a little nearer (0.82), but not by the hysteresis.
    step(target, 1.0, {V1: None, I1: None, I2: vector(0.86, 0, 0.51, 0)})
    assert target.decision(V1).matched == I1


def test_a_pair_that_was_wrong_is_split() -> None:
    target = matcher()
    step(target, 0.0, {V1: A, I1: A})
    changes = [c for t in range(1, 7) for c in step(target, float(t), {V1: A, I1: B, V2: B})]
    assert target.decision(V2).matched == I1
    assert target.decision(V1).matched is None
    assert identities(target, V1)[0] != identities(target, I1)[0]
    assert changes


def test_two_known_people_who_turn_out_to_be_one_are_merged_on_record() -> None:
    target = matcher(threshold=0.6, same=0.9)
    step(target, 0.0, {V1: A})
    target.end(V1)
    step(target, 5.0, {I1: B})
    target.end(I1)
    step(target, 10.0, {V2: A, I2: B})
    assert identities(target, V2, I2) == [1, 2]
    changes = [c for t in range(11, 16) for c in step(target, float(t), {V2: A, I2: A})]
    assert identities(target, V2, I2) == [1, 1]
    merges = [change for change in changes if isinstance(change, Merge)]
    assert [(merge.kept, merge.absorbed) for merge in merges] == [(1, 2)]


def test_people_seen_together_are_never_merged() -> None:
    target = matcher(threshold=0.6, same=0.9)
    step(target, 0.0, {V1: A, V3: B})
    target.end(V1)
    target.end(V3)
    step(target, 10.0, {V2: A, I2: B})
    changes = [c for t in range(11, 16) for c in step(target, float(t), {V2: A, I2: A})]
    assert not [change for change in changes if isinstance(change, Merge)]


def test_a_match_outlives_the_partner() -> None:
    target = matcher()
    step(target, 0.0, {V1: A, I1: A})
    assert target.end(V1) == Decision(identity=1, similarity=1.0, matched=I1)
    step(target, 1.0, {I1: A})
    assert target.decision(I1) == Decision(identity=1, similarity=1.0, matched=V1)


def test_tracks_that_never_overlapped_are_not_paired() -> None:
    target = matcher(same=0.9)
    step(target, 0.0, {V1: A})
    step(target, 5.0, {I1: A})  # V1 is still in the tracker's memory, but was last seen at 0
    assert target.decision(I1).matched is None


@pytest.mark.parametrize("seed", range(5))
def test_a_crowd_that_comes_and_goes(seed: int) -> None:
    """Six of ten people at a time, seen by both cameras, for 60 rounds; some return under new track numbers.

    Embeddings are a person's direction, a modality's direction and noise, so that the cosines are like a trained
    network's: 0.65 for one person across modalities, 0.25 for two people of one modality.
    """
    rng = np.random.default_rng(seed)
    person_D = np.linalg.qr(rng.normal(size=(64, 64)))[0][:12]
    target = matcher(threshold=0.45, same=0.6)
    present: dict[int, tuple[TrackKey, TrackKey]] = {}
    owner: dict[TrackKey, int] = {}
    wrong = pairs = 0
    count = 0
    for round_number in range(60):
        for person in list(present):
            if rng.random() < 0.1:
                for key in present.pop(person):
                    target.end(key)
        while len(present) < 6:
            person = int(rng.choice([p for p in range(10) if p not in present]))
            count += 1
            present[person] = (TrackKey("visible", count), TrackKey("infrared", count))
            owner.update(dict.fromkeys(present[person], person))
        seen: dict[TrackKey, np.ndarray | None] = {}
        for person, keys in present.items():
            for row, key in enumerate(keys):
                noise_D = rng.normal(size=64) * 0.04
                seen[key] = vector(*(person_D[person] * 0.85 + person_D[10 + row] * 0.5 + noise_D))
        step(target, float(round_number), seen)
        for camera in ("visible", "infrared"):
            live = [target.decision(key).identity for keys in present.values() for key in keys if key.camera == camera]
            assert None not in live
            assert len(set(live)) == len(live)  # nobody is twice in one camera
        for visible, infrared in present.values():
            pairs += 1
            wrong += target.decision(visible).identity != target.decision(infrared).identity
    assert wrong / pairs < 0.02
    assert len({target.decision(key).identity for keys in present.values() for key in keys}) == 6


def tracklet(identity: int, mean: np.ndarray, modality: str = "visible") -> Tracklet:
    return Tracklet(
        identity=identity,
        camera=modality,
        track=identity,
        modality="visible" if modality == "visible" else "infrared",
        first_s=0.0,
        last_s=1.0,
        mean_D=mean,
        prototype_PD=mean[None],
    )


def test_gallery_returns_identities_best_first_and_by_modality() -> None:
    gallery = MemoryGallery()
    for identity, mean in ((1, A), (2, vector(1, 1, 0, 0)), (3, C)):
        gallery.enrol(tracklet(identity, mean))
    gallery.enrol(tracklet(4, A, "infrared"))
    hits = gallery.search(A, "visible", 2)
    assert [hit.identity for hit in hits] == [1, 2]
    assert hits[1].similarity == pytest.approx(0.7071, abs=1e-4)
    assert [hit.identity for hit in gallery.search(A, "infrared", 5)] == [4]


def test_an_empty_gallery_finds_nobody() -> None:
    assert MemoryGallery().search(A, "visible", 5) == []


def test_a_full_gallery_forgets_the_oldest() -> None:
    gallery = MemoryGallery(most_tracklets=2)
    for identity in (1, 2, 3):
        gallery.enrol(tracklet(identity, A))
    assert len(gallery) == 2
    assert not gallery.tracklets(1)


def test_a_merge_moves_the_past() -> None:
    gallery = MemoryGallery()
    gallery.enrol(tracklet(1, A))
    gallery.enrol(tracklet(2, B))
    gallery.merge(1, 2)
    assert len(gallery.tracklets(1)) == 2
    assert [hit.identity for hit in gallery.search(B, "visible", 5)] == [1]


def test_a_prototype_is_found_that_the_mean_has_lost() -> None:
    crops = np.stack([A, A, A, B])
    assert {tuple(row) for row in choose_prototypes(crops, 2)} == {tuple(A), tuple(B)}
    assert len(choose_prototypes(crops[:1])) == 1
