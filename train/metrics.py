"""CMC, mAP and mINP from a similarity matrix: the one place where the project computes them.

NumPy only. Ranking is by descending similarity in float64 with a stable sort, so equal similarities (INT8 makes them)
keep the order of the gallery.

Shapes: Q queries, G gallery items, R ranks, K identities of the gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Retrieval accuracy over the valid queries, as shares between 0 and 1."""

    cmc_R: NDArray[np.float64]  # cmc_R[k - 1]: the true identity is among the first k identities
    mean_ap: float
    mean_inp: float
    queries: int  # valid ones: a query without a true match is excluded from everything

    @property
    def rank1(self) -> float:
        return self.rank(1)

    def rank(self, k: int) -> float:
        """Return CMC at rank k; beyond the gallery's identities it stays at the last value."""
        return float(self.cmc_R[min(k, len(self.cmc_R)) - 1])


def location_of(camera: NDArray[np.integer]) -> NDArray[np.integer]:
    """Map SYSU-MM01 cameras to places: camera 3 stands where camera 2 does, every other camera is alone."""
    return np.where(camera == 3, 2, camera)


def evaluate(
    similarity_QG: NDArray[np.floating],
    query_identity_Q: ArrayLike,
    query_camera_Q: ArrayLike,
    gallery_identity_G: ArrayLike,
    gallery_camera_G: ArrayLike,
    *,
    identity_cmc: bool = True,
) -> Metrics:
    """Score one gallery as SYSU-MM01's official code does (protocols.md A1, steps 4 to 8).

    Gallery items at the query's own place are removed for that query. With identity_cmc, ranks count distinct
    identities (the official CMC); without, they count gallery items. mINP is matches / rank of the last match.
    """
    query_identity, gallery_identity = np.asarray(query_identity_Q), np.asarray(gallery_identity_G)
    query_camera, gallery_camera = np.asarray(query_camera_Q), np.asarray(gallery_camera_G)
    expected = (len(query_identity), len(gallery_identity))
    if similarity_QG.shape != expected:
        raise BadInput(f"expected a similarity matrix of shape {expected}, got {similarity_QG.shape}")
    if not np.isfinite(similarity_QG).all():
        raise BadInput("expected finite similarities, got NaN or infinity; the embeddings are damaged")
    order_QG = np.argsort(-similarity_QG.astype(np.float64), axis=1, kind="stable")
    kept_QG = (location_of(query_camera)[:, None] != location_of(gallery_camera)[None, :])[
        np.arange(expected[0])[:, None], order_QG
    ]
    match_QG = (gallery_identity[order_QG] == query_identity[:, None]) & kept_QG
    matches_Q = match_QG.sum(1)
    valid_Q = matches_Q > 0
    if not valid_Q.any():
        raise BadInput(
            "expected at least one query with a true match in the gallery, got none; check the identity lists"
        )
    order_QG, kept_QG, match_QG = order_QG[valid_Q], kept_QG[valid_Q], match_QG[valid_Q]
    matches_Q = matches_Q[valid_Q]

    rank_QG = kept_QG.cumsum(1)  # 1-based rank of each kept item
    hits_QG = match_QG.cumsum(1)
    precision_QG = np.where(match_QG, hits_QG / np.maximum(rank_QG, 1), 0.0)
    last_rank_Q = np.where(match_QG, rank_QG, 0).max(1)
    identities = np.unique(gallery_identity)
    if identity_cmc:
        first_rank_Q = _identity_rank(order_QG, kept_QG, match_QG, np.searchsorted(identities, gallery_identity))
        length = len(identities)
    else:
        first_rank_Q = np.where(match_QG, rank_QG, rank_QG.shape[1] + 1).min(1)
        length = rank_QG.shape[1]
    cmc_R = np.bincount(first_rank_Q - 1, minlength=length)[:length].cumsum() / len(first_rank_Q)
    return Metrics(
        cmc_R=cmc_R,
        mean_ap=float((precision_QG.sum(1) / matches_Q).mean()),
        mean_inp=float((matches_Q / last_rank_Q).mean()),
        queries=len(first_rank_Q),
    )


def _identity_rank(
    order_QG: NDArray[np.integer],
    kept_QG: NDArray[np.bool_],
    match_QG: NDArray[np.bool_],
    identity_G: NDArray[np.integer],
) -> NDArray[np.integer]:
    """Rank of the true identity when only the first kept item of each identity counts.

    It is one more than the number of other identities whose first kept item stands before the first match.
    """
    queries, items = order_QG.shape
    first_QK = np.full((queries, int(identity_G.max()) + 1), items)
    position_QG = np.where(kept_QG, np.arange(items)[None, :], items)
    rows_QG = np.broadcast_to(np.arange(queries)[:, None], order_QG.shape)
    np.minimum.at(first_QK, (rows_QG, identity_G[order_QG]), position_QG)
    first_match_Q = match_QG.argmax(1)
    return (first_QK < first_match_Q[:, None]).sum(1) + 1
