"""What every gallery does, whatever keeps it: one test over all stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy.gallery import Hit, MemoryGallery, retention
from engines.errors import BadInput
from engines.manifest import MODALITIES
from tests.deploy.gallery.gallery_stores import DIM, DURABLE, STORES, SlowModel, Store, tracklet, unit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.gallery import Gallery

X, Y, Z = unit(1), unit(0, 1), unit(0, 0, 1)
XY = unit(0.6, 0.8)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = Store(request.param, tmp_path)
    yield made
    for gallery in made.opened:
        gallery.close()


@pytest.fixture
def gallery(store: Store) -> Gallery:
    return store.open()


durable = pytest.mark.parametrize("store", DURABLE, indirect=True)


def test_numbers_start_at_one_and_are_never_given_twice(gallery: Gallery) -> None:
    assert [gallery.new_identity() for _ in range(40)] == list(range(1, 41))  # more than one block
    gallery.enrol(tracklet(40))
    gallery.erase(40)
    assert gallery.new_identity() == 41


def test_a_number_from_elsewhere_is_not_given_again(gallery: Gallery) -> None:
    gallery.enrol(tracklet(70))
    assert gallery.new_identity() > 70
    gallery.skip(500)
    assert gallery.last_identity >= 500
    assert gallery.new_identity() == 501


def test_skipping_inside_a_reserved_block_skips(gallery: Gallery) -> None:
    assert gallery.new_identity() == 1
    gallery.skip(20)
    assert gallery.new_identity() == 21


def test_an_empty_gallery_answers_every_query_with_nobody(gallery: Gallery) -> None:
    assert gallery.search(np.stack([X, Y]), "visible", 3) == [[], []]
    assert (gallery.people(), gallery.count_people(), len(gallery), gallery.tracklets(1)) == ([], 0, 0, [])


def test_the_most_similar_row_of_an_identity_counts(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X, Y))
    gallery.enrol(tracklet(2, Z))
    gallery.enrol(tracklet(2, XY))
    found = gallery.search(np.stack([Y, X]), "visible", 5)
    assert [[hit.identity for hit in hits] for hits in found] == [[1, 2], [1, 2]]
    assert [hit.similarity for hit in found[0]] == pytest.approx([1.0, 0.8], abs=1e-3)
    assert [hit.similarity for hit in found[1]] == pytest.approx([1.0, 0.6], abs=1e-3)


def test_a_tie_goes_to_the_older_identity(gallery: Gallery) -> None:
    for identity in (9, 3, 7, 5):
        gallery.enrol(tracklet(identity, X))
    assert gallery.search(X[None], "visible", 2) == [[Hit(3, 1.0), Hit(5, 1.0)]]


def test_the_oldest_of_many_with_the_same_similarity_is_found(gallery: Gallery) -> None:
    for identity in range(40, 0, -1):  # more than Qdrant is asked for at first
        gallery.enrol(tracklet(identity, X))
    assert gallery.search(X[None], "visible", 2) == [[Hit(1, 1.0), Hit(2, 1.0)]]


def test_somebody_with_many_tracklets_hides_nobody(gallery: Gallery) -> None:
    for index in range(40):
        gallery.enrol(tracklet(1, X, X, X, track=index))
    gallery.enrol(tracklet(2, XY))
    assert [hit.identity for hit in gallery.search(X[None], "visible", 2)[0]] == [1, 2]


def test_only_the_modality_and_the_cameras_that_were_asked_for_are_searched(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X, camera="a"))
    gallery.enrol(tracklet(2, X, camera="b"))
    gallery.enrol(tracklet(3, X, camera="b", modality="infrared"))

    def found(modality: Any, cameras: set[str] | None) -> list[int]:
        return [hit.identity for hit in gallery.search(X[None], modality, 9, cameras=cameras)[0]]

    assert found("visible", None) == [1, 2]
    assert found("infrared", None) == [3]
    assert found("visible", {"b"}) == [2]
    assert found("visible", {"a", "b", "c"}) == [1, 2]
    assert found("visible", {"c"}) == found("visible", set()) == []


def test_no_hits_are_wanted_and_none_come(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X))
    assert gallery.search(X[None], "visible", 0) == [[]]
    assert gallery.search(np.empty((0, DIM), np.float32), "visible", 3) == []


def test_tracklets_come_back_by_time_with_their_embeddings(gallery: Gallery) -> None:
    later = tracklet(1, Y, Z, camera="b", first_s=9.5, track=4, modality="infrared")
    gallery.enrol(later)
    gallery.enrol(tracklet(1, X, first_s=2.0))
    gallery.enrol(tracklet(2, X, first_s=5.0))
    first, second = gallery.tracklets(1)
    assert first.first_s == 2.0
    assert (second.camera, second.track, second.modality) == ("b", 4, "infrared")
    assert (second.first_s, second.last_s) == (9.5, 10.5)
    np.testing.assert_allclose(second.row_RD, later.row_RD, atol=1e-3)
    assert first.prototype_PD.shape == (0, DIM)


def test_who_is_absorbed_is_found_as_the_one_who_is_kept(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X, camera="a", first_s=5.0))
    gallery.enrol(tracklet(2, Y, camera="b", first_s=1.0))
    gallery.rename(2, "Ada")
    gallery.keep_face(1, "visible", b"low", 0.2)
    gallery.keep_face(2, "visible", b"high", 0.9)
    gallery.merge(1, 2)
    (person,) = gallery.people()
    assert (person.identity, person.label, person.tracklets, person.cameras) == (1, "Ada", 2, ("a", "b"))
    assert gallery.search(Y[None], "visible", 5) == [[Hit(1, 1.0)]]
    assert gallery.face(1, "visible") == b"high"
    assert gallery.face(2, "visible") is None
    assert gallery.tracklets(2) == []
    assert gallery.count_people() == 1


def test_the_label_of_the_kept_one_stays(gallery: Gallery) -> None:
    for identity, label in ((1, "Ada"), (2, "Bob")):
        gallery.enrol(tracklet(identity))
        gallery.rename(identity, label)
    gallery.merge(1, 2)
    assert [person.label for person in gallery.people()] == ["Ada"]
    gallery.rename(1, "")
    assert [(person.label, person.enrolled) for person in gallery.people()] == [("", False)]


def test_merging_with_oneself_or_nobody_changes_nothing(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X))
    gallery.merge(1, 1)
    gallery.merge(1, 99)
    assert gallery.search(X[None], "visible", 5) == [[Hit(1, 1.0)]]


def test_the_best_face_of_each_modality_is_kept(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1))
    for jpeg, quality in ((b"a", 0.5), (b"b", 0.4), (b"c", 0.7), (b"d", 0.7)):
        gallery.keep_face(1, "visible", jpeg, quality)
    gallery.keep_face(1, "infrared", b"i", 0.1)
    assert (gallery.face(1, "visible"), gallery.face(1, "infrared")) == (b"c", b"i")
    assert (gallery.face_quality(1, "visible"), gallery.face_quality(1, "infrared")) == (0.7, 0.1)
    assert gallery.face(2, "visible") is gallery.face_quality(2, "visible") is None


def test_expiry_takes_whole_people_who_are_not_enrolled(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, last_s=10.0))
    gallery.enrol(tracklet(2, last_s=10.0))
    gallery.enrol(tracklet(2, first_s=49.0, last_s=50.0))  # was here again
    gallery.enrol(tracklet(3, last_s=10.0))
    gallery.keep_face(1, "visible", b"face", 1.0)
    gallery.rename(3, "Ada")
    assert gallery.expire(10.0) == 0  # not older
    assert gallery.expire(10.5) == 1
    assert [person.identity for person in gallery.people()] == [2, 3]
    assert gallery.face(1, "visible") is None
    assert len(gallery) == 2


def times_of(gallery: Gallery, identity: int) -> list[float]:
    return [t.first_s for t in gallery.tracklets(identity)]


def test_expiry_takes_old_tracklets_of_people_who_come_back(gallery: Gallery) -> None:
    for day in (1.0, 2.0, 3.0, 4.0):
        gallery.enrol(tracklet(1, Y if day < 3 else X, first_s=day, last_s=day + 0.5))
        gallery.enrol(tracklet(1, X, first_s=day, last_s=day + 0.5, modality="infrared"))
        gallery.enrol(tracklet(2, Z, first_s=day, last_s=day + 0.5))
    gallery.keep_face(1, "visible", b"face", 1.0)
    assert gallery.expire(2.5) == 0  # nobody goes; what ended at this time stays
    assert (times_of(gallery, 1), times_of(gallery, 2)) == ([2.0, 2.0, 3.0, 3.0, 4.0, 4.0], [2.0, 3.0, 4.0])
    assert gallery.expire(2.6) == 0
    assert (times_of(gallery, 1), times_of(gallery, 2)) == ([3.0, 3.0, 4.0, 4.0], [3.0, 4.0])
    assert len(gallery) == 6
    assert gallery.search(Y[None], "visible", 1) == [[Hit(1, 0.0)]]
    assert gallery.face(1, "visible") == b"face"
    assert gallery.expire(4.0) == 0
    assert gallery.expire(5.0) == 2
    assert len(gallery) == 0


def test_a_named_person_who_was_away_is_still_known_by_every_kind_of_camera(gallery: Gallery) -> None:
    for day in (1.0, 2.0, 3.0):
        gallery.enrol(tracklet(1, Y, first_s=day))
        gallery.enrol(tracklet(1, Z if day > 2 else X, first_s=day, modality="infrared"))
    gallery.rename(1, "Ada")
    assert gallery.expire(99.0) == 0
    assert times_of(gallery, 1) == [3.0, 3.0]  # the newest of each
    assert gallery.search(Y[None], "visible", 1) == gallery.search(Z[None], "infrared", 1) == [[Hit(1, 1.0)]]
    gallery.enrol(tracklet(1, X, first_s=200.0))
    gallery.expire(100.0)
    assert [(t.modality, t.first_s) for t in gallery.tracklets(1)] == [("infrared", 3.0), ("visible", 200.0)]


def test_an_operators_pictures_do_not_expire(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X, camera="enrolled", first_s=1.0))
    gallery.enrol(tracklet(1, Y, camera="enrolled", first_s=2.0))
    gallery.enrol(tracklet(1, Z, first_s=3.0))
    gallery.rename(1, "Ada")
    gallery.expire(99.0)
    assert times_of(gallery, 1) == [1.0, 2.0]  # they are enough to know her by
    gallery.rename(1, "")
    assert gallery.expire(99.0) == 1  # without a name the person is as any other


def test_of_a_person_and_kind_of_camera_the_oldest_go_above_fifty(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, Z, camera="enrolled", first_s=0.0))
    for day in range(1, 61):
        gallery.enrol(tracklet(1, Y if day <= 11 else X, first_s=float(day)))
    gallery.enrol(tracklet(1, X, first_s=0.5, modality="infrared"))
    gallery.enrol(tracklet(2, Y, first_s=0.5))
    assert times_of(gallery, 1) == [0.0, 0.5, *map(float, range(12, 61))]
    assert len(gallery) == 52
    assert gallery.search(Y[None], "visible", 1) == [[Hit(2, 1.0)]]
    assert gallery.search(Z[None], "visible", 1) == [[Hit(1, 1.0)]]


def test_more_of_an_operators_pictures_than_the_bound_stay_and_leave_room_for_one(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 2)
    for day in (1.0, 2.0, 3.0):
        gallery.enrol(tracklet(1, camera="enrolled", first_s=day))
    gallery.enrol(tracklet(1, first_s=8.0))
    gallery.enrol(tracklet(1, first_s=9.0))
    assert times_of(gallery, 1) == [1.0, 2.0, 3.0, 9.0]


def test_two_who_became_one_keep_together_what_one_may(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 3)
    for day in range(3):
        gallery.enrol(tracklet(1, first_s=2.0 * day))
        gallery.enrol(tracklet(2, first_s=2.0 * day + 1))
    gallery.merge(1, 2)
    gallery.enrol(tracklet(1, first_s=9.0))
    assert times_of(gallery, 1) == [4.0, 5.0, 9.0]


@durable
def test_what_was_dropped_is_not_there_after_a_restart(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 2)
    gallery = store.open()
    for day in (1.0, 2.0, 3.0, 4.0):
        gallery.enrol(tracklet(1, first_s=day))
    gallery = store.reopen(gallery)
    assert (times_of(gallery, 1), gallery.check()) == ([3.0, 4.0], [])
    assert gallery.expire(4.5) == 0
    gallery = store.reopen(gallery)
    assert (times_of(gallery, 1), gallery.check()) == ([4.0], [])


def test_the_same_people_every_day_leave_no_more_behind_than_one_day(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 3)
    sizes: list[int] = []
    for day in range(6):
        for visit in range(12):
            gallery.enrol(tracklet(visit % 3 + 1, X, first_s=day + visit / 20, last_s=day + visit / 20))
        gallery.expire(float(day))
        sizes.append(len(gallery))
    assert sizes == [9] * 6


def test_an_erased_person_is_gone(gallery: Gallery) -> None:
    gallery.enrol(tracklet(1, X))
    gallery.enrol(tracklet(1, Y))
    gallery.enrol(tracklet(2, XY))
    gallery.keep_face(1, "visible", b"face", 1.0)
    gallery.rename(1, "Ada")
    assert gallery.erase(1) == 2
    assert gallery.search(X[None], "visible", 5)[0][0].identity == 2
    assert (gallery.tracklets(1), gallery.face(1, "visible"), len(gallery)) == ([], None, 1)
    assert gallery.erase(1) == 0
    gallery.enrol(tracklet(1, Y))  # a track that still lived
    assert [(person.identity, person.label) for person in gallery.people()] == [(1, ""), (2, "")]


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (tracklet(0), "an identity from 1"),
        (tracklet(1, np.full(DIM, np.nan, np.float32)), "finite unit vectors"),
        (tracklet(1, X, np.full(DIM, np.inf, np.float32)), "finite unit vectors"),
        (tracklet(1, X + X), "finite unit vectors"),
        (tracklet(1, np.full(4, 0.5, np.float32)), "expected embeddings of 16 values, got 4"),
        (tracklet(1, *[X] * 17), "at most 15 prototypes"),
        (tracklet(1, first_s=2.0, last_s=1.0), "first_s <= last_s"),
    ],
    ids=["identity", "nan", "inf", "long", "dim", "rows", "times"],
)
def test_what_would_spoil_a_search_is_refused(gallery: Gallery, bad: Any, expected: str) -> None:
    gallery.enrol(tracklet(2, X))
    with pytest.raises(BadInput, match=expected):
        gallery.enrol(bad)
    assert len(gallery) == 1


@pytest.mark.parametrize("query_QD", [np.ones((1, 4), np.float32), X, np.full((1, DIM), np.nan, np.float32)])
def test_a_query_that_cannot_be_compared_is_refused(gallery: Gallery, query_QD: Any) -> None:
    gallery.enrol(tracklet(1, X))
    with pytest.raises(BadInput, match=r"finite queries of shape \(Q, 16\)"):
        gallery.search(query_QD, "visible", 3)


def test_a_batch_of_queries_is_as_one_by_one(gallery: Gallery) -> None:
    rng = np.random.default_rng(5)

    def vectors(count: int) -> Any:
        made = rng.standard_normal((count, DIM)).astype(np.float32)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    for identity in range(1, 30):
        gallery.enrol(tracklet(identity, *list(vectors(3)), camera="ab"[identity % 2]))
    query_QD = vectors(20)
    batch = gallery.search(query_QD, "visible", 4, cameras=["a"])
    for query_D, hits in zip(query_QD, batch, strict=True):
        (alone,) = gallery.search(query_D[None], "visible", 4, cameras=["a"])
        assert [hit.identity for hit in hits] == [hit.identity for hit in alone]
        # A product of matrices adds in another order: 2e-7, which can change the fifth decimal.
        assert [hit.similarity for hit in hits] == pytest.approx([hit.similarity for hit in alone], abs=1.5e-5)


def exact_row(rng: np.random.Generator) -> Any:
    """Four values of a half: any two rows have a cosine in quarters, which every store computes exactly."""
    row_D = np.zeros(DIM, np.float32)
    row_D[rng.choice(DIM, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return row_D


def change(rng: np.random.Generator, target: Any, model: SlowModel) -> None:
    """Do one random thing to both."""
    known = [t.identity for t in model.kept] or [1]
    one, other = int(rng.choice(known)), int(rng.choice(known))
    draw = rng.random()
    if draw < 0.5:
        new = rng.random() < 0.4
        number = target.new_identity() if new else one
        if new:
            assert number > model.last_identity
        rows = [exact_row(rng) for _ in range(int(rng.integers(1, 6)))]
        made = tracklet(
            number,
            *rows,
            camera=str(rng.choice(["a", "b", "c", "enrolled"])),
            modality=MODALITIES[int(rng.integers(2))],
            first_s=float(rng.integers(100)),
            track=int(rng.integers(1000)),
        )
        target.enrol(made)
        model.enrol(made)
    elif draw < 0.6:
        target.merge(one, other)
        model.merge(one, other)
    elif draw < 0.7:
        label = str(rng.choice(["", "Ada", "Bob"]))
        target.rename(one, label)
        model.rename(one, label)
    elif draw < 0.85 and model.kept:  # a face of nobody goes at the next opening, and the model is never opened
        face = (one, MODALITIES[int(rng.integers(2))], rng.bytes(20), float(rng.random()))
        target.keep_face(*face)
        model.keep_face(*face)
    elif draw < 0.93:
        assert target.erase(one) == model.erase(one)
    else:
        before_s = float(rng.integers(90))
        assert target.expire(before_s) == model.expire(before_s)


def assert_same(rng: np.random.Generator, target: Any, model: SlowModel) -> None:
    query_QD = np.stack([exact_row(rng) for _ in range(3)])
    limit = int(rng.integers(1, 7))
    for cameras in (None, {"a"}, {"b", "c"}):
        for modality in MODALITIES:
            found = target.search(query_QD, modality, limit, cameras=cameras)
            assert found == model.search(query_QD, modality, limit, cameras)
    assert target.people() == model.people()
    assert (len(target), target.count_people()) == (len(model.kept), len(model.people()))
    for person in model.people():
        for modality in MODALITIES:
            face = model.faces.get((person.identity, modality))
            assert target.face(person.identity, modality) == (None if face is None else face[1])
        expected = sorted(t.row_RD.tolist() for t in model.kept if t.identity == person.identity)
        assert sorted(t.row_RD.tolist() for t in target.tracklets(person.identity)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_changes_does_what_the_slow_model_does(
    store: Store, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MOST_PER_PERSON", 3)
    rng = np.random.default_rng(seed)
    target, model = store.open(), SlowModel(most_per_person=3)
    # An erasure in Qdrant Edge makes a new shard: 0.1 s, and seconds on a busy disk.
    for index in range(24 if store.name == "edge" else 60):
        change(rng, target, model)
        if index % 6 == 5:
            assert_same(rng, target, model)
        if index % 12 == 11 and store.name != "memory":
            target.flush()
            target.tidy()
            assert target.check() == []
            target = store.reopen(target)
            assert_same(rng, target, model)


@durable
def test_what_was_kept_is_there_after_a_restart(store: Store) -> None:
    gallery = store.open()
    assert gallery.new_identity() == 1
    gallery.enrol(tracklet(1, X, XY))
    gallery.keep_face(1, "visible", b"face", 0.5)
    gallery.rename(1, "Ada")
    before = gallery.search(XY[None], "visible", 3), gallery.people()
    gallery = store.reopen(gallery)
    assert (gallery.search(XY[None], "visible", 3), gallery.people()) == before
    assert (gallery.face(1, "visible"), gallery.face_quality(1, "visible")) == (b"face", 0.5)
    gallery.keep_face(1, "visible", b"worse", 0.4)
    assert gallery.face(1, "visible") == b"face"


@durable
def test_embeddings_of_another_model_are_refused(store: Store) -> None:
    store.open("3f2a").close()
    with pytest.raises(BadInput, match=r"model 9c1b \(16 values\), got a gallery of model 3f2a \(16 values\); run"):
        store.open("9c1b")
    with pytest.raises(BadInput, match=r"model 3f2a \(32 values\), got a gallery of model 3f2a \(16 values\)"):
        store.open("3f2a", 32)
    gallery = store.open(None, None)
    assert (gallery.model, gallery.dim) == ("3f2a", DIM)


@durable
def test_without_a_model_a_gallery_must_be_there(store: Store, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a gallery, got nothing there"):
        store.open(None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)
def test_one_person_all_day_takes_no_more_memory_than_the_bound(store: Store) -> None:
    """Also where nobody ever tidies, in a place that is never empty."""
    gallery: Any = store.open()
    for index in range(600):
        gallery.enrol(tracklet(1, X, Y, Z, first_s=float(index)))
    matrices = gallery._matrices if store.name == "memory" else gallery._rows
    assert matrices._of["visible"]._row_ND.shape[0] <= 512  # of 1,800 rows that were added
    assert gallery.search(Z[None], "visible", 1) == [[Hit(1, 1.0)]]


def test_memory_is_bounded_and_the_enrolled_stay() -> None:
    gallery = MemoryGallery(most_tracklets=10)
    gallery.enrol(tracklet(1, X))
    gallery.rename(1, "Ada")
    for identity in range(2, 300):
        gallery.keep_face(identity, "visible", b"face", 1.0)
        gallery.enrol(tracklet(identity, Y, Y))
    assert [person.identity for person in gallery.people()] == [1, *range(291, 300)]
    assert gallery.face(5, "visible") is None
    assert gallery.search(Y[None], "visible", 1) == [[Hit(291, 1.0)]]
    assert gallery._matrices is not None
    assert gallery._matrices._of["visible"]._row_ND.shape[0] <= 512  # of 597 rows that were added
