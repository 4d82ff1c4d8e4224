"""MPANet against the golden values of its public code (shared/spec/golden_values.md, spec/mpanet.md 1.9)."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from engines.errors import BadInput
from tests.golden.deterministic import fill, tensor
from tests.shared_material import shared_folder
from train.backbone import build_backbone
from train.method import Batch
from train.methods.mpanet import (
    REGDB,
    Mam,
    Method,
    MpanetRecipe,
    average_rate,
    center_cluster,
    mutual_divergence,
    pattern_overlap,
)

CAMERAS = [3, 1, 6, 2, 3, 4, 6, 5] * 2
RELATIVE = 1e-4  # stated beside the golden values, CPU float32
GRADIENT_RELATIVE = 2e-3
EPOCH_140 = 139  # the public code counts from 1


def batch_of(name: str, shape: tuple[int, ...], identities: list[int], cameras: list[int]) -> Batch:
    camera_B = torch.tensor(cameras)
    return Batch(
        image_BCHW=tensor(name, shape),
        identity_B=torch.tensor(identities),
        infrared_B=(camera_B == 3) | (camera_B == 6),
        camera_B=camera_B,
        part_B=torch.zeros_like(camera_B),
    )


def small_batch(infrared: list[bool]) -> Batch:
    count = len(infrared)
    return Batch(
        image_BCHW=tensor("small", (count, 3, 32, 16)),
        identity_B=torch.arange(count) // 4,
        infrared_B=torch.tensor(infrared),
        camera_B=torch.zeros(count, dtype=torch.int64),
        part_B=torch.zeros(count, dtype=torch.int64),
    )


def small_method() -> Method:
    torch.manual_seed(0)
    return Method(MpanetRecipe(backbone="resnet_small", height_px=32, width_px=16), 2)


def total_of(losses: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack(list(losses.values())).sum()


def gradient_norm(parameter: torch.Tensor) -> float:
    assert parameter.grad is not None
    return parameter.grad.double().norm().item()


GRADIENT_NORMS = {
    "classifier.weight": 23.438526,
    "visible_classifier.weight": 41.220645,
    "infrared_classifier.weight": 39.235103,
    "spatial_attention.weight": 207.30307,
    "spatial_attention.bias": 8.467625,
    "bn_neck.weight": 0.502248,
    "backbone.conv1.weight": 1692.936,
    "backbone.MAM3.channel_attention.0.weight": 5.8083,
    "backbone.MAM4.channel_attention.2.weight": 14.11643,
    "backbone.layer4.2.conv3.weight": 10.29717,
}


def test_embedding_equals_the_public_code() -> None:
    method, batch = Method(MpanetRecipe(), 395), batch_of("mpanet_input", (16, 3, 384, 128), [0] * 16, CAMERAS)
    fill(method)
    maps: list[torch.Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: object, output: torch.Tensor) -> None:
        maps.append(output)

    method.get_submodule("backbone.MAM4").register_forward_hook(keep)
    with torch.no_grad():
        feature_BD = method.eval().embed(batch.image_BCHW[:4], "visible")
    assert maps[0].shape == (4, 2048, 24, 8)
    assert maps[0].norm().item() == pytest.approx(1021.66334, rel=RELATIVE)
    assert maps[0].mean().item() == pytest.approx(0.30182418, rel=RELATIVE)
    assert feature_BD.shape == (4, 14336)
    assert feature_BD.norm().item() == pytest.approx(65.268962, rel=RELATIVE)
    assert feature_BD.mean().item() == pytest.approx(0.16104891, rel=RELATIVE)
    assert feature_BD.std().item() == pytest.approx(0.21989372, rel=RELATIVE)
    flat_N = feature_BD.flatten()
    assert flat_N[:4].tolist() == pytest.approx([0.237854, -0.038705, 0.167054, 0.121854], rel=RELATIVE)
    assert flat_N[-4:].tolist() == pytest.approx([0.393082, 0.505864, 0.319090, -0.251811], rel=RELATIVE)


def test_a_training_step_equals_the_public_code() -> None:
    """Losses, gradients and the averaged heads of one forward, and the step that Adam takes from them."""
    method = Method(MpanetRecipe(), 395)
    fill(method)
    losses = method.train().losses(batch_of("mpanet_input", (16, 3, 384, 128), [3] * 8 + [11] * 8, CAMERAS), epoch=0)
    recipe = method.recipe
    assert losses["separation"].item() / recipe.separation_weight == pytest.approx(50.984207, rel=RELATIVE)
    assert losses["center"].item() == pytest.approx(3.453663, rel=RELATIVE)
    assert losses["identity"].item() == pytest.approx(6.573586, rel=RELATIVE)
    assert losses["visible"].item() == pytest.approx(6.337436, rel=RELATIVE)
    assert losses["infrared"].item() == pytest.approx(6.553789, rel=RELATIVE)
    assert losses["kl"].item() / recipe.mutual_weight == pytest.approx(0.861984, rel=RELATIVE)
    total = total_of(losses)
    assert total.item() == pytest.approx(50.565536, rel=RELATIVE)
    # In float64: a float32 norm of 5.7 million numbers is off by 1.4e-4.
    assert method.visible_classifier_.weight.double().norm().item() == pytest.approx(16.387469, rel=RELATIVE)

    total.backward()
    norms = {name: gradient_norm(method.get_parameter(name)) for name in GRADIENT_NORMS}
    assert norms == pytest.approx(GRADIENT_NORMS, rel=GRADIENT_RELATIVE)

    weight, averaged = method.classifier.weight, method.visible_classifier_.weight.clone()
    assert weight.grad is not None
    slope = weight.grad + recipe.weight_decay * weight.detach()
    expected = weight.detach() - recipe.lr * slope / (slope.abs() + 1e-8)  # Adam's first step, coupled decay
    method.optimizers()["all"].step()
    torch.testing.assert_close(weight.detach(), expected, rtol=0.0, atol=1e-6)
    assert torch.equal(method.visible_classifier_.weight, averaged)
    assert not method.bn_neck.bias.requires_grad


@pytest.mark.slow
def test_the_shape_of_regdb_and_a_later_epoch_equal_the_public_code() -> None:
    method = Method(REGDB, 206)
    fill(method)
    batch = batch_of("mpanet_regdb_input", (20, 3, 256, 128), [5] * 10 + [77] * 10, [3, 2] * 10)
    with torch.no_grad():
        feature_BD = method.eval().embed(batch.image_BCHW[:2], "infrared")
        assert feature_BD.norm().item() == pytest.approx(45.605053, rel=RELATIVE)
        method.train()
        first, second = (method.losses(batch, epoch) for epoch in (0, EPOCH_140))
    assert total_of(first).item() == pytest.approx(40.287964, rel=RELATIVE)
    assert first["separation"].item() / 0.5 == pytest.approx(34.198788, rel=RELATIVE)
    assert first["center"].item() == pytest.approx(4.218122, rel=RELATIVE)
    assert first["identity"].item() == pytest.approx(5.927590, rel=RELATIVE)
    assert first["visible"].item() == pytest.approx(5.422439, rel=RELATIVE)
    assert first["infrared"].item() == pytest.approx(5.416275, rel=RELATIVE)
    assert first["kl"].item() / 2.5 == pytest.approx(0.881658, rel=RELATIVE)
    assert total_of(second).item() == pytest.approx(40.135803, rel=RELATIVE)
    assert second["kl"].item() / 2.5 == pytest.approx(0.820793, rel=RELATIVE)


def test_modality_alleviation_alone() -> None:
    alleviation, x_BCHW = Mam(64), tensor("mam_in", (2, 64, 6, 4))
    fill(alleviation)
    y_BCHW = alleviation(x_BCHW)
    assert y_BCHW.norm().item() == pytest.approx(55.345888, rel=RELATIVE)
    assert y_BCHW.flatten()[:4].tolist() == pytest.approx([0.597459, -0.913777, -1.98959, -0.114683], rel=RELATIVE)
    assert torch.equal(alleviation.eval()(x_BCHW), alleviation.train()(x_BCHW))


@pytest.mark.parametrize(
    ("scale", "pull", "push", "gradient"),
    [(1.0, 5.278444, 0.0, 0.1441832), (0.05, 0.263922, 0.559937, 0.2654383)],
)
def test_center_cluster(scale: float, pull: float, push: float, gradient: float) -> None:
    feature_BD = (scale * tensor("cc", (48, 32), torch.float64)).requires_grad_()
    terms = center_cluster(feature_BD, torch.arange(48) // 8, 0.7)
    assert [term.item() for term in terms] == pytest.approx([pull, push], rel=1e-5)
    sum(terms).backward()  # type: ignore[union-attr]
    assert gradient_norm(feature_BD) == pytest.approx(gradient, rel=1e-5)


def test_center_cluster_does_not_depend_on_the_order_of_the_batch() -> None:
    """The public code needs blocks of K; centres by identity do not."""
    feature_BD, identity_B = tensor("cc", (48, 32)) * 0.05, torch.arange(48) // 8
    shuffled_B = torch.randperm(48, generator=torch.Generator().manual_seed(0))
    straight, mixed = (
        center_cluster(feature_BD, identity_B, 0.7),
        center_cluster(feature_BD[shuffled_B], identity_B[shuffled_B], 0.7),
    )
    assert [term.item() for term in mixed] == pytest.approx([term.item() for term in straight], rel=1e-5)


def test_a_sample_on_its_centre_has_a_finite_gradient() -> None:
    """The public code's gradient is NaN here: two equal images of one identity are enough."""
    feature_BD = torch.ones(4, 8).requires_grad_()
    pull, push = center_cluster(feature_BD, torch.tensor([0, 0, 1, 1]), 0.7)
    (pull + push).backward()
    assert feature_BD.grad is not None
    assert feature_BD.grad.isfinite().all()
    one_identity = center_cluster(torch.ones(4, 8), torch.zeros(4, dtype=torch.int64), 0.7)
    assert one_identity[1].item() == 0.0


def test_mutual_divergence_and_who_learns_from_it() -> None:
    own_BI = tensor("kl_s", (10, 7)).requires_grad_()
    loss = mutual_divergence(own_BI, tensor("kl_t", (10, 7)))
    assert loss.item() == pytest.approx(0.668671, rel=RELATIVE)
    loss.backward()
    assert gradient_norm(own_BI) == pytest.approx(0.126842, rel=RELATIVE)


def test_overlap_of_half_open_masks() -> None:
    assert pattern_overlap(torch.full((3, 6, 24 * 8), 0.5)).item() == 48.0


@pytest.mark.parametrize(
    ("public_epoch", "rate"),
    [(1, 0.2), (99, 0.2), (100, 0.1980), (110, 0.1802), (120, 0.1653), (140, 0.1418)],
)
def test_average_rate_by_the_public_count_of_epochs(public_epoch: int, rate: float) -> None:
    assert average_rate(0.2, public_epoch - 1) == pytest.approx(rate, abs=5e-5)


@pytest.mark.parametrize(
    ("identities", "total", "trainable"), [(395, 52_517_958, 41_178_182), (206, 38_970_438, 33_049_670)]
)
def test_parameter_counts(identities: int, total: int, trainable: int) -> None:
    method = Method(MpanetRecipe(), identities)
    counts = {name: parameter.numel() for name, parameter in method.named_parameters()}
    assert sum(counts.values()) == total
    assert sum(parameter.numel() for parameter in method.parameters() if parameter.requires_grad) == trainable
    fixed = {name for name, parameter in method.named_parameters() if not parameter.requires_grad}
    assert fixed == {"visible_classifier_.weight", "infrared_classifier_.weight", "bn_neck.bias"}
    by_part = {
        part: sum(count for name, count in counts.items() if name.startswith(part))
        for part in ("backbone.", "backbone.MAM3.", "backbone.MAM4.", "spatial_attention.", "bn_neck.")
    }
    assert list(by_part.values()) == [24_163_392, 131_072, 524_288, 12_294, 28_672]
    assert sum(count for name, count in counts.items() if "classifier" not in name) == 24_204_358


def test_names_and_shapes_are_those_of_the_public_checkpoints() -> None:
    lines = shared_folder("golden/mpanet_keys.txt").read_text(encoding="utf-8").splitlines()
    method = Method(MpanetRecipe(), 395)
    ours = {
        method.public_name(name): f"{tuple(value.shape)}\t{value.dtype}" for name, value in method.state_dict().items()
    }
    assert ours == dict(line.split("\t", 1) for line in lines)
    assert len(ours) == 334


@pytest.mark.parametrize(("identities", "known"), [(395, MpanetRecipe()), (206, REGDB), (296, MpanetRecipe())])
def test_the_shape_is_read_from_a_public_checkpoint(identities: int, known: MpanetRecipe) -> None:
    weights = {"classifier.weight": torch.empty(identities, 8), "spatial_attention.weight": torch.empty(4, 2048, 1, 1)}
    assert Method.public_shape(weights) == (dataclasses.replace(known, patterns=4), identities)


def test_the_numbers_of_regdb() -> None:
    """spec/mpanet.md 1.3 and 1.4."""
    recipe = Method.recipe_for("regdb")
    assert (recipe.height_px, recipe.width_px, recipe.milestones) == (256, 128, (110,))
    assert (recipe.identities_per_batch, recipe.images_per_identity) == (12, 10)


def test_averaged_heads_start_equal_and_have_their_own_storage() -> None:
    method = small_method()
    for live, averaged in (
        (method.visible_classifier, method.visible_classifier_),
        (method.infrared_classifier, method.infrared_classifier_),
    ):
        assert torch.equal(live.weight, averaged.weight)
        assert live.weight.data_ptr() != averaged.weight.data_ptr()


def test_averaged_heads_move_in_training_alone() -> None:
    method, batch = small_method(), small_batch([True, False] * 4)
    with torch.no_grad():
        method.visible_classifier.weight.add_(1.0)
    before = method.visible_classifier_.weight.clone()
    method.eval().losses(batch, 0)
    assert torch.equal(method.visible_classifier_.weight, before)
    method.train().losses(batch, 0)
    torch.testing.assert_close(method.visible_classifier_.weight, before + 0.2)
    method.losses(batch, 0)
    torch.testing.assert_close(method.visible_classifier_.weight, before + 0.36)


@pytest.mark.parametrize(("infrared", "missing"), [(True, "visible"), (False, "infrared")])
def test_a_batch_of_one_modality_is_refused(infrared: bool, missing: str) -> None:
    with pytest.raises(BadInput, match=rf"every batch, got 8 images and no {missing} one; use --set sampler="):
        small_method().losses(small_batch([infrared] * 8), 0)


def test_imagenet_weights_load_strictly_but_for_the_head() -> None:
    weights = build_backbone("resnet18", last_stride=2).state_dict()
    assert "fc.weight" in weights
    method = Method(dataclasses.replace(MpanetRecipe(), backbone="resnet18"), 4)
    gate = method.get_parameter("backbone.MAM3.channel_attention.0.weight").clone()
    method.load_backbone(weights, "resnet18.pth")
    assert torch.equal(method.backbone.conv1.weight, weights["conv1.weight"])
    assert torch.equal(method.get_parameter("backbone.MAM3.channel_attention.0.weight"), gate)
    del weights["layer4.0.conv1.weight"]
    with pytest.raises(BadInput, match=r"resnet18\.pth: .*missing layer4\.0\.conv1\.weight"):
        method.load_backbone(weights, "resnet18.pth")
