"""What two sets of embeddings of the same images say of each other: angles, and what a search finds.

Queries are infrared and the gallery visible, as calib.drift does. Differences are the engine's figure minus the
reference's, in points of 100.

Shapes: N images, D embedding, Q queries, G gallery, V queries with a true match, K nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calib.drift import drift_of, measure_drift
from engines.manifest import MODALITIES
from train.metrics import evaluate
from train.protocol import EXCLUSIONS, Trial, identities
from train.protocol_gallery import by_direction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calib.drift import Drift
    from deploy.parity.reference import Reference
    from engines.manifest import Modality

NEAREST = 5
DRAWS = 2000  # of the bootstrap: from seed to seed its ends move by 1.5 % of its width (250 queries)
CONFIDENCE = 95.0


@dataclass(frozen=True, kw_only=True)
class ModalityFigures:
    """The angles of one modality's images."""

    modality: Modality
    images: int
    worst_cosine: float
    mean_cosine: float
    worst_image: str  # path in the tree


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One set of embeddings against another."""

    drift: Drift
    modalities: tuple[ModalityFigures, ...]
    cosine_N: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference, and the range that holds it in 95 of 100 draws of as many queries."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


@dataclass(frozen=True, kw_only=True)
class Search:
    """The same search with both: everyone held out, the people's names known."""

    queries: int  # with a true match
    reference_map: float  # in points of 100
    reference_rank1: float
    map_difference: Interval
    rank1_difference: Interval
    moves_V: NDArray[np.int64] = field(repr=False)  # places by which the true match fell back; negative: came forward


def difference(reference: Reference, before_ND: NDArray[np.float32], after_ND: NDArray[np.float32]) -> Difference:
    """Compare finite unit vectors of the reference's images, before and after a step."""
    if reference.dataset is None:
        drift = measure_drift(before_ND, after_ND, _infrared(reference))
    else:
        drift = drift_of(reference.records, before_ND, after_ND, dataset=reference.dataset)
    before, after = before_ND.astype(np.float64), after_ND.astype(np.float64)
    cosine_N = (before * after).sum(1) / (np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1))
    found: list[ModalityFigures] = []
    for modality in MODALITIES:
        index_N = np.flatnonzero([record.modality == modality for record in reference.records])
        worst = int(index_N[cosine_N[index_N].argmin()])
        found.append(
            ModalityFigures(
                modality=modality,
                images=len(index_N),
                worst_cosine=float(cosine_N[worst]),
                mean_cosine=float(cosine_N[index_N].mean()),
                worst_image=reference.name(worst),
            )
        )
    return Difference(drift=drift, modalities=tuple(found), cosine_N=cosine_N)


def search(reference: Reference, engine_ND: NDArray[np.float32], *, seed: int = 0) -> Search | None:
    """Search with both by the data set's rules; None where nobody named the people."""
    if reference.dataset is None:
        return None
    trial = _trial(reference)
    before, after = (
        evaluate(
            _similarity(reference, feature_ND),
            identities(trial.query),
            identities(trial.gallery),
            excluded_QG=trial.excluded(),
            identity_cmc=False,  # a rank is a place in the list
        )
        for feature_ND in (reference.feature_ND, engine_ND)
    )
    precision_V = 100.0 * (after.average_precision_V - before.average_precision_V)
    first_V = 100.0 * ((after.first_rank_V == 1).astype(np.float64) - (before.first_rank_V == 1))
    return Search(
        queries=before.queries,
        reference_map=100.0 * before.mean_ap,
        reference_rank1=100.0 * before.rank1,
        map_difference=bootstrap(precision_V, seed=seed),
        rank1_difference=bootstrap(first_V, seed=seed),
        moves_V=after.first_rank_V - before.first_rank_V,
    )


def bootstrap(difference_V: NDArray[np.float64], *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Return the mean over the queries and its percentile interval when as many queries are drawn again and again.

    The queries are taken as independent. Pictures of one person are not quite, so the truth is a little wider.
    """
    rng = np.random.default_rng(seed)
    means = [float(difference_V[rng.integers(0, len(difference_V), len(difference_V))].mean()) for _ in range(draws)]
    tail = (100.0 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100.0 - tail])
    return Interval(value=float(difference_V.mean()), low=float(low), high=float(high))


def top_overlap(reference: Reference, engine_ND: NDArray[np.float32], count: int = NEAREST) -> float:
    """Return the share of each query's nearest gallery images that both searches have in common, mean over queries."""
    trial = _trial(reference)
    excluded_QG = trial.excluded()
    if excluded_QG is not None:
        count = max(1, min(count, int((~excluded_QG).sum(1).min())))  # behind these stand those that do not exist
    nearest: list[NDArray[np.intp]] = []
    for feature_ND in (reference.feature_ND, engine_ND):
        similarity_QG = _similarity(reference, feature_ND)
        if excluded_QG is not None:
            similarity_QG[excluded_QG] = -np.inf
        nearest.append(np.argsort(-similarity_QG, axis=1, kind="stable")[:, :count])
    before_QK, after_QK = nearest
    return float((before_QK[:, :, None] == after_QK[:, None, :]).any(2).mean())


def _trial(reference: Reference) -> Trial:
    query, gallery = by_direction(reference.records, "infrared-to-visible")
    exclusion = "nothing" if reference.dataset is None else EXCLUSIONS[reference.dataset]
    return Trial(query=query, gallery=gallery, exclusion=exclusion)


def _similarity(reference: Reference, feature_ND: NDArray[np.float32]) -> NDArray[np.float64]:
    query_N = _infrared(reference)
    return feature_ND[query_N].astype(np.float64) @ feature_ND[~query_N].astype(np.float64).T


def _infrared(reference: Reference) -> NDArray[np.bool_]:
    return np.array([record.modality == "infrared" for record in reference.records])
