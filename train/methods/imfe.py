"""IMFE, a reconstruction after the abstract of Zhang et al., "Learning enhancing modality-invariant features for
visible-infrared person re-identification", Int. J. Machine Learning and Cybernetics 16(1), 2025, pages 55-73.

No open text of the paper was found but its abstract, no code and no weights, so no accuracy is quoted, and what this
network reaches says nothing about theirs. The short name IMFE is ours.

The abstract says: an intra-modality enhancing module with an independent branch for each modality, which strengthens
compactness within and discrepancy between the classes of one modality; and a modality-invariant module whose loss
aligns the two modalities' feature distributions, taken for Gaussian, in the unified feature space.

Chosen here, with the reason:
- Separate stems, shared layers 1 to 3, last stride 1, GeM, BNNeck, and training by SGD: the visible-infrared network
  of Ye et al., TPAMI 2021 (AGW), from which most later work starts.
- `branch`: "layer4" gives each modality its own copy of layer 4, pooling, neck and classifier, as networks with
  specific and shared deep layers do; "head" only a neck, a classifier and a triplet on the unified features.
- `distribution`: "w2", the squared Wasserstein distance of two Gaussians with diagonal covariance, which is 0 exactly
  when means and variances agree and needs no division; "jeffreys", the symmetric Kullback-Leibler divergence. Diagonal
  and over the whole modality because 32 images support nothing finer. Taken on the BNNeck output, the embedding.
- `lam_intra` and `lam_dist`: 0.5 as MPANet weighs its classifiers of one modality, and 1; a 0 switches the term off,
  which gives the rows of an ablation.
- The embedding is that of the unified branch: specific features cannot be compared across modalities.

Shapes: B batch, C channel, H height, W width, D embedding.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import train.method
from engines.errors import BadInput
from engines.manifest import MODALITIES
from train.backbone import build_backbone
from train.gather import gather
from train.layers import GeneralizedMeanPool, bottleneck_norm, load_without_head, without_head
from train.losses import batch_hard_triplet, need_both_modalities
from train.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.optim import Optimizer

    from engines.manifest import Modality
    from train.method import Batch

BRANCHES = ("layer4", "head")
DISTRIBUTIONS = ("w2", "jeffreys")
VARIANCE_FLOOR = 1e-6  # a channel that is constant in a batch would have an infinite gradient under the root


@dataclass(frozen=True, kw_only=True)
class ImfeRecipe(Recipe):
    height_px: int = 288  # AGW's training, as all below down to triplet_margin
    width_px: int = 144
    identities_per_batch: int = 8
    images_per_identity: int = 8  # four visible and four infrared
    epochs: int = 81
    lr: float = 0.1  # of necks and classifiers
    trunk_rate: float = 0.1  # of lr, for everything else
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 10
    milestones: tuple[int, ...] = (20, 50)
    sampler: str = "balanced_draws"
    seed: int = 0
    pad_value: int = 0
    erase_probability: float = 0.0
    triplet_margin: float = 0.3
    branch: str = "layer4"
    distribution: str = "w2"
    lam_intra: float = 0.5
    lam_dist: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, known in (("branch", BRANCHES), ("distribution", DISTRIBUTIONS)):
            if getattr(self, name) not in known:
                raise BadInput(f"setting {name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        for name in ("lam_intra", "lam_dist"):
            if getattr(self, name) < 0:
                raise BadInput(f"setting {name}: expected 0 or more, got {getattr(self, name)}")


class Branch(nn.Module):
    """What one modality has of its own behind the stem: layer 4 unless branch is "head", a neck and a classifier."""

    def __init__(self, layer4: nn.Module | None, channels: int, identity_count: int) -> None:
        super().__init__()
        self.layer4 = copy.deepcopy(layer4)
        self.bn_neck = bottleneck_norm(channels)
        self.classifier = nn.Linear(channels, identity_count, bias=False)

    def loss(self, feature_BD: Tensor, identity_B: Tensor, margin: float) -> Tensor:
        logit_BI = self.classifier(self.bn_neck(feature_BD)).float()
        return cross_entropy(logit_BI, identity_B) + batch_hard_triplet(feature_BD, identity_B, margin)


class Method(train.method.Method):
    """A reconstruction after the abstract; the head of this file says what is known and what was chosen."""

    name = "imfe"
    default_recipe = ImfeRecipe()
    single_stream = False
    recipe: ImfeRecipe

    def __init__(self, recipe: ImfeRecipe, identity_count: int) -> None:
        super().__init__(recipe, identity_count)
        self.backbone = without_head(build_backbone(recipe.backbone, last_stride=1))
        self.infrared_conv1 = copy.deepcopy(self.backbone.conv1)
        self.infrared_bn1 = copy.deepcopy(self.backbone.bn1)
        self.pool = GeneralizedMeanPool()
        self.bn_neck = bottleneck_norm(self.backbone.channels)
        self.classifier = nn.Linear(self.backbone.channels, identity_count, bias=False)
        layer4 = self.backbone.stages[3] if recipe.branch == "layer4" else None
        # With lam_intra 0 no loss would reach the branches, so there are none.
        modalities = MODALITIES if recipe.lam_intra > 0 else ()
        self.branches = nn.ModuleDict(
            {modality: Branch(layer4, self.backbone.channels, identity_count) for modality in modalities}
        )
        for name, parameter in self.named_parameters():
            if name.endswith("bn_neck.weight"):
                nn.init.normal_(parameter, mean=1.0, std=0.01)
            elif name.endswith("classifier.weight"):
                nn.init.normal_(parameter, std=0.001)

    def load_backbone(self, weights: Mapping[str, Tensor], source: str) -> None:
        load_without_head(self.backbone, weights, source)
        self.infrared_conv1.load_state_dict(self.backbone.conv1.state_dict())
        self.infrared_bn1.load_state_dict(self.backbone.bn1.state_dict())
        for _modality, branch in self._branches():
            if branch.layer4 is not None:
                branch.layer4.load_state_dict(self.backbone.stages[3].state_dict())

    @property
    def embedding_dim(self) -> int:
        return self.backbone.channels

    def embed(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        return self.bn_neck(self._unified(self._shared(self._stem(image_BCHW, modality))))

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        recipe = self.recipe
        need_both_modalities(batch.infrared_B)
        rows = rows_of(batch.infrared_B)
        stem_BCHW = torch.cat([self._stem(batch.image_BCHW[row_B], modality) for modality, row_B in rows.items()])
        identity_B = torch.cat([batch.identity_B[row_B] for row_B in rows.values()])
        infrared_B = torch.cat([batch.infrared_B[row_B] for row_B in rows.values()])
        shared_BCHW = self._shared(stem_BCHW)
        unified_BD = self._unified(shared_BCHW)
        specific_BD = self._specific(shared_BCHW, rows_of(infrared_B))

        unified_BD, identity_B, infrared_B = gather(unified_BD, identity_B, infrared_B)
        rows = rows_of(infrared_B)
        neck_BD = self.bn_neck(unified_BD)
        losses = {
            "identity": cross_entropy(self.classifier(neck_BD).float(), identity_B),
            "triplet": batch_hard_triplet(unified_BD, identity_B, recipe.triplet_margin),
        }
        feature_BD = unified_BD if specific_BD is None else gather(specific_BD)[0]
        for modality, branch in self._branches():
            row_B = rows[modality]
            loss = branch.loss(feature_BD[row_B], identity_B[row_B], recipe.triplet_margin)
            losses[f"intra_{modality}"] = recipe.lam_intra * loss
        if recipe.lam_dist > 0:
            distance = wasserstein if recipe.distribution == "w2" else jeffreys
            losses["distribution"] = recipe.lam_dist * distance(neck_BD[rows["visible"]], neck_BD[rows["infrared"]])
        return losses

    def optimizers(self) -> dict[str, Optimizer]:
        recipe = self.recipe
        heads: list[nn.Parameter] = []
        trunk: list[nn.Parameter] = []
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                (heads if "bn_neck." in name or "classifier." in name else trunk).append(parameter)
        groups = [{"params": heads, "lr": recipe.lr}, {"params": trunk, "lr": recipe.trunk_rate * recipe.lr}]
        return {
            "all": torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay, nesterov=True)
        }

    def _branches(self) -> Iterator[tuple[Modality, Branch]]:
        for modality in MODALITIES:
            if modality in self.branches:
                branch = self.branches[modality]
                assert isinstance(branch, Branch)
                yield modality, branch

    def _stem(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        if modality == "visible":
            return self.backbone.stem(image_BCHW)
        return self.backbone.stem(image_BCHW, self.infrared_conv1, self.infrared_bn1)

    def _shared(self, map_BCHW: Tensor) -> Tensor:
        for stage in self.backbone.stages[:3]:
            map_BCHW = stage(map_BCHW)
        return map_BCHW

    def _unified(self, shared_BCHW: Tensor) -> Tensor:
        return self.pool(self.backbone.stages[3](shared_BCHW))

    def _specific(self, shared_BCHW: Tensor, rows: dict[Modality, Tensor]) -> Tensor | None:
        """Return each image's feature from the branch of its modality, or None if branches share the unified one."""
        pooled = [
            self.pool(branch.layer4(shared_BCHW[rows[modality]]))
            for modality, branch in self._branches()
            if branch.layer4 is not None
        ]
        return torch.cat(pooled) if pooled else None


def rows_of(infrared_B: Tensor) -> dict[Modality, Tensor]:
    """Return the mask of each modality's rows; visible first, the order in which the stems' maps are joined."""
    return {"visible": ~infrared_B, "infrared": infrared_B}


def wasserstein(one_BD: Tensor, other_BD: Tensor) -> Tensor:
    """Squared 2-Wasserstein distance of two Gaussians with diagonal covariance, per dimension."""
    (mean_D, variance_D), (other_mean_D, other_variance_D) = moments(one_BD), moments(other_BD)
    squared_D = (mean_D - other_mean_D).square() + (variance_D.sqrt() - other_variance_D.sqrt()).square()
    return squared_D.mean()


def jeffreys(one_BD: Tensor, other_BD: Tensor) -> Tensor:
    """Mean of the two Kullback-Leibler divergences of Gaussians with diagonal covariance, per dimension.

    Not bounded where a variance is small.
    """
    (mean_D, variance_D), (other_mean_D, other_variance_D) = moments(one_BD), moments(other_BD)
    squared_D = (mean_D - other_mean_D).square()
    ratio_D = (variance_D + squared_D) / (2.0 * other_variance_D)
    other_ratio_D = (other_variance_D + squared_D) / (2.0 * variance_D)
    return 0.5 * (ratio_D + other_ratio_D - 1.0).mean()


def moments(feature_BD: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each dimension in at least float32, the variance with a floor."""
    feature_BD = feature_BD if feature_BD.dtype == torch.float64 else feature_BD.float()
    return feature_BD.mean(0), feature_BD.var(0, unbiased=False) + VARIANCE_FLOOR
