"""What of an engine folder goes into a bundle; which versions and licences a device is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from deploy.bundle.contents import engine_entries
from deploy.bundle.needs import needs_of, parse_requirement
from deploy.bundle.resolve import canonical
from deploy.bundle.target import RUNTIMES, Target
from deploy.bundle.wheels import strong_copyleft
from engines.errors import BadInput
from engines.manifest import load_manifest, sha256_of
from tests.deploy.bundle.small_bundle import write_engine

if TYPE_CHECKING:
    from deploy.bundle.target import Runtime

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    return write_engine(tmp_path / "people")


def test_plans_and_pytorch_stay_at_home(engine: Path, tmp_path: Path) -> None:
    forms = {False: {"onnx"}, True: {"onnx", "tensorrt"}}
    for with_plans, expected in forms.items():
        entries = {entry.name.rpartition("/")[2]: entry for entry in engine_entries(engine, with_plans=with_plans)}
        assert ("model.plan" in entries) is with_plans
        assert not {"model.pt2", "calibration-images.json"} & set(entries)
        (tmp_path / "manifest.json").write_bytes(cast("bytes", entries["manifest.json"].data))
        assert {graph.form for graph in load_manifest(tmp_path).graphs} == expected


@pytest.mark.parametrize("name", ["model.onnx", "reference.npz", "model.calibration.json"])
def test_an_engine_file_that_changed_is_refused(engine: Path, tmp_path: Path, name: str) -> None:
    (engine / name).write_text("changed")
    with pytest.raises(BadInput, match=name):
        engine_entries(engine, with_plans=False)


def test_a_manifest_cannot_name_files_elsewhere(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    reference = {"file": "../secret", "sha256": sha256_of(tmp_path / "secret")}
    replace(load_manifest(engine), reference=reference).save(engine)
    with pytest.raises(BadInput, match="expected file names inside the folder"):
        engine_entries(engine, with_plans=False)


@pytest.mark.parametrize(
    ("licence", "refused"),
    [
        ("MIT", False),
        ("EPL-2.0 OR BSD-3-Clause", False),
        ("GPL-3.0-only OR MIT", False),
        ("LGPL-2.1-or-later", False),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("GNU Lesser General Public License v2 (LGPLv2)", False),
        ("AGPL-3.0-or-later", True),
        ("MIT AND GPL-2.0-only", True),
        ("GNU General Public License v3 (GPLv3)", True),
        ("GNU Affero General Public License v3", True),
    ],
)
def test_only_licences_that_a_closed_system_may_carry(licence: str, refused: bool) -> None:
    assert strong_copyleft(licence) is refused


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_every_package_that_a_device_asks_for_has_one_version(python: str, runtime: Runtime) -> None:
    found = needs_of(ROOT, Target(python=python, runtime=runtime))
    pinned = {canonical(parse_requirement(pin).name) for pin in found.pins}
    asked = {canonical(parse_requirement(text).name) for text in (*found.requirements, *found.tools)}
    assert asked <= pinned
    assert ("openvino" in asked) is (runtime == "cpu")


def test_the_systems_opencv_replaces_the_wheel_and_keeps_numpy_1() -> None:
    names = {opencv: needs_of(ROOT, Target(opencv=opencv)) for opencv in ("wheel", "system")}
    assert set(names["wheel"].requirements) - set(names["system"].requirements) == {"opencv-python>=4.8"}
    assert "numpy==1.26.4" in names["system"].pins
    assert "numpy==2.2.6" in names["wheel"].pins
