"""Operations of an image's embedding, two for a multiplication with its addition (spec/mpanet.md 1.9, mcja.md 2.9)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from train.methods import load


def flops(name: str, height_px: int, width_px: int) -> dict[str, int]:
    """Count by operator."""
    kind = load(name)
    method, counter = kind(kind.default_recipe, 395).eval(), FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        method.embed(torch.zeros(1, 3, height_px, width_px), "visible")
    counts: dict[Any, int] = counter.get_flop_counts()["Global"]
    return {str(operator).removeprefix("aten."): count for operator, count in counts.items()}


def test_mcja_costs_what_its_public_code_costs() -> None:
    counts = flops("mcja", 384, 192)
    assert sum(counts.values()) == 12_027_707_392


@pytest.mark.parametrize(("height_px", "golden"), [(384, 12_165_840_896), (256, 8_110_997_504)])
def test_mpanet_costs_what_its_public_code_costs(height_px: int, golden: int) -> None:
    counts = flops("mpanet", height_px, 128)
    places = height_px * 128 // 16**2
    # The parts are pooled by one matrix product; the public code multiplies map and mask and takes means, which the
    # golden value does not count.
    assert counts.pop("bmm") == 2 * 6 * 2048 * places
    assert sum(counts.values()) == golden


def test_imfe_embeds_at_the_cost_of_one_resnet() -> None:
    """Its branches are left out: ResNet-50 with last stride 1 and nothing else, counted by hand from its shapes."""
    height, width = 288, 144
    macs = 64 * 3 * 7**2 * (height // 2) * (width // 2)
    channels_in = 64
    for depth, inner, stride in ((3, 64, 4), (4, 128, 8), (6, 256, 16), (3, 512, 16)):
        places, before = (height // stride) * (width // stride), channels_in
        for block in range(depth):
            # The first 1x1 convolution stands before the stride of the 3x3.
            places_in = 4 * places if block == 0 and stride in (8, 16) and inner != 512 else places
            macs += before * inner * places_in + 9 * inner**2 * places + 4 * inner**2 * places
            macs += 4 * inner * before * places if block == 0 else 0
            before = 4 * inner
        channels_in = before
    assert flops("imfe", height, width) == {"convolution": 2 * macs}
