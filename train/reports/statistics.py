"""What a report measures of embeddings besides accuracy: similarities of pairs, and how far the modalities mix.

NumPy (scikit-learn for the map). Features are unit vectors, so a product is a cosine.

Shapes: N, M images, D embedding, S bins of similarity, K nearest neighbours.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from engines.errors import BadInput
from train.protocol import score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.protocol import Protocol

T = TypeVar("T")

BINS = 2000  # of a similarity between -1 and 1: the equal-error similarity is known to 0.001
EDGES = np.linspace(-1.0, 1.0, BINS + 1)
ROWS = 512  # a block of the similarity matrix, so that 10,000 test images need no gigabytes
MAP_IDENTITIES = 12  # as many as the page has colours
MAP_IMAGES = 25  # of an identity and modality
NEIGHBOURS = 10


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """Counts of pairs by similarity."""

    same_S: NDArray[np.int64]  # pairs of images of one person
    different_S: NDArray[np.int64]
    equal_error_similarity: float  # as many different pairs are at or above it as same pairs below, in shares
    equal_error: float  # that share

    def mean(self, counts_S: NDArray[np.int64]) -> float:
        """Mean similarity, to the width of a bin."""
        return float((counts_S * (EDGES[:-1] + EDGES[1:]) / 2).sum() / max(counts_S.sum(), 1))

    def range(self) -> tuple[float, float]:
        """The similarities that a figure has to show: all but one in a thousand pairs of each kind at each end."""
        ends: list[float] = []
        for counts_S in (self.same_S, self.different_S):
            share_S = counts_S.cumsum() / max(counts_S.sum(), 1)
            ends += [EDGES[np.searchsorted(share_S, 0.001)], EDGES[np.searchsorted(share_S, 0.999) + 1]]
        low, high = np.floor(20 * min(ends)) / 20, np.ceil(20 * max(ends)) / 20
        return float(max(low, -1.0)), float(min(high, 1.0))

    def rebinned(self, counts_S: NDArray[np.int64], edges: NDArray[np.floating]) -> NDArray[np.float64]:
        """Counts between coarser edges, each bin given to them by the part that lies inside."""
        below = np.concatenate(([0], counts_S.cumsum()))
        return np.diff(np.interp(edges, EDGES, below))


def histogram(
    left_ND: NDArray[np.floating],
    right_MD: NDArray[np.floating],
    same_person: tuple[NDArray[np.integer], NDArray[np.integer]],
    *,
    cameras: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None,
    once: bool = False,
) -> Histogram | None:
    """Count the pairs of two sets by similarity; None where one of the two kinds has no pair.

    same_person holds the identities (N,) and (M,). With cameras, pairs of one camera are left out: they are often
    neighbouring frames. once: both sets are one, and every pair counts once, an image never with itself.
    """
    same_S, different_S = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for rows in _blocks(len(left_ND)):
        similarity_NM = left_ND[rows].astype(np.float64) @ right_MD.astype(np.float64).T
        counted_NM = np.ones(similarity_NM.shape, np.bool_)
        if once:
            counted_NM = np.arange(len(right_MD))[None, :] > np.arange(len(left_ND))[rows][:, None]
        if cameras is not None:
            counted_NM &= cameras[0][rows][:, None] != cameras[1][None, :]
        same_NM = same_person[0][rows][:, None] == same_person[1][None, :]
        bin_NM = np.clip(((similarity_NM + 1) / 2 * BINS).astype(np.int64), 0, BINS - 1)
        same_S += np.bincount(bin_NM[counted_NM & same_NM], minlength=BINS)
        different_S += np.bincount(bin_NM[counted_NM & ~same_NM], minlength=BINS)
    if not same_S.sum() or not different_S.sum():
        return None
    similarity, error = equal_error(same_S, different_S)
    return Histogram(same_S=same_S, different_S=different_S, equal_error_similarity=similarity, equal_error=error)


def equal_error(same_S: NDArray[np.integer], different_S: NDArray[np.integer]) -> tuple[float, float]:
    """Return the similarity where false matches and false refusals are equally frequent, and how frequent.

    Where a whole stretch of thresholds does equally well, its middle is named.
    """
    refused = np.concatenate(([0], same_S.cumsum())) / same_S.sum()  # below each edge
    accepted = 1 - np.concatenate(([0], different_S.cumsum())) / different_S.sum()
    gap = np.abs(refused - accepted)
    best = np.flatnonzero(gap <= gap.min() + 1e-12)
    middle = best[len(best) // 2]
    return float(EDGES[middle]), float((refused[middle] + accepted[middle]) / 2)


def map_images(records: Sequence[ImageRecord]) -> list[ImageRecord]:
    """Choose what the map shows: identities that both modalities saw, spread over the list, a few images of each."""
    found: dict[int, dict[str, list[ImageRecord]]] = {}
    for record in records:
        found.setdefault(record.identity, {}).setdefault(record.modality, []).append(record)
    both = [identity for identity in sorted(found) if len(found[identity]) == 2]
    return [
        record
        for identity in _spread(both, MAP_IDENTITIES)
        for modality in sorted(found[identity])
        for record in _spread(found[identity][modality], MAP_IMAGES)
    ]


def map_points(feature_ND: NDArray[np.floating], seed: int) -> NDArray[np.floating]:
    """Lay embeddings out in the plane (N, 2): t-SNE with cosine distances, the same points with the same seed."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits  # scikit-learn brings it

    count = len(feature_ND)
    if count < 4:
        raise BadInput(f"expected at least 4 images for the map, got {count}; the test split is too small")
    perplexity = min(30.0, (count - 1) / 3)
    layout = TSNE(metric="cosine", init="pca", random_state=seed, perplexity=perplexity, n_jobs=1)
    # A few hundred points take seconds in one thread; several threads on busy cores wait for each other at each step.
    with threadpool_limits(limits=1):
        return np.asarray(layout.fit_transform(feature_ND.astype(np.float32)), np.float64)


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """How embeddings lie, measured where they are and not on the map."""

    same: float  # mean cosine between the modalities, one person
    different: float  # the same, two people
    other_modality: float  # share of the nearest neighbours that are of the other modality
    expected: float  # that share if modality told nothing about the place
    same_person: float  # share of the nearest neighbours that are of the same person
    neighbours: int

    @property
    def gap(self) -> float:
        return self.same - self.different


def mixing(
    feature_ND: NDArray[np.floating],
    identity_N: NDArray[np.integer],
    infrared_N: NDArray[np.bool_],
    neighbours: int = NEIGHBOURS,
) -> Mixing:
    """Measure the embeddings of a map; the neighbours of an image are the most similar others."""
    similarity_NN = feature_ND.astype(np.float64) @ feature_ND.astype(np.float64).T
    same_NN = identity_N[:, None] == identity_N
    across_NN = infrared_N[:, None] != infrared_N
    count = len(feature_ND)
    neighbours = min(neighbours, count - 1)
    ranked_NN = similarity_NN.copy()
    np.fill_diagonal(ranked_NN, -np.inf)
    nearest_NK = np.argsort(-ranked_NN, axis=1, kind="stable")[:, :neighbours]
    return Mixing(
        same=float(similarity_NN[across_NN & same_NN].mean()),
        different=float(similarity_NN[across_NN & ~same_NN].mean()),
        other_modality=float(np.take_along_axis(across_NN, nearest_NK, axis=1).mean()),
        expected=float(across_NN.sum() / (count * (count - 1))),
        same_person=float(np.take_along_axis(same_NN, nearest_NK, axis=1).mean()),
        neighbours=neighbours,
    )


@dataclass(frozen=True, kw_only=True)
class CameraScore:
    """The probes of one camera against the gallery of another, mean over the trials."""

    query_camera: int
    gallery_camera: int
    probes: int  # with a true match there; 0 where the protocol removes all of them
    gallery: int  # images of one trial
    rank1: float
    mean_ap: float


def camera_scores(protocol: Protocol, features: Mapping[str, NDArray[np.float32]]) -> list[CameraScore]:
    """Score every pair of a probe camera and a gallery camera alone."""
    first = protocol.trials[0]
    pairs = [(left, right) for left in _cameras(first.query) for right in _cameras(first.gallery)]
    found: list[CameraScore] = []
    for query_camera, gallery_camera in pairs:
        trials = tuple(
            dataclasses.replace(
                trial,
                query=tuple(record for record in trial.query if record.camera == query_camera),
                gallery=tuple(record for record in trial.gallery if record.camera == gallery_camera),
            )
            for trial in protocol.trials
        )
        try:
            scores = score(dataclasses.replace(protocol, trials=trials), features)
            figures = {"probes": scores.trials[0].queries, "rank1": scores.rank1, "mean_ap": scores.mean_ap}
        except BadInput:  # the protocol removes every true match of this pair
            figures = {"probes": 0, "rank1": 0.0, "mean_ap": 0.0}
        found.append(
            CameraScore(
                query_camera=query_camera, gallery_camera=gallery_camera, gallery=len(trials[0].gallery), **figures
            )
        )
    return found


def _cameras(records: Sequence[ImageRecord]) -> list[int]:
    return sorted({record.camera for record in records})


def _spread(items: Sequence[T], count: int) -> list[T]:
    """Take up to count items at equal distances."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))
