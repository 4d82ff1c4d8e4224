"""What a trainable method is: a network that embeds, and the losses that train it.

Shapes: B batch, C channel, H height, W width, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from engines.errors import BadInput
from train.weights import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.optim import Optimizer

    from engines.manifest import Modality
    from train.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One training step's images, of both modalities, in the order of the sampler."""

    image_BCHW: Tensor  # float32, normalised with the ImageNet mean and deviation
    identity_B: Tensor  # int64, 0 .. identity_count - 1
    infrared_B: Tensor  # bool
    camera_B: Tensor  # int64, the dataset's own numbers
    part_B: Tensor  # int64, 0 but where a sampler draws several groups for one iteration (AlignGAN)


@dataclass(frozen=True, kw_only=True)
class Update:
    """One optimisation step: sum the losses, differentiate, and step the named optimisers."""

    losses: Mapping[str, Tensor]
    optimizers: tuple[str, ...] = ("all",)


class Method(nn.Module):
    """Base of every method; a method file subclasses it and is listed in train.methods.METHODS."""

    name: ClassVar[str]
    default_recipe: ClassVar[Recipe]
    dataset_recipes: ClassVar[Mapping[str, Recipe]] = {}  # where the method's authors used other numbers
    single_stream: ClassVar[bool] = True  # False: visible and infrared embed through different weights
    accumulates: ClassVar[bool] = True  # False: gradients of several batches must not be added up before a step

    def __init__(self, recipe: Recipe, identity_count: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.identity_count = identity_count

    def load_backbone(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load ImageNet weights in torchvision's names, strictly; source names them in errors."""
        load_weights(self.get_submodule("backbone"), weights, source)

    @property
    def embedding_dim(self) -> int:
        """Length D of the embedding."""
        raise NotImplementedError

    @classmethod
    def recipe_for(cls, dataset: str) -> Recipe:
        """Return the numbers that the method's authors used on a dataset."""
        return cls.dataset_recipes.get(dataset, cls.default_recipe)

    @classmethod
    def public_shape(cls, weights: Mapping[str, Tensor]) -> tuple[Recipe, int]:
        """Read the recipe and the number of identities that a checkpoint of the public code was made with."""
        raise BadInput(f"expected a method with public checkpoints (mcja, mpanet, aligngan), got {cls.name!r}")

    def public_name(self, name: str) -> str:
        """Return what a key of this network's state dict is called in a checkpoint of the public code."""
        return name

    def embed(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        """Embed normalised images of one modality; not yet of unit length. This is what ships."""
        raise NotImplementedError

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Return the named loss terms; their sum is minimised. Epochs count from 0."""
        raise NotImplementedError

    def optimizers(self) -> dict[str, Optimizer]:
        """Return the optimisers by name; the loop scales each group's initial rate over the epochs."""
        learned = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return {"all": torch.optim.Adam(learned, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay)}

    def updates(self, batch: Batch, epoch: int) -> Iterator[Update]:
        """Yield the optimisation steps of one iteration, each computed after the one before was taken."""
        yield Update(losses=self.losses(batch, epoch))
