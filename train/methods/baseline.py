"""Two-modality ResNet with cross-entropy and batch-hard triplet: what every paper compares with.

Source: the visible-infrared network of Ye et al., "Deep Learning for Person Re-identification: A Survey and
Outlook", TPAMI 2021, reduced to the parts that no later method drops: separate stems for visible and infrared (conv1
and bn1), one shared trunk, GeM, BNNeck, cross-entropy on the BNNeck output and triplet before it. Deviations:
batch-hard instead of weighted triplet; no non-local blocks. There is no published row for this exact network.

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
from train.backbone import build_backbone
from train.gather import gather
from train.layers import GeneralizedMeanPool, bottleneck_norm
from train.losses import batch_hard_triplet
from train.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.manifest import Modality
    from train.method import Batch


@dataclass(frozen=True, kw_only=True)
class BaselineRecipe(Recipe):
    width_px: int = 144
    height_px: int = 288  # the size of the AGW lineage
    identities_per_batch: int = 8
    images_per_identity: int = 8  # four visible and four infrared: sampler "balanced"
    epochs: int = 80
    lr: float = 3.5e-4
    warmup_epochs: int = 10
    milestones: tuple[int, ...] = (20, 50)
    sampler: str = "balanced"
    triplet_margin: float = 0.3


class Method(train.method.Method):
    name = "baseline"
    default_recipe = BaselineRecipe()
    single_stream = False
    recipe: BaselineRecipe

    def __init__(self, recipe: BaselineRecipe, identity_count: int) -> None:
        super().__init__(recipe, identity_count)
        self.backbone = build_backbone(recipe.backbone, last_stride=1)
        self.infrared_conv1 = copy.deepcopy(self.backbone.conv1)
        self.infrared_bn1 = copy.deepcopy(self.backbone.bn1)
        self.pool = GeneralizedMeanPool()
        self.bn_neck = bottleneck_norm(self.backbone.channels)
        self.classifier = nn.Linear(self.backbone.channels, identity_count, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    def load_backbone(self, weights: Mapping[str, Tensor], source: str) -> None:
        super().load_backbone(weights, source)
        self.infrared_conv1.load_state_dict(self.backbone.conv1.state_dict())
        self.infrared_bn1.load_state_dict(self.backbone.bn1.state_dict())

    @property
    def embedding_dim(self) -> int:
        return self.backbone.channels

    def embed(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        return self.bn_neck(self.pool(self._trunk(self._stem(image_BCHW, modality))))

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        visible_B = ~batch.infrared_B
        map_BCHW = torch.cat(
            [
                self._stem(batch.image_BCHW[visible_B], "visible"),
                self._stem(batch.image_BCHW[batch.infrared_B], "infrared"),
            ]
        )
        identity_B = torch.cat([batch.identity_B[visible_B], batch.identity_B[batch.infrared_B]])
        pooled_BD, identity_B = gather(self.pool(self._trunk(map_BCHW)), identity_B)
        return {
            "identity": cross_entropy(self.classifier(self.bn_neck(pooled_BD)).float(), identity_B),
            "triplet": batch_hard_triplet(pooled_BD, identity_B, self.recipe.triplet_margin),
        }

    def _stem(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        if modality == "visible":
            return self.backbone.stem(image_BCHW)
        return self.backbone.stem(image_BCHW, self.infrared_conv1, self.infrared_bn1)

    def _trunk(self, map_BCHW: Tensor) -> Tensor:
        for stage in self.backbone.stages:
            map_BCHW = stage(map_BCHW)
        return map_BCHW
