"""From which cosine on two tracks are called one person, measured on labelled images of held-out people.

The cameras compare means and prototypes over the crops of a track, so held-out images are gathered the same way before
they are compared: a track here is all images of one person in one camera and one modality.

Shapes: N images, T tracks, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calib.directions import DIRECTIONS, Track, measure
from calib.prototypes import choose_prototypes, unit_mean
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calib.directions import Direction, Measured
    from engines.manifest import Modality
    from train.datasets.images import ImageRecord


def measure_labelled(records: Sequence[ImageRecord], feature_ND: NDArray[np.float32]) -> dict[Direction, Measured]:
    """Measure every direction that the images allow; visible against infrared must be among them."""
    tracks = labelled_tracks(records, feature_ND)
    person_T = np.array([track.person for track in tracks], np.int64)
    same_TT = person_T[:, None] == person_T[None, :]
    found: dict[Direction, Measured | None] = {
        direction: measure(tracks, direction, ~same_TT, same_TT) for direction in DIRECTIONS
    }
    together = found["together"]
    if together is None or not together.genuine_pairs:
        raise BadInput(
            "expected held-out people seen in both modalities, at least two, got "
            f"{len(set(person_T.tolist()))} people; check the lists of held-out identities"
        )
    return {direction: measured for direction, measured in found.items() if measured is not None}


def labelled_tracks(records: Sequence[ImageRecord], feature_ND: NDArray[np.float32]) -> list[Track]:
    """Gather the images of each person, camera and modality into a track, in the order of their first images.

    LLCM's cameras see both modalities; in the other data sets the camera gives the modality.
    """
    groups: dict[tuple[int, int, Modality], list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault((record.identity, record.camera, record.modality), []).append(index)
    return [
        Track(
            person=identity,
            camera=str(camera),
            modality=modality,
            mean_D=unit_mean(feature_ND[group]),
            prototype_PD=choose_prototypes(feature_ND[group]),
        )
        for (identity, camera, modality), group in groups.items()
    ]
