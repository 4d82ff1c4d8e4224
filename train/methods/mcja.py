"""MCJA: Liang et al., "Bridging the Gap: Multi-level Cross-modality Joint Alignment for Visible-infrared Person
Re-identification", TCSVT 2024, doi 10.1109/tcsvt.2024.3377252.

Target row: SYSU-MM01 all-search single-shot, rank-1 89.51, mAP 87.58 WITH its transductive re-ranking MSER (paper's
abstract); no row without MSER could be found, so none is quoted.

Three parts: VIMC, four equally likely colour changes of visible training images (train.augment, "vimc"); MDA, the
attention between the blocks of layers 2 and 3; CMR, the retrieval loss below. Verified against the public code
(workingcoder/MCJA, MIT) by golden values: tests/train/test_mcja.py.

Deviations from the public code; where there is a recipe setting, its default is the sound choice:
- `cutmix_transposed`: the public cutmix reads (width, height) as (height, width), so its patch never reaches the lower
  half of the body and 27 % of calls paste nothing. Default False: the patch may fall anywhere.
- CMR is evaluated by its closed form where that is exact (four or more gallery items) instead of by torchsort.
- A batch without both modalities, on which the public code crashes, has a CMR of 0.
- The classifier starts from a normal distribution of deviation 0.001; the public initialisation is not documented.

Shapes: B batch, C channel, H height, W width, M contexts, D embedding, Q query, G gallery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

import train.method
from train.backbone import build_backbone
from train.gather import gather
from train.layers import GeneralizedMeanPool, bottleneck_norm
from train.recipe import Recipe
from train.soft_rank import soft_rank
from train.weights import rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.manifest import Modality
    from train.method import Batch

SOFT_RANK_STRENGTH = 0.5  # public code; with distances in [0, 1] it makes the closed form below exact for G >= 4
CLOSED_FORM_FROM = 4


@dataclass(frozen=True, kw_only=True)
class McjaRecipe(Recipe):
    height_px: int = 384  # the public code's SYSU-MM01 configuration, as all below
    width_px: int = 192
    identities_per_batch: int = 8
    images_per_identity: int = 16
    epochs: int = 140
    lr: float = 3.5e-4
    weight_decay: float = 5e-4
    milestones: tuple[int, ...] = (80, 120)
    augment: str = "vimc"
    sampler: str = "mixed"
    contexts: int = 2  # M of MDA: 2 on SYSU-MM01, 12 on RegDB
    cutmix_transposed: bool = False


REGDB = McjaRecipe(identities_per_batch=4, images_per_identity=32, epochs=300, milestones=(300,), contexts=12)


class Mda(nn.Module):
    """MDA, the journal version's attention: gate channels by M spatial contexts; the identity at initialisation."""

    def __init__(self, channels: int, contexts: int) -> None:
        super().__init__()
        self.sc_conv = nn.Conv2d(channels, contexts, 1)
        self.ca_conv = nn.Conv1d(channels, channels, contexts, groups=channels, bias=False)
        self.ca_bn = nn.BatchNorm1d(channels)
        self.norm_bn = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm_bn.weight)
        nn.init.zeros_(self.norm_bn.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        mask_BMP = self.sc_conv(x_BCHW).flatten(2).softmax(2)
        context_BCM = x_BCHW.flatten(2) @ mask_BMP.transpose(1, 2)
        gate_BC1 = self.ca_bn(self.ca_conv(context_BCM)).sigmoid()
        return x_BCHW + self.norm_bn(gate_BC1[..., None] * x_BCHW)


class Method(train.method.Method):
    name = "mcja"
    default_recipe = McjaRecipe()
    dataset_recipes: ClassVar[Mapping[str, Recipe]] = {"regdb": REGDB}
    recipe: McjaRecipe

    def __init__(self, recipe: McjaRecipe, identity_count: int) -> None:
        super().__init__(recipe, identity_count)
        self.backbone = build_backbone(recipe.backbone, last_stride=2)
        channels, depths = self.backbone.stage_channels, [len(stage) for stage in self.backbone.stages]
        # Behind the last two blocks of layer2 and the last three of layer3. A shorter network has as many as it has
        # blocks; the names MDA_2 and MDA_3 are those of the public checkpoints.
        counts = {1: min(2, depths[1]), 2: min(3, depths[2])}
        self.first_attended = {stage: depths[stage] - count for stage, count in counts.items()}
        self.MDA_2 = nn.ModuleList(Mda(channels[1], recipe.contexts) for _ in range(counts[1]))
        self.MDA_3 = nn.ModuleList(Mda(channels[2], recipe.contexts) for _ in range(counts[2]))
        self.pool = GeneralizedMeanPool()
        self.bn_neck = bottleneck_norm(self.backbone.channels)
        self.classifier = nn.Linear(self.backbone.channels, identity_count, bias=False)
        nn.init.normal_(self.classifier.weight, std=0.001)

    @property
    def embedding_dim(self) -> int:
        return self.backbone.channels

    @classmethod
    def public_shape(cls, weights: Mapping[str, Tensor]) -> tuple[McjaRecipe, int]:
        contexts = rows(weights, "MDA_2.0.sc_conv.weight", otherwise=McjaRecipe.contexts)
        recipe = replace(McjaRecipe(), contexts=contexts)
        for known in cls.dataset_recipes.values():  # where the contexts tell the data set: 12 on RegDB
            if isinstance(known, McjaRecipe) and known.contexts == contexts:
                recipe = known
        return recipe, rows(weights, "classifier.weight", otherwise=1)

    def embed(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        return self.bn_neck(self._pooled(image_BCHW))

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        pooled_BD = self._pooled(batch.image_BCHW)
        pooled_BD, identity_B, infrared_B = gather(pooled_BD, batch.identity_B, batch.infrared_B)
        feature_BD = self.bn_neck(pooled_BD)
        return {
            "identity": cross_entropy(self.classifier(feature_BD).float(), identity_B),
            "cmr": cross_modality_retrieval(feature_BD, identity_B, infrared_B),
        }

    def _pooled(self, image_BCHW: Tensor) -> Tensor:
        return self.pool(self.backbone(image_BCHW, self._attend))

    def _attend(self, stage: int, block: int, map_BCHW: Tensor) -> Tensor:
        if stage not in self.first_attended or block < self.first_attended[stage]:
            return map_BCHW
        attentions = self.MDA_2 if stage == 1 else self.MDA_3
        return attentions[block - self.first_attended[stage]](map_BCHW)


def cross_modality_retrieval(feature_BD: Tensor, identity_B: Tensor, infrared_B: Tensor) -> Tensor:
    """CMR loss: soft ranks of the other modality's items against 1 for a match and G for a mismatch.

    Each modality queries the other inside the batch; queries without a match or without a mismatch are dropped, and
    so is a direction without queries. With 128 images it stays near 31.5 whatever is learned: its moving part is small.
    """
    unit_BD = normalize(feature_BD if feature_BD.dtype == torch.float64 else feature_BD.float(), dim=1)
    terms = [
        _retrieval(unit_BD[query_B], unit_BD[~query_B], identity_B[query_B], identity_B[~query_B])
        for query_B in (~infrared_B, infrared_B)
    ]
    kept = [term for term in terms if term is not None]
    return torch.stack(kept).mean() if kept else unit_BD.sum() * 0.0


def _retrieval(query_QD: Tensor, gallery_GD: Tensor, identity_Q: Tensor, identity_G: Tensor) -> Tensor | None:
    count = len(identity_G)
    match_QG = identity_Q[:, None] == identity_G[None, :]
    kept_Q = match_QG.any(1) & ~match_QG.all(1)
    if not kept_Q.any():
        return None
    match_QG = match_QG[kept_Q]
    cosine_QG = query_QD[kept_Q] @ gallery_GD.T
    if count < CLOSED_FORM_FROM:
        rank_QG = soft_rank((1.0 - cosine_QG) / 2.0, SOFT_RANK_STRENGTH)
        target_QG = torch.where(match_QG, 1.0, float(count)).to(rank_QG.dtype)
        return (rank_QG - target_QG).abs().mean()
    # Ranks span at most 2 while the permutahedron's weights span G - 1, so isotonic regression pools everything and
    # |rank - target| is affine in the similarities (derived in shared/spec/mcja.md 2.2; tested against soft_rank).
    matches_Q = match_QG.sum(1).to(cosine_QG.dtype)
    match_mean_Q = (cosine_QG * match_QG).sum(1) / matches_Q
    mismatch_mean_Q = (cosine_QG * ~match_QG).sum(1) / (count - matches_Q)
    weight_Q = 2.0 * matches_Q * (count - matches_Q) / count**2
    return ((count - 1) / 2.0 + weight_Q * (mismatch_mean_Q - match_mean_Q)).mean()
