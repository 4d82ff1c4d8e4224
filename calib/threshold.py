"""From which cosine on two images are called one person.

Shapes: N images, D embedding, Q infrared, G visible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.sysu import ImageRecord

FALSE_MATCH_RATE = 0.01


@dataclass(frozen=True, kw_only=True)
class MatchingThreshold:
    """A cosine, and what it does to pairs of a visible and an infrared image of held-out people."""

    threshold: float
    false_match_rate: float  # share of pairs of different people at or above the threshold
    true_match_rate: float  # share of pairs of one person at or above it
    pairs: int  # of different people


def matching_threshold(
    records: Sequence[ImageRecord], feature_ND: NDArray[np.float32], false_match_rate: float = FALSE_MATCH_RATE
) -> MatchingThreshold:
    """Return the lowest cosine at which no more than false_match_rate of the pairs of different people match."""
    identity_N = np.array([record.identity for record in records])
    query_N = np.array([record.modality == "infrared" for record in records], np.bool_)
    similarity_QG = feature_ND[query_N].astype(np.float64) @ feature_ND[~query_N].astype(np.float64).T
    same_QG = identity_N[query_N][:, None] == identity_N[~query_N][None, :]
    impostor, genuine = similarity_QG[~same_QG], similarity_QG[same_QG]
    if impostor.size == 0 or genuine.size == 0:
        raise BadInput(
            "expected held-out people seen in both modalities, at least two, got "
            f"{len(set(identity_N.tolist()))} people; check exp/val_id.txt"
        )
    allowed = int(false_match_rate * impostor.size)
    # Behind the first value that must not match: the next float64 up, so that ties fall out too.
    limit = float(np.nextafter(np.sort(impostor)[impostor.size - allowed - 1], np.inf))
    return MatchingThreshold(
        threshold=limit,
        false_match_rate=float((impostor >= limit).mean()),
        true_match_rate=float((genuine >= limit).mean()),
        pairs=int(impostor.size),
    )
