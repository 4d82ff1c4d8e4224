"""Which images calibrate and which judge: seeded, and balanced over modality, camera and identity.

Shapes: B batch, H height, W width, C channel.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput
from engines.manifest import MODALITIES
from engines.preprocess import resize_crop
from train.datasets.images import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.images import Dataset, ImageRecord, Split

CALIBRATION_IMAGES = 512
CALIBRATION_BATCH = 2  # peak memory on ResNet-50 at 384x128: 0.76 GB; 1.06 GB with 4 and 2.5 GB with 8, no faster

# The files that say who is trained on, and who is not; {trial} is RegDB's.
TRAIN_LISTS = {
    "sysu": "exp/train_id.txt",
    "regdb": "idx/train_visible_{trial}.txt and idx/train_thermal_{trial}.txt",
    "llcm": "idx/train_vis.txt and idx/train_nir.txt",
}
HELD_OUT_LISTS = {
    "sysu": "exp/val_id.txt or exp/test_id.txt",
    "regdb": "a fifth of idx/train_*_{trial}.txt or in idx/test_*_{trial}.txt",
    "llcm": "a fifth of idx/train_*.txt or in idx/test_id.txt",
}

_KEYS: tuple[Callable[[ImageRecord], object], ...] = (
    lambda record: record.modality,
    lambda record: record.camera,
    lambda record: record.identity,
)


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """The images that calibrate, in the order in which they do."""

    records: tuple[ImageRecord, ...]
    source: Path  # the folder below which they lie
    description: str  # what they were drawn from, in one line
    sha256: str  # images_sha256 of the records

    def as_dict(self) -> dict[str, object]:
        """Return what identifies the set, as JSON takes it: every image by its path below the source, and its labels.

        A two-stream model calibrates each graph on one modality; that table's images_sha256 is the hash of its part.
        """
        return {
            "source": str(self.source),
            "description": self.description,
            "sha256": self.sha256,
            "images": [
                {
                    "file": record.path.relative_to(self.source).as_posix(),
                    "modality": record.modality,
                    "camera": record.camera,
                    "identity": record.identity,
                }
                for record in self.records
            ],
        }


def balanced_sample(records: Sequence[ImageRecord], count: int, seed: int = 0) -> list[ImageRecord]:
    """Draw count images, the same for the same seed.

    The modalities take turns, in each its cameras, in each its identities: nobody gives a second image before everybody
    gave one. Fewer records than count: all of them. A smaller count with the same seed draws the first of a larger one.
    """
    if count < 1:
        raise BadInput(f"expected at least 1 image to draw, got {count}")
    stream = _take_turns(list(records), _KEYS, random.Random(seed))
    return [record for record, _ in zip(stream, range(count), strict=False)]


def calibration_from_dataset(dataset: Dataset, count: int = CALIBRATION_IMAGES, seed: int = 0) -> CalibrationSet:
    """Draw from the training identities, so that nobody held out shapes the engine."""
    drawn = calibration_images(dataset, count, seed)
    title = f"{dataset.name} trial {dataset.trial}" if dataset.name == "regdb" else dataset.name
    people = len({record.identity for record in drawn})
    return CalibrationSet(
        records=tuple(drawn),
        source=dataset.folder,
        description=f"{len(drawn)} images of {people} train identities of {title}, seed {seed}",
        sha256=images_sha256(drawn),
    )


def calibration_images(dataset: Dataset, count: int, seed: int = 0) -> list[ImageRecord]:
    """List what calibration_from_dataset draws."""
    drawn = balanced_sample(dataset.split("train"), count, seed)
    if not drawn:
        hint = "check cam1-cam6" if dataset.name == "sysu" else "unpack the data set again"
        raise BadInput(
            f"{dataset.folder}: expected images of the identities in {_lists(TRAIN_LISTS, dataset)}, got none; {hint}"
        )
    return drawn


def held_out_images(dataset: Dataset, trained_on: Collection[str], count: int) -> tuple[Split, list[ImageRecord]]:
    """Draw images of people that the model was not trained on: the val split, or test where val was trained on.

    Published rows train on train and val. A threshold from people seen in training would let strangers pass.
    """
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        records = [] if split in trained_on else dataset.split(split)
        if {record.modality for record in records} == {"visible", "infrared"}:
            return split, balanced_sample(records, count)
    raise BadInput(
        f"{dataset.folder}: expected held-out people in {_lists(HELD_OUT_LISTS, dataset)} in both modalities, got "
        "none; check these lists"
    )


def refuse_missing_modality(chosen: CalibrationSet, graphs: Mapping[str, Collection[Modality]]) -> None:
    """Refuse a set that shows a graph none of what it will see; graphs maps files to be quantised to their modalities.

    A set of one modality is enough where only graphs of that modality are quantised.
    """
    counts = Counter(record.modality for record in chosen.records)
    for file, modalities in graphs.items():
        absent = [modality for modality in MODALITIES if modality in modalities and not counts[modality]]
        if absent:
            raise BadInput(
                f"{chosen.source}: expected {' and '.join(absent)} images to calibrate {file}, got "
                f"{' and '.join(f'{counts[modality]} {modality}' for modality in MODALITIES)}; add some, or leave int8 "
                "out"
            )


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


def _lists(names: Mapping[str, str], dataset: Dataset) -> str:
    return names.get(dataset.name, "its lists of identities").format(trial=dataset.trial)


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
