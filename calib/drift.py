"""How far an engine is from PyTorch, in the product's terms: matches, not decimals.

Queries are infrared and the gallery visible, as in the protocol. Shapes: N images, D embedding, Q query, G gallery.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput
from train.metrics import evaluate
from train.protocol import EXCLUSIONS, Trial
from train.protocol_gallery import by_direction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.manifest import Precision
    from train.datasets.images import ImageRecord


@dataclass(frozen=True, kw_only=True)
class Drift:
    """An engine against the reference on the same images."""

    images: int
    worst_cosine: float
    mean_cosine: float
    rank1_agreement: float  # share of queries whose nearest gallery image shows the same person (or is the same image)
    max_similarity_error: float
    map_difference: float | None = None  # mAP of the engine minus the reference's, in points of 100

    def __str__(self) -> str:
        scored = "" if self.map_difference is None else f", mAP {self.map_difference:+.2f} points"
        return (
            f"worst cosine {self.worst_cosine:.5f}, mean {self.mean_cosine:.5f}, rank-1 agreement "
            f"{100 * self.rank1_agreement:.1f} %, largest similarity error {self.max_similarity_error:.4f}{scored}"
        )


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a build accepts."""

    worst_cosine: float
    mean_cosine: float
    rank1_agreement: float
    max_similarity_error: float


LIMITS: dict[Precision, Limits] = {
    # Other kernels, same arithmetic: measured 1.0000 and 2e-6.
    "fp32": Limits(worst_cosine=0.9999, mean_cosine=0.99999, rank1_agreement=0.99, max_similarity_error=0.001),
    # Measured by three converters: 0.9999 and 0.0009 to 0.0025.
    "fp16": Limits(worst_cosine=0.999, mean_cosine=0.9999, rank1_agreement=0.98, max_similarity_error=0.01),
    # Measured on a trained ResNet-50 (mAP 57 %): mean 0.9938, worst 0.965, agreement 0.935, error 0.055 with MSE
    # ranges; mean 0.982, agreement 0.90, error 0.093 with plain minimum and maximum. On resnet_small after 20 epochs of
    # synthetic people, whose neighbours are close: mean 0.997, worst 0.990, agreement 0.84. A broken range gave a mean
    # of 0.47, agreement 0.40 and error 1.13.
    "int8": Limits(worst_cosine=0.90, mean_cosine=0.975, rank1_agreement=0.75, max_similarity_error=0.15),
}


def measure_drift(
    reference_ND: NDArray[np.float32],
    engine_ND: NDArray[np.float32],
    infrared_N: Sequence[bool] | NDArray[np.bool_],
    identity_N: Sequence[int] | None = None,
    excluded_QG: NDArray[np.bool_] | None = None,
) -> Drift:
    """Compare unit vectors of the same images; with identities, compare mAP too.

    excluded_QG are the gallery images that do not exist for a query.
    """
    if reference_ND.shape != engine_ND.shape or len(reference_ND) == 0:
        raise BadInput(f"expected embeddings of the same images, got {reference_ND.shape} and {engine_ND.shape}")
    if not (np.isfinite(reference_ND).all() and np.isfinite(engine_ND).all()):
        raise BadInput("expected finite embeddings, got NaN or infinity; the model or the engine is broken")
    query_N = np.asarray(infrared_N, np.bool_)
    if query_N.all() or not query_N.any():
        raise BadInput("expected images of both modalities, got one; check the identities that are held out")
    reference, engine = reference_ND.astype(np.float64), engine_ND.astype(np.float64)
    cosine_N = (reference * engine).sum(1) / (np.linalg.norm(reference, axis=1) * np.linalg.norm(engine, axis=1))
    reference_QG = reference[query_N] @ reference[~query_N].T
    engine_QG = engine[query_N] @ engine[~query_N].T
    nearest_Q, engine_nearest_Q = (_nearest(similarity_QG, excluded_QG) for similarity_QG in (reference_QG, engine_QG))
    difference: float | None = None
    if identity_N is not None:
        identity = np.asarray(identity_N)
        labels = (identity[query_N], identity[~query_N])
        # Without labels, which image; with them, which person: of ten pictures of one person any may come first.
        nearest_Q, engine_nearest_Q = labels[1][nearest_Q], labels[1][engine_nearest_Q]
        engine_map = evaluate(engine_QG, *labels, excluded_QG=excluded_QG).mean_ap
        difference = 100.0 * (engine_map - evaluate(reference_QG, *labels, excluded_QG=excluded_QG).mean_ap)
    return Drift(
        images=len(reference_ND),
        worst_cosine=float(cosine_N.min()),
        mean_cosine=float(cosine_N.mean()),
        rank1_agreement=float((nearest_Q == engine_nearest_Q).mean()),
        max_similarity_error=float(np.abs(engine_QG - reference_QG).max()),
        map_difference=difference,
    )


def drift_of(
    records: Sequence[ImageRecord],
    reference_ND: NDArray[np.float32],
    engine_ND: NDArray[np.float32],
    *,
    dataset: str = "sysu",
) -> Drift:
    """Compare embeddings of labelled images, in the order of records.

    The data set decides which gallery images do not exist for a query, as in its protocol.
    """
    exclusion = EXCLUSIONS.get(dataset)
    if exclusion is None:
        raise BadInput(f"expected a data set out of {', '.join(EXCLUSIONS)}, got {dataset!r}")
    query, gallery = by_direction(records, "infrared-to-visible")
    return measure_drift(
        reference_ND,
        engine_ND,
        [record.modality == "infrared" for record in records],
        [record.identity for record in records],
        Trial(query=query, gallery=gallery, exclusion=exclusion).excluded(),
    )


def _nearest(similarity_QG: NDArray[np.float64], excluded_QG: NDArray[np.bool_] | None) -> NDArray[np.intp]:
    """Return each query's nearest gallery image out of those that exist for it.

    LLCM's cameras see both modalities: a person's visible picture by the same camera would come first in any engine. On
    synthetic SYSU-MM01 this lowers the agreement by 0 to 1.0 of 80 %.
    """
    return (similarity_QG if excluded_QG is None else np.where(excluded_QG, -np.inf, similarity_QG)).argmax(1)


def violations(drift: Drift, limits: Limits, max_map_drop: float) -> list[str]:
    """Say which limits the drift breaks; max_map_drop is in points of 100."""
    found = [
        f"{name.replace('_', ' ')} {getattr(drift, name):.4f} is under {getattr(limits, name)}"
        for name in ("worst_cosine", "mean_cosine", "rank1_agreement")
        if getattr(drift, name) < getattr(limits, name)
    ]
    if drift.max_similarity_error > limits.max_similarity_error:
        found.append(f"similarity error {drift.max_similarity_error:.4f} is over {limits.max_similarity_error}")
    if drift.map_difference is not None and -drift.map_difference > max_map_drop:
        found.append(f"mAP falls by {-drift.map_difference:.2f} points, more than {max_map_drop}")
    return found
