"""MCJA against the golden values of its public code (shared/spec/golden_values.md, spec/mcja.md 2.9)."""

from __future__ import annotations

import pytest
import torch

from tests.golden.deterministic import fill, tensor
from train.layers import GeneralizedMeanPool
from train.method import Batch
from train.methods.mcja import McjaRecipe, Mda, Method, cross_modality_retrieval
from train.soft_rank import soft_rank

CAMERAS = [3, 1, 6, 2, 3, 4, 6, 5, 1, 1, 2, 4, 5, 3, 6, 2]
IDENTITIES = [3] * 8 + [11] * 8
RELATIVE = 1e-4  # stated beside the golden values, CPU float32
GRADIENT_RELATIVE = 2e-3


def build(contexts: int, identity_count: int = 395) -> Method:
    return Method(McjaRecipe(contexts=contexts), identity_count)


def golden_batch() -> Batch:
    camera_B = torch.tensor(CAMERAS)
    return Batch(
        image_BCHW=tensor("mcja_input", (16, 3, 384, 192)),
        identity_B=torch.tensor(IDENTITIES),
        infrared_B=(camera_B == 3) | (camera_B == 6),
        camera_B=camera_B,
        part_B=torch.zeros_like(camera_B),
    )


def gradient_norm(parameter: torch.Tensor) -> float:
    assert parameter.grad is not None
    return parameter.grad.norm().item()


GOLDEN = {
    2: {
        "eval_l2": 883.601638,
        "eval_mean": 7.042724,
        "first": [6.958782, 3.43419, 10.402657, 0.816933],
        "cmr": 3.499482,
        "identity": 6.365020,
        "total": 9.864502,
    },
    12: {
        "eval_l2": 849.275452,
        "eval_mean": None,
        "first": [3.391177, 2.109394, 12.937304, 2.336387],
        "cmr": 3.498191,
        "identity": 6.350481,
        "total": 9.848673,
    },
}
GRADIENT_NORMS = {
    "classifier.weight": 8.986583,
    "bn_neck.weight": 0.188911,
    "backbone.conv1.weight": 445.9825,
    "MDA_2.0.sc_conv.weight": 20.68817,
    "MDA_3.2.ca_conv.weight": 0.250672,
    "MDA_3.2.norm_bn.weight": 0.130462,
    "backbone.layer4.2.conv3.weight": 2.718533,
}


@pytest.mark.parametrize("contexts", [2, 12])
def test_embedding_losses_and_gradients_equal_the_public_code(contexts: int) -> None:
    method, golden, batch = build(contexts), GOLDEN[contexts], golden_batch()
    fill(method)
    method.eval()
    with torch.no_grad():
        feature_BD = method.embed(batch.image_BCHW[:4], "visible")
    assert feature_BD.norm().item() == pytest.approx(golden["eval_l2"], rel=RELATIVE)
    assert feature_BD.flatten()[:4].tolist() == pytest.approx(golden["first"], rel=RELATIVE)
    if golden["eval_mean"] is not None:
        assert feature_BD.mean().item() == pytest.approx(golden["eval_mean"], rel=RELATIVE)
    method.train()
    losses = method.losses(batch, epoch=0)
    total = torch.stack(list(losses.values())).sum()
    assert losses["cmr"].item() == pytest.approx(golden["cmr"], rel=RELATIVE)
    assert losses["identity"].item() == pytest.approx(golden["identity"], rel=RELATIVE)
    assert total.item() == pytest.approx(golden["total"], rel=RELATIVE)
    if contexts == 2:
        total.backward()
        norms = {name: gradient_norm(method.get_parameter(name)) for name in GRADIENT_NORMS}
        assert norms == pytest.approx(GRADIENT_NORMS, rel=GRADIENT_RELATIVE)


@pytest.mark.parametrize(
    ("contexts", "identities", "total", "without_fc", "attention"),
    [(2, 395, 26_402_866, 24_353_866, 32_778), (12, 206, 26_097_764, 24_048_764, 114_748)],
)
def test_parameter_counts(contexts: int, identities: int, total: int, without_fc: int, attention: int) -> None:
    method = build(contexts, identities)
    counts = {name: parameter.numel() for name, parameter in method.named_parameters()}
    assert sum(counts.values()) == total
    assert sum(count for name, count in counts.items() if ".fc." not in name) == without_fc
    assert sum(count for name, count in counts.items() if name.startswith("MDA_")) == attention
    if contexts == 2:
        trainable = sum(p.numel() for p in method.parameters() if p.requires_grad)
        assert trainable == 26_400_818  # BNNeck's 2048 biases are fixed


def test_attention_is_the_identity_at_initialisation() -> None:
    attention, x_BCHW = Mda(16, 2), tensor("mda_in", (4, 16, 6, 3))
    assert torch.equal(attention.eval()(x_BCHW), x_BCHW)
    assert torch.equal(attention.train()(x_BCHW), x_BCHW)


@pytest.mark.parametrize(("contexts", "eval_l2", "train_l2"), [(2, 52.702947, 67.761897), (12, 51.516793, 67.785355)])
def test_attention_alone(contexts: int, eval_l2: float, train_l2: float) -> None:
    attention, x_BCHW = Mda(16, contexts), tensor("mda_in", (4, 16, 6, 3))
    fill(attention)
    assert attention.eval()(x_BCHW).norm().item() == pytest.approx(eval_l2, rel=RELATIVE)
    assert attention.train()(x_BCHW).norm().item() == pytest.approx(train_l2, rel=RELATIVE)


def test_generalised_mean_pool() -> None:
    pooled_BC = GeneralizedMeanPool()(tensor("gem_in", (2, 8, 5, 3)).abs())
    assert pooled_BC.norm().item() == pytest.approx(5.089359, rel=RELATIVE)
    assert pooled_BC.flatten()[:4].tolist() == pytest.approx([1.171151, 1.145658, 1.138891, 1.312106], rel=RELATIVE)


@pytest.mark.parametrize(
    ("name", "shape", "identities", "infrared", "value", "gradient"),
    [
        ("cmr_sysu_like", (128, 64), [i // 16 for i in range(128)], [7 * i % 3 == 0 for i in range(128)],
         31.503332199385, 1.8888110e-3),
        ("cmr_regdb_like", (128, 64), [i // 32 for i in range(128)], [7 * i % 3 == 0 for i in range(128)],
         31.501451712162, None),
        ("cmr_balanced", (16, 64), [i // 4 for i in range(16)], [i % 2 == 1 for i in range(16)],
         3.490633042975, None),
        ("cmr_missing", (10, 16), [0, 0, 1, 1, 2, 2, 0, 1, 1, 0], [i >= 6 for i in range(10)],
         2.021668426371, None),
    ],
)  # fmt: skip
def test_cross_modality_retrieval(
    name: str, shape: tuple[int, int], identities: list[int], infrared: list[bool], value: float, gradient: float | None
) -> None:
    feature_BD = tensor(name, shape, torch.float64).requires_grad_()
    loss = cross_modality_retrieval(feature_BD, torch.tensor(identities), torch.tensor(infrared))
    assert loss.item() == pytest.approx(value, rel=1e-11)
    if gradient is not None:
        loss.backward()
        assert feature_BD.grad is not None
        assert feature_BD.grad.norm().item() == pytest.approx(gradient, rel=1e-6)


@pytest.mark.parametrize("gallery", [4, 5, 9])
def test_closed_form_equals_the_soft_ranks(gallery: int) -> None:
    """The affine form used from four gallery items on, against projection by pooling, values and gradients."""
    identity_B = torch.tensor([0, 1] + [i % 2 for i in range(gallery)])
    infrared_B = torch.tensor([False] * 2 + [True] * gallery)
    closed_BD = tensor(f"closed{gallery}", (2 + gallery, 8), torch.float64).requires_grad_()
    slow_BD = closed_BD.detach().clone().requires_grad_()
    unit_BD = torch.nn.functional.normalize(slow_BD, dim=1)
    terms = []
    for query_B in (~infrared_B, infrared_B):
        rank_QG = soft_rank((1 - unit_BD[query_B] @ unit_BD[~query_B].T) / 2, 0.5)
        match_QG = identity_B[query_B][:, None] == identity_B[~query_B][None, :]
        terms.append((rank_QG - torch.where(match_QG, 1.0, float(rank_QG.shape[1]))).abs().mean())
    slow = torch.stack(terms).mean()
    closed = cross_modality_retrieval(closed_BD, identity_B, infrared_B)
    assert closed.item() == pytest.approx(slow.item(), abs=1e-13)
    closed.backward()
    slow.backward()
    assert closed_BD.grad is not None
    assert slow_BD.grad is not None
    assert (closed_BD.grad - slow_BD.grad).abs().max() < 1e-15


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ([0.1, 0.5, 0.3], [1.6, 2.4, 2.0]),
        ([0.0, 1.0], [1.0, 2.0]),
        ([0.0, 1.0, 1.0], [1.0, 2.5, 2.5]),
        ([0.2, 0.9, 0.4, 0.4], [1.95, 3.35, 2.35, 2.35]),
    ],
)
def test_soft_rank_at_half_strength(values: list[float], ranks: list[float]) -> None:
    assert soft_rank(torch.tensor([values], dtype=torch.float64), 0.5)[0].tolist() == pytest.approx(ranks, abs=1e-12)


def test_soft_rank_gradient_is_that_of_finite_differences() -> None:
    value_QG = tensor("rank_grad", (3, 5), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: soft_rank(x, 0.5), (value_QG,))


def test_a_batch_of_one_modality_has_no_retrieval_loss() -> None:
    feature_BD = tensor("single", (4, 8)).requires_grad_()
    loss = cross_modality_retrieval(feature_BD, torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0.0
