"""Training images: decoded, resized once, changed for each draw, and put together into batches.

The randomness of a draw comes from (seed, epoch, position in the epoch), so batches are the same after a resume and
with any number of workers.

Shapes: B batch, C channel, H height, W width.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from engines.errors import BadInput
from engines.preprocess import resize_crop
from engines.progress import progress
from train.augment import Augmented, augment
from train.datasets.images import read_image
from train.export import IMAGENET_MEAN, IMAGENET_STD
from train.method import Batch
from train.sampler import share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.recipe import Recipe
    from train.sampler import Parts

log = logging.getLogger(__name__)

CACHE_LIMIT_BYTES = 2 << 30  # below this the resized images stay in memory and no worker processes are started
MEMORY_SHARE = 0.8  # of the free memory, for a cache that was asked for
DECODERS = 4  # threads that fill a cache; Pillow decodes and resizes without holding the interpreter


@dataclass(frozen=True)
class Draw:
    """One place of a batch: which image, and the seed of its augmentation."""

    index: int
    seed: tuple[int, int, int]
    part: int


@dataclass(frozen=True)
class Sample:
    """A drawn image; damaged names the file that it stands in for."""

    record: ImageRecord
    augmented: Augmented
    part: int
    damaged: str | None


class Loaded(NamedTuple):
    """A batch, the files that it was made of, and the damaged files that others stand in for."""

    batch: Batch
    files: list[str]
    damaged: list[str]


class TrainingImages(Dataset[Sample]):
    """Map a Draw to a Sample. A damaged file is replaced by another image of its identity and modality."""

    def __init__(self, records: Sequence[ImageRecord], recipe: Recipe, cache: str = "auto") -> None:
        self.records = records
        self.recipe = recipe
        self.asked_for_cache = cache == "ram"
        size = len(records) * recipe.height_px * recipe.width_px * 3
        kept = cache == "ram" or (cache == "auto" and size <= CACHE_LIMIT_BYTES)
        self.cache: dict[int, NDArray[np.uint8]] | None = {} if kept else None
        self.damaged: set[int] = set()
        self.siblings: dict[tuple[int, str], list[int]] = {}
        for index, record in enumerate(records):
            self.siblings.setdefault((record.identity, record.modality), []).append(index)
        if self.asked_for_cache:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            if size > MEMORY_SHARE * free:
                raise BadInput(
                    f"--cache ram: {len(records)} images of {recipe.height_px} x {recipe.width_px} need "
                    f"{size / 1e9:.1f} GB, {free / 1e9:.1f} GB of memory are free; use --cache none"
                )
            self._fill()

    def _fill(self) -> None:
        """Decode everything now, so that worker processes share the memory instead of filling their own."""

        def decode(index: int) -> None:
            try:
                self._pixels(index)
            except BadInput:
                self.damaged.add(index)

        with ThreadPoolExecutor(DECODERS) as pool:
            done = pool.map(decode, range(len(self.records)))
            for _ in progress(done, total=len(self.records), unit="images", label="cache"):
                pass

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, draw: Draw) -> Sample:
        image_HWC, index = self._readable(draw.index)
        record = self.records[index]
        augmented = augment(image_HWC, record.modality, self.recipe, np.random.default_rng(draw.seed))
        damaged = str(self.records[draw.index].path) if index != draw.index else None
        return Sample(record, augmented, draw.part, damaged)

    def _readable(self, index: int) -> tuple[NDArray[np.uint8], int]:
        record = self.records[index]
        group = self.siblings[record.identity, record.modality]
        start = group.index(index)
        for candidate in group[start:] + group[:start]:
            if candidate not in self.damaged:
                try:
                    return self._pixels(candidate), candidate
                except BadInput:
                    self.damaged.add(candidate)
        raise BadInput(
            f"identity {record.identity}: every {record.modality} image is damaged, first {record.path}; restore them"
        )

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if self.cache is not None and index in self.cache:
            return self.cache[index]
        image_HWC = resize_crop(read_image(self.records[index].path), self.recipe.height_px, self.recipe.width_px)
        if self.cache is not None:
            self.cache[index] = image_HWC
        return image_HWC


@dataclass(frozen=True)
class Collate:
    """Put samples together: normalise, then set the erased rectangles to 0, which is the mean."""

    label_of: dict[int, int]  # identity number -> 0 .. identities - 1

    def __call__(self, samples: list[Sample]) -> Loaded:
        height, width, _ = samples[0].augmented.image_HWC.shape
        image_BHWC = torch.empty(len(samples), height, width, 3)
        mean_WC, std_WC = (torch.tensor(values).repeat(width, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        # Image by image, while it lies in the processor's cache, and without turning channels about: the network wants
        # them last.
        for image_HWC, sample in zip(image_BHWC, samples, strict=True):
            image_HWC.numpy()[...] = sample.augmented.image_HWC  # the pixels may be read-only, which torch warns of
            image_HWC.div_(255.0).sub_(mean_WC).div_(std_WC)
            if sample.augmented.erase is not None:
                top, left, height, width = sample.augmented.erase
                image_HWC[top : top + height, left : left + width] = 0.0
        records = [sample.record for sample in samples]
        batch = Batch(
            image_BCHW=image_BHWC.permute(0, 3, 1, 2),  # channels_last in memory
            identity_B=torch.tensor([self.label_of[record.identity] for record in records]),
            infrared_B=torch.tensor([record.modality == "infrared" for record in records]),
            camera_B=torch.tensor([record.camera for record in records]),
            part_B=torch.tensor([sample.part for sample in samples]),
        )
        return Loaded(
            batch,
            [str(record.path) for record in records],
            [sample.damaged for sample in samples if sample.damaged is not None],
        )


class SeededBatches:
    """Turn one process's share of an epoch's batches into draws; what a DataLoader takes as its batch_sampler.

    The seed of a draw is its position in the batches of all processes, so that their number changes no image.
    """

    def __init__(self, batches: Sequence[Parts], seed: int, epoch: int, rank: int = 0, processes: int = 1) -> None:
        self.batches, self.seed, self.epoch, self.rank, self.processes = batches, seed, epoch, rank, processes

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Draw]]:
        position = 0
        for parts in self.batches:
            draws: list[Draw] = []
            for part, (whole, own) in enumerate(zip(parts, share(parts, self.rank, self.processes), strict=True)):
                first = position + len(own) * self.rank
                draws += [Draw(index, (self.seed, self.epoch, first + place), part) for place, index in enumerate(own)]
                position += len(whole)
            yield draws


def epoch_loader(
    images: TrainingImages,
    collate: Collate,
    batches: Sequence[Parts],
    epoch: int,
    workers: int,
    *,
    rank: int = 0,
    processes: int = 1,
) -> DataLoader[Loaded]:
    """Load one process's share of an epoch; with a small cache the images are drawn in this process."""
    return DataLoader(
        images,
        batch_sampler=SeededBatches(batches, images.recipe.seed, epoch, rank, processes),  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=0 if images.cache is not None and not images.asked_for_cache else workers,
        pin_memory=torch.cuda.is_available(),
    )
