"""One bundle for all tests of it."""

from __future__ import annotations

import ensurepip
import shutil
from pathlib import Path

import pytest

from deploy.bundle.target import Target
from tests.deploy.bundle.small_bundle import HERE, PYTHON, Material, write_engine, write_tree, write_wheel


@pytest.fixture(scope="session")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("bundle")
    found = Material(
        tree=write_tree(folder / "tree"),
        engine=write_engine(folder / "people"),
        wheels=folder / "wheels",
        target=Target(platform=HERE, python=PYTHON),
    )
    for name in ("alpha", "gamma"):
        write_wheel(found.wheels, name)
    write_wheel(found.wheels, "opencv-python", "5.0")
    carried = [*(Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")]
    if not carried:
        pytest.skip("needs the pip wheel of ensurepip")
    shutil.copy(carried[0], found.wheels)
    return found


@pytest.fixture(scope="session")
def archive(material: Material, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return material.bundle(tmp_path_factory.mktemp("made") / "bundle.tar.gz")
