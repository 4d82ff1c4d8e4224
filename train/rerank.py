"""Re-ranking after the search: k-reciprocal encoding and MCJA's multi-spectral variant of it (MSER).

k-reciprocal: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017.
MSER: Liang et al., "Bridging the Gap: Multi-level Cross-modality Joint Alignment", TCSVT 2024.

Both are transductive: the distance of one query depends on all other test queries and on the whole gallery. A number
made with them stands beside the plain one, never in its place. NumPy and SciPy; no matrix of all images against all
images is kept: neighbours are found block by block, and the encodings are sparse.

Shapes: Q queries, G gallery items, S spectra, D embedding, N = all queries then all gallery items (of all spectra),
B rows of a block, L places in a neighbour list, E pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BLOCK_ITEMS = 1 << 23  # distances held at a time: 64 MB in float64
PAIR_VALUES = 1 << 22  # feature values gathered at a time for the distances of single pairs


@dataclass(frozen=True, kw_only=True)
class Reranking:
    """Parameters of a re-ranking, in the papers' symbols; weight is lambda, the share of the original distance."""

    k1: int
    k2: int
    weight: float
    query_only: bool = False  # only queries can be neighbours, of queries and of gallery items


MSER_SYSU = Reranking(k1=40, k2=20, weight=0.3, query_only=True)
MSER_REGDB = Reranking(k1=50, k2=10, weight=0.2)


def k_reciprocal(
    query_QD: NDArray[np.floating],
    gallery_GD: NDArray[np.floating],
    *,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
    query_only: bool = False,
) -> NDArray[np.float64]:
    """Return k-reciprocal distances (Q, G), lower is nearer. Transductive: uses all other test queries.

    A neighbour's own reciprocal set at k1 / 2 joins when more than two thirds of it are there already, as in the
    authors' code; the paper says at least two thirds.
    """
    settings = Reranking(k1=k1, k2=k2, weight=weight, query_only=query_only)
    return _rerank([query_QD], [gallery_GD], settings, expand=True)


def mser(
    query_SQD: Sequence[NDArray[np.floating]], gallery_SGD: Sequence[NDArray[np.floating]], settings: Reranking
) -> NDArray[np.float64]:
    """Return MSER distances (Q, G), lower is nearer. Transductive: uses all other test queries.

    The visible side comes in four spectra (RGB, then R, G and B alone), the infrared side as one: unit vectors of the
    same images in the same order. The settings of the paper are MSER_SYSU and MSER_REGDB.
    """
    if len(query_SQD) != 1 and len(gallery_SGD) != 1:
        raise BadInput(
            f"expected several spectra on the visible side only, got {len(query_SQD)} of the queries and "
            f"{len(gallery_SGD)} of the gallery"
        )
    return _rerank(query_SQD, gallery_SGD, settings, expand=False)


def _rerank(
    query_SQD: Sequence[NDArray[np.floating]],
    gallery_SGD: Sequence[NDArray[np.floating]],
    settings: Reranking,
    *,
    expand: bool,
) -> NDArray[np.float64]:
    feature_ND, queries = _stack(query_SQD, gallery_SGD, settings)
    shape = (len(query_SQD), len(query_SQD[0]), len(gallery_SGD), len(gallery_SGD[0]))
    distance_SQSG = np.empty(shape)
    distance_QN = distance_SQSG.reshape(queries, -1)
    neighbour_NL, scale_N = _search(feature_ND, queries, settings, distance_QN)
    encoding_NN = _encode(feature_ND, neighbour_NL, scale_N, settings, expand=expand)

    query_QN, gallery_NG = encoding_NN[:queries], encoding_NN[queries:].tocsc()
    distance_QN *= settings.weight
    for query, row_N in enumerate(distance_QN):
        entries = slice(query_QN.indptr[query], query_QN.indptr[query + 1])
        shared = gallery_NG[:, query_QN.indices[entries]]
        least_E = np.minimum(shared.data, np.repeat(query_QN.data[entries], np.diff(shared.indptr)))
        overlap_N = np.bincount(shared.indices, weights=least_E, minlength=len(row_N))
        row_N += (1.0 - settings.weight) * (1.0 - overlap_N / (2.0 - overlap_N))
    return distance_SQSG.mean(axis=(0, 2))


def _stack(
    query_SQD: Sequence[NDArray[np.floating]], gallery_SGD: Sequence[NDArray[np.floating]], settings: Reranking
) -> tuple[NDArray[np.floating], int]:
    """Check the features and return them in one matrix, and how many of its rows are queries."""
    for name, sets in (("query", query_SQD), ("gallery", gallery_SGD)):
        shapes = {np.shape(features) for features in sets}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
            raise BadInput(f"expected {name} features of one shape (images, dimension), got {sorted(shapes)}")
    if query_SQD[0].shape[1] != gallery_SGD[0].shape[1]:
        raise BadInput(f"expected features of one dimension, got {query_SQD[0].shape[1]} and {gallery_SGD[0].shape[1]}")
    feature_ND = np.concatenate([*query_SQD, *gallery_SGD])
    if not np.isfinite(feature_ND).all():
        raise BadInput("expected finite features, got NaN or infinity; the embeddings are damaged")
    queries = len(query_SQD) * len(query_SQD[0])
    candidates = queries if settings.query_only else len(feature_ND)
    if min(settings.k1, settings.k2) < 1 or max(settings.k1 + 1, settings.k2) > candidates:
        raise BadInput(
            f"expected k1 under and k2 up to {candidates}, the images that can be neighbours, and both at least 1; "
            f"got k1 {settings.k1} and k2 {settings.k2}; use a test set with more images of a person"
        )
    if not 0.0 <= settings.weight <= 1.0:
        raise BadInput(f"expected a weight between 0 and 1, got {settings.weight}")
    kept = feature_ND.dtype in (np.float32, np.float64)
    return feature_ND if kept else feature_ND.astype(np.float64), queries


def _search(
    feature_ND: NDArray[np.floating], queries: int, settings: Reranking, distance_QN: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return each image's neighbours, nearest first, and its largest squared distance.

    Fills distance_QN with the queries' distances to the gallery, each row divided by its largest over all images.
    """
    images = len(feature_ND)
    length = max(settings.k1 + 1, settings.k2)
    candidates = queries if settings.query_only else images
    square_N = np.einsum("nd,nd->n", feature_ND, feature_ND)
    neighbour_NL = np.empty((images, length), np.intp)
    scale_N = np.ones(images)
    step = max(1, BLOCK_ITEMS // images)
    for begin, end in ((0, queries), (queries, images)):
        # With query_only no gallery item is encoded, so that its distances to the gallery are not needed.
        columns = candidates if begin else images
        for start in range(begin, end, step):
            rows = slice(start, min(start + step, end))
            squared_BN = feature_ND[rows] @ feature_ND[:columns].T
            squared_BN *= -2.0
            squared_BN += square_N[rows, None]
            squared_BN += square_N[:columns]
            np.maximum(squared_BN, 0.0, out=squared_BN)
            neighbour_NL[rows] = _nearest(squared_BN[:, :candidates], length)
            largest_B = squared_BN.max(1)
            scale_N[rows] = np.where(largest_B > 0.0, largest_B, 1.0)
            if begin == 0:
                np.divide(squared_BN[:, queries:], scale_N[rows, None], out=distance_QN[rows])
    return neighbour_NL, scale_N


def _nearest(distance_BN: NDArray[np.floating], length: int) -> NDArray[np.intp]:
    """Return the first places of a stable sort by distance: of equal ones the earlier comes first."""
    if length == distance_BN.shape[1]:
        return np.argsort(distance_BN, axis=1, kind="stable")
    found_BL = np.sort(np.argpartition(distance_BN, length - 1, axis=1)[:, :length], axis=1)
    value_BL = np.take_along_axis(distance_BN, found_BL, axis=1)
    # Where more items reach the last place than there are places, the partition took any of the equal ones.
    tied_T = np.flatnonzero((distance_BN <= value_BL.max(1, keepdims=True)).sum(1) > length)
    nearest_BL = np.take_along_axis(found_BL, np.argsort(value_BL, axis=1, kind="stable"), axis=1)
    nearest_BL[tied_T] = np.argsort(distance_BN[tied_T], axis=1, kind="stable")[:, :length]
    return nearest_BL


def _encode(
    feature_ND: NDArray[np.floating],
    neighbour_NL: NDArray[np.intp],
    scale_N: NDArray[np.float64],
    settings: Reranking,
    *,
    expand: bool,
) -> Any:  # scipy.sparse.csr_array (N, N), for which SciPy has no stubs
    """Return the k-reciprocal encodings, averaged over the first k2 neighbours of each image."""
    reciprocal_NN = _reciprocal(neighbour_NL, settings.k1)
    if expand:
        # round() takes 10.5 to 10, as NumPy does in the authors' code.
        half_NN = _reciprocal(neighbour_NL, round(settings.k1 / 2))
        overlap_NN = (reciprocal_NN @ half_NN.T).multiply(reciprocal_NN).tocoo()
        size_N = half_NN.sum(axis=1)
        joins_E = 3 * overlap_NN.data > 2 * size_N[overlap_NN.col]
        joins_NN = _ones(overlap_NN.row[joins_E], overlap_NN.col[joins_E], len(feature_ND))
        reciprocal_NN = (reciprocal_NN + joins_NN @ half_NN).tocsr()
    reciprocal_NN.sort_indices()
    row_E = np.repeat(np.arange(len(feature_ND)), np.diff(reciprocal_NN.indptr))
    distance_E = _pair_distances(feature_ND, row_E, reciprocal_NN.indices) / scale_N[row_E]
    weight_E = np.exp(-distance_E)
    sum_N = np.bincount(row_E, weights=weight_E, minlength=len(feature_ND))
    encoding_NN = reciprocal_NN.astype(np.float64)
    encoding_NN.data[:] = weight_E / sum_N[row_E]
    mean_NN = _ones(
        np.repeat(np.arange(len(feature_ND)), settings.k2), neighbour_NL[:, : settings.k2].ravel(), len(feature_ND)
    )
    expanded_NN = (mean_NN.astype(np.float64) @ encoding_NN).tocsr()
    expanded_NN.data /= settings.k2
    expanded_NN.sort_indices()
    return expanded_NN


def _reciprocal(neighbour_NL: NDArray[np.intp], k: int) -> Any:
    """Return a sparse (N, N) matrix of ones where each of two images is among the k + 1 nearest of the other."""
    images = len(neighbour_NL)
    nearest_NN = _ones(np.repeat(np.arange(images), k + 1), neighbour_NL[:, : k + 1].ravel(), images)
    return nearest_NN.multiply(nearest_NN.T).tocsr()


def _ones(row_E: NDArray[np.integer], column_E: NDArray[np.integer], images: int) -> Any:
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(row_E), np.int32), (row_E, column_E)), shape=(images, images))


def _pair_distances(
    feature_ND: NDArray[np.floating], row_E: NDArray[np.integer], column_E: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Return squared Euclidean distances of single pairs."""
    distance_E = np.empty(len(row_E))
    step = max(1, PAIR_VALUES // feature_ND.shape[1])
    for start in range(0, len(row_E), step):
        pairs = slice(start, start + step)
        difference_ED = feature_ND[row_E[pairs]] - feature_ND[column_E[pairs]]
        distance_E[pairs] = np.einsum("ed,ed->e", difference_ED, difference_ED)
    return distance_E
