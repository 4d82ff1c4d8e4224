"""CMC, mAP and mINP against golden values and against a slow reference written from the definitions."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import BadInput
from tests.golden.deterministic import normal
from train.metrics import evaluate


def test_the_tiny_case_of_the_golden_values() -> None:
    """Gallery ids [1,2,1,3,1], cameras [1,1,4,4,5], ranking [1,0,3,2,4], query id 1 of camera 6."""
    similarity_QG = np.array([[4.0, 5.0, 2.0, 3.0, 1.0]])
    metrics = evaluate(similarity_QG, [1], [6], [1, 2, 1, 3, 1], [1, 1, 4, 4, 5])
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
    metrics = evaluate(query_QD @ gallery_GD.T, query_identity, query_camera, gallery_identity, gallery_camera)
    assert metrics.rank1 == pytest.approx(0.979167, abs=1e-6)
    assert metrics.mean_ap == pytest.approx(0.978704, abs=1e-6)
    assert metrics.mean_inp == pytest.approx(0.969097, abs=1e-6)


def slow_scores(
    similarity: np.ndarray,
    query_identity: np.ndarray,
    query_camera: np.ndarray,
    gallery_identity: np.ndarray,
    gallery_camera: np.ndarray,
) -> tuple[list[int], list[int], list[float], list[float]]:
    """One probe at a time, as the definition reads (protocols.md A1, steps 4 to 9)."""
    place = [1, 2, 2, 4, 5, 6]
    ranks, items_ranks, precisions, penalties = [], [], [], []
    for row, identity, camera in zip(similarity, query_identity, query_camera, strict=True):
        order = sorted(range(len(row)), key=lambda item: (-row[item], item))
        order = [item for item in order if place[gallery_camera[item] - 1] != place[camera - 1]]
        listed = [gallery_identity[item] for item in order]
        if identity not in listed:
            continue
        distinct = list(dict.fromkeys(listed))
        ranks.append(distinct.index(identity) + 1)
        items_ranks.append(listed.index(identity) + 1)
        at = [position + 1 for position, other in enumerate(listed) if other == identity]
        precisions.append(sum((count + 1) / position for count, position in enumerate(at)) / len(at))
        penalties.append(len(at) / at[-1])
    return ranks, items_ranks, precisions, penalties


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("identity_cmc", [True, False])
def test_equals_the_definition_one_probe_at_a_time(seed: int, identity_cmc: bool) -> None:
    rng = np.random.default_rng(seed)
    queries, items = 40, 30
    similarity = rng.integers(0, 12, (queries, items)) / 12.0  # many ties
    query_identity, gallery_identity = rng.integers(0, 9, queries), rng.integers(0, 9, items)
    query_camera, gallery_camera = rng.choice([3, 6], queries), rng.choice([1, 2, 4, 5], items)
    metrics = evaluate(
        similarity, query_identity, query_camera, gallery_identity, gallery_camera, identity_cmc=identity_cmc
    )
    ranks, items_ranks, precisions, penalties = slow_scores(
        similarity, query_identity, query_camera, gallery_identity, gallery_camera
    )
    chosen = ranks if identity_cmc else items_ranks
    for k in range(1, len(metrics.cmc_R) + 1):
        assert metrics.rank(k) == pytest.approx(np.mean([rank <= k for rank in chosen]))
    assert metrics.mean_ap == pytest.approx(np.mean(precisions))
    assert metrics.mean_inp == pytest.approx(np.mean(penalties))
    assert metrics.queries == len(ranks)


def test_a_probe_of_camera_three_does_not_see_camera_two() -> None:
    metrics = evaluate(np.array([[0.9, 0.5, 0.4]]), [7], [3], [7, 8, 7], [2, 1, 1])
    assert metrics.cmc_R.tolist() == [0.0, 1.0]
    assert metrics.mean_ap == 0.5


@pytest.mark.parametrize(
    ("similarity", "message"),
    [(np.zeros((1, 3)), "shape"), (np.array([[np.nan, 0.0]]), "finite"), (np.zeros((1, 2)), "true match")],
)
def test_unusable_similarities_are_refused(similarity: np.ndarray, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        evaluate(similarity, [5], [6], [1, 2], [1, 1])
