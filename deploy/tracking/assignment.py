"""One-to-one choices: boxes to tracks, tracks of one camera to tracks of the other.

Shapes: R rows, C columns, V visible tracks, I infrared tracks.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def warm_up() -> None:
    """Load SciPy's solver now: the first use would stop a live loop for 0.4 s."""
    assign(np.eye(2))


def assign(gain_RC: NDArray[np.floating[Any]]) -> list[tuple[int, int]]:
    """Return the pairs (row, column) of the greatest summed gain; those that gain nothing are left out."""
    if not gain_RC.size:
        return []
    # SciPy ships no types: imported by name, so that the type checker takes it as it is annotated here.
    solve: Any = importlib.import_module("scipy.optimize").linear_sum_assignment
    solution: Any = solve(gain_RC, maximize=True)
    rows: list[int] = solution[0].tolist()
    columns: list[int] = solution[1].tolist()
    return [(row, column) for row, column in zip(rows, columns, strict=True) if gain_RC[row, column] > 0]


def pair_tracks(similarity_VI: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Return pairs (visible, infrared) at or above threshold; impossible pairs are given as -inf.

    Mutual nearest neighbours first: both sides agree, which is the stronger evidence. What they leave is assigned
    with the greatest summed similarity.
    """
    if not similarity_VI.size:
        return []
    allowed_VI = similarity_VI >= threshold
    best_V: list[int] = similarity_VI.argmax(1).tolist()
    best_I: list[int] = similarity_VI.argmax(0).tolist()
    pairs = [(v, i) for v, i in enumerate(best_V) if best_I[i] == v and allowed_VI[v, i]]
    # The offset makes every allowed pair worth more than none, whatever the sign of the threshold.
    gain_VI = np.where(allowed_VI, similarity_VI + 2.0, 0.0)
    for v, i in pairs:
        gain_VI[v, :] = gain_VI[:, i] = 0.0
    return sorted(pairs + assign(gain_VI))
