"""Open an engine folder in the runtime that suits this machine."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from engines.errors import BadInput
from engines.loaded import LoadedModel
from engines.manifest import MODALITIES, PRECISIONS, load_manifest, verified_path

if TYPE_CHECKING:
    from pathlib import Path

    from engines.backend import Backend
    from engines.loaded import Run
    from engines.manifest import Form, Manifest, Modality, Precision

BackendName = Literal["auto", "openvino", "onnxruntime", "torch", "tensorrt", "tensorrt-rtx"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)
# Where it is loaded, what it reads, and what must be installed.
_RUNTIMES: dict[str, tuple[str, Form, tuple[str, ...]]] = {
    "openvino": ("engines.openvino_backend", "onnx", ("openvino",)),
    "onnxruntime": ("engines.onnxruntime_backend", "onnx", ("onnxruntime",)),
    "torch": ("engines.torch_backend", "torch", ("torch",)),
    "tensorrt": ("engines.tensorrt_backend", "tensorrt", ("tensorrt", "pycuda")),
    "tensorrt-rtx": ("engines.tensorrt_backend", "tensorrt-rtx", ("tensorrt_rtx", "pycuda")),
}
_AUTO = ("tensorrt", "tensorrt-rtx", "openvino", "onnxruntime")  # fastest first, measured: engines/benchmark.py
_FASTEST_FIRST: tuple[Precision, ...] = ("int8", "fp16", "fp32")


def open_engine(
    folder: Path, *, backend: str = "auto", precision: str | None = None, threads: int | None = None
) -> Backend:
    """Open the model in folder. Without a precision, the fastest one there; without threads, all cores.

    Only the files that are opened are verified: a damaged graph of another precision does not stop this one.
    """
    manifest = load_manifest(folder)
    if backend not in BACKENDS:
        raise BadInput(f"expected a backend out of {', '.join(BACKENDS)}, got {backend!r}")
    if precision is not None and precision not in PRECISIONS:
        raise BadInput(f"expected a precision out of {', '.join(PRECISIONS)}, got {precision!r}")
    if threads is not None and threads < 1:
        raise BadInput(f"expected at least one thread, got {threads}")
    chosen = _choose(manifest) if backend == "auto" else backend
    module, form, needed = _RUNTIMES[chosen]
    missing = [name for name in needed if not _installed(name)]
    if missing:
        raise BadInput(
            f"backend {chosen!r} needs {' and '.join(missing)}, which is not installed; installed backends: "
            f"{', '.join(_installed_backends()) or 'none'}"
        )
    found = precision or next((name for name in _FASTEST_FIRST if _complete(manifest, name, form)), None)
    if found is None or not _complete(manifest, found, form):
        raise BadInput(
            f"{folder}: expected graphs for {chosen} {precision or 'in any precision'}, got {_listing(manifest)}; "
            "choose one of these or build the missing one with deploy/build_engine.py"
        )
    return LoadedModel(f"{chosen} {found}", manifest, _load(folder, manifest, module, found, form, threads))


def _load(
    folder: Path, manifest: Manifest, module: str, precision: str, form: Form, threads: int | None
) -> dict[Modality, Run]:
    runtime = importlib.import_module(module)
    loaded: dict[str, Run] = {}  # by file: a single-stream method lists one file for both modalities
    runs: dict[Modality, Run] = {}
    try:
        for modality in MODALITIES:
            graph = _find(manifest, modality, precision, form)
            assert graph is not None  # _complete looked
            if graph.file not in loaded:
                path = verified_path(folder, graph)
                try:
                    loaded[graph.file] = runtime.load(path, threads=threads)
                except BadInput:
                    raise
                except Exception as error:  # each runtime has its own error types; the file is as it was built
                    raise BadInput(
                        f"{path}: {module} cannot load it ({_first_line(error)}); rebuild it with the installed versions"
                    ) from error
            runs[modality] = loaded[graph.file]
    except BaseException:
        for run in loaded.values():
            run.close()
        raise
    return runs


def _choose(manifest: Manifest) -> str:
    for name in _AUTO:
        _, form, needed = _RUNTIMES[name]
        if not all(_installed(distribution) for distribution in needed):
            continue
        if not any(graph.form == form for graph in manifest.graphs):
            continue
        if form in ("tensorrt", "tensorrt-rtx") and not importlib.import_module(_RUNTIMES[name][0]).fits(manifest, form):
            continue
        return name
    raise BadInput(
        f"expected a runtime for {_listing(manifest)}, got installed backends: "
        f"{', '.join(_installed_backends()) or 'none'}; install openvino, or name a backend"
    )


def _find(manifest: Manifest, modality: Modality, precision: str, form: Form):  # noqa: ANN202
    return next(
        (
            graph
            for graph in manifest.graphs
            if (graph.modality, graph.precision, graph.form) == (modality, precision, form)
        ),
        None,
    )


def _complete(manifest: Manifest, precision: str, form: Form) -> bool:
    return all(_find(manifest, modality, precision, form) is not None for modality in MODALITIES)


def _installed(name: str) -> bool:
    return find_spec(name) is not None


def _installed_backends() -> list[str]:
    return [name for name, (_, _, needed) in _RUNTIMES.items() if all(_installed(part) for part in needed)]


def _listing(manifest: Manifest) -> str:
    """Say what the folder holds, such as "onnx fp32, onnx int8"."""
    return ", ".join(sorted({f"{graph.form} {graph.precision}" for graph in manifest.graphs}))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
