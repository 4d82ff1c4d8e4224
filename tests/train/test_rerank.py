"""Re-ranking against golden values and against slow dense loops written from the definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

import train.rerank
from engines.errors import BadInput
from tests.golden.deterministic import normal
from train.rerank import MSER_REGDB, MSER_SYSU, Reranking, k_reciprocal, mser

if TYPE_CHECKING:
    from numpy.typing import NDArray

GOLDEN_TOLERANCE = 2e-3  # per entry: the official code computes in float16
SPECTRA = 4


def toy(name: str, identity: NDArray[np.int64]) -> NDArray[np.float64]:
    vector = normal("centers", (64, 16))[identity] + 0.6 * normal(name, (len(identity), 16))
    return vector / np.linalg.norm(vector, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("spectral_side", "settings", "total", "start"),
    [
        ("g", Reranking(k1=10, k2=4, weight=0.3, query_only=True), 885.178, [0.20066, 0.19032, 0.17618, 0.92122]),
        ("g", Reranking(k1=10, k2=4, weight=0.3), 958.371, [0.60578, 0.5861, 0.44782, 0.92672]),
        ("q", Reranking(k1=10, k2=4, weight=0.2), 1015.709, [0.39417, 0.47997, 0.48818, 0.9519]),
    ],
)
def test_mser_gives_the_golden_values(
    spectral_side: str, settings: Reranking, total: float, start: list[float]
) -> None:
    query_identity, gallery_identity = np.repeat(np.arange(8), 6), np.repeat(np.arange(8), 3)
    names = {"q": ["q0"], "g": ["g0"]}
    names[spectral_side] = [f"{spectral_side}{spectrum}" for spectrum in range(SPECTRA)]
    distance_QG = mser(
        [toy(name, query_identity) for name in names["q"]],
        [toy(name, gallery_identity) for name in names["g"]],
        settings,
    )
    assert distance_QG.shape == (48, 24)
    assert distance_QG[0, :4] == pytest.approx(start, abs=GOLDEN_TOLERANCE)
    assert distance_QG.sum() == pytest.approx(total, abs=GOLDEN_TOLERANCE * distance_QG.size)


def test_the_settings_are_those_of_the_paper() -> None:
    assert Reranking(k1=40, k2=20, weight=0.3, query_only=True) == MSER_SYSU
    assert Reranking(k1=50, k2=10, weight=0.2, query_only=False) == MSER_REGDB


def slow_distances(
    query: list[list[float]], gallery: list[list[float]], settings: Reranking, *, expand: bool
) -> NDArray[np.float64]:
    """Every step for every pair, dense and in float64."""
    images = [*query, *gallery]
    count, queries = len(images), len(query)
    everyone = range(count)
    squared = [[sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for y in images] for x in images]
    scaled = [[value / (max(row) or 1.0) for value in row] for row in squared]
    far = max(map(max, squared))
    searched = [
        [far if settings.query_only and other >= queries else row[other] for other in everyone] for row in squared
    ]
    listed = [sorted(everyone, key=lambda other, row=row: (row[other], other)) for row in searched]

    def mutual(image: int, k: int) -> set[int]:
        return {other for other in listed[image][: k + 1] if image in listed[other][: k + 1]}

    encoding = [[0.0] * count for _ in everyone]
    for image in everyone:
        near = mutual(image, settings.k1)
        joined = set(near)
        for other in near if expand else ():
            theirs = mutual(other, round(settings.k1 / 2))
            if 3 * len(theirs & near) > 2 * len(theirs):
                joined |= theirs
        whole = sum(math.exp(-scaled[image][other]) for other in joined)
        for other in joined:
            encoding[image][other] = math.exp(-scaled[image][other]) / whole
    averaged = [
        [sum(encoding[other][at] for other in listed[image][: settings.k2]) / settings.k2 for at in everyone]
        for image in everyone
    ]
    result = np.empty((queries, len(gallery)))
    for row in range(queries):
        for column in range(len(gallery)):
            common = sum(min(a, b) for a, b in zip(averaged[row], averaged[queries + column], strict=True))
            jaccard = 1 - common / (2 - common)
            result[row, column] = (1 - settings.weight) * jaccard + settings.weight * scaled[row][queries + column]
    return result


def features(seed: int, count: int, *, ties: bool) -> NDArray[np.float64]:
    """Random vectors; with ties, small whole numbers, so that equal distances are equal exactly and images repeat."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (count, 3)).astype(np.float64) if ties else rng.standard_normal((count, 5))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("query_only", [False, True])
@pytest.mark.parametrize(("k1", "k2"), [(5, 3), (1, 1), (7, 2), (10, 2), (4, 9)])
def test_k_reciprocal_equals_dense_loops(
    k1: int, k2: int, query_only: bool, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.rerank, "BLOCK_ITEMS", 100)
    monkeypatch.setattr(train.rerank, "PAIR_VALUES", 30)
    for seed in range(4):
        query_QD, gallery_GD = features(seed, 12, ties=ties), features(seed + 100, 15, ties=ties)
        settings = Reranking(k1=k1, k2=k2, weight=0.3, query_only=query_only)
        expected = slow_distances(query_QD.tolist(), gallery_GD.tolist(), settings, expand=True)
        got = k_reciprocal(query_QD, gallery_GD, k1=k1, k2=k2, weight=0.3, query_only=query_only)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_the_expansion_is_reached_by_the_comparison_above() -> None:
    query_QD, gallery_GD = features(0, 12, ties=False).tolist(), features(100, 15, ties=False).tolist()
    settings = Reranking(k1=7, k2=2, weight=0.3)
    with_it = slow_distances(query_QD, gallery_GD, settings, expand=True)
    assert np.abs(with_it - slow_distances(query_QD, gallery_GD, settings, expand=False)).max() > 0.01


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("query_only", [False, True])
@pytest.mark.parametrize(("query_sets", "gallery_sets"), [(1, SPECTRA), (SPECTRA, 1)])
def test_mser_equals_dense_loops(query_sets: int, gallery_sets: int, query_only: bool, ties: bool) -> None:
    settings = Reranking(k1=6, k2=3, weight=0.2, query_only=query_only)
    for seed in range(3):
        queries = [features(10 * seed + place, 9, ties=ties) for place in range(query_sets)]
        galleries = [features(10 * seed + place + 100, 8, ties=ties) for place in range(gallery_sets)]
        dense = slow_distances(
            np.concatenate(queries).tolist(), np.concatenate(galleries).tolist(), settings, expand=False
        )
        expected = sum(
            dense[9 * query : 9 * query + 9, 8 * gallery : 8 * gallery + 8]
            for query in range(query_sets)
            for gallery in range(gallery_sets)
        )
        np.testing.assert_allclose(mser(queries, galleries, settings), expected / SPECTRA, rtol=0, atol=1e-12)


@pytest.mark.parametrize("query_only", [False, True])
def test_the_order_of_the_gallery_does_not_matter(query_only: bool) -> None:
    query_QD = features(1, 20, ties=False)
    galleries = [features(place + 2, 30, ties=False) for place in range(SPECTRA)]
    order = np.random.default_rng(0).permutation(30)
    shuffled = [gallery_GD[order] for gallery_GD in galleries]
    plain = k_reciprocal(query_QD, galleries[0], k1=7, k2=3, query_only=query_only)
    again = k_reciprocal(query_QD, shuffled[0], k1=7, k2=3, query_only=query_only)
    np.testing.assert_allclose(again, plain[:, order], rtol=0, atol=1e-12)
    settings = Reranking(k1=7, k2=3, weight=0.3, query_only=query_only)
    spectral, spectral_again = mser([query_QD], galleries, settings), mser([query_QD], shuffled, settings)
    np.testing.assert_allclose(spectral_again, spectral[:, order], rtol=0, atol=1e-12)


def test_the_weight_of_one_leaves_the_scaled_distance() -> None:
    query_QD, gallery_GD = features(3, 6, ties=False), features(4, 7, ties=False)
    every_ND = np.concatenate([query_QD, gallery_GD])
    squared_QN = ((query_QD[:, None] - every_ND[None]) ** 2).sum(2)
    expected = (squared_QN / squared_QN.max(1, keepdims=True))[:, 6:]
    np.testing.assert_allclose(k_reciprocal(query_QD, gallery_GD, k1=3, k2=2, weight=1.0), expected, atol=1e-12)


def test_equal_images_give_equal_distances_and_no_division_by_zero() -> None:
    distance_QG = k_reciprocal(np.ones((8, 3)), np.ones((9, 3)), k1=3, k2=2)
    assert np.isfinite(distance_QG).all()


def test_single_precision_is_close_to_double_and_leaves_its_inputs() -> None:
    query_QD, gallery_GD = features(5, 30, ties=False), features(6, 40, ties=False)
    single = query_QD.astype(np.float32), gallery_GD.astype(np.float32)
    before = [array.copy() for array in single]
    got = k_reciprocal(*single, k1=8, k2=3)
    np.testing.assert_allclose(got, k_reciprocal(query_QD, gallery_GD, k1=8, k2=3), atol=1e-5)
    assert all(np.array_equal(old, new) for old, new in zip(before, single, strict=True))


def test_sets_smaller_than_the_neighbourhood_are_refused() -> None:
    query_QD, gallery_GD = features(0, 6, ties=False), features(1, 20, ties=False)
    k_reciprocal(query_QD, gallery_GD, k1=5, k2=6, query_only=True)  # the largest that 6 queries allow
    with pytest.raises(BadInput, match=r"up to 6, .* got k1 6 and k2 2"):
        k_reciprocal(query_QD, gallery_GD, k1=6, k2=2, query_only=True)
    with pytest.raises(BadInput, match=r"up to 26, .* got k1 5 and k2 27"):
        k_reciprocal(query_QD, gallery_GD, k1=5, k2=27)
    with pytest.raises(BadInput, match="got k1 40 and k2 20"):
        mser([query_QD], [gallery_GD], MSER_SYSU)


def test_unusable_features_are_refused() -> None:
    query_QD, gallery_GD = features(0, 6, ties=False), features(1, 9, ties=False)
    settings = Reranking(k1=3, k2=2, weight=0.3)
    with pytest.raises(BadInput, match="finite"):
        k_reciprocal(np.full((6, 5), np.nan), gallery_GD, k1=3, k2=2)
    with pytest.raises(BadInput, match="one dimension"):
        k_reciprocal(query_QD[:, :4], gallery_GD, k1=3, k2=2)
    with pytest.raises(BadInput, match="gallery features of one shape"):
        mser([query_QD], [gallery_GD, gallery_GD[:5]], settings)
    with pytest.raises(BadInput, match="query features of one shape"):
        mser([], [gallery_GD], settings)
    with pytest.raises(BadInput, match="visible side only"):
        mser([query_QD] * 2, [gallery_GD] * 2, settings)
    with pytest.raises(BadInput, match="weight between 0 and 1"):
        mser([query_QD], [gallery_GD], replace(settings, weight=1.5))
