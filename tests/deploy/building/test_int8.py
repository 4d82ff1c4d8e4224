"""The accuracy budget: what misses it gets layers back in higher precision, as few as will do, or no engine."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import onnx
import pytest

from deploy.build_engine import main
from deploy.building.build import build_engine
from deploy.building.int8 import Trade, trade_table
from deploy.building.request import BuildRequest
from engines.errors import BAD_INPUT_EXIT
from engines.manifest import load_manifest
from tests.small_engine import NO_LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOSE = ["--max-map-drop", "100", "--min-rank1-agreement", "0", "--backend", "openvino", "--parity-images", "24"]
SMALL = ["--precision", "int8", "--calibration-images", "24", *LOOSE]


@pytest.fixture(scope="module")
def run_folder(engine_of: Callable[[str], Path]) -> Path:
    return engine_of("mpanet").parent / "run"


def test_layers_return_to_higher_precision_until_the_budget_holds(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from calib import drift

    monkeypatch.setitem(drift.LIMITS, "int8", NO_LIMITS)
    request = BuildRequest(
        model=run_folder, out=tmp_path / "free", max_map_drop=100.0, backend="openvino", parity_images=24,
        calibration_images=24, precisions=("int8",),
    )  # fmt: skip
    free = build_engine(request)
    found = load_manifest(free).parity["openvino int8"]["worst_cosine"]
    budget = (1.0 + found) / 2.0  # half of the loss has to go
    kept = build_engine(dataclasses.replace(request, out=tmp_path / "kept", min_cosine=budget))
    manifest = load_manifest(kept)
    calibration = manifest.calibration
    assert load_manifest(free).calibration["kept"] == []
    assert 0 < len(calibration["kept"]) < calibration["layers"]
    before, after = calibration["trade"]
    assert (before["within_budget"], after["within_budget"]) == (False, True)
    assert before["kept"] == []
    assert after["kept"] == calibration["kept"]
    assert manifest.parity["openvino int8"]["worst_cosine"] >= budget > before["worst_cosine"]
    model = onnx.load(str(kept / "model.int8.onnx"))
    rounded = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    nodes = {node.name: node for node in model.graph.node}
    for name in calibration["kept"]:
        node = nodes[name.removeprefix("model:")]
        if node.op_type == "Conv":
            assert not rounded & set(node.input), f"{name} still reads rounded tensors"
    others = [node for node in model.graph.node if node.op_type == "Conv" and rounded & set(node.input)]
    assert others, "the rest is INT8"


def test_a_budget_that_nothing_meets_stops_the_build(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "engine"
    assert main([str(run_folder), *SMALL, "--out", str(out), "--min-cosine", "1"]) == BAD_INPUT_EXIT
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("build_engine: int8 is too far from PyTorch: openvino int8: worst cosine 0.")
    assert "is under 1.0" in last
    assert "--accept-drift" in last
    assert list(tmp_path.iterdir()) == []


def test_the_trade_is_a_table_that_a_person_reads() -> None:
    row = Trade(
        kept=(), map_difference=-0.75, worst_cosine=0.961, mean_cosine=0.99, rank1_agreement=0.875,
        within_budget=False, times_fp32=2.5,
    )  # fmt: skip
    unlabelled = Trade(
        kept=("m:a", "m:b"), map_difference=None, worst_cosine=0.99, mean_cosine=0.999, rank1_agreement=1.0,
        within_budget=True, times_fp32=2.0,
    )  # fmt: skip
    assert trade_table([row, unlabelled], 53).splitlines() == [
        "  kept out of INT8      mAP  worst cosine  rank-1 agrees  x FP32",
        "           0 of 53    -0.75        0.9610         87.5 %    2.50",
        "           2 of 53                 0.9900        100.0 %    2.00",
    ]
