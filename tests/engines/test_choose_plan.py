"""Which graphs of a folder are opened: by form, by what the device here can run, and what is said when none fits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engines import choose_plan
from engines.choose_plan import Device, buildable, device_here, graphs_of, listing, no_plan_fits
from engines.manifest import Graph, Manifest
from tests.engines.cuda_fakes import Driver, Gpu
from tests.engines.tensorrt_simulation import sdk_of

if TYPE_CHECKING:
    from engines.manifest import Form, Modality, Precision

ORIN = Device(flavour="tensorrt", version="10.3.0", capability="SM87", gpu="Orin (nvgpu)")


def graph(
    file: str, modality: Modality = "visible", precision: Precision = "int8", form: Form = "onnx", target: str = ""
) -> Graph:
    return Graph(file=file, sha256="0", modality=modality, precision=precision, form=form, target=target)


def plan(file: str, target: str, precision: Precision = "int8") -> list[Graph]:
    """Return one plan for both modalities."""
    return [
        graph(file, "visible", precision, "tensorrt", target),
        graph(file, "infrared", precision, "tensorrt", target),
    ]


def manifest_of(*graphs: Graph) -> Manifest:
    return Manifest(method="m", height_px=4, width_px=2, embedding_dim=3, graphs=graphs)


def test_the_first_form_with_both_modalities_is_taken() -> None:
    manifest = manifest_of(
        graph("v.uint8.onnx", form="onnx-uint8"),
        graph("v.onnx"),
        graph("i.onnx", "infrared"),
        graph("i2.onnx", "infrared"),
    )
    found = graphs_of(manifest, "int8", ("onnx-uint8", "onnx"))
    assert found is not None
    assert {modality: found[modality].file for modality in found} == {"visible": "v.onnx", "infrared": "i.onnx"}
    assert graphs_of(manifest, "int8", ("onnx-uint8",)) is None
    assert graphs_of(manifest, "fp32", ("onnx",)) is None
    assert graphs_of(manifest, "int8", ()) is None


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (("tensorrt 10.3.0 SM86 batch=1/8/32", "tensorrt 10.3.0 SM87 batch=1/8/32"), 1),
        (("tensorrt 8.6.1 SM87 batch=1/8/32", "tensorrt 10.3.0 SM87 batch=1/8/32"), 1),
        (("tensorrt 10.3.0 SM87 batch=1/8/32 gpu=AGX", "tensorrt 10.3.0 SM87 batch=1/8/32 gpu=Orin_(nvgpu)"), 1),
        # What was built for this very device comes before what would run on others too, and the GPU before the DLA.
        (("tensorrt 10.3.0 SM87 batch=1/8/32 hardware=ampere-plus", "tensorrt 10.3.0 SM87 batch=1/8/32"), 1),
        (("tensorrt 10.3.0 SM87 batch=4/4/4 dla=0", "tensorrt 10.3.0 SM87 batch=1/8/32 hardware=ampere-plus"), 1),
        (("tensorrt 10.1.0 SM87 batch=1/8/32 version-compatible", "tensorrt 10.3.0 SM87 batch=1/8/32"), 1),
        (("tensorrt 10.1.0 SM87 batch=1/8/32 version-compatible", "tensorrt 10.3.0 SM86 batch=1/8/32"), 0),
        (("tensorrt 10.3.0 SM86 batch=1/8/32", "tensorrt 8.6.1 SM87 batch=1/8/32"), None),
    ],
)
def test_the_plan_that_fits_this_device_is_taken(targets: tuple[str, str], expected: int | None) -> None:
    manifest = manifest_of(*plan("0.plan", targets[0]), *plan("1.plan", targets[1]))
    found = graphs_of(manifest, "int8", ("tensorrt",), ORIN)
    assert (found and {found[modality].file for modality in found}) == (
        None if expected is None else {f"{expected}.plan"}
    )
    assert graphs_of(manifest, "int8", ("tensorrt",), None) is None


def test_both_modalities_must_fit() -> None:
    here, elsewhere = "tensorrt 10.3.0 SM87 batch=1/8/32", "tensorrt 10.3.0 SM86 batch=1/8/32"
    manifest = manifest_of(plan("v.plan", here)[0], plan("i.plan", elsewhere)[1])
    assert graphs_of(manifest, "int8", ("tensorrt",), ORIN) is None
    assert no_plan_fits(Path("built/m"), manifest, ("int8",), "tensorrt", ORIN) == (
        "built/m: expected a plan for this device (tensorrt 10.3.0, SM87, Orin (nvgpu)), got v.plan (the other "
        "modality has no plan that fits), i.plan (it was built for SM86, here is SM87); build one here with `python "
        "deploy/build_engine.py built/m --precision int8 --backend tensorrt`"
    )


def test_the_line_names_what_can_be_built() -> None:
    manifest = manifest_of(graph("v.onnx", precision="fp32"), graph("i.onnx", "infrared", "fp32"))
    assert buildable(manifest, ("int8", "fp16", "fp32")) == "fp32"
    assert buildable(manifest, ("int8",)) is None
    assert no_plan_fits(Path("m"), manifest, ("int8", "fp32"), "tensorrt", None) == (
        "m: expected a plan for this device (no GPU that tensorrt and pycuda can use), got no int8 or fp32 plan of "
        "tensorrt; build one here with `python deploy/build_engine.py m --precision fp32 --backend tensorrt`"
    )
    assert listing(manifest) == "onnx fp32"


def test_plans_are_named_where_there_is_no_gpu() -> None:
    manifest = manifest_of(*plan("0.plan", "tensorrt 10.3.0 SM86 batch=1/8/32"))
    line = no_plan_fits(Path("m"), manifest, ("int8",), "tensorrt", None)
    assert "got 0.plan (it is for tensorrt 10.3.0 SM86 batch=1/8/32); build one" in line


@pytest.fixture
def orin(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver(Gpu())
    monkeypatch.setattr(choose_plan, "sdk_installed", lambda flavour: True)
    monkeypatch.setattr(choose_plan, "find_spec", lambda name: object())
    monkeypatch.setattr(choose_plan, "cuda_driver", lambda: driver)
    monkeypatch.setattr(choose_plan, "load_sdk", lambda flavour: sdk_of(Gpu(), "10.3.0"))
    return driver


def test_the_device_is_the_first_gpu_and_the_installed_library(orin: Driver) -> None:
    assert device_here("tensorrt") == ORIN


@pytest.mark.parametrize("lacks", ["driver", "gpu", "library", "pycuda", "works"])
def test_without_a_part_there_is_no_device(orin: Driver, monkeypatch: pytest.MonkeyPatch, lacks: str) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("libcuda.so.1: cannot open shared object file")

    if lacks == "driver":
        monkeypatch.setattr(choose_plan, "cuda_driver", fail)
    if lacks == "gpu":
        monkeypatch.setattr(orin.Device, "count", staticmethod(lambda: 0))
    if lacks == "library":
        monkeypatch.setattr(choose_plan, "sdk_installed", lambda flavour: False)
    if lacks == "pycuda":
        monkeypatch.setattr(choose_plan, "find_spec", lambda name: None)
    if lacks == "works":
        monkeypatch.setattr(choose_plan, "load_sdk", fail)
    assert device_here("tensorrt") is None


def test_a_device_says_why_not() -> None:
    (visible, _) = plan("0.plan", "tensorrt 10.3.0 SM87 batch=1/8/32")
    assert ORIN.refusal(visible) is None
    assert dataclasses.replace(ORIN, version="10.13.3").refusal(visible) == (
        "it was built with tensorrt 10.3.0, here is 10.13.3"
    )
