"""What goes into a bundle and what stays out; the same input gives the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from deploy.bundle.making import BundleRequest, make_bundle
from engines.errors import BadInput
from tests.deploy.bundle.small_bundle import PROJECT, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.deploy.bundle.small_bundle import Material


def test_a_bundle_holds_tracked_code_engine_wheels_and_no_artefact(archive: Path) -> None:
    with tarfile.open(archive) as packed:
        names = [member.name.partition("/")[2] for member in packed]
    assert names == sorted(names)
    code = {name.removeprefix("code/") for name in names if name.startswith("code/")}
    engine = {"manifest.json", "model.calibration.json", "model.onnx", "reference.npz"}
    packages = {f"{name}/__init__.py" for name in ("calib", "deploy", "engines", "train")}
    scripts = {"deploy/doctor.py", "deploy/run_cameras.py"}
    written = {"COMMIT", "LICENSE", "README.md", "docs/a.md", "pyproject.toml"}
    assert code == packages | scripts | written | {f"engines/built/people/{name}" for name in engine}
    carried = [name.removeprefix("wheels/").split("-")[0] for name in names if name.startswith("wheels/")]
    assert carried == ["alpha", "gamma", "opencv_python", "pip"]
    rest = {"README.txt", "SHA256SUMS", "bundle.env", "install.sh", "requirements.txt", "sources.txt"}
    assert {name for name in names if "/" not in name} == rest


def test_the_sums_are_those_of_every_file(archive: Path, tmp_path: Path) -> None:
    place = unpacked(archive, tmp_path)
    lines = (place / "SHA256SUMS").read_text().splitlines()
    listed = {line[66:]: line[:64] for line in lines}
    there = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
    assert set(listed) == there - {"SHA256SUMS"}
    assert all(hashlib.sha256((place / name).read_bytes()).hexdigest() == found for name, found in listed.items())


def test_two_runs_give_the_same_bytes(material: Material, archive: Path, tmp_path: Path) -> None:
    for path in material.tree.rglob("*"):
        os.utime(path, (1, 1))
    again = material.bundle(tmp_path / "other-name.tar.gz")
    assert again.read_bytes() == archive.read_bytes()
    assert gzip.decompress(again.read_bytes())[257:262] == b"ustar"


def test_a_change_that_is_not_committed_is_told(material: Material, tmp_path: Path) -> None:
    tree = shutil.copytree(material.tree, tmp_path / "tree")
    (tree / "README.md").write_text("changed")
    place = unpacked(replace(material, tree=tree).bundle(tmp_path / "out" / "b.tar.gz"), tmp_path / "unpacked")
    assert (place / "code/COMMIT").read_text().endswith("+changes\n")
    assert (place / "code/README.md").read_text() == "changed"


def test_a_tracked_file_that_is_missing_is_named(material: Material, tmp_path: Path) -> None:
    tree = shutil.copytree(material.tree, tmp_path / "tree")
    (tree / "LICENSE").unlink()
    with pytest.raises(BadInput, match=r"LICENSE: git tracks it; expected a plain file, got none"):
        replace(material, tree=tree).bundle(tmp_path / "b.tar.gz")


def test_what_is_no_clone_is_refused(material: Material, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    with pytest.raises(BadInput, match="expected a git clone"):
        make_bundle(BundleRequest(wheels_from=material.wheels), tmp_path)


def test_a_small_disk_is_refused_before_anything_is_written(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 5, 5_000_000))  # pyright: ignore
    with pytest.raises(BadInput, match=r"expected \d+ MB free in .*, got 5 MB"):
        material.bundle(tmp_path / "b.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
