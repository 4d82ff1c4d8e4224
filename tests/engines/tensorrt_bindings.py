"""The real Python bindings of TensorRT versions whose libraries cannot be had here.

The bindings wheels on PyPI are real; they need about ten C symbols of libnvinfer and its parser, which a stub library
under the right names provides. Then every class, method, enum and signature can be looked at, and subclasses of the
loggers, monitors and calibrators are made for real; only Builder and Runtime cannot start. One version a process:

    python -m tests.engines.tensorrt_bindings VERSION PROGRAM     (a function of tests.engines.tensorrt_programs)

Wheels and stubs are kept in .venv/tensorrt-bindings, which git ignores. 8.5 (JetPack 5) has no wheel on PyPI.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".venv" / "tensorrt-bindings"
# JetPack 6.0; 6.1 and 6.2; 7.0 and 7.1; 7.2; 7.2.2 (whose 11.4.1 has no wheel).
WHEELS = {
    "8.6.1": "tensorrt-bindings",
    "10.3.0": "tensorrt-cu12-bindings",
    "10.13.3.9": "tensorrt-cu12-bindings",
    "10.16.1.11": "tensorrt-cu12-bindings",
    "11.4.0.106": "tensorrt-cu12-bindings",
}
RTX = "rtx"  # installed with the project, with its library
VERSIONS = (*WHEELS, RTX)

# What the five bindings import; the last four are 8.6's old parsers.
SYMBOLS = (
    "createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getBuilderPluginRegistry",
    "getPluginRegistry", "getNvOnnxParserVersion", "initLibNvInferPlugins", "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi", "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)  # fmt: skip
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")


class Unavailable(Exception):
    """Why a version's bindings cannot be loaded here."""


@functools.cache
def results_of(version: str, program: str) -> Any:
    """Run a program with one version's bindings in a process of its own; what it returns comes back through JSON."""
    try:
        if version == RTX:
            importlib.import_module("tensorrt_rtx_bindings")
        else:
            wheel_folder(version)
            stub_folder(version.split(".")[0])
    except (Unavailable, ImportError) as error:
        pytest.skip(str(error))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engines.tensorrt_bindings", version, program],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"TensorRT {version}, {program}:\n{done.stderr[-4000:]}"
    return json.loads(done.stdout)


@functools.cache
def wheel_folder(version: str) -> Path:
    """Return the unpacked wheel, from the cache or from PyPI."""
    folder = CACHE / f"{version}-{sys.implementation.cache_tag}"
    if not folder.is_dir():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                       "--retries=0", "--timeout=20", f"--dest={work}", f"{WHEELS[version]}=={version}"]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            found = list(Path(work).glob("*.whl"))
            if done.returncode != 0 or not found:
                reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
                raise Unavailable(f"needs the bindings wheels: {WHEELS[version]}=={version}: {reason}")
            with zipfile.ZipFile(found[0]) as wheel:
                wheel.extractall(Path(work) / "unpacked")
            (Path(work) / "unpacked").rename(folder)
    return folder


@functools.cache
def stub_folder(major: str) -> Path:
    """Return the folder of stub libraries for a major version, compiled when first asked for."""
    folder = CACHE / f"stubs-{major}"
    if folder.is_dir():
        return folder
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unavailable("needs gcc for the stub of TensorRT's library")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        source = Path(work) / "stub.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in SYMBOLS), encoding="utf-8")
        built = Path(work) / "built"
        built.mkdir()
        for library in LIBRARIES:
            name = f"lib{library}.so.{major}"
            command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(built / name), str(source)]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        built.rename(folder)
    return folder


def load(version: str) -> Any:
    """Import one version's bindings into this process."""
    if version == RTX:
        return importlib.import_module("tensorrt_rtx_bindings")
    # The loader takes a library that is already there for the one of the same name that the bindings ask for.
    for path in sorted(stub_folder(version.split(".")[0]).iterdir()):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    sys.path.insert(0, str(wheel_folder(version)))
    return importlib.import_module("tensorrt_bindings")


if __name__ == "__main__":
    from tests.engines import tensorrt_programs

    sdk = load(sys.argv[1])
    sys.stdout.write(json.dumps(getattr(tensorrt_programs, sys.argv[2])(sdk)))
