"""The bundle's install.sh: without pip or network, once, whole or not at all, forward and back."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.bundle import needs
from deploy.bundle.needs import SourceArchive
from engines.manifest import sha256_of
from tests.deploy.bundle.small_bundle import PYTHON, install, unpacked, write_wheel

if TYPE_CHECKING:
    from tests.deploy.bundle.small_bundle import Material


def test_it_installs_without_pip_or_network_and_once(archive: Path, tmp_path: Path) -> None:
    place, prefix = unpacked(archive, tmp_path / "stick"), tmp_path / "opt"
    # What would lead pip or Python elsewhere must not.
    astray = {"PIP_TARGET": str(tmp_path / "astray"), "PIP_INDEX_URL": "http://127.0.0.1:9/", "PYTHONPATH": "/nowhere"}
    done = install(place, prefix, **astray)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "the doctor found alpha 1.0" in done.stdout
    release = (prefix / "current").resolve()
    assert {path.name for path in release.iterdir()} >= {"deploy", "engines", ".venv", "docs", "COMMIT"}
    assert (release / "engines/built/people/model.onnx").read_text() == "model.onnx"
    assert not [*release.rglob("pip")]  # carried, not installed
    assert (release / "deploy/__pycache__").is_dir()
    before = release.stat().st_mtime_ns
    assert "is installed already" in install(place, prefix).stdout
    assert (prefix / "current").resolve().stat().st_mtime_ns == before


def test_a_damaged_file_is_named_and_nothing_is_installed(archive: Path, tmp_path: Path) -> None:
    place = unpacked(archive, tmp_path / "stick")
    (place / "code/deploy/doctor.py").write_text("import os")
    (place / "wheels/alpha-1.0-py3-none-any.whl").unlink()
    done = install(place, tmp_path / "opt")
    assert done.returncode == 2
    assert "code/deploy/doctor.py: FAILED" in done.stderr
    assert "wheels/alpha-1.0-py3-none-any.whl: FAILED" in done.stderr
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"platform": "riscv"}, "expected Linux on riscv, got Linux on"),
        ({"wanted_python": "3.99"}, "expected Python 3.99, got"),
        ({"glibc": "2.99"}, "expected glibc 2.99 or newer, got 2."),
        ({"unpacked_mb": "999999999"}, "MB free in"),
        ({"runtime": "tensorrt"}, "expected TensorRT for"),
    ],
)
def test_another_device_is_refused(changes: dict[str, str], told: str, archive: Path, tmp_path: Path) -> None:
    place = unpacked(archive, tmp_path / "stick")
    described = place / "bundle.env"
    described.write_text(described.read_text() + "".join(f"{name}='{value}'\n" for name, value in changes.items()))
    sums = (place / "SHA256SUMS").read_text().splitlines()
    kept = [line for line in sums if not line.endswith("  bundle.env")]
    (place / "SHA256SUMS").write_text("\n".join([*kept, f"{sha256_of(described)}  bundle.env"]) + "\n")
    done = install(place, tmp_path / "opt", "--check")
    assert done.returncode == 2, done.stdout
    assert told in done.stderr
    assert not (tmp_path / "opt").exists()


def test_a_check_changes_nothing(archive: Path, tmp_path: Path) -> None:
    done = install(unpacked(archive, tmp_path / "stick"), tmp_path / "opt", "--check")
    assert (done.returncode, done.stdout.split(" 0.1.0")[0]) == (0, "this device can take")
    assert not (tmp_path / "opt").exists()


def test_update_keeps_the_engine_and_goes_back(
    material: Material, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = tmp_path / "opt"
    assert install(unpacked(archive, tmp_path / "first"), prefix).returncode == 0
    first = (prefix / "current").readlink()
    assert install(unpacked(archive, tmp_path / "again"), prefix, "--previous").returncode == 2  # there is none
    newer = shutil.copytree(material.wheels, tmp_path / "wheels")
    write_wheel(newer, "alpha", "2.0")
    second = material.bundle(tmp_path / "second.tar.gz", wheels_from=newer, engine=None)
    done = install(unpacked(second, tmp_path / "second"), prefix)
    assert done.returncode == 0, done.stderr
    assert "the doctor found alpha 2.0" in done.stdout
    assert (prefix / "current/engines/built/people/model.onnx").is_file()
    assert (prefix / "previous").readlink() == first
    back = install(unpacked(second, tmp_path / "more"), prefix, "--previous")
    assert "the doctor found alpha 1.0" in back.stdout
    assert (prefix / "current").readlink() == first
    assert len([*(prefix / "releases").iterdir()]) == 2


def test_a_release_that_does_not_load_leaves_the_old_one(material: Material, archive: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "opt"
    assert install(unpacked(archive, tmp_path / "first"), prefix).returncode == 0
    current, releases = (prefix / "current").readlink(), [*(prefix / "releases").iterdir()]
    broken = shutil.copytree(material.wheels, tmp_path / "wheels")
    write_wheel(broken, "alpha", "3.0", code="raise OSError('libfoo.so is missing')")
    made = material.bundle(tmp_path / "broken.tar.gz", wheels_from=broken)
    done = install(unpacked(made, tmp_path / "second"), prefix)
    assert done.returncode == 2
    assert "libfoo.so is missing" in done.stderr
    assert "expected alpha to load" in done.stderr
    assert (prefix / "current").readlink() == current
    assert [*(prefix / "releases").iterdir()] == releases


def test_what_a_power_cut_left_is_replaced(archive: Path, tmp_path: Path) -> None:
    place, prefix = unpacked(archive, tmp_path / "stick"), tmp_path / "opt"
    release = (place / "bundle.env").read_text().split("release='")[1].split("'")[0]
    half = prefix / "releases" / release / "deploy"
    half.mkdir(parents=True)
    (half / "half.py").write_text("")
    (prefix / ".current.new").symlink_to("releases/nowhere")
    done = install(place, prefix)
    assert done.returncode == 0, done.stderr
    assert not (prefix / "current/deploy/half.py").exists()


BACKEND = """
import shutil, zipfile
def build_wheel(folder, settings=None, metadata=None):
    name = "fakecuda-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr("fakecuda.py", f"NVCC = {shutil.which('nvcc')!r}")
        place = "fakecuda-1.0.dist-info"
        wheel.writestr(f"{place}/METADATA", "Metadata-Version: 2.1\\nName: fakecuda\\nVersion: 1.0\\n")
        wheel.writestr(f"{place}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{place}/RECORD", "fakecuda.py,,\\n")
    return name
"""


def write_source(folder: Path) -> SourceArchive:
    """Write a source archive that builds itself, and notes which nvcc it found."""
    files = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: fakecuda\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = ["delta"]\nbuild-backend = "own"\nbackend-path = ["."]\n',
        "own.py": f"import delta\n{BACKEND}",
    }
    path = folder / "fakecuda-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"fakecuda-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return SourceArchive(
        name="fakecuda",
        version="1.0",
        file=path.name,
        url="https://nowhere.invalid/fakecuda-1.0.tar.gz",
        sha256=sha256_of(path),
        licence="MIT",
        needs=(),
        build_needs=("delta",),
    )


def test_a_source_package_is_built_on_the_device(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        pytest.skip("needs Python.h")
    folder = shutil.copytree(material.wheels, tmp_path / "wheels")
    write_wheel(folder, "delta")
    monkeypatch.setattr(needs, "PYCUDA", write_source(folder))
    target = replace(material.target, runtime="tensorrt")
    place = unpacked(material.bundle(tmp_path / "b.tar.gz", wheels_from=folder, target=target), tmp_path / "stick")
    assert "gamma" not in (place / "requirements.txt").read_text()  # the CPU runtime stays at home
    # A Python with TensorRT, and a CUDA: as JetPack has them.
    system = tmp_path / "system"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(system)], check=True)
    (system / f"lib/python{PYTHON}/site-packages/tensorrt.py").write_text("__version__ = '10.3.0'")
    (tmp_path / "cuda/bin").mkdir(parents=True)
    shutil.copy(shutil.which("true") or "/bin/true", tmp_path / "cuda/bin/nvcc")
    done = install(place, tmp_path / "opt", "--python", str(system / "bin/python"), CUDA_ROOT=str(tmp_path / "cuda"))
    assert done.returncode == 0, done.stderr
    assert "TensorRT 10.3.0" in done.stdout
    (built,) = (tmp_path / "opt/current/.venv").glob("lib/*/site-packages/fakecuda.py")
    assert str(tmp_path / "cuda/bin/nvcc") in built.read_text()
    assert not [*built.parent.glob("delta*")]  # only the build needed it
    configuration = (tmp_path / "opt/current/.venv/pyvenv.cfg").read_text()
    assert "include-system-site-packages = true" in configuration
