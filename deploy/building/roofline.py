"""What each Jetson module could do at most with a model: an estimate on paper, from its work and memory traffic.

A layer takes at least its work over the module's peak and its bytes over the memory's bandwidth, whichever is longer;
layers run one behind the other. Every tensor between layers goes through the memory once each way: a cache that holds
it could beat the bound at batch 1. Compute is at the peak of the precision that calib.placement gives the layer.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from calib.graph_cost import graph_cost, kept_float, load_graph
from deploy.building.jetson_modules import MODULES, SOURCE
from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME, load_manifest, verified_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx

    from calib.graph_cost import GraphCost, LayerCost
    from deploy.building.jetson_modules import JetsonModule
    from engines.manifest import Graph, Manifest, Precision

BATCHES = (1, 8, 32)
ESTIMATED: tuple[Precision, ...] = ("fp16", "int8")  # the table has no FP32 rates
TOP = 3
NOTICE = (
    "ESTIMATE, not a measurement: no board was timed. An upper bound from the modules' peak rates.",
    f"Modules: {SOURCE}.",
    "Networks usually reach 30-50 % of such a bound; that share is unverified too. Expect less.",
)


@dataclass(frozen=True, kw_only=True)
class LayerShare:
    """A layer and its part of the time, 0 to 1."""

    name: str
    place: str
    kind: str
    share: float
    limit: str  # compute or memory


@dataclass(frozen=True, kw_only=True)
class Bound:
    """One module at one precision and batch size."""

    module: str
    supported: bool
    precision: Precision
    batch: int
    images_per_s: float  # layer by layer
    whole_graph_images_per_s: float  # as if work and traffic of all layers overlapped: looser
    compute_share: float  # of the time, in layers that wait for arithmetic; the rest waits for the memory
    bottleneck: str  # compute or memory
    most_expensive: tuple[LayerShare, ...]
    memory_share: float | None  # of the module's memory, for weights and activations of all graphs; None: size unknown


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What all graphs of the model take at least, beside the system, CUDA and TensorRT."""

    precision: Precision
    batch: int
    weights_bytes: int
    activations_bytes: int  # most at one time


@dataclass(frozen=True, kw_only=True)
class GraphEstimate:
    """One graph, or several of equal cost."""

    name: str
    gflop_per_image: float
    int8_share: float  # of the work
    bounds: tuple[Bound, ...]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A model on every module."""

    model: str
    notice: tuple[str, ...]
    graphs: tuple[GraphEstimate, ...]
    memory: tuple[Memory, ...]


@dataclass(frozen=True, kw_only=True)
class _Graph:
    """A graph's cost at each batch size."""

    name: str
    costs: tuple[GraphCost, ...]

    def signature(self) -> list[tuple[str, int, int, int]]:
        """Return what is equal for graphs that cost the same."""
        return [
            (layer.kind, layer.flops, layer.bytes("fp16"), layer.bytes("int8"))
            for cost in self.costs
            for layer in cost.layers
        ]


def estimate(source: Path | None, *, batches: Sequence[int] = BATCHES) -> Estimate:
    """Estimate an engine folder, an FP32 ONNX file, or a checkpoint or run folder (None: the newest run), exported."""
    _need("onnx")
    if source is not None and (source / MANIFEST_NAME).is_file():
        return _of_folder(source, batches)
    if source is not None and source.suffix == ".onnx":
        model = load_graph(source)
        return _of_graphs(str(source), [_Graph(name="graph", costs=_costs(model, batches))])
    _need("torch", "onnxscript")
    from deploy.building.build import find_checkpoint  # it knows what a run is
    from train.checkpoint import build_method, load_checkpoint
    from train.export import export_model

    path = find_checkpoint(source)
    with tempfile.TemporaryDirectory() as name:
        export_model(build_method(load_checkpoint(path)), Path(name))
        return dataclasses.replace(_of_folder(Path(name), batches), model=str(source or path.parent))


def _need(*packages: str) -> None:
    for name in packages:
        if find_spec(name) is None:
            raise BadInput(f"expected {name} for the estimate, which is not installed: pip install -e .[train]")


def bound(module: JetsonModule, cost: GraphCost, precision: Precision, needed_bytes: int = 0) -> Bound:
    """Return a module's bound on one graph; needed_bytes is what its memory must hold for the whole model."""
    compute = [layer.flops / _rate(module, layer, precision) for layer in cost.layers]
    traffic = [layer.bytes(precision) / (1e9 * module.gb_per_s) for layer in cost.layers]
    seconds = [max(pair) for pair in zip(compute, traffic, strict=True)]
    limits = ["compute" if first >= second else "memory" for first, second in zip(compute, traffic, strict=True)]
    total = sum(seconds)
    share = sum(time for time, limit in zip(seconds, limits, strict=True) if limit == "compute") / total
    longest = sorted(range(len(seconds)), key=lambda number: -seconds[number])[:TOP]
    return Bound(
        module=module.name,
        supported=not module.unsupported,
        precision=precision,
        batch=cost.batch,
        images_per_s=cost.batch / total,
        whole_graph_images_per_s=cost.batch / max(sum(compute), sum(traffic)),
        compute_share=share,
        bottleneck="compute" if share >= 0.5 else "memory",
        most_expensive=tuple(
            LayerShare(
                name=cost.layers[number].name,
                place=cost.layers[number].place,
                kind=cost.layers[number].kind,
                share=seconds[number] / total,
                limit=limits[number],
            )
            for number in longest
        ),
        memory_share=None if module.memory_gb is None else needed_bytes / (1e9 * module.memory_gb),
    )


def _rate(module: JetsonModule, layer: LayerCost, precision: Precision) -> float:
    """Return operations a second; a layer that is not quantised runs in FP16."""
    if precision == "int8" and layer.quantised and module.int8_tops is not None:
        return 1e12 * module.int8_tops
    return 1e12 * module.fp16_tflops


def _of_folder(folder: Path, batches: Sequence[int]) -> Estimate:
    """Estimate the FP32 graphs of a folder; what its INT8 graphs leave in float stays FP16."""
    manifest = load_manifest(folder)
    graphs: list[_Graph] = []
    for listed in _fp32_graphs(manifest):
        model = load_graph(verified_path(folder, listed[0]))
        int8 = manifest.find(listed[0].modality, "int8", "onnx")
        kept = frozenset[str]() if int8 is None else kept_float(model, load_graph(verified_path(folder, int8)))
        graphs.append(_Graph(name=" and ".join(graph.modality for graph in listed), costs=_costs(model, batches, kept)))
    if not graphs:
        raise BadInput(f"{folder}: expected an fp32 graph to estimate from, got none; rebuild it with --precision fp32")
    name = f"{folder} ({manifest.method}, {manifest.height_px} x {manifest.width_px})"
    return _of_graphs(name, graphs)


def _fp32_graphs(manifest: Manifest) -> list[list[Graph]]:
    """Return the entries of each FP32 ONNX file: one, or two where both modalities share it."""
    found: dict[str, list[Graph]] = {}
    for graph in manifest.graphs:
        if (graph.precision, graph.form) == ("fp32", "onnx"):
            found.setdefault(graph.file, []).append(graph)
    return list(found.values())


def _costs(model: onnx.ModelProto, batches: Sequence[int], kept: Iterable[str] = ()) -> tuple[GraphCost, ...]:
    return tuple(graph_cost(model, batch, keep_float=kept) for batch in batches)


def _of_graphs(model: str, graphs: list[_Graph]) -> Estimate:
    memory: dict[tuple[Precision, int], Memory] = {
        (precision, number): Memory(
            precision=precision,
            batch=graphs[0].costs[number].batch,
            weights_bytes=sum(graph.costs[number].weight_bytes(precision) for graph in graphs),
            activations_bytes=sum(graph.costs[number].peak_activation_bytes(precision) for graph in graphs),
        )
        for precision in ESTIMATED
        for number in range(len(graphs[0].costs))
    }
    merged: dict[str, _Graph] = {}
    for graph in graphs:
        twin = next((name for name, other in merged.items() if other.signature() == graph.signature()), None)
        if twin is None:
            merged[graph.name] = graph
        else:
            merged[f"{twin} and {graph.name}, each"] = merged.pop(twin)
    return Estimate(
        model=model,
        notice=NOTICE,
        graphs=tuple(_graph_estimate(name, graph, memory) for name, graph in merged.items()),
        memory=tuple(memory.values()),
    )


def _graph_estimate(name: str, graph: _Graph, memory: dict[tuple[Precision, int], Memory]) -> GraphEstimate:
    cost = graph.costs[0]
    return GraphEstimate(
        name=name,
        gflop_per_image=cost.flops / cost.batch / 1e9,
        int8_share=sum(layer.flops for layer in cost.layers if layer.quantised) / cost.flops,
        bounds=tuple(
            bound(module, cost, precision, _needed(memory[precision, number]))
            for module in MODULES
            for precision in ESTIMATED
            if precision != "int8" or module.int8_tops is not None
            for number, cost in enumerate(graph.costs)
        ),
    )


def _needed(memory: Memory) -> int:
    return memory.weights_bytes + memory.activations_bytes
