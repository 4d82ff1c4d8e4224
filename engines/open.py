"""Open an engine folder in the runtime that suits this machine."""

from __future__ import annotations

import importlib
import logging
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from engines.choose_plan import buildable, device_here, graphs_of, listing, no_plan_fits
from engines.errors import BadInput, first_line
from engines.loaded import HINTS, LoadedModel, LoadOptions
from engines.manifest import PRECISIONS, load_manifest, verified_path
from engines.provenance import tool_versions
from engines.tensorrt_sdk import sdk_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from engines.backend import Backend
    from engines.loaded import Hint, Run
    from engines.manifest import Form, Graph, Manifest, Modality, Precision
    from engines.plan_target import Flavour

    Rebuild = Callable[[Path, Flavour, Precision], None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where a runtime's loader is, which packages it needs, and what it reads."""

    module: str
    needs: tuple[str, ...]
    reads: Mapping[Precision, tuple[Form, ...]]  # the best form of each precision first
    fastest_first: tuple[Precision, ...]  # without a choice; a precision that is missing here must be asked for
    flavour: Flavour | None = None  # of its plans; they fit one device only
    loader: str = "load"
    automatic: bool = True

    def missing(self) -> list[str]:
        return [name for name in self.needs if not _installed(name)]


# FP16 is no faster than FP32 on a CPU. ONNX Runtime's kernels want the uint8 form; the others of INT8 are slower than
# FP32 there (deployment.md 3.4), and of these the typed one is the slowest.
_CPU_FIRST: tuple[Precision, ...] = ("int8", "fp32")
_GPU_FIRST: tuple[Precision, ...] = ("int8", "fp16", "fp32")
_ONNX_RUNTIME: dict[Precision, tuple[Form, ...]] = {
    "fp32": ("onnx",),
    "fp16": ("onnx-typed",),
    "int8": ("onnx-uint8", "onnx", "onnx-typed"),
}

# "auto" takes the first that is installed and has a graph: fastest first (tests/benchmarks/bench_engines.py).
# PyTorch is the reference and is never chosen.
RUNTIMES: dict[str, Runtime] = {
    "tensorrt": Runtime(
        module="engines.tensorrt_backend",
        needs=("tensorrt", "pycuda"),
        reads=dict.fromkeys(PRECISIONS, ("tensorrt",)),
        fastest_first=_GPU_FIRST,
        flavour="tensorrt",
        loader="load_tensorrt",
    ),
    "tensorrt-rtx": Runtime(
        module="engines.tensorrt_backend",
        needs=("tensorrt-rtx", "pycuda"),
        reads=dict.fromkeys(PRECISIONS, ("tensorrt-rtx",)),
        fastest_first=_GPU_FIRST,
        flavour="tensorrt-rtx",
        loader="load_tensorrt_rtx",
    ),
    "openvino": Runtime(
        module="engines.openvino_backend",
        needs=("openvino",),
        reads={"fp32": ("onnx",), "fp16": ("onnx-typed",), "int8": ("onnx", "onnx-uint8")},
        fastest_first=_CPU_FIRST,
    ),
    "onnxruntime": Runtime(
        module="engines.onnxruntime_backend",
        needs=("onnxruntime",),
        reads=_ONNX_RUNTIME,
        fastest_first=_CPU_FIRST,
    ),
    "onnxruntime-cuda": Runtime(
        module="engines.onnxruntime_backend",
        needs=("onnxruntime-gpu",),
        reads={"fp32": ("onnx",), "fp16": ("onnx-typed",)},
        fastest_first=("fp16", "fp32"),
        loader="load_cuda",
        automatic=False,  # a comparison for TensorRT
    ),
    "torch": Runtime(
        module="engines.torch_backend",
        needs=("torch",),
        reads={"fp32": ("torch",)},
        fastest_first=("fp32",),
        automatic=False,
    ),
}
BACKENDS = ("auto", *RUNTIMES)


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """What will be loaded, and by which runtime."""

    name: str
    precision: Precision
    graphs: dict[Modality, Graph]
    manifest: Manifest


def open_engine(
    folder: Path,
    *,
    backend: str = "auto",
    precision: str | None = None,
    threads: int | None = None,
    hint: str = "latency",
    bf16: bool = False,
    auto_build: bool = False,
    rebuild: Rebuild | None = None,
) -> Backend:
    """Open the model in folder. Without a precision, the fastest one there; without threads, all cores.

    Only the files that are opened are verified: a damaged graph of another precision does not stop this one.
    With auto_build, rebuild(folder, flavour, precision) is called where a GPU is here and no plan fits it.
    """
    if backend not in BACKENDS:
        raise BadInput(f"expected a backend out of {', '.join(BACKENDS)}, got {backend!r}")
    if precision is not None and precision not in PRECISIONS:
        raise BadInput(f"expected a precision out of {', '.join(PRECISIONS)}, got {precision!r}")
    if threads is not None and threads < 1:
        raise BadInput(f"expected at least one thread, got {threads}")
    if hint not in HINTS:
        raise BadInput(f"expected a hint out of {', '.join(HINTS)}, got {hint!r}")
    if auto_build and rebuild is None:
        raise ValueError("auto_build needs a rebuild function")
    chosen = _choose(folder, backend, precision, rebuild if auto_build else None)
    if bf16 and chosen.name != "openvino":
        raise BadInput(f"expected openvino for bf16, got {chosen.name}; leave bf16 out, or take openvino")
    return _load(folder, chosen, threads, hint, bf16)


def _choose(folder: Path, backend: str, precision: Precision | None, rebuild: Rebuild | None) -> _Chosen:
    manifest = load_manifest(folder)
    if backend != "auto":
        missing = RUNTIMES[backend].missing()
        if missing:
            raise BadInput(
                f"backend {backend!r} needs {' and '.join(missing)}, which is not installed; installed backends: "
                f"{', '.join(_installed_backends()) or 'none'}"
            )
        chosen, reason = _try(folder, manifest, backend, precision, rebuild)
        if chosen is None:
            raise BadInput(reason)
        return chosen
    for name, runtime in RUNTIMES.items():
        if not runtime.automatic or runtime.missing():
            continue
        if runtime.flavour is not None and device_here(runtime.flavour) is None:
            continue
        chosen, reason = _try(folder, manifest, name, precision, rebuild)
        if chosen is not None:
            return chosen
        if runtime.flavour is not None:  # the CPU is not what the owner of this GPU expects
            log.warning("%s", reason)
    raise BadInput(
        f"{folder}: expected a runtime for its graphs ({listing(manifest)}), got installed backends: "
        f"{', '.join(_installed_backends()) or 'none'}; install openvino, or name backend and precision"
    )


def _try(
    folder: Path, manifest: Manifest, name: str, precision: Precision | None, rebuild: Rebuild | None
) -> tuple[_Chosen | None, str]:
    """Return what the runtime can load out of the folder, or None and the line that says why nothing."""
    runtime = RUNTIMES[name]
    wanted = (precision,) if precision is not None else runtime.fastest_first
    device = device_here(runtime.flavour) if runtime.flavour is not None else None
    for candidate in wanted:
        graphs = graphs_of(manifest, candidate, runtime.reads.get(candidate, ()), device)
        if graphs is not None:
            return _Chosen(name=name, precision=candidate, graphs=graphs, manifest=manifest), ""
    if runtime.flavour is None:
        return None, (
            f"{folder}: expected {precision or 'any'} graphs for {name}, got {listing(manifest)}; choose one of these "
            "or build the missing one with deploy/build_engine.py"
        )
    source = buildable(manifest, wanted)
    if rebuild is not None and device is not None and source is not None:
        log.info("%s: no plan fits %s; building one in %s", folder, device, source)
        rebuild(folder, runtime.flavour, source)
        return _try(folder, load_manifest(folder), name, precision, None)
    return None, no_plan_fits(folder, manifest, wanted, runtime.flavour, device)


def _load(folder: Path, chosen: _Chosen, threads: int | None, hint: str, bf16: bool) -> LoadedModel:
    runtime = RUNTIMES[chosen.name]
    load = cast("Callable[[Path, LoadOptions], Run]", getattr(importlib.import_module(runtime.module), runtime.loader))
    by_file: dict[str, Run] = {}  # a single-stream method lists one file for both modalities
    path = folder
    try:
        for graph in chosen.graphs.values():
            if graph.file not in by_file:
                path = verified_path(folder, graph)
                options = LoadOptions(
                    graph=graph, manifest=chosen.manifest, threads=threads, hint=cast("Hint", hint), bf16=bf16
                )
                by_file[graph.file] = load(path, options)
        path = folder
        runs: dict[Modality, Run] = {modality: by_file[graph.file] for modality, graph in chosen.graphs.items()}
        title = f"{chosen.name} {chosen.precision}{' bf16' if bf16 else ''}"
        return LoadedModel(title, chosen.manifest, runs)
    except BaseException as error:
        for run in by_file.values():
            run.close()
        if isinstance(error, BadInput) or not isinstance(error, Exception):
            raise
        # Each runtime has its own types; the file itself is as it was built.
        raise BadInput(
            f"{path}: {chosen.name} cannot load it ({first_line(error)}); rebuild it with the installed versions"
        ) from error


def _installed(name: str) -> bool:
    if name == "tensorrt" or name == "tensorrt-rtx":
        return sdk_installed(name)
    if name == "onnxruntime-gpu":  # the same module as onnxruntime, from another wheel
        return bool(tool_versions([name]))
    return find_spec(name) is not None


def _installed_backends() -> list[str]:
    return [name for name, runtime in RUNTIMES.items() if not runtime.missing()]
