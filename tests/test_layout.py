"""The shape of the repository: folders, import direction, torch-free device code, scripts that run as typed."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from train.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("engines", "train", "calib", "deploy")
TORCH_FREE_TRAIN = (
    "metrics",
    "run_folder",
    "protocol",
    "protocol_gallery",
    "evaluation_table",
    "rerank",
    "reranking",
    "sampler",
    "paired_sampler",
    "augment",
    "recipe",
    "datasets",
)
# engines/torch_backend.py is the one device file that is torch.
TORCH_FILES = {"engines.torch_backend"}
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for package in PACKAGES
    for path in (ROOT / package).glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
DEPENDENCIES = {
    "argcomplete", "cv2", "hypothesis", "lightning_fabric", "matplotlib", "numpy", "onnx", "onnxruntime", "onnxscript",
    "openvino", "packaging", "paho", "PIL", "playwright", "prometheus_client", "pycuda", "pytest", "qdrant_client",
    "qdrant_edge", "scipy", "sklearn", "tensorboardX", "tensorrt", "tensorrt_rtx", "torch", "tqdm", "yaml",
}  # fmt: skip


def modules(package: str) -> list[str]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


DEVICE_MODULES = [name for package in ("engines", "calib", "deploy") for name in modules(package)]
DEVICE_MODULES += [name for name in modules("train") if name.split(".")[1:2] and name.split(".")[1] in TORCH_FREE_TRAIN]


@pytest.mark.parametrize("name", PACKAGES)
def test_folder_is_not_shadowed_by_an_installed_namesake(name: str) -> None:
    assert Path(importlib.import_module(name).__file__ or "").parent == ROOT / name


def test_device_modules_import_with_torch_absent() -> None:
    """One process: each module is imported afresh with torch unimportable, and a failure names the module."""
    wanted = [name for name in DEVICE_MODULES if name not in TORCH_FILES]
    assert len(wanted) > 20
    code = (
        "import importlib, sys, traceback\n"
        "sys.modules['torch'] = None\n"
        f"for name in {wanted!r}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except Exception:\n        print(name); traceback.print_exc()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    allowed = set(PACKAGES[: PACKAGES.index(package) + 1])
    for path in (ROOT / package).rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].split(".")[0] in PACKAGES:
                assert words[1].split(".")[0] in allowed, f"{path.relative_to(ROOT)}: {line.strip()}"


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_answers_help_from_a_bare_clone(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / script), "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    purpose, _, rest = done.stdout.partition("\n\n")
    assert purpose.endswith(".")
    assert rest.startswith("usage: ")


def test_no_module_takes_a_name_that_python_or_we_already_use() -> None:
    """A script's folder comes first on the path: its files and its folders would take the place of a namesake."""
    names = {path.stem for package in PACKAGES for path in (ROOT / package).iterdir()} - {"__init__", "__pycache__"}
    assert not names & (set(sys.stdlib_module_names) | set(PACKAGES) | DEPENDENCIES)


def test_every_method_file_is_listed() -> None:
    assert {path.stem for path in (ROOT / "train/methods").glob("*.py")} - {"__init__"} == set(METHODS)


def test_no_file_is_longer_than_the_ceiling() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long
