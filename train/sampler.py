"""Which images stand in a batch: P identities with K images each, the same for the same seed and epoch.

A batch has parts; most samplers fill one, a method that draws several groups for one iteration has more. Within a part
the images of an identity stand together, so that several processes can share it out by whole identities.

Torch-free. Positions are indices into the list of training images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput
from train.paired_sampler import paired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator

    from train.datasets.images import ImageRecord
    from train.recipe import Recipe


Parts = tuple[tuple[int, ...], ...]


def epoch_batches(records: Sequence[ImageRecord], recipe: Recipe, epoch: int) -> list[Parts]:
    """Return the batches of one epoch; they depend on nothing but records, recipe and epoch."""
    if recipe.sampler not in SAMPLERS:
        raise BadInput(f"setting sampler: expected one of {', '.join(SAMPLERS)}, got {recipe.sampler!r}")
    identities = {record.identity for record in records}
    if len(identities) < recipe.identities_per_batch:
        raise BadInput(
            f"expected at least {recipe.identities_per_batch} identities for a batch, got {len(identities)}; lower "
            "--set identities_per_batch or use more data"
        )
    return SAMPLERS[recipe.sampler](records, recipe, epoch)


def share(parts: Parts, rank: int, processes: int) -> Parts:
    """Return the share of one process: an equal number of neighbouring positions of each part."""
    for part in parts:
        if len(part) % processes:
            raise BadInput(
                f"expected a batch that {processes} processes can share, got {len(part)} images; change "
                "--set identities_per_batch or the number of processes"
            )
    return tuple(part[len(part) // processes * rank : len(part) // processes * (rank + 1)] for part in parts)


def mixed(records: Sequence[ImageRecord], identities: int, images: int, rng: Generator) -> list[list[int]]:
    """MCJA's "norm_triplet" sampler: an identity's images of both modalities, shuffled and cut into chunks of K.

    A remainder below K is dropped, an identity with fewer than K images is drawn with replacement. Batches are formed
    until fewer than P identities have a chunk left.
    """
    chunks: dict[int, list[list[int]]] = {}
    for identity, positions in _by_identity(records).items():
        pool = (
            rng.choice(positions, images).tolist() if len(positions) < images else rng.permutation(positions).tolist()
        )
        chunks[identity] = _cut(pool, images)
    return _batches_of(chunks, identities, rng)


def balanced(
    records: Sequence[ImageRecord], identities: int, images: int, rng: Generator, *, with_replacement: bool = False
) -> list[list[int]]:
    """K/2 visible and K/2 infrared images of each of P identities; an epoch passes over the larger modality once.

    An identity with too few images is always drawn with replacement.
    """
    half = _half(images)
    modalities, both = _both_modalities(records, identities)
    larger = max(sum(len(group) for group in modality.values()) for modality in modalities)
    batches: list[list[int]] = []
    for _ in range(max(1, larger // (identities * half))):
        batch: list[int] = []
        for index in rng.permutation(len(both))[:identities]:
            for modality in modalities:
                group = modality[both[index]]
                batch += rng.choice(group, half, replace=with_replacement or len(group) < half).tolist()
        batches.append(batch)
    return batches


def balanced_draws(records: Sequence[ImageRecord], identities: int, images: int, rng: Generator) -> list[list[int]]:
    """AGW's sampler: as balanced, but every image is drawn with replacement."""
    return balanced(records, identities, images, rng, with_replacement=True)


def interleaved(records: Sequence[ImageRecord], identities: int, images: int, rng: Generator) -> list[list[int]]:
    """MPANet's "identity_random" sampler: infrared, visible, infrared, ... of an identity, cut into chunks of K.

    Both modalities of an identity give as many images as the smaller one has; if that is fewer than K/2, each modality
    that is too small is drawn with replacement. A remainder below K is dropped. Batches are formed until fewer than P
    identities have a chunk left. Where only one modality has fewer than K/2 the public code would crash.
    """
    half = _half(images)
    modalities, both = _both_modalities(records, identities)
    chunks: dict[int, list[list[int]]] = {}
    for identity in both:
        visible, infrared = (modality[identity] for modality in modalities)
        count = max(half, min(len(visible), len(infrared)))
        columns = [rng.choice(group, count, replace=len(group) < count) for group in (infrared, visible)]
        chunks[identity] = _cut(np.stack(columns, axis=1).reshape(-1).tolist(), images)
    return _batches_of(chunks, identities, rng)


def _one_part(
    draw: Callable[[Sequence[ImageRecord], int, int, Generator], list[list[int]]],
) -> Callable[[Sequence[ImageRecord], Recipe, int], list[Parts]]:
    """Give a sampler of one part the recipe's P and K, and a generator seeded by (seed, epoch)."""

    def batches(records: Sequence[ImageRecord], recipe: Recipe, epoch: int) -> list[Parts]:
        rng = np.random.default_rng([recipe.seed, epoch])
        drawn = draw(records, recipe.identities_per_batch, recipe.images_per_identity, rng)
        return [(tuple(batch),) for batch in drawn]

    return batches


SAMPLERS: dict[str, Callable[[Sequence[ImageRecord], Recipe, int], list[Parts]]] = {
    "mixed": _one_part(mixed),
    "balanced": _one_part(balanced),
    "balanced_draws": _one_part(balanced_draws),
    "interleaved": _one_part(interleaved),
    "paired": paired,
}


def _half(images: int) -> int:
    if images % 2:
        raise BadInput(f"expected an even images_per_identity, half for each modality, got {images}; use --set")
    return images // 2


def _cut(positions: list[int], images: int) -> list[list[int]]:
    """Cut into chunks of K; a remainder is dropped."""
    return [positions[start : start + images] for start in range(0, len(positions) - images + 1, images)]


def _batches_of(chunks: dict[int, list[list[int]]], identities: int, rng: Generator) -> list[list[int]]:
    """Take one chunk of each of P identities at a time, until fewer than P have one left."""
    left = list(chunks)
    batches: list[list[int]] = []
    while len(left) >= identities:
        chosen = [left[index] for index in rng.permutation(len(left))[:identities]]
        batches.append([position for identity in chosen for position in chunks[identity].pop(0)])
        left = [identity for identity in left if chunks[identity]]
    return batches


def _both_modalities(
    records: Sequence[ImageRecord], identities: int
) -> tuple[tuple[dict[int, list[int]], dict[int, list[int]]], list[int]]:
    """Return each modality's positions by identity, and the identities that have both; refuse fewer than P of them."""
    visible, infrared = (
        {
            identity: kept
            for identity, positions in _by_identity(records).items()
            if (kept := [position for position in positions if records[position].modality == modality])
        }
        for modality in ("visible", "infrared")
    )
    both = sorted(set(visible) & set(infrared))
    if len(both) < identities:
        raise BadInput(
            f"expected at least {identities} identities with both modalities, got {len(both)}; check the data"
        )
    return (visible, infrared), both


def _by_identity(records: Sequence[ImageRecord]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(record.identity, []).append(index)
    return groups
