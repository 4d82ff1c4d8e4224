"""CMC, mAP and mINP from a similarity matrix: the one place where the project computes them.

NumPy only. Ranking is by descending similarity; equal similarities (INT8 makes them) keep the order of the gallery.
The ranks are those of a stable sort in float64, but no order of the gallery is computed: only the ranks of the true
matches are needed, and a sort of values is several times faster than a sort that also moves indices.

Shapes: Q queries, V valid queries, B queries of a block, G gallery items, M true matches of a query (padded), R ranks,
K identities of the gallery.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

BLOCK_ITEMS = 1 << 18  # similarities ranked at a time: 1 MB in float32; a quarter or four times that is slower
THREADS = min(2, os.cpu_count() or 1)  # NumPy sorts outside the interpreter's lock


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Retrieval accuracy over the valid queries, as shares between 0 and 1."""

    cmc_R: NDArray[np.float64]  # cmc_R[k - 1]: the true identity is among the first k identities
    mean_ap: float
    mean_inp: float
    queries: int  # valid ones: a query without a true match is excluded from everything
    valid_Q: NDArray[np.bool_]  # over all queries; the arrays below hold the valid ones in their order
    first_rank_V: NDArray[np.int64]  # counted as the CMC counts
    average_precision_V: NDArray[np.float64]
    inverse_penalty_V: NDArray[np.float64]  # mINP of one query

    @property
    def rank1(self) -> float:
        return self.rank(1)

    def rank(self, k: int) -> float:
        """Return CMC at rank k; beyond the gallery's identities it stays at the last value."""
        return float(self.cmc_R[min(k, len(self.cmc_R)) - 1])


def location_of(camera: NDArray[np.integer]) -> NDArray[np.integer]:
    """Map SYSU-MM01 cameras to places: camera 3 stands where camera 2 does, every other camera is alone."""
    return np.where(camera == 3, 2, camera)


def same_place(query_camera_Q: ArrayLike, gallery_camera_G: ArrayLike) -> NDArray[np.bool_]:
    """Say which gallery items stand at a query's own place (Q, G): SYSU-MM01 removes them for that query."""
    places_P, place_Q = np.unique(location_of(np.asarray(query_camera_Q)), return_inverse=True)
    return (places_P[:, None] == location_of(np.asarray(gallery_camera_G)))[place_Q]


def evaluate(
    similarity_QG: NDArray[np.floating],
    query_identity_Q: ArrayLike,
    gallery_identity_G: ArrayLike,
    *,
    excluded_QG: NDArray[np.bool_] | None = None,
    identity_cmc: bool = True,
) -> Metrics:
    """Score one gallery as SYSU-MM01's official code does (protocols.md A1, steps 4 to 8).

    Items in excluded_QG are removed for that query (None removes nothing). With identity_cmc, ranks count distinct
    identities (the official CMC); without, they count gallery items. mINP is matches / rank of the last match.
    """
    similarity_QG = np.asarray(similarity_QG)
    query_identity, gallery_identity = np.asarray(query_identity_Q), np.asarray(gallery_identity_G)
    expected = (len(query_identity), len(gallery_identity))
    if similarity_QG.shape != expected:
        raise BadInput(f"expected a similarity matrix of shape {expected}, got {similarity_QG.shape}")
    if excluded_QG is not None and (excluded_QG.shape != expected or excluded_QG.dtype != np.bool_):
        raise BadInput(
            f"expected excluded items as booleans of shape {expected}, got {excluded_QG.dtype} {excluded_QG.shape}"
        )
    blocks: list[_Block] = []
    gallery = _Gallery.of(query_identity, gallery_identity)
    if similarity_QG.size:

        def score(start: int) -> _Block:
            rows = slice(start, start + step)
            excluded_BG = None if excluded_QG is None else excluded_QG[rows]
            return _score_block(similarity_QG[rows], excluded_BG, gallery, rows, identity_cmc)

        step = max(1, BLOCK_ITEMS // expected[1])
        with ThreadPoolExecutor(THREADS) as pool:
            blocks = list(pool.map(score, range(0, expected[0], step)))
    if not any(block.valid_B.any() for block in blocks):
        raise BadInput(
            "expected at least one query with a true match in the gallery, got none; check the identity lists"
        )
    first_rank_V = np.concatenate([block.first_rank_V for block in blocks])
    average_precision_V = np.concatenate([block.average_precision_V for block in blocks])
    inverse_penalty_V = np.concatenate([block.inverse_penalty_V for block in blocks])
    length = gallery.identities if identity_cmc else expected[1]
    return Metrics(
        cmc_R=np.bincount(first_rank_V - 1, minlength=length).cumsum() / len(first_rank_V),
        mean_ap=float(average_precision_V.mean()),
        mean_inp=float(inverse_penalty_V.mean()),
        queries=len(first_rank_V),
        valid_Q=np.concatenate([block.valid_B for block in blocks]),
        first_rank_V=first_rank_V,
        average_precision_V=average_precision_V,
        inverse_penalty_V=inverse_penalty_V,
    )


@dataclass(frozen=True, kw_only=True)
class _Gallery:
    """Where the matches of each query stand: a run of item_G, the gallery ordered by identity."""

    identities: int
    identity_G: NDArray[np.intp]  # renumbered from 0
    item_G: NDArray[np.intp]
    start_Q: NDArray[np.intp]
    matches_Q: NDArray[np.intp]

    @classmethod
    def of(cls, query_identity_Q: NDArray[np.generic], gallery_identity_G: NDArray[np.generic]) -> _Gallery:
        known_K, identity_G = np.unique(gallery_identity_G, return_inverse=True)
        start_Q = np.searchsorted(known_K, query_identity_Q)
        item_G = np.argsort(identity_G, kind="stable")
        ordered_G = identity_G[item_G]
        found_Q = np.append(known_K, known_K[:1])[start_Q] == query_identity_Q if len(known_K) else start_Q > 0
        first_Q, end_Q = np.searchsorted(ordered_G, start_Q), np.searchsorted(ordered_G, start_Q, side="right")
        return cls(
            identities=len(known_K),
            identity_G=identity_G,
            item_G=item_G,
            start_Q=first_Q,
            matches_Q=np.where(found_Q, end_Q - first_Q, 0),
        )

    def matches(self, rows: slice) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Return the items of each query's identity, padded, and which of them are no padding."""
        matches_B = self.matches_Q[rows]
        place_M = np.arange(max(1, int(matches_B.max())))
        at_BM = np.minimum(self.start_Q[rows][:, None] + place_M, len(self.item_G) - 1)
        return self.item_G[at_BM], place_M < matches_B[:, None]


@dataclass(frozen=True, kw_only=True)
class _Block:
    valid_B: NDArray[np.bool_]
    first_rank_V: NDArray[np.int64]
    average_precision_V: NDArray[np.float64]
    inverse_penalty_V: NDArray[np.float64]


def _score_block(
    similarity_BG: NDArray[np.floating],
    excluded_BG: NDArray[np.bool_] | None,
    gallery: _Gallery,
    rows: slice,
    identity_cmc: bool,
) -> _Block:
    match_BM, true_BM = gallery.matches(rows)
    with np.errstate(over="ignore"):  # what float32 cannot hold ends up as a tie, and ties are resolved in float64
        value_BG = similarity_BG.astype(np.float32)
    if not np.isfinite(value_BG).all() and not np.isfinite(similarity_BG).all():
        raise BadInput("expected finite similarities, got NaN or infinity; the embeddings are damaged")
    if excluded_BG is not None:
        np.copyto(value_BG, -np.inf, where=excluded_BG)
        true_BM &= ~np.take_along_axis(excluded_BG, match_BM, axis=1)
    valid_B = np.asarray(true_BM.any(1))
    if not valid_B.all():
        match_BM, true_BM = match_BM[valid_B], true_BM[valid_B]
        value_BG, similarity_BG = value_BG[valid_B], similarity_BG[valid_B]
        excluded_BG = None if excluded_BG is None else excluded_BG[valid_B]

    items = value_BG.shape[1]
    rank_BM, threshold_B = _ranks(value_BG, match_BM, true_BM, similarity_BG, excluded_BG)
    matches_B, hits_M = true_BM.sum(1), np.arange(1, true_BM.shape[1] + 1)
    precision_BM = np.where(hits_M <= matches_B[:, None], hits_M / rank_BM, 0.0)
    last_rank_B = np.where(rank_BM > items, 0, rank_BM).max(1, initial=0)
    first_rank_B = rank_BM[:, 0]
    if identity_cmc:
        first_rank_B = _identity_rank(value_BG, threshold_B, gallery)
    return _Block(
        valid_B=valid_B,
        first_rank_V=first_rank_B.astype(np.int64),
        # cumsum adds in order: the result does not depend on how far the block is padded.
        average_precision_V=precision_BM.cumsum(1)[:, -1] / matches_B,
        inverse_penalty_V=matches_B / last_rank_B,
    )


def _ranks(
    value_BG: NDArray[np.float32],
    match_BM: NDArray[np.intp],
    true_BM: NDArray[np.bool_],
    similarity_BG: NDArray[np.floating],
    excluded_BG: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the ranks of the matches, ascending (padding: G + 1), and the value of the first match.

    Where a match shares its float32 value with another item, the row of value_BG is overwritten by minus the position
    in a stable float64 sort: values of the same order, without ties.
    """
    queries, items = value_BG.shape
    ordered = np.sort(value_BG, axis=1).ravel()
    row_B1 = np.arange(queries)[:, None] * items
    sought_BM = value_BG.ravel().take(row_B1 + match_BM)
    # Binary search for the number of items that are not larger, all matches of the block at once.
    below_BM = np.repeat(row_B1, match_BM.shape[1], axis=1)
    length = items
    while length > 1:
        half = length // 2
        below_BM += (ordered.take(below_BM + (half - 1)) <= sought_BM) * half
        length -= half
    below_BM += ordered.take(below_BM) <= sought_BM
    neighbour_BM = ordered.take(np.maximum(below_BM - 2, row_B1))
    below_BM -= row_B1
    tied_BM = (neighbour_BM == sought_BM) & (below_BM > 1) & true_BM
    rank_BM = np.where(true_BM, items + 1 - below_BM, items + 1)

    tied_T = np.flatnonzero(tied_BM.any(1))
    if len(tied_T):
        exact_TG = -similarity_BG[tied_T].astype(np.float64)
        if excluded_BG is not None:
            exact_TG[excluded_BG[tied_T]] = np.inf
        order_TG = np.argsort(exact_TG, axis=1, kind="stable")
        position_TG = np.empty_like(order_TG)
        np.put_along_axis(position_TG, order_TG, np.arange(items)[None, :], axis=1)
        value_BG[tied_T] = -position_TG
        rank_TM = np.take_along_axis(position_TG, match_BM[tied_T], axis=1) + 1
        rank_BM[tied_T] = np.where(true_BM[tied_T], rank_TM, items + 1)
    rank_BM.sort(axis=1)
    threshold_B = ordered.take(row_B1[:, 0] + items - rank_BM[:, 0])
    threshold_B[tied_T] = 1 - rank_BM[tied_T, 0]
    return rank_BM, threshold_B


def _identity_rank(
    value_BG: NDArray[np.float32], threshold_B: NDArray[np.float32], gallery: _Gallery
) -> NDArray[np.intp]:
    """Rank of the true identity when only the first item of each identity counts.

    It is one more than the number of identities with an item before the first match.
    """
    queries, items = value_BG.shape
    before = np.flatnonzero(value_BG > threshold_B[:, None])
    row = before // items
    seen = np.zeros(queries * gallery.identities, np.bool_)
    seen[row * gallery.identities + gallery.identity_G.take(before - row * items)] = True
    return seen.reshape(queries, gallery.identities).sum(1) + 1
