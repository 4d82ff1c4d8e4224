"""AlignGAN against the golden values of its public code (shared/spec/aligngan.md 1.9) and its losses written out."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, interpolate

from engines.errors import BadInput
from tests.shared_material import shared_folder
from train.export import IMAGENET_MEAN, IMAGENET_STD
from train.loop import learning_rate_factor
from train.method import Batch
from train.methods import aligngan
from train.methods.aligngan import AlignganRecipe, Heads, Method, RunningInstanceNorm, cosine_triplet, to_encoder
from train.paired_sampler import FEATURE, PIXEL, phase_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.optim import Optimizer

# CPU float32. Measured: 3e-6 relative, but 3e-5 of the joint discriminator's scores, which weigh maps of size 3000.
RELATIVE = 1e-4
SMALL = AlignganRecipe(
    backbone="resnet_small", height_px=64, width_px=32, feature_height_px=96, feature_width_px=48, generator_width=8,
    discriminator_width=8, identities_per_batch=3, images_per_identity=2, pixel_identities=2, iterations_per_epoch=2,
    feature_epochs=1, pixel_epochs=1, epochs=3, milestones=(2,),
)  # fmt: skip
STATISTICS = tuple(torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
EPOCH_OF = {"feature": 0, "pixel": 1, "joint": 2}


def fill(network: nn.Module, *, encoder: bool = False) -> None:
    """Give item k of a network's state dict the values that the golden numbers were measured with."""
    filled: dict[str, Tensor] = {}
    for place, (name, old) in enumerate(network.state_dict().items()):
        generator = torch.Generator().manual_seed(1000 + place)
        if name.endswith("num_batches_tracked"):
            filled[name] = old
        elif name.endswith("running_var"):
            filled[name] = 0.5 + torch.rand(old.shape, generator=generator)
        else:
            value = torch.randn(old.shape, generator=generator)
            if old.ndim >= 2:
                filled[name] = value * (math.sqrt(2 / old[0].numel()) if encoder else 0.02)
            else:
                filled[name] = 1 + 0.1 * value if name.endswith("weight") else 0.1 * value
    network.load_state_dict(filled)


def picture(seed: int, count: int = 2) -> Tensor:
    """Images in [-1, 1]."""
    return torch.rand(count, 3, 128, 128, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def without_dropout(method: Method) -> Method:
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return method


def full_method_without_values() -> Method:
    with torch.device("meta"):
        return Method(AlignganRecipe(), 395)


@pytest.fixture(scope="module")
def filled() -> Method:
    method = without_dropout(Method(AlignganRecipe(), 395))
    for name, network in method.named_children():
        fill(network, encoder=name == "backbone")
    return method


def test_the_state_dict_is_that_of_the_public_files_in_their_order() -> None:
    files = json.loads(shared_folder("golden/aligngan_state_dict_keys.json").read_text())
    assert list(files) == [
        "G_rgb2ir", "G_ir2rgb", "D_rgb", "D_ir", "D_rgb_warmup", "D_ir_warmup", "encoder", "embeder",
    ]  # fmt: skip
    public = [(f"{i}.{key}", tuple(shape)) for i, keys in enumerate(files.values()) for key, shape in keys.items()]
    method = full_method_without_values()
    assert [(method.public_name(name), tuple(value.shape)) for name, value in method.state_dict().items()] == public
    weights = {name: torch.empty(shape, device="meta") for name, shape in public}
    assert Method.public_shape(weights) == (AlignganRecipe(), 395)


def test_parameter_counts() -> None:
    generator, plain = (6_053_504, 5_389), (11_155_392, 0)
    counts = [
        (sum(item.numel() for item in network.parameters()), sum(item.numel() for item in network.buffers()))
        for network in full_method_without_values().children()
    ]
    assert counts == [
        generator,
        generator,
        plain,
        (11_810_816, 0),
        plain,
        plain,
        (23_508_032, 53_173),
        (1_151_115, 513),
    ]


def test_generator_and_image_discriminator_equal_the_public_ones() -> None:
    generator, discriminator = aligngan.generator(64), aligngan.image_discriminator(64)
    fill(generator)
    fill(discriminator)
    with torch.no_grad():
        image_BCHW = generator.eval()(picture(7))
        assert image_BCHW.mean().item() == pytest.approx(0.0509384, rel=RELATIVE)
        assert image_BCHW.abs().mean().item() == pytest.approx(0.1122681, rel=RELATIVE)
        first = [0.0311124, 0.0147822, 0.1187350, 0.0016047]
        assert image_BCHW.flatten()[:4].tolist() == pytest.approx(first, rel=RELATIVE)
        image_BCHW = generator.train()(picture(7))
        assert image_BCHW.mean().item() == pytest.approx(0.2030544, rel=RELATIVE)
        assert image_BCHW.abs().mean().item() == pytest.approx(0.4659871, rel=RELATIVE)
        score_B1HW = discriminator(picture(7))
        assert score_B1HW.shape == (2, 1, 4, 4)
        assert score_B1HW.mean().item() == pytest.approx(0.2172493, rel=RELATIVE)


def test_what_the_encoder_sees_equals_the_public_code() -> None:
    image_BCHW = to_encoder(picture(8), 384, 192)
    assert image_BCHW.mean().item() == pytest.approx(0.2264960, rel=RELATIVE)
    assert image_BCHW.abs().mean().item() == pytest.approx(0.7436780, rel=RELATIVE)


def test_triplet_equals_the_public_code() -> None:
    generator = torch.Generator().manual_seed(5)
    one_BD, other_BD = (torch.randn(16, 256, generator=generator) for _ in range(2))
    identity_B = torch.arange(4).repeat_interleave(4)
    assert cosine_triplet(one_BD, other_BD, identity_B, 1.0).item() == pytest.approx(1.1844971, rel=1e-6)
    assert cosine_triplet(one_BD, one_BD, identity_B, 1.0).item() == pytest.approx(1.1395450, rel=1e-6)


def test_encoder_and_joint_discriminator_equal_the_public_ones(filled: Method) -> None:
    with torch.no_grad():
        encoded = filled.eval()._encode(picture(8))
        score_B1HW = filled.discriminator_joint(picture(7), encoded.map_BCHW)
    assert encoded.map_BCHW.shape == (2, 2048, 24, 12)
    assert (encoded.embedding_BD.shape, encoded.logit_BI.shape) == ((2, 256), (2, 395))
    assert encoded.map_BCHW.mean().item() == pytest.approx(3019.3865, rel=RELATIVE)
    features = [7098.119, 7037.196, 1372.827, 4926.546]
    assert encoded.map_BCHW.mean((2, 3))[0, :4].tolist() == pytest.approx(features, rel=RELATIVE)
    logits = [-630.126, -382.001, 1856.276, 201.900]
    assert encoded.logit_BI[0, :4].tolist() == pytest.approx(logits, rel=RELATIVE)
    assert score_B1HW.shape == (2, 1, 4, 4)
    assert score_B1HW.mean().item() == pytest.approx(-0.0248075, rel=RELATIVE)


GAN_TERMS = {"cycle": 10 * 0.644694, "reconstruction": 5 * 0.644382, "pixel_triplet": 0.1 * 2.001673}
GOLDEN_LOSSES = {  # the public values of the terms, with their weights
    "pixel": {"gan": 1.766835, **GAN_TERMS, "pixel_identity": 0.1 * 5.961365, "discriminators": 2.888340},
    "joint": {"gan": 2.108160, **GAN_TERMS, "pixel_identity": 0.1 * 5.961365, "discriminators": 3.000694},
    "feature": {
        "feature_identity": 5.989140 + 6.042278, "feature_triplet": 2.001673, "feature_adversarial": 0.1 * 2.206825,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("step", GOLDEN_LOSSES)
def test_losses_equal_the_public_code(step: str, filled: Method) -> None:
    method = copy.deepcopy(filled).train()
    identity_B = torch.arange(2).repeat_interleave(4)
    x_BCHW, y_BCHW = (picture(seed, 8) for seed in ((13, 14) if step == "feature" else (11, 12)))
    with torch.no_grad():
        if step == "feature":
            updates = [method._feature_update(x_BCHW, y_BCHW, identity_B)]
        else:
            updates = list(method._pixel_updates(x_BCHW, y_BCHW, identity_B, warm=step == "pixel"))
    losses = {name: loss.item() for update in updates for name, loss in update.losses.items()}
    discriminators = [losses.pop(name) for name in list(losses) if name.startswith("discriminator")]
    if discriminators:
        losses["discriminators"] = sum(discriminators)
    assert losses == pytest.approx(GOLDEN_LOSSES[step], rel=RELATIVE)


def test_networks_begin_as_in_the_public_code() -> None:
    torch.manual_seed(0)
    networks = (aligngan.generator(32), aligngan.image_discriminator(16), aligngan.JointDiscriminator(16, 96))
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
                if module.bias is not None:  # PyTorch's own: uniform up to 1 / sqrt(fan in)
                    limit = module.weight[0].numel() ** -0.5
                    assert 0.5 * limit < module.bias.abs().max().item() <= limit
    heads = Heads(512, 395)
    linear, norm, _leaky = heads.bottle
    assert isinstance(linear, nn.Linear)
    assert isinstance(norm, nn.BatchNorm1d)
    assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    assert (norm.weight.mean().item(), norm.weight.std().item()) == pytest.approx((1.0, 0.02), rel=0.2)
    assert heads.classifier.weight.std().item() == pytest.approx(0.001, rel=0.02)
    assert not any(bias.any() for bias in (linear.bias, norm.bias, heads.classifier.bias))
    assert heads.embedder.weight.abs().max().item() == pytest.approx(512**-0.5, rel=0.01)
    assert heads.embedder.bias.any()


def test_evaluation_normalises_with_running_statistics() -> None:
    ours, torchs = RunningInstanceNorm(3), nn.InstanceNorm2d(3, affine=True, track_running_stats=True)
    generator = torch.Generator().manual_seed(2)
    for module in (ours, torchs):
        module.train()(3.0 + torch.randn(4, 3, 8, 8, generator=generator.manual_seed(2)))
        nn.init.constant_(module.weight, 1.5)
    x_BCHW = torch.randn(2, 3, 8, 8, generator=generator)
    torch.testing.assert_close(ours.eval()(x_BCHW), torchs.eval()(x_BCHW))
    assert ours(x_BCHW).mean().abs() > 0.1  # an image's own statistics would give 0


def small_method(seed: int = 0, **changes: object) -> Method:
    torch.manual_seed(seed)
    return without_dropout(Method(dataclasses.replace(SMALL, **changes), 6)).double().train()  # type: ignore[arg-type]


def small_batch(phase: str, seed: int) -> Batch:
    """What the paired sampler and Collate give for SMALL, with identities of K = 2 in blocks."""
    rows: list[tuple[int, int, bool]] = []  # part, identity, infrared
    if phase != "pixel":
        sides = (True,) if phase == "feature" else (False, True)
        rows += [(FEATURE, identity, infrared) for identity in (4, 0, 2) for infrared in sides for _ in range(2)]
    if phase != "feature":
        rows += [(PIXEL, identity, infrared) for identity in (5, 1) for infrared in (False, True) for _ in range(2)]
    part, identity, infrared = zip(*rows, strict=True)
    generator = torch.Generator().manual_seed(seed)
    image_BCHW = torch.rand(len(rows), 3, 64, 32, dtype=torch.float64, generator=generator)
    mean_C11, std_C11 = STATISTICS
    return Batch(
        image_BCHW=(image_BCHW - mean_C11) / std_C11,
        identity_B=torch.tensor(identity),
        infrared_B=torch.tensor(infrared),
        camera_B=torch.ones(len(rows), dtype=torch.int64),
        part_B=torch.tensor(part),
    )


def taken(method: Method, optimizers: dict[str, Optimizer], batch: Batch, epoch: int) -> Iterator[dict[str, float]]:
    """Take the updates of one iteration as train.loop does; yield the losses of each after its step."""
    for update in method.updates(batch, epoch):
        for name in update.optimizers:
            optimizers[name].zero_grad()
        torch.stack(list(update.losses.values())).sum().backward()
        for name in update.optimizers:
            optimizers[name].step()
        yield {name: loss.item() for name, loss in update.losses.items()}


class Rederived:
    """Section 1.2 of the spec in plain calls; gradients are taken of the stepped networks and of no others."""

    def __init__(self, method: Method) -> None:
        self.net = copy.deepcopy(method)
        n = self.net
        self.sgd = torch.optim.SGD(
            [{"params": list(n.backbone.parameters()), "lr": 0.02}, {"params": list(n.heads.parameters()), "lr": 0.2}],
            momentum=0.9, weight_decay=5e-4, nesterov=True,
        )  # fmt: skip
        self.adams = [
            torch.optim.Adam([p for net in nets for p in net.parameters()], lr=2e-4, betas=(0.5, 0.999))
            for nets in (
                (n.to_infrared, n.to_visible),
                (n.discriminator_visible, n.warm_discriminator_visible),
                (n.discriminator_joint, n.warm_discriminator_infrared),
            )
        ]

    def step(self, optimizer: Optimizer, losses: dict[str, Tensor]) -> dict[str, float]:
        learned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = torch.autograd.grad(sum(losses.values(), torch.zeros(())), learned, allow_unused=True)
        for parameter, gradient in zip(learned, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        large = interpolate(image, (96, 48), mode="bilinear", align_corners=False)
        mean, std = STATISTICS
        feature_map = self.net.backbone(((large + 1) / 2 - mean) / std)
        pool = feature_map.mean((2, 3))
        heads = self.net.heads
        return feature_map, heads.embedder(pool), heads.classifier(heads.bottle(pool))

    def rows(self, batch: Batch, part: int) -> tuple[Tensor, Tensor, Tensor]:
        mean, std = STATISTICS
        image = 2 * (batch.image_BCHW * std + mean) - 1
        here = [i for i in range(len(image)) if batch.part_B[i] == part]
        x, y = [i for i in here if not batch.infrared_B[i]], [i for i in here if batch.infrared_B[i]]
        return image[x], image[y], batch.identity_B[y]

    def feature_warm_up(self, batch: Batch) -> list[dict[str, float]]:
        _x, y, ids = self.rows(batch, FEATURE)
        _m, e, z = self.encode(y)
        return [self.step(self.sgd, {"identity": cross_entropy(z, ids), "triplet": triplet(e, e, ids)})]

    def feature(self, batch: Batch) -> list[dict[str, float]]:
        x, y, ids = self.rows(batch, FEATURE)
        fake_m, fake_e, fake_z = self.encode(self.net.to_infrared(x).detach())
        _m, e, z = self.encode(y)
        losses = {
            "feature_identity": cross_entropy(fake_z, ids) + cross_entropy(z, ids),
            "feature_triplet": triplet(fake_e, e, ids) + triplet(e, fake_e, ids),
            "feature_adversarial": 0.1 * ((self.net.discriminator_joint(y, fake_m) - 1) ** 2).mean(),
        }
        return [self.step(self.sgd, losses)]

    def pixel(self, batch: Batch, *, warm: bool) -> list[dict[str, float]]:
        n = self.net
        x, y, ids = self.rows(batch, PIXEL)
        g, f, d_x = n.to_infrared, n.to_visible, n.warm_discriminator_visible if warm else n.discriminator_visible
        d_y = (lambda image, _map: n.warm_discriminator_infrared(image)) if warm else n.discriminator_joint
        fake_y, fake_x = g(x), f(y)
        m, e, _z = self.encode(y)
        fake_m, fake_e, fake_z = self.encode(fake_y)
        m = m.detach()
        losses = {
            "gan": 0.5 * (((d_x(fake_x) - 1) ** 2).mean() + ((d_y(fake_y, m) - 1) ** 2).mean()),
            "cycle": 10 * 0.5 * ((f(fake_y) - x).abs().mean() + (g(fake_x) - y).abs().mean()),
            "reconstruction": 5 * 0.5 * ((f(x) - x).abs().mean() + (g(y) - y).abs().mean()),
            "pixel_triplet": 0.1 * (triplet(fake_e, e, ids) + triplet(e, fake_e, ids)),
            "pixel_identity": 0.1 * cross_entropy(fake_z, ids),
        }
        done = [self.step(self.adams[0], losses)]
        fake_y, fake_x, fake_m = fake_y.detach(), fake_x.detach(), fake_m.detach()
        loss = 0.5 * (((d_x(x) - 1) ** 2).mean() + (d_x(fake_x) ** 2).mean())
        done.append(self.step(self.adams[1], {"discriminator_visible": loss}))
        rolled = torch.cat([y[2:], y[:2]])  # two identities of two images: the same either way round
        wrong = [(fake_y, m)] if warm else [(rolled, m), (y, fake_m), (fake_y, m), (fake_y, fake_m)]
        falls = sum((d_y(*pair) ** 2).mean() for pair in wrong) / len(wrong)
        loss = 0.5 * (((d_y(y, m) - 1) ** 2).mean() + falls)
        done.append(self.step(self.adams[2], {f"discriminator_{'infrared' if warm else 'joint'}": loss}))
        return done

    def iteration(self, phase: str, batch: Batch) -> list[dict[str, float]]:
        if phase == "feature":
            return self.feature_warm_up(batch)
        return self.pixel(batch, warm=True) if phase == "pixel" else self.feature(batch) + self.pixel(batch, warm=False)


def triplet(anchor: Tensor, other: Tensor, ids: Tensor) -> Tensor:
    terms = []
    for i in range(len(anchor)):
        cosine = [cosine_similarity(anchor[i], other[j], dim=0) for j in range(len(other))]
        hardest_positive = min(cosine[j] for j in range(len(other)) if ids[j] == ids[i])
        hardest_negative = max(cosine[j] for j in range(len(other)) if ids[j] != ids[i])
        terms.append(torch.clamp(1.0 + hardest_negative - hardest_positive, min=0.0))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("phase", EPOCH_OF)
def test_two_iterations_equal_the_losses_written_out(phase: str) -> None:
    """Losses, parameters and running statistics. In the second one a gradient left by another step would show."""
    method = small_method()
    rederived, optimizers = Rederived(method), method.optimizers()
    for seed in (1, 2):
        batch = small_batch(phase, seed)
        expected = rederived.iteration(phase, batch)
        found = list(taken(method, optimizers, batch, EPOCH_OF[phase]))
        assert len(found) == len(expected)
        for losses, written_out in zip(found, expected, strict=True):
            assert losses == pytest.approx(written_out, rel=1e-9)
    for (name, value), other in zip(method.state_dict().items(), rederived.net.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-7, atol=1e-9, msg=name)


ENCODER, GENERATORS = {"backbone", "heads"}, {"to_infrared", "to_visible"}
CHANGED = {
    "feature": [ENCODER],
    "pixel": [GENERATORS, {"warm_discriminator_visible"}, {"warm_discriminator_infrared"}],
    "joint": [ENCODER, GENERATORS, {"discriminator_visible"}, {"discriminator_joint"}],
}


@pytest.mark.parametrize("phase", EPOCH_OF)
def test_an_update_changes_the_networks_of_its_optimiser_alone(phase: str) -> None:
    method = small_method()
    before = {name: value.clone() for name, value in method.named_parameters()}
    changed: list[set[str]] = []
    for _losses in taken(method, method.optimizers(), small_batch(phase, 1), EPOCH_OF[phase]):
        moved = {name for name, value in method.named_parameters() if not torch.equal(value, before[name])}
        before = {name: value.clone() for name, value in method.named_parameters()}
        changed.append({name.partition(".")[0] for name in moved})
    assert changed == CHANGED[phase]


def test_what_the_generators_step_leaves_in_the_encoder_is_discarded() -> None:
    plain, littered = small_method(), small_method()
    for method in (plain, littered):
        optimizers = method.optimizers()
        for _losses in taken(method, optimizers, small_batch("pixel", 1), EPOCH_OF["pixel"]):
            pass
        left = [parameter.grad for parameter in method.backbone.parameters()]
        assert any(gradient is not None and bool(gradient.any()) for gradient in left)
        if method is plain:
            method.zero_grad()
        for _losses in taken(method, optimizers, small_batch("joint", 2), EPOCH_OF["joint"]):
            pass
    for name, value in plain.state_dict().items():
        assert torch.equal(value, littered.state_dict()[name]), name


def test_dropout_stands_before_the_classifier_alone() -> None:
    torch.manual_seed(0)
    heads = Heads(16, 5).train()
    pooled_BC = torch.randn(8, 16)
    (embedding, logit), (again, other_logit) = heads(pooled_BC), heads(pooled_BC)
    assert torch.equal(embedding, again)
    assert not torch.equal(logit, other_logit)
    heads.dropout.p = 0.0
    assert torch.equal(heads(pooled_BC)[1], heads(pooled_BC)[1])


def test_visible_images_are_translated_and_infrared_ones_are_not() -> None:
    method = Method(SMALL, 6).eval()
    image_BCHW = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(3))
    seen: list[Tensor] = []
    maps: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        maps.append(output)

    method.backbone.register_forward_hook(keep)  # type: ignore[arg-type]
    method.backbone.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    mean_C11, std_C11 = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        infrared_BD, visible_BD = method.embed(image_BCHW, "infrared"), method.embed(image_BCHW, "visible")
        fake_BCHW = method.to_infrared(2 * (image_BCHW * std_C11 + mean_C11) - 1)
    larger = {"size": (96, 48), "mode": "bilinear", "align_corners": False}
    torch.testing.assert_close(seen[0], interpolate(image_BCHW, **larger), atol=1e-5, rtol=0)  # type: ignore[arg-type]
    translated_BCHW = ((fake_BCHW + 1) / 2 - mean_C11) / std_C11
    torch.testing.assert_close(seen[1], interpolate(translated_BCHW, **larger), atol=1e-5, rtol=0)  # type: ignore[arg-type]
    for feature_BD, map_BCHW in zip((infrared_BD, visible_BD), maps, strict=True):
        assert feature_BD.shape == (2, method.embedding_dim)
        torch.testing.assert_close(feature_BD, map_BCHW.mean((2, 3)))


def test_learning_rates_are_the_public_ones() -> None:
    """spec 1.3: at epochs 199 and 200 2e-4 and 2e-5, 0.02 and 0.002, 0.2 and 0.02."""
    method = Method(dataclasses.replace(SMALL, milestones=AlignganRecipe().milestones), 6)
    factors = [learning_rate_factor(AlignganRecipe(), epoch) for epoch in (0, 199, 200, 250)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1])
    optimizers = method.optimizers()
    rates = {name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in optimizers.items()}
    assert rates.pop("encoder") == pytest.approx([0.02, 0.2])
    assert list(rates.values()) == [[2e-4]] * 3
    held = [id(p) for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    assert Counter(held) == Counter(id(parameter) for parameter in method.parameters())
    phases = [phase_of(AlignganRecipe(), epoch) for epoch in range(AlignganRecipe().epochs)]
    assert Counter(phases) == {"feature": 50, "pixel": 100, "joint": 101}


def test_imagenet_weights_reach_the_encoder_without_their_head() -> None:
    method, other = Method(SMALL, 6), Method(SMALL, 6)
    weights = {**other.backbone.state_dict(), "fc.weight": torch.zeros(1000, 192), "fc.bias": torch.zeros(1000)}
    method.load_backbone(weights, "a file")
    assert torch.equal(method.backbone.conv1.weight, other.backbone.conv1.weight)
    del weights["conv1.weight"]
    with pytest.raises(BadInput, match=r"a file: .* missing conv1\.weight"):
        method.load_backbone(weights, "a file")


def test_each_process_gets_its_rows_of_the_rolled_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole_B = torch.arange(8)  # K = 2: identities 01, 23, 45, 67
    assert aligngan.roll_identities(whole_B, 2).tolist() == [6, 7, 0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(aligngan, "process_count", lambda: 2)
    monkeypatch.setattr(aligngan, "gather", lambda _own: (whole_B,))
    shares = []
    for rank in (0, 1):
        monkeypatch.setattr(aligngan.distributed, "get_rank", lambda rank=rank: rank)
        shares.append(aligngan.roll_identities(whole_B.chunk(2)[rank], 2).tolist())
    assert shares == [[6, 7, 0, 1], [2, 3, 4, 5]]


def test_a_batch_without_pairs_is_refused() -> None:
    method, batch = small_method(), small_batch("joint", 1)
    swapped = dataclasses.replace(batch, identity_B=batch.identity_B.roll(1))
    for broken in (swapped, dataclasses.replace(batch, infrared_B=torch.ones_like(batch.infrared_B))):
        with pytest.raises(BadInput, match="expected pairs of a visible and an infrared image"):
            next(method.updates(broken, EPOCH_OF["joint"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height_px": 32, "width_px": 32}, "multiples of 4, at least 64 and 32, got 32 x 32"),
        ({"height_px": 66}, "multiples of 4"),
        ({"pixel_identities": 1}, "pixel_identities: expected at least 2, got 1"),
        ({"iterations_per_epoch": 0}, "iterations_per_epoch: expected at least 1"),
        ({"feature_epochs": -1}, "feature_epochs: expected at least 0"),
        ({"generator_width": 0}, "generator_width: expected at least 1"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, int], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(SMALL, **changes)  # type: ignore[arg-type]
