"""Layer by layer: how much of each convolution's signal an INT8 or FP16 file keeps of the FP32 file's.

Both files name the outputs of their layers alike (calib.quantize, calib.half), so the tensors can be compared. The
measure is the signal-to-quantisation-noise ratio (SQNR), 10 log10 of the FP32 tensor's energy over the difference's. It
falls along the network because noise adds up; the layer to look at is the one where it falls most. Networks of two
graphs have a list for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.parity.compare import Absent, modality_batches
from deploy.parity.stages import FILES, plain_session
from engines.errors import first_line
from engines.manifest import MODALITIES, PRECISIONS, load_manifest, verified_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from deploy.parity.reference import Reference
    from engines.manifest import Form, Graph, Manifest, Precision

# Trained MCJA on 16, 32 and 64 images: convolutions within 1.2 dB of each other, its gates within 4.
LAYER_IMAGES = 32
# What a layer loses above this is not seen in an embedding of INT8. The same network: first convolution 42 dB, the
# others 21 to 38 dB and a mean cosine of 0.9992; a scale ten times too small takes its layer from 26 to 3 dB.
AUDIBLE_DB = 25.0
CEILING_DB = 120.0  # equal to the last bit of FP32
LAYERS = ("Conv", "MatMul", "Gemm")
PIXELS = "normalised pixels"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer's output in one file, or the pixels as the first convolution gets them."""

    file: str
    precision: Precision
    number: int  # from 1 in the order of the graph; 0 for the pixels
    layer: str  # the weight's name in PyTorch, such as backbone.layer3.0.conv2
    operator: str
    sqnr_db: float
    fall_db: float  # below the worst of the layers that feed it, counted from AUDIBLE_DB down; 0 where it does not fall


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The layers of every file that is not FP32, in the order of their graphs."""

    images: int
    layers: tuple[Layer, ...]
    skipped: tuple[Absent, ...]

    def worst(self, count: int) -> list[Layer]:
        """Return the layers that keep least, each once: the first of its graph's files that keeps least, to 1 dB."""
        found: dict[tuple[str, str], Layer] = {}
        for layer in self.layers:
            name = (layer.file.split(".")[0], layer.layer)
            if name not in found or layer.sqnr_db < found[name].sqnr_db - 1.0:
                found[name] = layer
        return sorted(found.values(), key=lambda layer: layer.sqnr_db)[:count]

    def suspect(self, file: str) -> Layer | None:
        """Return the layer of a file where the signal falls most; None where it falls nowhere."""
        mine = [layer for layer in self.layers if layer.file == file and layer.fall_db > 0]
        return max(mine, key=lambda layer: layer.fall_db, default=None)


@dataclass(frozen=True, kw_only=True)
class _Probe:
    """A tensor to compare and what it depends on."""

    tensor: str
    layer: str
    operator: str
    feeds: tuple[str, ...]  # probed tensors that reach it through other nodes


def measure_layers(
    folder: Path,
    reference: Reference,
    *,
    images: int = LAYER_IMAGES,
    precisions: Sequence[Precision] = PRECISIONS,
) -> Layers:
    """Run each file beside its FP32 file, one image at a time, so that memory does not grow with their number.

    ResNet-50 at 384x128 peaks at 0.70 GB with 4 images and with 16.
    """
    manifest, part = load_manifest(folder), reference.first(images)
    layers: list[Layer] = []
    skipped: list[Absent] = []
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    for form, precision in FILES:
        # The opset-17 files have the same nodes; their stage says whether they are right.
        wanted = precision in precisions and precision != "fp32" and form != "onnx-opset17"
        for graph, exact in _pairs(manifest, form, precision) if wanted else ():
            if missing:
                skipped.append(Absent(name=graph.file, reason=f"needs {' and '.join(missing)}, not installed"))
                continue
            try:
                layers += _compare(folder, part, manifest, graph, exact)
            except Exception as error:  # ONNX Runtime has its own types; the stage of the file says what is broken
                skipped.append(Absent(name=graph.file, reason=first_line(error)))
    return Layers(images=len(part.records), layers=tuple(layers), skipped=tuple(skipped))


def probes(model: onnx.ModelProto) -> list[_Probe]:
    """List what to compare in an FP32 graph: layers with constant weights, and the pixels that the first ones get."""
    constants = {item.name for item in model.graph.initializer}
    producer = {output: node for node in model.graph.node for output in node.output}
    layers = [node for node in model.graph.node if node.op_type in LAYERS and node.input[1] in constants]
    outputs = {node.output[0] for node in layers}
    found: dict[str, _Probe] = {}
    for node in layers:
        feeds = _feeding(node.input[0], producer, outputs)
        if not feeds and node.input[0] in producer:  # nothing before it but the normalisation
            found.setdefault(node.input[0], _Probe(tensor=node.input[0], layer=PIXELS, operator="input", feeds=()))
            feeds = (node.input[0],)
        name = node.input[1].removeprefix("method.").removesuffix(".weight")
        found[node.output[0]] = _Probe(tensor=node.output[0], layer=name, operator=node.op_type, feeds=feeds)
    return list(found.values())


def falls(found: Sequence[_Probe], sqnr_db: Mapping[str, float]) -> list[float]:
    """Return by how much each probe is below the worst of what feeds it, counted from AUDIBLE_DB down."""
    return [
        max(0.0, min([AUDIBLE_DB, *(sqnr_db[name] for name in probe.feeds if name in sqnr_db)]) - sqnr_db[probe.tensor])
        for probe in found
    ]


def sqnr(signal: float, noise: float) -> float:
    """Return the ratio of two energies in dB, within CEILING_DB; what is not a number is the floor."""
    if not np.isfinite(signal) or not np.isfinite(noise):
        return -CEILING_DB
    if noise == 0.0:
        return CEILING_DB
    return float(np.clip(10.0 * np.log10(max(signal, 1e-30) / noise), -CEILING_DB, CEILING_DB))


def _pairs(manifest: Manifest, form: Form, precision: Precision) -> list[tuple[Graph, Graph]]:
    """Return the graphs of a form and precision, each file once, beside the FP32 graphs that they were made from."""
    pairs: dict[str, tuple[Graph, Graph]] = {}
    for modality in MODALITIES:
        graph, exact = manifest.find(modality, precision, form), manifest.find(modality, "fp32", "onnx")
        if graph is not None and exact is not None:
            pairs.setdefault(graph.file, (graph, exact))
    return list(pairs.values())


def _compare(folder: Path, reference: Reference, manifest: Manifest, graph: Graph, exact: Graph) -> list[Layer]:
    import onnx

    models: list[onnx.ModelProto] = []
    for item in (exact, graph):
        model = onnx.ModelProto()
        model.ParseFromString(verified_path(folder, item).read_bytes())
        models.append(model)
    names = {output for node in models[1].graph.node for output in node.output}
    chosen = [probe for probe in probes(models[0]) if probe.tensor in names]
    sessions = [_probing(model, [probe.tensor for probe in chosen]) for model in models]
    energy_L2 = np.zeros((len(chosen), 2))  # of the signal, of the noise
    used = [item.modality for item in manifest.graphs if item.file == graph.file]
    for modality, _, image_BHWC in modality_batches(reference.records, manifest, 1):
        if modality in used:
            exact_tensors, tensors = (
                session.run([probe.tensor for probe in chosen], {session.get_inputs()[0].name: image_BHWC})
                for session in sessions
            )
            for row, (before, after) in enumerate(zip(exact_tensors, tensors, strict=True)):
                energy_L2[row] += _energy(before), _energy(before.astype(np.float32) - after.astype(np.float32))
    ratio = {probe.tensor: sqnr(*energy) for probe, energy in zip(chosen, energy_L2.tolist(), strict=True)}
    layers: list[Layer] = []
    for probe, fall_db in zip(chosen, falls(chosen, ratio), strict=True):
        number = sum(layer.number > 0 for layer in layers) + 1
        layers.append(
            Layer(
                file=graph.file,
                precision=graph.precision,
                number=0 if probe.layer == PIXELS else number,
                layer=probe.layer,
                operator=probe.operator,
                sqnr_db=ratio[probe.tensor],
                fall_db=fall_db,
            )
        )
    return layers


def _energy(values: NDArray[np.float32]) -> float:
    flat = values.ravel()
    return float(np.dot(flat, flat))


def _probing(model: onnx.ModelProto, tensors: Sequence[str]) -> Any:
    """Open a copy of the model that gives these tensors."""
    import onnx

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in tensors)
    return plain_session(probe.SerializeToString())


def _feeding(tensor: str, producer: Mapping[str, onnx.NodeProto], outputs: set[str]) -> tuple[str, ...]:
    """Walk back from a tensor to the nearest layer outputs."""
    pending, seen, found = [tensor], set[str](), list[str]()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in outputs:
            found.append(name)
        elif name in producer:
            pending += producer[name].input
    return tuple(sorted(found))
