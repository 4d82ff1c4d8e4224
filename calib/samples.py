"""Which images calibrate and which judge: seeded, and balanced over modality, camera and identity.

Shapes: B batch, H height, W width, C channel.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput
from engines.preprocess import resize_crop
from train.datasets.images import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.datasets.sysu import SysuDataset

CALIBRATION_BATCH = 2  # peak memory on ResNet-50 at 384x128: 0.76 GB; 1.06 GB with 4 and 2.5 GB with 8, no faster

_KEYS: tuple[Callable[[ImageRecord], object], ...] = (
    lambda record: record.modality,
    lambda record: record.camera,
    lambda record: record.identity,
)


def balanced_sample(records: Sequence[ImageRecord], count: int, seed: int = 0) -> list[ImageRecord]:
    """Draw count images, the same for the same seed.

    The modalities take turns, in each its cameras, in each its identities: nobody gives a second image before everybody
    gave one. Fewer records than count: all of them.
    """
    if count < 1:
        raise BadInput(f"expected at least 1 image to draw, got {count}")
    stream = _take_turns(list(records), _KEYS, random.Random(seed))
    return [record for record, _ in zip(stream, range(count), strict=False)]


def calibration_images(dataset: SysuDataset, count: int, seed: int = 0) -> list[ImageRecord]:
    """Draw from the training identities, so that nothing held out shapes the engine."""
    drawn = balanced_sample(dataset.split("train"), count, seed)
    if not drawn:
        raise BadInput(
            f"{dataset.folder}: expected images of the identities in exp/train_id.txt, got none; check cam1-cam6"
        )
    return drawn


def images_sha256(records: Sequence[ImageRecord]) -> str:
    """Hash names and bytes of the images, in their order."""
    digest = hashlib.sha256()
    for record in records:
        digest.update(f"cam{record.camera}/{record.identity:04d}/{record.path.name}\n".encode())
        digest.update(record.path.read_bytes())
    return digest.hexdigest()


def pixel_batches(
    records: Sequence[ImageRecord], height_px: int, width_px: int, batch: int = CALIBRATION_BATCH
) -> Iterator[NDArray[np.uint8]]:
    """Read and resize images as the cameras do, a batch (B, H, W, 3) at a time."""
    for start in range(0, len(records), batch):
        chunk = records[start : start + batch]
        yield np.stack([resize_crop(read_image(record.path), height_px, width_px) for record in chunk])


def _take_turns(
    records: list[ImageRecord], keys: Sequence[Callable[[ImageRecord], object]], rng: random.Random
) -> Iterator[ImageRecord]:
    if not keys:
        rng.shuffle(records)
        yield from records
        return
    groups: dict[object, list[ImageRecord]] = {}
    for record in records:
        groups.setdefault(keys[0](record), []).append(record)
    streams = [_take_turns(group, keys[1:], rng) for group in groups.values()]
    rng.shuffle(streams)
    while streams:
        alive: list[Iterator[ImageRecord]] = []
        for stream in streams:
            record = next(stream, None)
            if record is not None:
                alive.append(stream)
                yield record
        streams = alive
