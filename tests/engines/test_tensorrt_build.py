"""Plans: TensorRT-RTX builds here without a GPU; the three TensorRT interfaces are told apart by what they have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from engines.errors import BadInput
from engines.plan_target import BatchProfile
from engines.tensorrt_build import build_plan, network_flags, set_precision
from engines.tensorrt_sdk import load_sdk, sdk_installed

if TYPE_CHECKING:
    from pathlib import Path

    from engines.manifest import Precision

needs_rtx = pytest.mark.skipif(
    not sdk_installed("tensorrt-rtx"), reason="needs TensorRT-RTX: pip install -e .[tensorrt-rtx]"
)


@needs_rtx
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_rtx_builds_a_plan_for_named_gpus(engine_folder: Path, tmp_path: Path, precision: Precision) -> None:
    plan = tmp_path / "visible.plan"
    onnx_path = engine_folder / f"visible.{precision}.onnx"
    target = build_plan(
        onnx_path,
        plan,
        flavour="tensorrt-rtx",
        precision=precision,
        capabilities=("SM86",),
        profile=BatchProfile(usual=2, largest=4),
    )
    assert str(target).startswith("tensorrt-rtx ")
    assert str(target).endswith(" SM86 batch=1/2/4")
    assert plan.stat().st_size > 1_000_000  # the weights are in it
    assert [path.name for path in tmp_path.iterdir()] == ["visible.plan"]


@needs_rtx
def test_rtx_refuses_a_graph_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"not an ONNX file")
    with pytest.raises(BadInput, match=r"broken\.onnx: tensorrt-rtx .* refuses the graph: ") as caught:
        build_plan(tmp_path / "broken.onnx", tmp_path / "x.plan", flavour="tensorrt-rtx", precision="fp32")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "x.plan").exists()


@needs_rtx
def test_rtx_refuses_a_gpu_that_it_does_not_know(engine_folder: Path, tmp_path: Path) -> None:
    """Orin is SM87, which TensorRT-RTX has no code for."""
    with pytest.raises(BadInput, match=r"expected compute capabilities out of .*SM86.*, got SM87$"):
        build_plan(
            engine_folder / "visible.fp32.onnx",
            tmp_path / "x.plan",
            flavour="tensorrt-rtx",
            precision="fp32",
            capabilities=("SM87",),
        )


def test_a_builder_that_is_not_installed_says_how_to_get_it() -> None:
    if sdk_installed("tensorrt"):
        pytest.skip("TensorRT is installed")
    with pytest.raises(BadInput) as caught:
        load_sdk("tensorrt")
    assert str(caught.value) == (
        "expected tensorrt to be installed, got none: comes with JetPack, or pip install -e .[tensorrt]"
    )


class Config:
    def __init__(self) -> None:
        self.flags: list[str] = []

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)


def sdk_of(network: dict[str, int], builder: tuple[str, ...]) -> Any:
    return SimpleNamespace(
        NetworkDefinitionCreationFlag=SimpleNamespace(**network),
        BuilderFlag=SimpleNamespace(**{name: name for name in builder}),
    )


@pytest.mark.parametrize(
    ("sdk", "flags", "int8_flags"),
    [
        (sdk_of({"EXPLICIT_BATCH": 0}, ("FP16", "INT8")), 1, ["FP16", "INT8"]),  # 8.5, 8.6
        (sdk_of({"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, ("FP16", "INT8")), 2, []),  # 10.x
        (sdk_of({"STRONGLY_TYPED": 1}, ()), 2, []),  # 11, RTX: the precision flags are gone
    ],
    ids=["8", "10", "11"],
)
def test_each_interface_gets_its_own_flags(sdk: Any, flags: int, int8_flags: list[str]) -> None:
    config = Config()
    set_precision(sdk, config, "int8")
    assert (network_flags(sdk), config.flags) == (flags, int8_flags)
