"""IMFE, a reconstruction after an abstract: sizes and losses against shared/spec/imfe.md 2.6, switches and traps."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from engines.errors import BadInput
from tests.golden.deterministic import tensor
from train.backbone import build_backbone
from train.losses import batch_hard_triplet
from train.method import Batch
from train.methods import imfe
from train.methods.imfe import ImfeRecipe, Method, jeffreys, wasserstein

INFRARED = [False, True, True, False, False, False, True, True]


def small_method(**changes: Any) -> Method:
    torch.manual_seed(0)
    return Method(ImfeRecipe(backbone="resnet_small", height_px=32, width_px=16, **changes), 2)


def small_batch(infrared: list[bool] = INFRARED) -> Batch:
    count = len(infrared)
    return Batch(
        image_BCHW=tensor("small", (count, 3, 32, 16)),
        identity_B=torch.arange(count) * 2 // count,
        infrared_B=torch.tensor(infrared),
        camera_B=torch.zeros(count, dtype=torch.int64),
        part_B=torch.zeros(count, dtype=torch.int64),
    )


@pytest.mark.parametrize(("identities", "total"), [(395, 55_886_208), (206, 54_724_992)])
def test_parameter_counts(identities: int, total: int) -> None:
    counts = {name: value.numel() for name, value in Method(ImfeRecipe(), identities).named_parameters()}

    def part(*prefixes: str) -> int:
        return sum(count for name, count in counts.items() if name.startswith(prefixes))

    assert sum(counts.values()) == total
    stages = [part(f"backbone.layer{index}.") for index in (1, 2, 3, 4)]
    assert part("backbone.conv1.", "backbone.bn1.") == part("infrared_conv1.", "infrared_bn1.") == 9_536
    assert stages == [215_808, 1_219_584, 7_098_368, 14_964_736]
    assert part("branches.visible.layer4.") == part("branches.infrared.layer4.") == 14_964_736
    assert part("backbone.", "infrared_", "bn_neck.") == 23_521_664  # what ships


A = torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7]], dtype=torch.float64)
B = torch.tensor([[1, 1], [1, 3], [3, 5], [3, 7]], dtype=torch.float64)


def test_distances_of_distributions_by_hand() -> None:
    """Means differ by (1, 0), deviations are (sqrt 5, sqrt 5) and (1, sqrt 5)."""
    assert wasserstein(A, B).item() == pytest.approx((1 + (5**0.5 - 1) ** 2) / 2, abs=2e-6)
    assert wasserstein(A, B).item() == pytest.approx(1.2639318, abs=2e-6)
    assert jeffreys(A, B).item() == pytest.approx(0.55, abs=2e-6)
    for distance in (wasserstein, jeffreys):
        assert distance(A, A).item() == 0.0
        assert distance(B, A).item() == distance(A, B).item()


def test_losses_on_drawn_features() -> None:
    generator = torch.Generator().manual_seed(3)
    one_BD = torch.randn(32, 64, generator=generator)
    other_BD = 1.5 * torch.randn(32, 64, generator=generator) + 0.3
    identity_B = torch.arange(8).repeat_interleave(4)
    assert wasserstein(one_BD, other_BD).item() == pytest.approx(0.4915430, rel=1e-5)
    assert jeffreys(one_BD, other_BD).item() == pytest.approx(0.2912650, rel=1e-5)
    assert batch_hard_triplet(one_BD, identity_B, 0.3).item() == pytest.approx(2.7916336, rel=1e-5)
    both = batch_hard_triplet(torch.cat([one_BD, other_BD]), identity_B.repeat(2), 0.3)
    assert both.item() == pytest.approx(6.1732783, rel=1e-5)


@pytest.mark.parametrize("name", ["wasserstein", "jeffreys"])
def test_a_constant_feature_has_a_finite_gradient(name: str) -> None:
    feature_BD = torch.zeros(4, 3, requires_grad=True)
    getattr(imfe, name)(feature_BD, torch.ones(4, 3)).backward()
    assert feature_BD.grad is not None
    assert feature_BD.grad.isfinite().all()


@pytest.mark.parametrize("branch", ["layer4", "head"])
@pytest.mark.parametrize("distribution", ["w2", "jeffreys"])
def test_losses_are_those_of_the_features_they_name(branch: str, distribution: str) -> None:
    """Every term again, from features computed here image group by image group."""
    method, batch = small_method(branch=branch, distribution=distribution, lam_intra=0.3, lam_dist=0.7), small_batch()
    with torch.no_grad():  # the stems and the branches begin alike: a mistaken one must be seen
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    method.eval()  # fixed statistics: the groups can be computed one by one
    losses = method.losses(batch, 0)
    labels, features, margin = [], [], 0.3
    for modality, row_B in (("visible", ~batch.infrared_B), ("infrared", batch.infrared_B)):
        image_BCHW, identity_B = batch.image_BCHW[row_B], batch.identity_B[row_B]
        conv1, bn1 = (
            (method.backbone.conv1, method.backbone.bn1)
            if modality == "visible"
            else (method.infrared_conv1, method.infrared_bn1)
        )
        layer1, layer2, layer3, layer4 = method.backbone.stages
        shared_BCHW = layer3(layer2(layer1(method.backbone.maxpool(bn1(conv1(image_BCHW)).relu()))))
        features.append(layer4(shared_BCHW).pow(3).mean((2, 3)).pow(1 / 3))
        labels.append(identity_B)
        own: Any = method.branches[modality]
        own_BD = own.layer4(shared_BCHW).pow(3).mean((2, 3)).pow(1 / 3) if branch == "layer4" else features[-1]
        expected = cross_entropy(own.classifier(own.bn_neck(own_BD)), identity_B)
        expected = expected + batch_hard_triplet(own_BD, identity_B, margin)
        torch.testing.assert_close(losses[f"intra_{modality}"], 0.3 * expected)
    unified_BD, identity_B = torch.cat(features), torch.cat(labels)
    torch.testing.assert_close(losses["triplet"], batch_hard_triplet(unified_BD, identity_B, margin))
    neck = [method.bn_neck(feature_BD) for feature_BD in features]
    torch.testing.assert_close(losses["identity"], cross_entropy(method.classifier(torch.cat(neck)), identity_B))
    distance = wasserstein if distribution == "w2" else jeffreys
    # Jeffreys divides by the variances of nearly constant features, which magnifies rounding.
    torch.testing.assert_close(losses["distribution"], 0.7 * distance(*neck), rtol=5e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({"lam_intra": 0.0, "lam_dist": 0.0}, ["identity", "triplet"]),
        ({"lam_dist": 0.0}, ["identity", "triplet", "intra_visible", "intra_infrared"]),
        ({"lam_intra": 0.0}, ["identity", "triplet", "distribution"]),
    ],
)
def test_a_weight_of_zero_switches_a_term_off(changes: dict[str, Any], terms: list[str]) -> None:
    method = small_method(**changes)
    losses = method.losses(small_batch(), 0)
    assert list(losses) == terms
    torch.stack(list(losses.values())).sum().backward()
    learned = {name: value for name, value in method.named_parameters() if value.requires_grad}
    assert all(value.grad is not None and value.grad.isfinite().all() for value in learned.values())


def test_the_embedding_does_not_use_the_branches() -> None:
    method, image_BCHW = small_method().eval(), small_batch().image_BCHW
    before = [method.embed(image_BCHW, modality) for modality in ("visible", "infrared")]
    for parameter in method.branches.parameters():
        torch.nn.init.constant_(parameter, torch.nan)
    after = [method.embed(image_BCHW, modality) for modality in ("visible", "infrared")]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_shared_layers_see_both_modalities_and_branches_their_own() -> None:
    """A batch norm that saw each modality by itself would hide what the distribution loss is to align."""
    method, seen = small_method().train(), dict[str, list[torch.Tensor]]()
    for name in ("backbone.layer1", "backbone.layer4", "branches.visible.layer4", "branches.infrared.layer4"):

        def note(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
            seen.setdefault(name, []).append(inputs[0])

        method.get_submodule(name).register_forward_pre_hook(note)
    method.losses(small_batch([False] * 3 + [True] * 2 + [False, True, False]), 0)
    assert {name: [len(value) for value in values] for name, values in seen.items()} == {
        "backbone.layer1": [8], "backbone.layer4": [8], "branches.visible.layer4": [5], "branches.infrared.layer4": [3],
    }  # fmt: skip
    own = [seen[f"branches.{modality}.layer4"][0] for modality in ("visible", "infrared")]
    assert torch.equal(torch.cat(own), seen["backbone.layer4"][0])


def test_layers_learn_at_a_tenth_of_the_rate_of_necks_and_classifiers() -> None:
    method = small_method()
    optimizer = method.optimizers()["all"]
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    heads, layers = ({names[id(value)] for value in group["params"]} for group in optimizer.param_groups)
    prefixes = ("", "branches.visible.", "branches.infrared.")
    assert heads == {f"{prefix}{name}.weight" for prefix in prefixes for name in ("bn_neck", "classifier")}
    assert heads | layers == {name for name, value in method.named_parameters() if value.requires_grad}
    assert "branches.visible.layer4.0.conv1.weight" in layers
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.01])
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in optimizer.param_groups)


def test_imagenet_weights_reach_both_stems_and_every_last_layer() -> None:
    weights = build_backbone("resnet18", last_stride=2).state_dict()
    method = Method(ImfeRecipe(backbone="resnet18"), 4)
    method.load_backbone(weights, "resnet18.pth")
    state = method.state_dict()
    for name in ("backbone.conv1.weight", "infrared_conv1.weight"):
        assert torch.equal(state[name], weights["conv1.weight"])
    for prefix in ("backbone.", "branches.visible.", "branches.infrared."):
        assert torch.equal(state[f"{prefix}layer4.1.conv2.weight"], weights["layer4.1.conv2.weight"])
    pointers = {state[f"{prefix}layer4.1.conv2.weight"].data_ptr() for prefix in ("backbone.", "branches.visible.")}
    assert len(pointers) == 2  # copies, not the same layer
    del weights["bn1.bias"]
    with pytest.raises(BadInput, match=r"resnet18\.pth: .*missing bn1\.bias"):
        method.load_backbone(weights, "resnet18.pth")


@pytest.mark.parametrize(("infrared", "missing"), [(True, "visible"), (False, "infrared")])
def test_a_batch_of_one_modality_is_refused(infrared: bool, missing: str) -> None:
    with pytest.raises(BadInput, match=rf"every batch, got 8 images and no {missing} one"):
        small_method().losses(small_batch([infrared] * 8), 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branch": "layer5"}, "setting branch: expected one of layer4, head, got 'layer5'"),
        ({"distribution": "kl"}, "setting distribution: expected one of w2, jeffreys, got 'kl'"),
        ({"lam_dist": -1.0}, r"setting lam_dist: expected 0 or more, got -1\.0"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        dataclasses.replace(ImfeRecipe(), **changes)
