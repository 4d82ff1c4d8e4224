"""The bill of materials: what is in it, what needs what, and hashes where the wheels are at hand."""

from __future__ import annotations

import hashlib
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.project import write_sbom
from tests.project.packages import closure, installed, requirements

if TYPE_CHECKING:
    from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, *lines: str) -> Path:
    """Write a wheel that is nothing but its metadata."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    metadata = "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines]) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
        archive.writestr(f"{name}/_vendor/other-1.dist-info/METADATA", "Name: other\n")  # as setuptools has
    return path


def written(folder: Path, *arguments: str) -> dict[str, Any]:
    assert write_sbom.main([*arguments, "--out", str(folder)]) == 0
    return json.loads((folder / "device.cdx.json").read_text(encoding="utf-8"))


def test_a_device_is_described_by_what_is_installed(tmp_path: Path) -> None:
    bom = written(tmp_path, "--role", "device")
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert bom["metadata"]["component"]["name"] == "crosslight"
    found = {item["name"]: item for item in bom["components"]}
    assert {"numpy", "openvino", "protobuf"} <= set(found), "the base, an extra, and what another package needs"
    assert not {"torch", "pytest"} & set(found)
    numpy = installed()["numpy"]
    assert found["numpy"]["purl"] == f"pkg:pypi/numpy@{numpy.version}"
    assert all(item["licenses"] for item in found.values())
    assert "FFmpeg" in json.dumps(found["opencv-python"]["properties"])


def test_every_reference_leads_to_a_component(tmp_path: Path) -> None:
    bom = written(tmp_path, "--role", "device")
    known = {item["bom-ref"] for item in [bom["metadata"]["component"], *bom["components"]]}
    edges = {item["ref"]: item.get("dependsOn", []) for item in bom["dependencies"]}
    assert set(edges) == known
    assert {target for targets in edges.values() for target in targets} < known
    reached, waiting = set[str](), ["crosslight"]
    while waiting:
        ref = waiting.pop()
        if ref not in reached:
            reached.add(ref)
            waiting += edges[ref]
    assert reached == known, "each package is there because something needs it"


def test_wheels_are_described_with_their_hashes(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    one = make_wheel(wheels, "numpy", "9.9", "License-Expression: BSD-3-Clause")
    make_wheel(wheels, "openvino", "9.8", "License: Apache 2.0", "Requires-Dist: numpy")
    bom = written(tmp_path, "--wheels", str(wheels))
    found = {item["name"]: item for item in bom["components"]}
    assert {name: item["version"] for name, item in found.items()} == {"numpy": "9.9", "openvino": "9.8"}
    sha256 = hashlib.sha256(one.read_bytes()).hexdigest()
    assert found["numpy"]["hashes"] == [{"alg": "SHA-256", "content": sha256}]
    assert found["openvino"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert {"ref": "openvino==9.8", "dependsOn": ["numpy==9.9"]} in bom["dependencies"]


@pytest.mark.parametrize(
    ("wheels", "told"),
    [
        ([], "expected wheels (*.whl), got none"),
        ([("numpy", "1.0", "MIT"), ("numpy", "2.0", "MIT")], "expected the wheels of one Python, got numpy-1.0"),
        ([("numpy", "1.0", "MIT"), ("borrowed", "1.0", "GPL-3.0-only")], "borrowed 1.0: expected licences of ALLOWED"),
    ],
    ids=["none", "two of one package", "a licence that is refused"],
)
def test_a_folder_that_may_not_be_handed_out_is_refused(
    wheels: list[tuple[str, str, str]], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, version, licence in wheels:
        make_wheel(tmp_path / "wheels", name, version, f"License-Expression: {licence}")
    code = write_sbom.main(["--wheels", str(tmp_path / "wheels"), "--out", str(tmp_path / "out")])
    assert code == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_extras_and_markers_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    make_wheel(
        folder,
        "first",
        "1",
        "Requires-Dist: second[fast]",
        "Requires-Dist: never; python_version < '3'",
        "Requires-Dist: optional; extra == 'more'",
    )
    make_wheel(folder, "second", "1", "Requires-Dist: third; extra == 'fast'", "Requires-Dist: first")
    make_wheel(folder, "third", "1", "Requires-Dist: absent")
    from packaging.requirements import Requirement

    from tests.project.packages import wheels_in

    packages = {name: package for name, (package, _) in wheels_in(folder).items()}
    found, missing = closure([Requirement("first")], packages)
    assert list(found) == ["first", "second", "third"]
    assert missing == ["absent"]


def test_roles_name_extras_that_exist() -> None:
    for extras in write_sbom.ROLES.values():
        assert len(requirements(extras)) > len(requirements([]))
