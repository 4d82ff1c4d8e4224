"""A layer that was broken on purpose is named first; the search keeps the fewest layers and asks nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from calib.placement import place
from calib.ranges import measure
from calib.sensitivity import fewest_kept, layer_sensitivity, layers_of
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def network(engine_of: Callable[[str], Path]) -> tuple[onnx.ModelProto, dict[str, float], list[np.ndarray]]:
    model = onnx.load(str(engine_of("mcja") / "model.fp32.onnx"))
    rng = np.random.default_rng(0)
    batches = [rng.integers(0, 256, (4, 64, 32, 3), dtype=np.uint8) for _ in range(2)]
    histograms = measure(model, place(model).measured, batches, threads=1)
    return model, {name: histogram.amax("absmax") for name, histogram in histograms.items()}, batches


def test_the_layer_with_a_broken_range_comes_first(
    network: tuple[onnx.ModelProto, dict[str, float], list[np.ndarray]],
) -> None:
    model, amax, batches = network
    placement = place(model)
    broken = next(
        (tensor, edges[0][0])
        for tensor, edges in placement.activations.items()
        if len(edges) == 1 and placement.scale_of[tensor] == tensor and layers_of(model)[edges[0][0]] == "Conv"
    )
    rows = layer_sensitivity(model, {**amax, broken[0]: amax[broken[0]] / 50}, batches, threads=1)
    assert rows[0].layer == broken[1]
    assert rows[0].gain > 3 * rows[1].gain
    assert [row.layer for row in sorted(rows, key=lambda row: row.layer)] == sorted(layers_of(model))


def test_no_images_are_refused(network: tuple[onnx.ModelProto, dict[str, float], list[np.ndarray]]) -> None:
    model, amax, _ = network
    with pytest.raises(BadInput, match=r"^expected images to measure the layers on, got none"):
        layer_sensitivity(model, amax, [])


@pytest.mark.parametrize("needed", [set(), {"a"}, {"c"}, {"a", "e"}, {"b", "c", "h"}, set("abcdefgh")])
def test_exactly_the_needed_layers_are_kept(needed: set[str]) -> None:
    """With a budget that holds whenever the needed layers are kept, nothing else stays."""
    asked: list[tuple[str, ...]] = []

    def holds(kept: tuple[str, ...]) -> bool:
        asked.append(kept)
        return needed <= set(kept)

    kept = fewest_kept("abcdefgh", holds)
    assert kept is not None
    assert set(kept) == (needed or {"a"})  # the empty set was refused before
    assert len(asked) == len(set(asked)), "a judgement takes seconds: none is asked twice"


def test_a_budget_that_nothing_meets_gives_none() -> None:
    asked: list[tuple[str, ...]] = []

    def holds(kept: tuple[str, ...]) -> bool:
        asked.append(kept)
        return False

    assert fewest_kept("abcde", holds) is None
    assert asked[-1] == tuple("abcde")
    assert [len(kept) for kept in asked] == [1, 2, 4, 5]
