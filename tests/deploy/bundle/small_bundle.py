"""A small tree, engine and folder of wheels that a bundle is made of in a second."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import pytest

from deploy.bundle import making
from deploy.bundle.making import BundleRequest, make_bundle
from engines.manifest import Graph, Manifest, sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.bundle.target import Platform, Target
    from engines.manifest import Form

HERE = cast("Platform", platform.machine())
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PROJECT = """[project]
name = "crosslight"
version = "0.1.0"
dependencies = ["alpha>=1", "opencv-python>=4"]
[project.optional-dependencies]
cpu = ["gamma"]
"""
DOCTOR = "import alpha; print('the doctor found alpha', alpha.VERSION)"


def write_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    *,
    asks: tuple[str, ...] = (),
    tag: str = "py3-none-any",
    licence: str = "MIT",
    code: str = "",
) -> Path:
    """Write a wheel of one module."""
    module = name.replace("-", "_")
    place = f"{module}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {need}\n" for need in asks)
    metadata = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {licence}\n{required}\n"
    files = {
        f"{module}.py": f"VERSION = {version!r}\n{code}",
        f"{place}/METADATA": metadata,
        f"{place}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    files[f"{place}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{place}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in files.items():
            archive.writestr(inside, text)
    return path


def git(root: Path, *arguments: str) -> None:
    command = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    subprocess.run(command, check=True, capture_output=True)


def write_tree(root: Path) -> Path:
    """Write a small git clone, with what lies about beside the tracked files."""
    tracked = {
        "pyproject.toml": PROJECT,
        "README.md": "readme",
        "LICENSE": "licence",
        "Makefile": "no device needs it",
        "tests/test_a.py": "",
        "docs/a.md": "page",
        "deploy/doctor.py": DOCTOR,
        "deploy/run_cameras.py": "",
        **{f"{package}/__init__.py": "" for package in ("calib", "deploy", "engines", "train")},
    }
    lying = ("deploy/notes.py", "engines/built/x/model.plan", "deploy/__pycache__/a.pyc", "train/best.pt", "dist/a.whl")
    for name, text in [*tracked.items(), *((name, "artefact") for name in lying)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "-q")
    git(root, "add", *tracked)
    git(root, "commit", "-qm", "first")
    return root


def write_engine(folder: Path) -> Path:
    """Write an engine folder of files that hold their own names."""
    folder.mkdir(parents=True)
    forms: dict[str, Form] = {"model.onnx": "onnx", "model.pt2": "torch", "model.plan": "tensorrt"}
    for name in (*forms, "reference.npz", "model.calibration.json"):
        (folder / name).write_text(name)
    hashes = {path.name: sha256_of(path) for path in folder.iterdir()}
    graphs = tuple(
        Graph(file=name, sha256=hashes[name], modality="visible", precision="fp32", form=form)
        for name, form in forms.items()
    )
    (folder / "calibration-images.json").write_text("names of people's pictures")
    Manifest(
        method="mcja",
        height_px=8,
        width_px=4,
        embedding_dim=2,
        graphs=graphs,
        reference={"file": "reference.npz", "sha256": hashes["reference.npz"]},
        calibration={"tables": {"model.calibration.json": {"sha256": hashes["model.calibration.json"]}}},
    ).save(folder)
    return folder


@dataclass(frozen=True, kw_only=True)
class Material:
    """A tree, an engine, and wheels for it."""

    tree: Path
    engine: Path
    wheels: Path
    target: Target

    def bundle(self, out: Path, **changes: object) -> Path:
        request = BundleRequest(
            target=self.target, engine=self.engine, cache=out.parent / "cache", wheels_from=self.wheels, out=out
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(making, "IMPORTS", {"cpu": ("alpha",), "tensorrt": ("alpha", "fakecuda")})
            return make_bundle(replace(request, **changes), self.tree)  # pyright: ignore[reportArgumentType]


def unpacked(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (place,) = folder.iterdir()
    return place


def install(place: Path, prefix: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", str(place / "install.sh"), "--prefix", str(prefix), "--python", sys.executable, *options]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}, cwd=prefix.parent
    )
