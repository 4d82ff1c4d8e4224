"""Which images stand in a batch: P identities with K images each, the same for the same seed and epoch.

A batch has parts; most samplers fill one, a method that draws several groups for one iteration has more. Within a part
the images of an identity stand together, so that several processes can share it out by whole identities.

Torch-free. Positions are indices into the list of training images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput

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
        chunks[identity] = [pool[start : start + images] for start in range(0, len(pool) - images + 1, images)]
    left = list(chunks)
    batches: list[list[int]] = []
    while len(left) >= identities:
        chosen = [left[index] for index in rng.permutation(len(left))[:identities]]
        batches.append([position for identity in chosen for position in chunks[identity].pop(0)])
        left = [identity for identity in left if chunks[identity]]
    return batches


def balanced(records: Sequence[ImageRecord], identities: int, images: int, rng: Generator) -> list[list[int]]:
    """K/2 visible and K/2 infrared images of each of P identities; an epoch passes over the larger modality once."""
    if images % 2:
        raise BadInput(f"sampler balanced: expected an even images_per_identity, got {images}")
    half = images // 2
    modalities: list[dict[int, list[int]]] = []
    for modality in ("visible", "infrared"):
        kept = [index for index, record in enumerate(records) if record.modality == modality]
        groups = _by_identity([records[index] for index in kept])
        modalities.append({identity: [kept[index] for index in group] for identity, group in groups.items()})
    both = sorted(set(modalities[0]) & set(modalities[1]))
    if len(both) < identities:
        raise BadInput(
            f"expected at least {identities} identities with both modalities, got {len(both)}; check the data"
        )
    larger = max(sum(len(group) for group in modality.values()) for modality in modalities)
    batches: list[list[int]] = []
    for _ in range(max(1, larger // (identities * half))):
        batch: list[int] = []
        for index in rng.permutation(len(both))[:identities]:
            for modality in modalities:
                group = modality[both[index]]
                batch += rng.choice(group, half, replace=len(group) < half).tolist()
        batches.append(batch)
    return batches


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
}


def _by_identity(records: Sequence[ImageRecord]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for index, record in enumerate(records):
        groups.setdefault(record.identity, []).append(index)
    return groups
