"""AlignGAN's batches: two parts, in each of which both modalities show the same identities in the same order.

Part FEATURE feeds the feature step and part PIXEL the pixel step of one iteration; a part that a phase has no use for
is empty. Within a part stand, one identity after the other, its K visible images and then its K infrared ones, so row
i of the visible images and row i of the infrared ones show one identity. The first phase has infrared images alone.

A pass takes every identity that has both modalities once, in shuffled order; a remainder below P is dropped. Passes do
not end with epochs: batch j of an epoch of N iterations is number epoch * N + j of its part.

Torch-free. Positions are indices into the list of training images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from engines.errors import BadInput
from train.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord

Phase = Literal["feature", "pixel", "joint"]

FEATURE, PIXEL = 0, 1  # parts of a batch


@dataclass(frozen=True, kw_only=True)
class PairedRecipe(Recipe):
    """What the sampler "paired" needs; P is identities_per_batch in part FEATURE and pixel_identities in part PIXEL."""

    identities_per_batch: int = 18
    images_per_identity: int = 4  # K, of each modality
    sampler: str = "paired"
    pixel_identities: int = 4
    iterations_per_epoch: int = 100
    feature_epochs: int = 50  # how long the phases "feature" and "pixel" last; the rest is "joint"
    pixel_epochs: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        least = {"identities_per_batch": 2, "pixel_identities": 2, "iterations_per_epoch": 1}
        least |= {"feature_epochs": 0, "pixel_epochs": 0}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise BadInput(f"setting {name}: expected at least {minimum}, got {getattr(self, name)}")


def phase_of(recipe: PairedRecipe, epoch: int) -> Phase:
    """Return what is trained in an epoch, counted from 0."""
    if epoch < recipe.feature_epochs:
        return "feature"
    return "pixel" if epoch < recipe.feature_epochs + recipe.pixel_epochs else "joint"


def paired(records: Sequence[ImageRecord], recipe: Recipe, epoch: int) -> list[tuple[tuple[int, ...], ...]]:
    """Return the batches of one epoch, each with its two parts."""
    if not isinstance(recipe, PairedRecipe):
        raise BadInput("setting sampler: paired draws batches for aligngan alone; use mixed, balanced or interleaved")
    people, phase = _people(records), phase_of(recipe, epoch)
    nothing: list[tuple[int, ...]] = [()] * recipe.iterations_per_epoch
    feature = nothing if phase == "pixel" else _part(people, recipe, epoch, FEATURE, infrared_only=phase == "feature")
    pixel = nothing if phase == "feature" else _part(people, recipe, epoch, PIXEL)
    return list(zip(feature, pixel, strict=True))


def _part(
    people: Sequence[tuple[list[int], list[int]]],
    recipe: PairedRecipe,
    epoch: int,
    part: int,
    *,
    infrared_only: bool = False,
) -> list[tuple[int, ...]]:
    identities = recipe.pixel_identities if part == PIXEL else recipe.identities_per_batch
    per_pass, images = len(people) // identities, recipe.images_per_identity
    if not per_pass:
        name = "pixel_identities" if part == PIXEL else "identities_per_batch"
        raise BadInput(
            f"expected at least {identities} identities with both modalities for a batch, got {len(people)}; lower "
            f"--set {name} or use more data"
        )
    first = epoch * recipe.iterations_per_epoch
    numbers = range(first, first + recipe.iterations_per_epoch)
    passes = {number: _pass(people, images, [recipe.seed, number, part]) for number in {n // per_pass for n in numbers}}
    batches: list[tuple[int, ...]] = []
    for number in numbers:
        start = number % per_pass * identities
        drawn_PMK = passes[number // per_pass][start : start + identities]
        batches.append(tuple((drawn_PMK[:, 1:] if infrared_only else drawn_PMK).reshape(-1).tolist()))
    return batches


def _pass(people: Sequence[tuple[list[int], list[int]]], images: int, seed: list[int]) -> NDArray[np.int64]:
    """Return positions (identity, modality, K); with replacement where an identity has fewer than K images."""
    rng = np.random.default_rng(seed)
    return np.array(
        [
            [rng.choice(positions, images, replace=len(positions) < images) for positions in people[index]]
            for index in rng.permutation(len(people))
        ]
    )


def _people(records: Sequence[ImageRecord]) -> list[tuple[list[int], list[int]]]:
    """Return the visible and the infrared positions of each identity that has both, ascending by identity."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    for position, record in enumerate(records):
        found.setdefault(record.identity, ([], []))[record.modality == "infrared"].append(position)
    return [found[identity] for identity in sorted(found) if all(found[identity])]
