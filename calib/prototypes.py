"""What stands for a track: its mean embedding, and the few crops that differ most.

Calibration and cameras must compare the same things, so the rule is here, below both.

Shapes: N crops, D embedding, P prototypes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float32]

MOST_PROTOTYPES = 4


def unit_mean(embedding_ND: Float, quality_N: Float | None = None) -> Float:
    """Return the mean of unit vectors, weighted by the quality of their crops, as a unit vector (D,)."""
    row_ND = embedding_ND.astype(np.float64)
    weight_N = np.ones(len(row_ND)) if quality_N is None else np.asarray(quality_N, np.float64)
    sum_D = weight_N @ row_ND if weight_N.any() else row_ND.sum(0)  # all of quality 0: nothing to choose by
    return np.asarray(sum_D / max(float(np.linalg.norm(sum_D)), 1e-12), np.float32)


def choose_prototypes(embedding_ND: Float, quality_N: Float | None = None, limit: int = MOST_PROTOTYPES) -> Float:
    """Return up to limit rows that differ most: the best crop, then always the one farthest from all chosen.

    Quality scales the distance, so that a blurred crop must differ more to be taken. Ties go to the older crop.
    """
    weight_N = np.ones(len(embedding_ND)) if quality_N is None else np.asarray(quality_N, np.float64)
    chosen = [int(np.argmax(weight_N))]
    while len(chosen) < min(limit, len(embedding_ND)):
        # Rounding takes the cosine of equal rows past 1; a negative distance would prefer the worse crop.
        distance_N = np.maximum(1.0 - (embedding_ND @ embedding_ND[chosen].T).max(1), 0.0) * weight_N
        distance_N[chosen] = -1.0
        chosen.append(int(np.argmax(distance_N)))
    return embedding_ND[chosen]
