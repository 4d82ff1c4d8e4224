"""From which cosine on two tracklets are called one person.

The cameras compare means over the crops of a track, so held-out images are averaged the same way before they are
compared: a tracklet here is all images of one person in one camera and one modality.

Shapes: N images, T tracklets, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.images import ImageRecord


# Two people in the pictures at the same time are one pair; somebody met before is searched among all who were there.
# With ten people in the gallery a tenth of the pair's rate gives about the rate asked for: 1 - (1 - rate)^10.
RETURNS = 10


@dataclass(frozen=True, kw_only=True)
class MatchingThreshold:
    """Two cosines, and what the first does to pairs of a visible and an infrared tracklet of held-out people."""

    threshold: float
    recall_threshold: float  # of somebody who was met earlier in the other modality
    same_modality_threshold: float  # of somebody who was met earlier in the same modality
    false_match_rate: float  # share of pairs of different people at or above the threshold
    true_match_rate: float  # share of pairs of one person at or above it
    pairs: int  # of different people


def matching_threshold(
    records: Sequence[ImageRecord], feature_ND: NDArray[np.float32], false_match_rate: float
) -> MatchingThreshold:
    """Return the lowest cosines at which no more than false_match_rate of the pairs of different people match."""
    labels, tracklet_TD = tracklets(records, feature_ND)
    identity_T = np.array([identity for identity, _ in labels])
    infrared_T = np.array([modality == "infrared" for _, modality in labels], np.bool_)
    similarity_TT = tracklet_TD @ tracklet_TD.T
    same_TT = identity_T[:, None] == identity_T[None, :]
    across_TT = infrared_T[:, None] & ~infrared_T[None, :]
    impostor, genuine = similarity_TT[across_TT & ~same_TT], similarity_TT[across_TT & same_TT]
    if impostor.size == 0 or genuine.size == 0:
        raise BadInput(
            "expected held-out people seen in both modalities, at least two, got "
            f"{len(set(identity_T.tolist()))} people; check the lists of held-out identities"
        )
    within_TT = infrared_T[:, None] == infrared_T[None, :]
    limit = _least_allowed(impostor, false_match_rate)
    return MatchingThreshold(
        threshold=limit,
        recall_threshold=_least_allowed(impostor, false_match_rate / RETURNS),
        same_modality_threshold=_least_allowed(similarity_TT[within_TT & ~same_TT], false_match_rate / RETURNS),
        false_match_rate=float((impostor >= limit).mean()),
        true_match_rate=float((genuine >= limit).mean()),
        pairs=int(impostor.size),
    )


def tracklets(
    records: Sequence[ImageRecord], feature_ND: NDArray[np.float32]
) -> tuple[list[tuple[int, Modality]], NDArray[np.float64]]:
    """Average the images of each person, camera and modality to unit vectors (T, D), and return whose they are.

    LLCM's cameras see both modalities; in the other data sets the camera gives the modality.
    """
    groups: dict[tuple[int, int, Modality], list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault((record.identity, record.camera, record.modality), []).append(index)
    mean_TD = np.stack([feature_ND[group].astype(np.float64).mean(0) for group in groups.values()])
    mean_TD /= np.maximum(np.linalg.norm(mean_TD, axis=1, keepdims=True), 1e-12)
    return [(records[group[0]].identity, records[group[0]].modality) for group in groups.values()], mean_TD


def _least_allowed(impostor: NDArray[np.float64], rate: float) -> float:
    """Return the cosine just above the first impostor that must not match, so that ties with it fall out too."""
    allowed = int(rate * impostor.size)
    return float(np.nextafter(np.sort(impostor)[impostor.size - allowed - 1], np.inf))
