"""pip's choice for another machine, put right where pip looks at this one."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from deploy.bundle.needs import Needs
from deploy.bundle.resolve import resolve
from deploy.bundle.target import Target
from engines.errors import BadInput
from tests.deploy.bundle.small_bundle import write_wheel

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.bundle.target import Platform
    from tests.deploy.bundle.small_bundle import Material


def resolved(folder: Path, target: Target, *roots: str, pins: tuple[str, ...] = ()) -> dict[str, str]:
    found = resolve(Needs(requirements=roots, tools=(), pins=pins, sources=()), target, folder)
    return {choice.name: choice.version for choice in found}


@pytest.mark.parametrize(
    ("device", "python", "expected"),
    [
        ("aarch64", "3.10", {"alpha", "arm", "old", "older"}),
        ("x86_64", "3.12", {"alpha", "intel"}),
    ],
)
def test_markers_are_judged_by_the_device(device: Platform, python: str, expected: set[str], tmp_path: Path) -> None:
    """pip alone judges them by the Python that it runs in."""
    asks = ('arm; platform_machine == "aarch64"', 'intel; platform_machine == "x86_64"', 'old; python_version < "3.11"')
    write_wheel(tmp_path, "alpha", asks=asks)
    write_wheel(tmp_path, "old", asks=('older; python_full_version < "3.11"',))
    for name in ("arm", "intel", "older"):
        write_wheel(tmp_path, name)
    assert set(resolved(tmp_path, Target(platform=device, python=python), "alpha")) == expected


def test_the_wheel_fits_processor_python_and_c_library(tmp_path: Path) -> None:
    for version, tag in (
        ("1", "cp310-cp310-manylinux_2_17_aarch64.manylinux2014_aarch64"),
        ("2", "cp310-cp310-manylinux_2_35_aarch64"),
        ("3", "cp310-cp310-manylinux_2_36_aarch64"),
        ("4", "cp312-cp312-manylinux_2_28_aarch64"),
        ("5", "cp310-cp310-manylinux_2_28_x86_64"),
        ("6", "cp312-abi3-manylinux_2_39_aarch64"),
    ):
        write_wheel(tmp_path, "alpha", version, tag=tag)
    assert resolved(tmp_path, Target(python="3.10"), "alpha") == {"alpha": "2"}
    assert resolved(tmp_path, Target(python="3.10", glibc="2.31"), "alpha") == {"alpha": "1"}
    assert resolved(tmp_path, Target(python="3.12"), "alpha") == {"alpha": "6"}
    assert resolved(tmp_path, Target(platform="x86_64"), "alpha") == {"alpha": "5"}
    assert resolved(tmp_path, Target(python="3.10"), "alpha", pins=("alpha==1",)) == {"alpha": "1"}


def test_a_wheel_that_does_not_exist_for_the_device_is_named(material: Material, tmp_path: Path) -> None:
    folder = shutil.copytree(material.wheels, tmp_path / "wheels")
    (folder / "gamma-1.0-py3-none-any.whl").rename(folder / "gamma-1.0-cp312-cp312-win_amd64.whl")
    with pytest.raises(BadInput, match=r"expected a wheel of gamma for aarch64, Python 3\.10, glibc 2\.35, found none"):
        material.bundle(tmp_path / "b.tar.gz", wheels_from=folder, target=Target())
    assert not (tmp_path / "b.tar.gz").exists()
