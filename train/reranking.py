"""Which re-ranking a trial gets, and with whose numbers; train.rerank computes it. Torch-free.

Shapes: Q queries, G gallery, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.errors import BadInput
from train import rerank
from train.protocol import stack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.protocol import Trial

    Spectra = Mapping[str, Mapping[str, NDArray[np.float32]]]  # of train.evaluation.embed_spectra


MSER = {"sysu": rerank.MSER_SYSU, "regdb": rerank.MSER_REGDB}  # the paper's numbers


def check_reranking(name: str, dataset: str) -> None:
    """Refuse what has no published numbers, before anything is computed."""
    if name == "mser" and dataset not in MSER:
        raise BadInput(
            f"--rerank mser: expected a data set out of {', '.join(MSER)}, for which its authors give numbers, got "
            f"{dataset}; take --rerank k-reciprocal"
        )


def trial_distance(name: str, dataset: str, spectra: Spectra) -> Callable[[Trial], NDArray[np.floating]]:
    """Return what train.protocol.score takes as its distance: mser or k-reciprocal, of these features."""

    def versions(records: Sequence[ImageRecord]) -> list[NDArray[np.float32]]:
        """An infrared side has one version, a visible one four."""
        names = list(spectra) if records[0].modality == "visible" else ["rgb"]
        return [stack(spectra[spectrum], records) for spectrum in names]

    def k_reciprocal(trial: Trial) -> NDArray[np.floating]:
        query_QD, gallery_GD = (stack(spectra["rgb"], records) for records in (trial.query, trial.gallery))
        return rerank.k_reciprocal(query_QD, gallery_GD)

    def mser(trial: Trial) -> NDArray[np.floating]:
        return rerank.mser(versions(trial.query), versions(trial.gallery), MSER[dataset])

    return mser if name == "mser" else k_reciprocal
