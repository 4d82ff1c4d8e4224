"""MPANet: Wu et al., "Discover Cross-Modality Nuances for Visible-Infrared Person Re-Identification", CVPR 2021,
doi 10.1109/CVPR46437.2021.00431.

Target rows [S, read in the tables of later papers]: SYSU-MM01 all-search single-shot, rank-1 70.58, mAP 68.24;
indoor-search single-shot 76.74 and 80.95; RegDB visible to thermal 82.8 and 80.7, thermal to visible 83.7 and 80.9.
A user of the public code reports 65.64 and 62.90 for the first [S, its issue 9].

Three parts: modality alleviation (MAM) behind layers 3 and 4; pattern alignment, six masks that pool one part each
beside the global mean, kept apart by the separation loss; mutual mean learning, a classifier for each modality whose
predictions follow those of the other modality's averaged copy. Verified against the public code (DoubtedSteam/MPANet,
MIT) by golden values: tests/train/test_mpanet.py.

The defaults are the public configuration of SYSU-MM01, that of RegDB is REGDB below.

Deviations from the public code:
- An epoch is a full pass of the sampler: 182 batches on SYSU-MM01, 34 on RegDB. With newer versions of its training
  library the public code stops after about half of that.
- A centre's distance has a floor of 1e-6; the public gradient is NaN where a sample equals its centre. Centres are
  found by identity; the public code takes every K-th row for an anchor.
- A batch without one of the modalities is refused; the public losses are NaN.
- The averaged classifiers have storage of their own; the public constructor lets them share it with the live ones, and
  on a CPU loading a checkpoint then overwrites the live ones.
- Pooling, heads and losses are computed in float32 under mixed precision; the public code casts later.
- Cropping pads with grey (127, 127, 127) and erasing draws its aspect log-uniformly, as later versions of the public
  code's image library do; the version it was written for pads with dark red and draws uniformly.
- On RegDB its evaluation does not normalise the features; ours always does, as an engine does.

Shapes: B batch, C channel, H height, W width, K part pattern, P place (H * W), D embedding, I identities, N identities
in the batch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, instance_norm

import train.method
from train.backbone import build_backbone
from train.gather import gather
from train.layers import bottleneck_norm, load_without_head, without_head
from train.losses import need_both_modalities, pairwise_distance
from train.recipe import Recipe
from train.weights import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.manifest import Modality
    from train.method import Batch

REDUCTION = 16  # channels over hidden channels of MAM's gate
REGDB_IDENTITIES = 206


@dataclass(frozen=True, kw_only=True)
class MpanetRecipe(Recipe):
    height_px: int = 384  # the public code's SYSU-MM01 configuration, as all below
    width_px: int = 128
    identities_per_batch: int = 16
    images_per_identity: int = 8
    epochs: int = 140
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (80, 120)
    seed: int = 1
    erase_area: tuple[float, float] = (0.02, 0.33)
    sampler: str = "interleaved"
    patterns: int = 6
    separation_weight: float = 0.5
    modality_weight: float = 1.0  # the public configuration says 0.5, its code adds the term twice
    mutual_weight: float = 2.5
    center_margin: float = 0.7
    average_rate: float = 0.2


REGDB = MpanetRecipe(height_px=256, identities_per_batch=12, images_per_identity=10, milestones=(110,))


class Mam(nn.Module):
    """Modality alleviation: a gate for each channel chooses between the map and its instance-normalised form."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.channel_attention = nn.Sequential(
            nn.Conv2d(channels, hidden, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        gate_BC11 = self.channel_attention(x_BCHW.mean((2, 3), keepdim=True))
        return gate_BC11 * x_BCHW + (1.0 - gate_BC11) * instance_norm(x_BCHW)


class Method(train.method.Method):
    name = "mpanet"
    default_recipe = MpanetRecipe()
    dataset_recipes: ClassVar[Mapping[str, Recipe]] = {"regdb": REGDB}
    accumulates = False  # each call of losses moves the averaged classifiers
    recipe: MpanetRecipe

    def __init__(self, recipe: MpanetRecipe, identity_count: int) -> None:
        super().__init__(recipe, identity_count)
        # The names of modules are those of the public checkpoints.
        self.backbone = without_head(build_backbone(recipe.backbone, last_stride=1))
        self.backbone.add_module("MAM3", Mam(self.backbone.stage_channels[2]))
        self.backbone.add_module("MAM4", Mam(self.backbone.stage_channels[3]))
        self.spatial_attention = nn.Conv2d(self.backbone.channels, recipe.patterns, 1)
        nn.init.zeros_(self.spatial_attention.bias)  # type: ignore[arg-type]
        self.bn_neck = bottleneck_norm(self.embedding_dim)
        self.classifier, self.visible_classifier, self.infrared_classifier = (
            nn.Linear(self.embedding_dim, identity_count, bias=False) for _ in range(3)
        )
        self.visible_classifier_ = copy.deepcopy(self.visible_classifier).requires_grad_(False)
        self.infrared_classifier_ = copy.deepcopy(self.infrared_classifier).requires_grad_(False)

    def load_backbone(self, weights: Mapping[str, Tensor], source: str) -> None:
        own = {name: value for name, value in self.backbone.state_dict().items() if name.startswith("MAM")}
        load_without_head(self.backbone, {**weights, **own}, source)

    @property
    def embedding_dim(self) -> int:
        return self.backbone.channels * (self.recipe.patterns + 1)

    @classmethod
    def public_shape(cls, weights: Mapping[str, Tensor]) -> tuple[MpanetRecipe, int]:
        identities = rows(weights, "classifier.weight", otherwise=1)
        # Nothing else in the file tells the size of the images.
        recipe = REGDB if identities == REGDB_IDENTITIES else MpanetRecipe()
        return replace(
            recipe, patterns=rows(weights, "spatial_attention.weight", otherwise=recipe.patterns)
        ), identities

    def embed(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        pooled_BD, _mask_BKP = self._parts(image_BCHW)
        return self.bn_neck(pooled_BD)

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        recipe = self.recipe
        pooled_BD, mask_BKP = self._parts(batch.image_BCHW)
        pooled_BD, identity_B, infrared_B = gather(pooled_BD, batch.identity_B, batch.infrared_B)
        need_both_modalities(infrared_B)
        if self.training:
            self._follow(average_rate(recipe.average_rate, epoch))
        with torch.autocast(pooled_BD.device.type, enabled=False):
            feature_BD = self.bn_neck(pooled_BD)
            visible_BD, infrared_BD = feature_BD[~infrared_B], feature_BD[infrared_B]
            visible_BI, infrared_BI = self.visible_classifier(visible_BD), self.infrared_classifier(infrared_BD)
            with torch.no_grad():  # each modality is judged by the other's averaged classifier
                cross_BI = torch.cat([self.infrared_classifier_(visible_BD), self.visible_classifier_(infrared_BD)])
            pull, push = center_cluster(pooled_BD, identity_B, recipe.center_margin)
            return {
                "identity": cross_entropy(self.classifier(feature_BD), identity_B),
                "visible": recipe.modality_weight * cross_entropy(visible_BI, identity_B[~infrared_B]),
                "infrared": recipe.modality_weight * cross_entropy(infrared_BI, identity_B[infrared_B]),
                "kl": recipe.mutual_weight * mutual_divergence(torch.cat([visible_BI, infrared_BI]), cross_BI),
                "center": pull + push,
                # Over this process's images alone: the loop's average of gradients makes it the batch's mean.
                "separation": recipe.separation_weight * pattern_overlap(mask_BKP),
            }

    def _parts(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part means followed by the global mean (B, D), and the masks (B, K, P), in float32."""
        network = self.backbone
        stage1, stage2, stage3, stage4 = network.stages
        map_BCHW = network.get_submodule("MAM3")(stage3(stage2(stage1(network.stem(image_BCHW)))))
        map_BCHW = network.get_submodule("MAM4")(stage4(map_BCHW))
        logit_BKHW = self.spatial_attention(map_BCHW)
        with torch.autocast(image_BCHW.device.type, enabled=False):
            map_BCP, mask_BKP = map_BCHW.float().flatten(2), logit_BKHW.float().sigmoid().flatten(2)
            part_BKC = mask_BKP @ map_BCP.transpose(1, 2) / map_BCP.shape[2]
            return torch.cat([part_BKC.flatten(1), map_BCP.mean(2)], dim=1), mask_BKP

    @torch.no_grad()
    def _follow(self, rate: float) -> None:
        """Move the averaged classifiers towards the live ones."""
        self.visible_classifier_.weight.lerp_(self.visible_classifier.weight, rate)
        self.infrared_classifier_.weight.lerp_(self.infrared_classifier.weight, rate)


def average_rate(rate: float, epoch: int) -> float:
    """Return the share of the live classifiers; epoch counts from 0, the public code's in 100 / (epoch + 1) from 1."""
    return rate * min(1.0, 100.0 / (epoch + 2))


def center_cluster(feature_BD: Tensor, identity_B: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Return the mean distance to the own identity's centre, and the mean lack of margin between two centres.

    Centres are of both modalities together, and gradients flow through them.
    """
    values, group_B, count_N = identity_B.unique(return_inverse=True, return_counts=True)
    sum_ND = feature_BD.new_zeros(len(values), feature_BD.shape[1]).index_add(0, group_B, feature_BD)
    center_ND = sum_ND / count_N[:, None]
    pull = (feature_BD - center_ND[group_B]).square().sum(1).clamp_min(1e-12).sqrt().mean()
    other_NN = ~torch.eye(len(values), dtype=torch.bool, device=feature_BD.device)
    lack_NN = (margin - pairwise_distance(center_ND)).clamp_min(0.0) * other_NN
    return pull, lack_NN.sum() / max(1, len(values) * (len(values) - 1))


def mutual_divergence(own_BI: Tensor, cross_BI: Tensor) -> Tensor:
    """KL(own || cross) of the predictions, averaged over the batch; it is the own prediction that learns."""
    own_log_BI = own_BI.log_softmax(1)
    return (own_log_BI.exp() * (own_log_BI - cross_BI.log_softmax(1))).sum(1).mean()


def pattern_overlap(mask_BKP: Tensor) -> Tensor:
    """Mean product of two different masks, summed over the places: it grows with the size of the map.

    Must not be computed in half precision: on a batch of 128 the sum overflows float16.
    """
    count = mask_BKP.shape[1]
    gram_BKK = mask_BKP @ mask_BKP.transpose(1, 2)
    return gram_BKK.triu(1).sum() / max(1, len(mask_BKP) * count * (count - 1) // 2)
