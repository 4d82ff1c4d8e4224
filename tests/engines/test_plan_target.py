"""The line that says what a plan was built for is read back as it was written, and decides who may run it."""

from __future__ import annotations

import dataclasses

import pytest

from engines.errors import BadInput
from engines.plan_target import BatchProfile, PlanTarget, parse_target

ORIN = PlanTarget(
    flavour="tensorrt", version="10.3.0", capabilities=("SM87",), batch=BatchProfile(), gpu="Orin (nvgpu) x"
)


@pytest.mark.parametrize(
    "target",
    [
        ORIN,
        dataclasses.replace(ORIN, flavour="tensorrt-rtx", capabilities=("SM86", "SM89"), gpu=""),
        dataclasses.replace(ORIN, hardware="ampere-plus", version_compatible=True, dla=0),
    ],
)
def test_a_target_survives_the_manifest(target: PlanTarget) -> None:
    assert parse_target(str(target)) == target


def test_the_line_reads_like_a_sentence() -> None:
    assert str(dataclasses.replace(ORIN, gpu="", dla=1)) == "tensorrt 10.3.0 SM87 batch=1/8/32 dla=1"


@pytest.mark.parametrize(
    "text",
    ["", "tensorrt 10.3.0", "openvino 1 SM87 batch=1/8/32", "tensorrt 10.3.0 SM87", "tensorrt 10.3.0 batch=1/8/32",
     "tensorrt 10.3.0 SM87 batch=8/1/32", "tensorrt 10.3.0 SM87 batch=1/8/32 colour=red",
     "tensorrt 10.3.0 SM87 batch=1/8/32 hardware=any", "tensorrt 10.3.0 SM87 batch=1/8/32 dla=x"],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_target(text)


@pytest.mark.parametrize(
    ("changes", "device", "reason"),
    [
        ({}, {}, None),
        ({}, {"flavour": "tensorrt-rtx"}, "it is for tensorrt"),
        ({}, {"version": "10.13.3"}, "it was built with tensorrt 10.3.0, here is 10.13.3"),
        ({"version_compatible": True}, {"version": "10.13.3"}, None),
        ({"version_compatible": True}, {"version": "10.1.0"}, "it was built with tensorrt 10.3.0, here is 10.1.0"),
        ({}, {"capability": "SM86"}, "it was built for SM87, here is SM86"),
        ({"hardware": "ampere-plus"}, {"capability": "SM86"}, None),
        ({"hardware": "ampere-plus"}, {"capability": "SM75"}, "it is for SM80 and newer, here is SM75"),
        ({}, {"gpu": "AGX"}, "it was built on Orin (nvgpu) x, here is AGX"),
        ({"hardware": "same-sm"}, {"gpu": "AGX"}, None),
    ],
)
def test_a_device_is_told_why_not(changes: dict[str, object], device: dict[str, str], reason: str | None) -> None:
    here = {"flavour": "tensorrt", "version": "10.3.0", "capability": "SM87", "gpu": "Orin (nvgpu) x", **device}
    assert dataclasses.replace(ORIN, **changes).refusal(**here) == reason  # type: ignore[arg-type]
