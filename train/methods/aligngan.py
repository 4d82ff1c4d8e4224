"""AlignGAN: Wang et al., "RGB-Infrared Cross-Modality Person Re-Identification via Joint Pixel and Feature Alignment",
ICCV 2019.

Target rows [the paper's Table 2]: SYSU-MM01 all-search, single-shot rank-1 42.4, mAP 40.7, multi-shot 51.5 and 33.9;
indoor-search, single-shot 45.9 and 54.3, multi-shot 57.1 and 45.3; RegDB [a later paper's table], visible to thermal
57.9 and 53.6, thermal to visible 56.3 and 53.4. The authors say that their released weights score slightly below.

A generator translates visible images to infrared (pixel alignment), one encoder embeds fake and real infrared alike
(feature alignment), and a joint discriminator judges pairs of image and feature map. Verified against the public code
(wangguanan/AlignGAN, MIT) by golden values: tests/train/test_aligngan.py.

Where they disagree the code is followed, not the paper: the real pair is the positive one, the joint discriminator sees
five sorts of pairs, the discriminators are trained by least squares, two warm-up phases with discriminators of their
own come first, and CycleGAN's identity mapping is a loss too.

An epoch is 100 iterations, which the public code calls a step. Deviations from the public code:
- Images are squashed by Pillow's antialiased bilinear filter, as everywhere here; the public code's is bicubic.
- One sampler draws both modalities from one shuffled list of identities; the public code has two that walk the same
  seeds. A wrong-identity pair is rolled by K rows whatever K is; there, by 4.
- A resumed run goes on with the state of its optimisers; there they begin anew.
- Several GPUs share the encoder's batch statistics; there each has its own, and those of the first are kept.
- Mixed precision, which the public code has not, leaves losses, pooling and cosines in float32.

Shapes: B batch, C channel, H height, W width, D embedding, I identities. Inside, images are in [-1, 1]; x are visible
and y infrared ones, and row i of x and row i of y show the same identity.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import batch_norm, cross_entropy, interpolate, l1_loss, normalize

import train.method
from engines.errors import BadInput
from train.backbone import build_backbone
from train.export import IMAGENET_MEAN, IMAGENET_STD
from train.gather import gather, process_count
from train.layers import load_without_head, without_head
from train.method import Update
from train.paired_sampler import FEATURE, PIXEL, PairedRecipe, phase_of
from train.weights import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch.optim import Optimizer

    from engines.manifest import Modality
    from train.method import Batch

EMBEDDED = 256  # length of the triplet's embedding and of the classifier's bottleneck; neither ships
RESIDUAL_BLOCKS = 4
ADAM_BETAS = (0.5, 0.999)
MOMENTUM = 0.9
ENCODER_PLACES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
PUBLIC_NAMES = {
    **{f"backbone.{name}.": f"resnet_conv.{place}." for name, place in ENCODER_PLACES.items()},
    "heads.bottle.": "classifier0.bottle.",
    "heads.classifier.": "classifier0.classifier.0.",
    "heads.embedder.": "embedder0.",
}


@dataclass(frozen=True, kw_only=True)
class AlignganRecipe(PairedRecipe):
    height_px: int = 128  # the public code's SYSU-MM01 configuration, as all below
    width_px: int = 128
    epochs: int = 251
    lr: float = 2e-4  # of generators and discriminators (Adam)
    encoder_rate: float = 100.0  # times lr: 0.02 (SGD)
    heads_rate: float = 1000.0  # times lr: 0.2 (SGD)
    weight_decay: float = 5e-4  # of encoder and heads
    milestones: tuple[int, ...] = (200,)
    pad_px: int = 0
    erase_probability: float = 0.0
    feature_height_px: int = 384  # what the encoder sees
    feature_width_px: int = 192
    generator_width: int = 64
    discriminator_width: int = 64
    triplet_margin: float = 1.0
    feature_adversarial_weight: float = 0.1
    gan_weight: float = 0.5
    cycle_weight: float = 5.0
    reconstruction_weight: float = 2.5
    pixel_identity_weight: float = 0.1  # of the triplets and of the cross-entropy

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("feature_height_px", "feature_width_px", "generator_width", "discriminator_width"):
            if getattr(self, name) < 1:
                raise BadInput(f"setting {name}: expected at least 1, got {getattr(self, name)}")
        shorter, longer = sorted((self.height_px, self.width_px))
        # Two halvings must be undone exactly, and five must leave two places to normalise over.
        if shorter < 32 or longer < 64 or shorter % 4 or longer % 4:
            got = f"{self.height_px} x {self.width_px}"
            raise BadInput(f"settings height_px, width_px: expected multiples of 4, at least 64 and 32, got {got}")


class RunningInstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation that evaluates with running statistics: then a fixed affine, and exported as one."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True, track_running_stats=True)

    def forward(self, input: Tensor) -> Tensor:
        if self.training:
            return super().forward(input)
        return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, 1, 1, bias=False) for _ in range(2))
        self.model = nn.Sequential(*normalised(first), second, RunningInstanceNorm(channels))

    def forward(self, map_BCHW: Tensor) -> Tensor:
        return map_BCHW + self.model(map_BCHW)


def generator(width: int) -> nn.Module:
    """Build what translates images; names of modules are those of the public checkpoints, here and below."""
    model = nn.Sequential(
        *normalised(nn.Conv2d(3, width, 7, 1, 3, bias=False)),
        *normalised(nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False)),
        *normalised(nn.Conv2d(2 * width, 4 * width, 4, 2, 1, bias=False)),
        *(ResidualBlock(4 * width) for _ in range(RESIDUAL_BLOCKS)),
        *normalised(nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False)),
        *normalised(nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=False)),
        nn.Conv2d(width, 3, 7, 1, 3, bias=False),
        nn.Tanh(),
    )
    return start_small(nn.Sequential(OrderedDict(model=model)))


def normalised(conv: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, ...]:
    return conv, RunningInstanceNorm(conv.out_channels), nn.ReLU(inplace=True)


def image_discriminator(width: int) -> nn.Module:
    """Build a PatchGAN discriminator of images; a score for each patch, 1 for real."""
    stack = [layer for factor in (1, 2, 4, 8) for layer in halving(factor * width, 2 * factor * width)]
    model = nn.Sequential(*halving(3, width, norm=False), *stack)
    score = nn.Conv2d(16 * width, 1, 3, 1, 1, bias=False)
    return start_small(nn.Sequential(OrderedDict(model=model, conv_src=score)))


class JointDiscriminator(nn.Module):
    """PatchGAN discriminator of pairs: an image, and the encoder's map of an image of the same identity or not."""

    def __init__(self, width: int, map_channels: int) -> None:
        super().__init__()
        self.image_convs = nn.Sequential(
            *halving(3, width, norm=False), *halving(width, 2 * width), *halving(2 * width, 4 * width)
        )
        self.feature_convs = nn.Sequential(nn.Conv2d(map_channels, width, 1), nn.LeakyReLU(0.2, inplace=True))
        self.dis_convs = nn.Sequential(*halving(5 * width, 8 * width), *halving(8 * width, 16 * width))
        self.conv_src = nn.Conv2d(16 * width, 1, 3, 1, 1, bias=False)
        start_small(self)

    def forward(self, image_BCHW: Tensor, map_BCHW: Tensor) -> Tensor:
        image_map_BCHW = self.image_convs(image_BCHW)
        resized_BCHW = interpolate(self.feature_convs(map_BCHW), image_map_BCHW.shape[2:], mode="bilinear")
        return self.conv_src(self.dis_convs(torch.cat([image_map_BCHW, resized_BCHW], dim=1)))


def halving(channels_in: int, channels_out: int, *, norm: bool = True) -> list[nn.Module]:
    """Return the layers of one step of a discriminator's stack."""
    norms = [nn.InstanceNorm2d(channels_out)] if norm else []
    return [nn.Conv2d(channels_in, channels_out, 4, 2, 1), *norms, nn.LeakyReLU(0.2, inplace=True)]


def start_small(network: nn.Module) -> nn.Module:
    """Draw the weights of convolutions from a normal distribution of deviation 0.02; biases keep PyTorch's start."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
    return network


class Heads(nn.Module):
    """The embedding that triplets compare, and the logits; dropout stands before the classifier alone."""

    def __init__(self, channels: int, identity_count: int) -> None:
        super().__init__()
        linear, norm = nn.Linear(channels, EMBEDDED), nn.BatchNorm1d(EMBEDDED)
        self.dropout = nn.Dropout(0.5)
        self.bottle = nn.Sequential(linear, norm, nn.LeakyReLU(0.1))
        self.classifier = nn.Linear(EMBEDDED, identity_count)
        self.embedder = nn.Linear(channels, EMBEDDED)
        nn.init.kaiming_normal_(linear.weight, mode="fan_out")
        nn.init.normal_(norm.weight, mean=1.0, std=0.02)
        nn.init.normal_(self.classifier.weight, std=0.001)
        for bias in (linear.bias, self.classifier.bias):
            nn.init.zeros_(bias)

    def forward(self, pooled_BC: Tensor) -> tuple[Tensor, Tensor]:
        return self.embedder(pooled_BC), self.classifier(self.bottle(self.dropout(pooled_BC)))


class Encoded(NamedTuple):
    map_BCHW: Tensor
    embedding_BD: Tensor
    logit_BI: Tensor


class Method(train.method.Method):
    name = "aligngan"
    default_recipe = AlignganRecipe()
    single_stream = False
    accumulates = False  # one network's step uses what the others' steps left, and clears the gradients they left in it
    recipe: AlignganRecipe

    def __init__(self, recipe: AlignganRecipe, identity_count: int) -> None:
        super().__init__(recipe, identity_count)
        backbone = without_head(build_backbone(recipe.backbone, last_stride=1))
        # In the order of the public files model-{0 .. 7}_{step}.pkl.
        self.to_infrared, self.to_visible = generator(recipe.generator_width), generator(recipe.generator_width)
        self.discriminator_visible = image_discriminator(recipe.discriminator_width)
        self.discriminator_joint = JointDiscriminator(recipe.discriminator_width, backbone.channels)
        self.warm_discriminator_visible = image_discriminator(recipe.discriminator_width)
        self.warm_discriminator_infrared = image_discriminator(recipe.discriminator_width)
        self.backbone = backbone
        self.heads = Heads(backbone.channels, identity_count)

    def load_backbone(self, weights: Mapping[str, Tensor], source: str) -> None:
        load_without_head(self.backbone, weights, source)

    @property
    def embedding_dim(self) -> int:
        return self.backbone.channels

    @classmethod
    def public_shape(cls, weights: Mapping[str, Tensor]) -> tuple[AlignganRecipe, int]:
        return AlignganRecipe(), rows(weights, "7.module.classifier0.classifier.0.weight", otherwise=1)

    def public_name(self, name: str) -> str:
        network, _, rest = name.partition(".")
        for own, public in PUBLIC_NAMES.items():
            if name.startswith(own):
                rest = public + name.removeprefix(own)
        return f"{[*dict(self.named_children())].index(network)}.module.{rest}"

    def embed(self, image_BCHW: Tensor, modality: Modality) -> Tensor:
        symmetric_BCHW = to_symmetric(image_BCHW)
        if modality == "visible":
            symmetric_BCHW = self.to_infrared(symmetric_BCHW)
        return wide(self._map(symmetric_BCHW)).mean((2, 3))

    def optimizers(self) -> dict[str, Optimizer]:
        recipe = self.recipe
        rates = {self.backbone: recipe.encoder_rate, self.heads: recipe.heads_rate}
        groups = [{"params": list(part.parameters()), "lr": rate * recipe.lr} for part, rate in rates.items()]

        def adam(*networks: nn.Module) -> Optimizer:
            return torch.optim.Adam(nn.ModuleList(networks).parameters(), lr=recipe.lr, betas=ADAM_BETAS)

        return {
            "encoder": torch.optim.SGD(groups, momentum=MOMENTUM, weight_decay=recipe.weight_decay, nesterov=True),
            "generators": adam(self.to_infrared, self.to_visible),
            "discriminators_visible": adam(self.discriminator_visible, self.warm_discriminator_visible),
            "discriminators_infrared": adam(self.discriminator_joint, self.warm_discriminator_infrared),
        }

    def updates(self, batch: Batch, epoch: int) -> Iterator[Update]:
        phase = phase_of(self.recipe, epoch)
        if phase == "feature":
            yield self._warm_feature_update(batch)
            return
        if phase == "joint":
            yield self._feature_update(*self._pair(batch, FEATURE))
        yield from self._pixel_updates(*self._pair(batch, PIXEL), warm=phase == "pixel")

    def _warm_feature_update(self, batch: Batch) -> Update:
        infrared_B = (batch.part_B == FEATURE) & batch.infrared_B
        identity_B = batch.identity_B[infrared_B]
        real = self._encode(to_symmetric(batch.image_BCHW[infrared_B]))
        embedding_BD, whole_B = gather(real.embedding_BD, identity_B)
        triplet = cosine_triplet(embedding_BD, embedding_BD, whole_B, self.recipe.triplet_margin)
        losses = {"identity": cross_entropy(wide(real.logit_BI), identity_B), "triplet": triplet}
        return Update(losses=losses, optimizers=("encoder",))

    def _feature_update(self, x_BCHW: Tensor, y_BCHW: Tensor, identity_B: Tensor) -> Update:
        """Train encoder and heads; the discriminator gets the real image with the fake image's map."""
        with torch.no_grad():
            fake_y_BCHW = self.to_infrared(x_BCHW)
        fake, real = self._encode(fake_y_BCHW), self._encode(y_BCHW)
        identity = cross_entropy(wide(fake.logit_BI), identity_B) + cross_entropy(wide(real.logit_BI), identity_B)
        adversarial = squared_from(self.discriminator_joint(y_BCHW, fake.map_BCHW), 1.0)
        losses = {
            "feature_identity": identity,
            "feature_triplet": self._triplets(fake, real, identity_B),
            "feature_adversarial": self.recipe.feature_adversarial_weight * adversarial,
        }
        return Update(losses=losses, optimizers=("encoder",))

    def _pixel_updates(self, x_BCHW: Tensor, y_BCHW: Tensor, identity_B: Tensor, *, warm: bool) -> Iterator[Update]:
        """Train the generators, then each discriminator with what was computed before the generators' step."""
        recipe = self.recipe
        judge_x = self.warm_discriminator_visible if warm else self.discriminator_visible
        judge_y = (lambda image, _: self.warm_discriminator_infrared(image)) if warm else self.discriminator_joint
        fake_y_BCHW, fake_x_BCHW = self.to_infrared(x_BCHW), self.to_visible(y_BCHW)
        with torch.no_grad():  # no generator stands before it, and nobody uses the encoder's gradients of this update
            real = self._encode(y_BCHW)
        fake = self._encode(fake_y_BCHW)
        gan = squared_from(judge_x(fake_x_BCHW), 1.0) + squared_from(judge_y(fake_y_BCHW, real.map_BCHW), 1.0)
        cycle = l1_loss(self.to_visible(fake_y_BCHW), x_BCHW) + l1_loss(self.to_infrared(fake_x_BCHW), y_BCHW)
        reconstruction = l1_loss(self.to_visible(x_BCHW), x_BCHW) + l1_loss(self.to_infrared(y_BCHW), y_BCHW)
        losses = {
            "gan": recipe.gan_weight * gan,
            "cycle": recipe.cycle_weight * cycle,
            "reconstruction": recipe.reconstruction_weight * reconstruction,
            "pixel_triplet": recipe.pixel_identity_weight * self._triplets(fake, real, identity_B),
            "pixel_identity": recipe.pixel_identity_weight * cross_entropy(wide(fake.logit_BI), identity_B),
        }
        yield Update(losses=losses, optimizers=("generators",))

        fake_y_BCHW, fake_x_BCHW = fake_y_BCHW.detach(), fake_x_BCHW.detach()
        loss = squared_from(judge_x(x_BCHW), 1.0) + squared_from(judge_x(fake_x_BCHW), 0.0)
        yield Update(losses={"discriminator_visible": 0.5 * loss}, optimizers=("discriminators_visible",))

        real_BCHW, fake_BCHW = real.map_BCHW, fake.map_BCHW.detach()
        unlike = [(fake_y_BCHW, real_BCHW)]
        if not warm:
            other_BCHW = roll_identities(y_BCHW, recipe.images_per_identity)
            unlike += [(other_BCHW, real_BCHW), (y_BCHW, fake_BCHW), (fake_y_BCHW, fake_BCHW)]
        wrong = torch.stack([squared_from(judge_y(*pair), 0.0) for pair in unlike]).mean()
        loss = squared_from(judge_y(y_BCHW, real_BCHW), 1.0) + wrong
        name = "discriminator_infrared" if warm else "discriminator_joint"
        yield Update(losses={name: 0.5 * loss}, optimizers=("discriminators_infrared",))

    def _pair(self, batch: Batch, part: int) -> tuple[Tensor, Tensor, Tensor]:
        visible_B, infrared_B = ((batch.part_B == part) & (batch.infrared_B == infrared) for infrared in (False, True))
        identity_B = batch.identity_B[visible_B]
        if not len(identity_B) or not torch.equal(identity_B, batch.identity_B[infrared_B]):
            raise BadInput("expected pairs of a visible and an infrared image; use sampler=paired and fewer processes")
        image_BCHW = to_symmetric(batch.image_BCHW)
        return image_BCHW[visible_B], image_BCHW[infrared_B], identity_B

    def _map(self, symmetric_BCHW: Tensor) -> Tensor:
        return self.backbone(to_encoder(symmetric_BCHW, self.recipe.feature_height_px, self.recipe.feature_width_px))

    def _encode(self, symmetric_BCHW: Tensor) -> Encoded:
        """Encode one modality alone, because batch normalisation must not see the other."""
        map_BCHW = self._map(symmetric_BCHW)
        return Encoded(map_BCHW, *self.heads(wide(map_BCHW).mean((2, 3))))

    def _triplets(self, fake: Encoded, real: Encoded, identity_B: Tensor) -> Tensor:
        fake_BD, real_BD, whole_B = gather(fake.embedding_BD, real.embedding_BD, identity_B)
        margin = self.recipe.triplet_margin
        return cosine_triplet(fake_BD, real_BD, whole_B, margin) + cosine_triplet(real_BD, fake_BD, whole_B, margin)


def to_symmetric(image_BCHW: Tensor) -> Tensor:
    """Turn an image normalised with the ImageNet mean and deviation back, to [-1, 1]."""
    mean_C11, std_C11 = (image_BCHW.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image_BCHW * std_C11 + mean_C11) * 2.0 - 1.0


def to_encoder(symmetric_BCHW: Tensor, height_px: int, width_px: int) -> Tensor:
    """Enlarge and normalise an image in [-1, 1] for the encoder; differentiable."""
    large_BCHW = interpolate(wide(symmetric_BCHW), (height_px, width_px), mode="bilinear")
    mean_C11, std_C11 = (large_BCHW.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((large_BCHW + 1.0) / 2.0 - mean_C11) / std_C11


def cosine_triplet(anchor_BD: Tensor, other_BD: Tensor, identity_B: Tensor, margin: float) -> Tensor:
    """Batch-hard triplet loss on cosines; positives and negatives are rows of other, which has the same identities."""
    with torch.autocast(anchor_BD.device.type, enabled=False):
        cosine_BB = normalize(wide(anchor_BD), dim=1) @ normalize(wide(other_BD), dim=1).T
    same_BB = identity_B[:, None] == identity_B[None, :]
    positive_B = cosine_BB.masked_fill(~same_BB, torch.inf).amin(1)
    negative_B = cosine_BB.masked_fill(same_BB, -torch.inf).amax(1)
    return (margin + negative_B - positive_B).clamp_min(0.0).mean()


def roll_identities(rows_B: Tensor, images: int) -> Tensor:
    """Return rows of the same length that show other identities: those of all processes, moved on by K."""
    (whole_B,) = gather(rows_B)
    rolled_B = whole_B.roll(images, 0)
    return rolled_B if process_count() == 1 else rolled_B.chunk(process_count())[distributed.get_rank()]


def squared_from(score_B1HW: Tensor, target: float) -> Tensor:
    """Least-squares GAN loss: the mean squared distance of the patches' scores from 1 (real) or 0."""
    return (wide(score_B1HW) - target).square().mean()


def wide(value: Tensor) -> Tensor:
    """Return value in at least float32; autocast leaves it in half precision."""
    return value.to(torch.promote_types(value.dtype, torch.float32))
