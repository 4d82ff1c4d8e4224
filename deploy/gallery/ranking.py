"""The order of hits, the same in every gallery: by similarity to five decimals, the older identity first among equals.

Shapes: D embedding, Q queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.gallery.protocol import Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Float = NDArray[np.float32]
    Scored = Sequence[tuple[int, float]]  # identity (0: of nobody any more) and score of rows, best first

DECIMALS = 5  # a product of 32 queries differs from 32 products by up to 2e-7: ties must not depend on that
FIRST_POINTS = 8  # rows asked for per identity that is wanted: a tracklet has up to 5


def cosine(score: float) -> float:
    """Return a score as it is reported; rounding to halves makes some a little more than 1."""
    return min(max(round(score, DECIMALS), -1.0), 1.0)


def rank(scored: Iterable[tuple[int, float]], limit: int) -> list[Hit]:
    """Return the limit best identities of scored rows."""
    best: dict[int, float] = {}
    for identity, similarity in scored:
        if identity:
            best[identity] = max(best.get(identity, -1.0), cosine(similarity))
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return [Hit(identity, similarity) for identity, similarity in ranked[:limit]]


def search_rows(query_QD: Float, limit: int, ask: Callable[[Float, int], Sequence[Scored]]) -> list[list[Hit]]:
    """Return the best identities where ask(queries, count) can only return the count best rows.

    Asks again for more rows where few people have all of the best ones, or where a row that was not returned could
    have the same similarity as the last hit.
    """
    hits: list[list[Hit]] = [[] for _ in query_QD]
    asked, count = list(range(len(query_QD))), FIRST_POINTS * limit
    while asked and limit > 0:
        again: list[int] = []
        for q, scored in zip(asked, ask(query_QD[asked], count), strict=True):
            hits[q] = rank(scored, limit)
            full = len(hits[q]) == limit and hits[q][-1].similarity > cosine(scored[-1][1])
            if len(scored) == count and not full:
                again.append(q)
        asked, count = again, 4 * count
    return hits
