"""CMC, mAP and mINP against golden values and against a slow reference written from the definitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

import train.metrics
from engines.errors import BadInput
from tests.golden.deterministic import normal
from train.metrics import evaluate, same_place

if TYPE_CHECKING:
    from numpy.typing import NDArray

CASES = 80


def test_the_tiny_case_of_the_golden_values() -> None:
    """Gallery ids [1,2,1,3,1], cameras [1,1,4,4,5], ranking [1,0,3,2,4], query id 1 of camera 6."""
    similarity_QG = np.array([[4.0, 5.0, 2.0, 3.0, 1.0]])
    metrics = evaluate(similarity_QG, [1], [1, 2, 1, 3, 1], excluded_QG=same_place([6], [1, 1, 4, 4, 5]))
    assert metrics.cmc_R.tolist() == [0.0, 1.0, 1.0]
    assert metrics.mean_ap == pytest.approx(8 / 15)
    assert metrics.mean_inp == pytest.approx(0.6)


def test_the_toy_features_of_the_golden_values() -> None:
    centers = normal("centers", (64, 16))
    query_identity, gallery_identity = np.repeat(np.arange(8), 6), np.repeat(np.arange(8), 3)
    query_QD = centers[query_identity] + 0.6 * normal("q0", (48, 16))
    gallery_GD = centers[gallery_identity] + 0.6 * normal("g0", (24, 16))
    query_QD /= np.linalg.norm(query_QD, axis=1, keepdims=True)
    gallery_GD /= np.linalg.norm(gallery_GD, axis=1, keepdims=True)
    query_camera = np.where(np.arange(48) % 2 == 0, 6, 2)
    gallery_camera = np.array([1, 2, 4])[np.arange(24) % 3]
    excluded_QG = same_place(query_camera, gallery_camera)
    metrics = evaluate(query_QD @ gallery_GD.T, query_identity, gallery_identity, excluded_QG=excluded_QG)
    assert metrics.rank1 == pytest.approx(0.979167, abs=1e-6)
    assert metrics.mean_ap == pytest.approx(0.978704, abs=1e-6)
    assert metrics.mean_inp == pytest.approx(0.969097, abs=1e-6)


@dataclass
class Slow:
    """What the definition gives, one list entry per valid query."""

    valid: list[bool] = field(default_factory=list)
    identity_ranks: list[int] = field(default_factory=list)
    item_ranks: list[int] = field(default_factory=list)
    precisions: list[float] = field(default_factory=list)
    penalties: list[float] = field(default_factory=list)


def slow_scores(
    similarity: list[list[float]], query_identity: list[int], gallery_identity: list[int], excluded: list[list[bool]]
) -> Slow:
    """One query at a time, as the definition reads (protocols.md A1, steps 4 to 9)."""
    found = Slow()
    for row, identity, removed in zip(similarity, query_identity, excluded, strict=True):
        order = sorted(range(len(row)), key=lambda item: (-row[item], item))
        listed = [gallery_identity[item] for item in order if not removed[item]]
        found.valid.append(identity in listed)
        if identity not in listed:
            continue
        found.identity_ranks.append(list(dict.fromkeys(listed)).index(identity) + 1)
        found.item_ranks.append(listed.index(identity) + 1)
        at = [position + 1 for position, other in enumerate(listed) if other == identity]
        total = 0.0  # not sum(), which compensates since Python 3.12
        for count, position in enumerate(at):
            total += (count + 1) / position
        found.precisions.append(total / len(at))
        found.penalties.append(len(at) / at[-1])
    return found


@dataclass(frozen=True)
class Case:
    similarity_QG: NDArray[np.floating]
    query_identity_Q: NDArray[np.int64]
    gallery_identity_G: NDArray[np.int64]
    excluded_QG: NDArray[np.bool_]


def random_case(seed: int) -> Case:
    """Sizes, ties, precision, excluded items and queries without a match all vary; every fifth gallery is one item."""
    rng = np.random.default_rng(seed)
    queries, items = int(rng.integers(1, 40)), 1 if seed % 5 == 0 else int(rng.integers(1, 60))
    identities = int(rng.integers(1, 12))
    levels = (1, 3, 12, 0)[seed % 4]  # of similarity: all equal, many ties, some ties, none
    drawn_QG = rng.integers(0, levels, (queries, items)) / 7.0 if levels else rng.standard_normal((queries, items))
    if seed % 3 == 0:  # equal in float32, different in float64
        drawn_QG = 0.5 + drawn_QG * 1e-10
    similarity_QG = drawn_QG.astype(np.float32) if seed % 7 == 0 else drawn_QG
    query_identity_Q = rng.integers(0, identities + 2, queries) * 10 - 10  # some stand in no gallery
    query_identity_Q[0] = 10
    gallery_identity_G = rng.integers(1, identities + 1, items) * 10
    gallery_identity_G[rng.integers(items)] = 10
    excluded_QG = rng.random((queries, items)) < rng.choice([0.0, 0.2, 0.7])
    excluded_QG[0] = False
    return Case(similarity_QG, query_identity_Q, gallery_identity_G, excluded_QG)


@pytest.mark.parametrize("identity_cmc", [True, False])
@pytest.mark.parametrize("block_items", [1, 100, train.metrics.BLOCK_ITEMS])
def test_is_bit_identical_to_the_definition(
    identity_cmc: bool, block_items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.metrics, "BLOCK_ITEMS", block_items)
    for seed in range(CASES):
        case = random_case(seed)
        expected = slow_scores(
            case.similarity_QG.tolist(),
            case.query_identity_Q.tolist(),
            case.gallery_identity_G.tolist(),
            case.excluded_QG.tolist(),
        )
        got = evaluate(
            case.similarity_QG,
            case.query_identity_Q,
            case.gallery_identity_G,
            excluded_QG=case.excluded_QG,
            identity_cmc=identity_cmc,
        )
        ranks = expected.identity_ranks if identity_cmc else expected.item_ranks
        length = len(set(case.gallery_identity_G.tolist())) if identity_cmc else len(case.gallery_identity_G)
        assert got.valid_Q.tolist() == expected.valid, seed
        assert got.queries == len(ranks)
        assert got.first_rank_V.tolist() == ranks, seed
        assert got.average_precision_V.tolist() == expected.precisions, seed
        assert got.inverse_penalty_V.tolist() == expected.penalties, seed
        assert got.cmc_R.tolist() == [sum(rank <= k + 1 for rank in ranks) / len(ranks) for k in range(length)]
        assert got.mean_ap == np.mean(expected.precisions)
        assert got.mean_inp == np.mean(expected.penalties)


def test_none_excluded_is_the_same_as_an_empty_mask() -> None:
    case = random_case(8)
    whole = evaluate(case.similarity_QG, case.query_identity_Q, case.gallery_identity_G)
    empty = np.zeros_like(case.excluded_QG)
    masked = evaluate(case.similarity_QG, case.query_identity_Q, case.gallery_identity_G, excluded_QG=empty)
    assert whole.average_precision_V.tolist() == masked.average_precision_V.tolist()
    assert whole.first_rank_V.tolist() == masked.first_rank_V.tolist()


def test_the_inputs_are_left_as_they_were() -> None:
    case = random_case(2)
    similarity_QG, excluded_QG = case.similarity_QG.copy(), case.excluded_QG.copy()
    evaluate(case.similarity_QG, case.query_identity_Q, case.gallery_identity_G, excluded_QG=case.excluded_QG)
    np.testing.assert_array_equal(case.similarity_QG, similarity_QG)
    np.testing.assert_array_equal(case.excluded_QG, excluded_QG)


def test_similarities_past_float32_and_integers_keep_their_order() -> None:
    """1e300 and 2e300 are both infinite in float32, and -1e300 is not to be taken for an excluded item."""
    similarity_QG = np.array([[1e300, 2e300, -1e300, -2e300]])
    excluded_QG = np.array([[False, False, False, True]])
    metrics = evaluate(similarity_QG, [5], [5, 6, 5, 7], excluded_QG=excluded_QG, identity_cmc=False)
    assert metrics.first_rank_V.tolist() == [2]
    assert metrics.average_precision_V.tolist() == [(1 / 2 + 2 / 3) / 2]
    whole_numbers_QG = np.array([[2**24, 2**24 + 1, 3]])  # float32 cannot tell the first two apart
    assert evaluate(whole_numbers_QG, [5], [5, 6, 5]).first_rank_V.tolist() == [2]


def test_a_probe_of_camera_three_does_not_see_camera_two() -> None:
    metrics = evaluate(np.array([[0.9, 0.5, 0.4]]), [7], [7, 8, 7], excluded_QG=same_place([3], [2, 1, 1]))
    assert metrics.cmc_R.tolist() == [0.0, 1.0]
    assert metrics.mean_ap == 0.5


def test_only_cameras_two_and_three_share_a_place() -> None:
    shared = [
        (a, b) for a, row in enumerate(same_place(range(1, 7), range(1, 7)), 1) for b, at in enumerate(row, 1) if at
    ]
    assert shared == [(1, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 4), (5, 5), (6, 6)]


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (np.zeros((1, 3)), "shape"),
        (np.array([[np.nan, 0.0]]), "finite"),
        (np.array([[0.0, -np.inf]]), "finite"),
        (np.zeros((1, 2)), "true match"),
    ],
)
def test_unusable_similarities_are_refused(similarity: np.ndarray, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        evaluate(similarity, [5], [1, 2])


@pytest.mark.parametrize("excluded", [np.zeros((2, 1), np.bool_), np.zeros((1, 2), np.int64)])
def test_a_mask_of_another_shape_or_kind_is_refused(excluded: np.ndarray) -> None:
    with pytest.raises(BadInput, match="booleans of shape"):
        evaluate(np.zeros((1, 2)), [5], [5, 6], excluded_QG=excluded)


def test_empty_sets_are_refused() -> None:
    with pytest.raises(BadInput, match="true match"):
        evaluate(np.zeros((0, 2)), [], [1, 2])
    with pytest.raises(BadInput, match="true match"):
        evaluate(np.zeros((1, 0)), [1], [])
