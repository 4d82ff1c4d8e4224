"""Who in one camera is who in the other: a one-to-one choice from similarities.

Shapes: V visible tracks, I infrared tracks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment

if TYPE_CHECKING:
    from numpy.typing import NDArray


def pair_tracks(similarity_VI: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Return pairs (visible, infrared) at or above threshold; impossible pairs are given as -inf.

    Mutual nearest neighbours first: both sides agree, which is the stronger evidence. What they leave is assigned
    with the greatest summed similarity.
    """
    if not similarity_VI.size:
        return []
    allowed_VI = similarity_VI >= threshold
    best_V, best_I = similarity_VI.argmax(1).tolist(), similarity_VI.argmax(0).tolist()
    pairs = [(v, i) for v, i in enumerate(best_V) if best_I[i] == v and allowed_VI[v, i]]
    used_V, used_I = {v for v, _ in pairs}, {i for _, i in pairs}
    left_V = [v for v in range(similarity_VI.shape[0]) if v not in used_V]
    left_I = [i for i in range(similarity_VI.shape[1]) if i not in used_I]
    # The offset makes every allowed pair worth more than none, whatever the sign of the threshold.
    gain_VI: Any = np.where(allowed_VI, similarity_VI + 2.0, 0.0)[np.ix_(left_V, left_I)]
    rows, columns = linear_sum_assignment(gain_VI, maximize=True)
    pairs += [(left_V[r], left_I[c]) for r, c in zip(rows, columns, strict=True) if gain_VI[r, c] > 0]
    return sorted(pairs)
