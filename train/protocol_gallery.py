"""How the protocols draw a gallery, and which images stand on which side. Torch-free."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Literal

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engines.manifest import Modality
    from train.datasets.images import ImageRecord
    from train.datasets.sysu import SysuDataset

Search = Literal["all", "indoor"]
Direction = Literal["visible-to-infrared", "infrared-to-visible"]

GALLERY_CAMERAS: dict[Search, tuple[int, ...]] = {"all": (1, 2, 4, 5), "indoor": (1, 2)}


def by_direction(
    records: Iterable[ImageRecord], direction: Direction
) -> tuple[tuple[ImageRecord, ...], tuple[ImageRecord, ...]]:
    """Divide images into the side of the queries and the side of the gallery."""
    kept = tuple(records)
    modalities: tuple[Modality, Modality] = ("visible", "infrared")
    if direction == "infrared-to-visible":
        modalities = ("infrared", "visible")
    query, gallery = (tuple(record for record in kept if record.modality == modality) for modality in modalities)
    return query, gallery


def gallery_images(dataset: SysuDataset, search: Search, shots: int, trial: int) -> list[ImageRecord]:
    """Draw one trial's official gallery: camera by camera, identity ascending, in the order of the permutation.

    The i-th image is the i-th in ascending file name. An identity with fewer images than shots gives what it has.
    """
    drawn: list[ImageRecord] = []
    for camera in GALLERY_CAMERAS[search]:
        for (identity, _), records in by_place(dataset.split("test", cameras=(camera,))).items():
            rows = dataset.permutations.get((camera, identity))
            if rows is None or rows.shape[1] != len(records):
                listed = 0 if rows is None else rows.shape[1]
                raise BadInput(
                    f"{dataset.folder}: rand_perm_cam.mat lists {listed} images of identity {identity} in camera "
                    f"{camera}, the folder holds {len(records)}; restore the missing files or remove the stray ones"
                )
            drawn += [records[index - 1] for index in rows[trial, :shots]]
    return drawn


def seeded_gallery(records: Iterable[ImageRecord], trial: int) -> list[ImageRecord]:
    """Draw one image per person and camera from one stream per trial: identity outer, camera inner.

    A stray file changes its own draw and every later one.
    """
    generator = Random(trial)
    places = by_place(records)
    return [generator.choice(sorted(places[place], key=lambda record: record.path.name)) for place in sorted(places)]


def by_place(records: Iterable[ImageRecord]) -> dict[tuple[int, int], list[ImageRecord]]:
    """Group images by identity and camera, in the order in which they come."""
    groups: dict[tuple[int, int], list[ImageRecord]] = {}
    for record in records:
        groups.setdefault((record.identity, record.camera), []).append(record)
    return groups
