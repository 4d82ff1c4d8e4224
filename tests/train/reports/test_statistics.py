"""The numbers of a report: similarities of pairs, how far the modalities mix, rank lists, pairs of cameras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.small_other_trees import write_llcm
from tests.small_tree import write_tree
from train.datasets.images import ImageRecord
from train.datasets.open import open_dataset
from train.datasets.sysu import open_sysu
from train.metrics import location_of
from train.protocol import build_protocol, key
from train.rank_lists import rank_lists
from train.reports.statistics import (
    BINS,
    EDGES,
    camera_scores,
    equal_error,
    histogram,
    map_images,
    map_points,
    mixing,
)

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.images import Dataset


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu")


def features_of(dataset: Dataset, dim: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    found: dict[str, Any] = {}
    for record in dataset.split("test"):
        vector = rng.normal(size=dim)
        vector[record.identity % dim] += 2
        found[key(record)] = (vector / np.linalg.norm(vector)).astype(np.float32)
    return found


def test_mixing_of_four_hand_made_vectors() -> None:
    """Persons at 0 and 90 degrees in visible, at 60 and 90 in infrared."""
    angle_N = np.radians([0.0, 90.0, 60.0, 90.0])
    feature_ND = np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)
    found = mixing(feature_ND, np.array([1, 2, 1, 2]), np.array([False, False, True, True]), neighbours=1)
    assert found.same == pytest.approx((0.5 + 1.0) / 2)  # cos 60, cos 0
    assert found.different == pytest.approx((0.0 + np.cos(np.radians(30))) / 2)  # cos 90, cos 30
    assert found.gap == pytest.approx(found.same - found.different)
    # Nearest: 0 -> 60 (infrared, same person), both 90 -> each other, 60 -> 90 visible (first of two equal).
    assert found.other_modality == 1.0
    assert found.same_person == 0.75
    assert found.expected == pytest.approx(2 / 3)


def test_mixing_agrees_with_plain_loops() -> None:
    rng = np.random.default_rng(0)
    feature_ND = rng.normal(size=(18, 5))
    feature_ND /= np.linalg.norm(feature_ND, axis=1, keepdims=True)
    identity_N, infrared_N = rng.integers(0, 3, 18), rng.random(18) < 0.4
    same, different, other, mine, expected = [], [], [], [], []
    for left in range(18):
        order = sorted(
            (item for item in range(18) if item != left), key=lambda item: -feature_ND[left] @ feature_ND[item]
        )
        other.append(np.mean([infrared_N[item] != infrared_N[left] for item in order[:10]]))
        mine.append(np.mean([identity_N[item] == identity_N[left] for item in order[:10]]))
        expected.append(np.mean([infrared_N[item] != infrared_N[left] for item in order]))
        for right in range(18):
            if infrared_N[left] != infrared_N[right]:
                kind = same if identity_N[left] == identity_N[right] else different
                kind.append(feature_ND[left] @ feature_ND[right])
    found = mixing(feature_ND, identity_N, infrared_N)
    assert (found.same, found.different) == pytest.approx((np.mean(same), np.mean(different)))
    wanted = (np.mean(other), np.mean(mine), np.mean(expected))
    assert (found.other_modality, found.same_person, found.expected) == pytest.approx(wanted)


def test_a_histogram_counts_every_pair_of_two_cameras_once() -> None:
    rng = np.random.default_rng(1)
    feature_ND = rng.normal(size=(700, 4))  # more than one block of rows
    feature_ND /= np.linalg.norm(feature_ND, axis=1, keepdims=True)
    identity_N, camera_N = rng.integers(0, 40, 700), rng.integers(1, 4, 700)
    found = histogram(feature_ND, feature_ND, (identity_N, identity_N), cameras=(camera_N, camera_N), once=True)
    assert found is not None
    upper_NN = np.triu(np.ones((700, 700), bool), 1) & (camera_N[:, None] != camera_N)
    same_NN = identity_N[:, None] == identity_N
    assert found.same_S.sum() == (upper_NN & same_NN).sum()
    assert found.different_S.sum() == (upper_NN & ~same_NN).sum()
    similarity = (feature_ND @ feature_ND.T)[upper_NN & same_NN]
    assert found.mean(found.same_S) == pytest.approx(similarity.mean(), abs=0.001)
    edges = np.linspace(*found.range(), 51)
    assert found.rebinned(found.same_S, edges).sum() == pytest.approx(found.same_S.sum(), rel=0.01)


def test_a_histogram_without_pairs_of_one_person_is_none() -> None:
    vectors = np.eye(3)
    people = np.arange(3)
    assert histogram(vectors, vectors, (people, people), once=True) is None


def test_equal_error_of_a_known_distribution() -> None:
    """Same pairs spread evenly over 0 to 1, different ones over -0.5 to 0.5: at 0.25 a quarter is wrong of each."""
    same_S, different_S = np.zeros(BINS, int), np.zeros(BINS, int)
    same_S[BINS // 2 :] = 1
    different_S[BINS // 4 : 3 * BINS // 4] = 1
    similarity, error = equal_error(same_S, different_S)
    assert similarity == pytest.approx(0.25, abs=0.001)
    assert error == pytest.approx(0.25, abs=0.001)


def test_the_equal_error_of_parted_distributions_lies_between_them() -> None:
    same_S, different_S = np.zeros(BINS, int), np.zeros(BINS, int)
    same_S[np.searchsorted(EDGES, 0.8)] = different_S[np.searchsorted(EDGES, 0.2)] = 5
    similarity, error = equal_error(same_S, different_S)
    assert similarity == pytest.approx(0.5, abs=0.01)
    assert error == 0


def test_the_map_shows_few_people_of_both_modalities_and_lies_still(tmp_path: Path) -> None:
    records = [
        ImageRecord(path=tmp_path / f"{index}.jpg", identity=identity, camera=1, modality=modality)
        for identity in range(30)
        for modality in ("visible", "infrared")
        for index in range(40)
        if identity != 7 or modality == "visible"
    ]
    shown = map_images(records)
    assert len({record.identity for record in shown}) == 12
    assert len(shown) == 12 * 2 * 25
    assert 7 not in {record.identity for record in shown}
    feature_ND = np.random.default_rng(2).normal(size=(24, 6)).astype(np.float32)
    assert np.array_equal(map_points(feature_ND, 8), map_points(feature_ND, 8))


def test_rank_lists_go_from_best_to_worst_and_obey_the_protocol(tree: Path) -> None:
    dataset = open_sysu(tree)
    protocol = build_protocol(dataset)
    found = rank_lists(protocol, features_of(dataset))
    assert [ranked.label for ranked in found] == ["best", "best", "median", "median", "worst", "worst"]
    assert found[0].average_precision >= found[2].average_precision >= found[4].average_precision
    gallery = {key(record) for record in protocol.trials[0].gallery}
    for ranked in found:
        assert {key(record) for record in ranked.ranked} <= gallery
        assert sorted(ranked.similarity, reverse=True) == list(ranked.similarity)
        places = location_of(np.array([record.camera for record in ranked.ranked]))
        assert location_of(np.array(ranked.probe.camera)) not in places


def test_cameras_of_one_place_have_no_probes(tree: Path) -> None:
    dataset = open_sysu(tree)
    found = {
        (pair.query_camera, pair.gallery_camera): pair
        for pair in camera_scores(build_protocol(dataset), features_of(dataset))
    }
    assert set(found) == {(query, gallery) for query in (3, 6) for gallery in (1, 2, 4, 5)}
    assert found[3, 2].probes == 0
    assert {pair.probes for place, pair in found.items() if place != (3, 2)} == {4 * 3}
    assert all(pair.gallery == 4 for pair in found.values())


def test_a_person_is_not_searched_in_llcms_own_camera(tmp_path: Path) -> None:
    dataset = open_dataset("llcm", write_llcm(tmp_path / "llcm"))
    found = camera_scores(build_protocol(dataset), features_of(dataset))
    probes = {(pair.query_camera, pair.gallery_camera): pair.probes for pair in found}
    assert probes == {(1, 1): 0, (2, 2): 0, **dict.fromkeys([(1, 2), (1, 3), (2, 1), (2, 3)], 4 * 2)}
