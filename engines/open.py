"""Open an engine folder in the runtime that suits this machine."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from engines.errors import BadInput
from engines.loaded import LoadedModel
from engines.manifest import MODALITIES, PRECISIONS, load_manifest, verified_path
from engines.tensorrt_sdk import sdk_installed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engines.backend import Backend
    from engines.loaded import Run
    from engines.manifest import Form, Graph, Manifest, Modality, Precision


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where a runtime's loader is, what it reads, and which packages it needs."""

    module: str
    form: Form
    needs: tuple[str, ...]
    loader: str = "load"

    def missing(self) -> list[str]:
        return [name for name in self.needs if not _installed(name)]


# "auto" takes the first that is installed and has a graph: fastest first (tests/benchmarks/bench_engines.py).
# PyTorch is the reference and is never chosen.
RUNTIMES: dict[str, Runtime] = {
    "tensorrt": Runtime(
        module="engines.tensorrt_backend", form="tensorrt", needs=("tensorrt", "pycuda"), loader="load_tensorrt"
    ),
    "tensorrt-rtx": Runtime(
        module="engines.tensorrt_backend",
        form="tensorrt-rtx",
        needs=("tensorrt-rtx", "pycuda"),
        loader="load_tensorrt_rtx",
    ),
    "openvino": Runtime(module="engines.openvino_backend", form="onnx", needs=("openvino",)),
    "onnxruntime": Runtime(module="engines.onnxruntime_backend", form="onnx", needs=("onnxruntime",)),
    "torch": Runtime(module="engines.torch_backend", form="torch", needs=("torch",)),
}
BACKENDS = ("auto", *RUNTIMES)
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
    wanted = (precision,) if precision else _FASTEST_FIRST
    name = _choose(folder, manifest, wanted) if backend == "auto" else backend
    runtime = RUNTIMES[name]
    if runtime.missing():
        raise BadInput(
            f"backend {name!r} needs {' and '.join(runtime.missing())}, which is not installed; installed backends: "
            f"{', '.join(_installed_backends()) or 'none'}"
        )
    for candidate in wanted:
        graphs = _graphs(manifest, candidate, runtime.form)
        if graphs is not None:
            return LoadedModel(f"{name} {candidate}", manifest, _load(folder, graphs, name, threads))
    raise BadInput(
        f"{folder}: expected {precision or 'any'} graphs for {name}, got {_listing(manifest)}; choose one of these or "
        "build the missing one with deploy/build_engine.py"
    )


def _choose(folder: Path, manifest: Manifest, wanted: tuple[Precision, ...]) -> str:
    usable = [
        name
        for name, runtime in RUNTIMES.items()
        if name != "torch" and any(_graphs(manifest, precision, runtime.form) for precision in wanted)
    ]
    for name in usable:
        runtime = RUNTIMES[name]
        if runtime.missing():
            continue
        if runtime.form == "onnx" or importlib.import_module(runtime.module).fits(manifest, runtime.form):
            return name
    raise BadInput(
        f"{folder}: expected a runtime for its graphs ({_listing(manifest)}), got installed backends: "
        f"{', '.join(_installed_backends()) or 'none'}; install openvino, or name backend and precision"
    )


def _graphs(manifest: Manifest, precision: Precision, form: Form) -> dict[Modality, Graph] | None:
    """Return a graph for each modality, or None where one is missing."""
    complete: dict[Modality, Graph] = {}
    for modality in MODALITIES:
        graph = manifest.find(modality, precision, form)
        if graph is not None:
            complete[modality] = graph
    return complete if len(complete) == len(MODALITIES) else None


def _load(folder: Path, graphs: dict[Modality, Graph], name: str, threads: int | None) -> dict[Modality, Run]:
    runtime = RUNTIMES[name]
    load = cast("Callable[..., Run]", getattr(importlib.import_module(runtime.module), runtime.loader))
    by_file: dict[str, Run] = {}  # a single-stream method lists one file for both modalities
    try:
        for graph in graphs.values():
            if graph.file in by_file:
                continue
            path = verified_path(folder, graph)
            try:
                by_file[graph.file] = load(path, threads=threads)
            except BadInput:
                raise
            except Exception as error:  # each runtime has its own types; the file itself is as it was built
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise BadInput(
                    f"{path}: {name} cannot load it ({reason}); rebuild it with the installed versions"
                ) from error
        return {modality: by_file[graph.file] for modality, graph in graphs.items()}
    except BaseException:
        for run in by_file.values():
            run.close()
        raise


def _installed(name: str) -> bool:
    if name == "tensorrt" or name == "tensorrt-rtx":
        return sdk_installed(name)
    return find_spec(name) is not None


def _installed_backends() -> list[str]:
    return [name for name, runtime in RUNTIMES.items() if not runtime.missing()]


def _listing(manifest: Manifest) -> str:
    """Say what the folder holds, such as "onnx fp32, onnx int8"."""
    return ", ".join(sorted({f"{graph.form} {graph.precision}" for graph in manifest.graphs}))
