"""Stage by stage from PyTorch to the engine, so that a loss has an address.

A stage is a file, run as it is written: ONNX Runtime without any rewriting of the graph, so that a figure is the file's
own. An older ONNX Runtime that rewrote Q/DQ pairs with FP16 scales gave a cosine of 0.906 instead of 0.994; 1.31 does
not on our files. Behind the files come the engines, each against the file that it was made from: a file can be right
and its runtime wrong.

FP16 operators have no CPU kernel there and are computed in FP32 between casts, so FP16 looks a little better than on a
GPU; the plan's own row says how it is.

Shapes: N images, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.parity.compare import Absent, form_read, modality_batches, not_finite
from deploy.parity.figures import difference
from engines.errors import first_line
from engines.manifest import MODALITIES, PRECISIONS, load_manifest, verified_path
from engines.open import RUNTIMES
from engines.silent_runtimes import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.parity.compare import EngineFigures
    from deploy.parity.figures import Difference
    from deploy.parity.reference import Reference
    from engines.manifest import Form, Manifest, Precision

    File = tuple[Form, Precision]

STAGE_IMAGES = 128  # ONNX Runtime as written takes about twice its usual time, and there are up to seven files
STAGE_BATCH = 8
PYTORCH = "pytorch fp32"
# In the order of the build, each behind what it is made from; the first one there counts.
FILES: dict[File, tuple[File, ...]] = {
    ("onnx", "fp32"): (),
    ("onnx-opset17", "fp32"): (("onnx", "fp32"),),
    ("onnx-typed", "fp16"): (("onnx", "fp32"),),
    ("onnx", "int8"): (("onnx", "fp32"),),
    ("onnx-opset17", "int8"): (("onnx", "int8"), ("onnx", "fp32")),
    ("onnx-typed", "int8"): (("onnx", "int8"), ("onnx", "fp32")),
    ("onnx-uint8", "int8"): (("onnx", "int8"), ("onnx", "fp32")),
}
# Plans are built from the typed graph where the builder is strongly typed, else from the other.
_PLAN_SOURCES: tuple[Form, ...] = ("onnx-typed", "onnx", "onnx-opset17")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One file or engine on the stage images."""

    name: str  # such as "onnx int8" or "openvino int8"
    precision: Precision
    before: str  # the stage that it was made from
    to_reference: Difference
    to_before: Difference
    feature_ND: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Stages:
    """All stages in the order of the build; broken ones could not be computed."""

    images: int
    stages: tuple[Stage, ...]
    skipped: tuple[Absent, ...]
    broken: tuple[Absent, ...]


def measure_stages(
    folder: Path,
    reference: Reference,
    engines: Sequence[EngineFigures],
    *,
    images: int = STAGE_IMAGES,
    precisions: Sequence[Precision] = PRECISIONS,
) -> Stages:
    """Run the ONNX files of these precisions, and FP32, from which all are made; then place the engines behind them.

    The engines' embeddings are there already.
    """
    manifest, part = load_manifest(folder), reference.first(images)
    found: dict[str, Stage] = {}
    skipped: list[Absent] = []
    broken: list[Absent] = []
    for (form, precision), sources in FILES.items():
        wanted = precision in precisions or (form, precision) == ("onnx", "fp32")
        if not wanted or any(manifest.find(modality, precision, form) is None for modality in MODALITIES):
            continue
        name = f"{form} {precision}"
        if find_spec("onnxruntime") is None:
            skipped.append(Absent(name=name, reason="needs onnxruntime, not installed"))
            continue
        try:
            feature_ND = embed_file(folder, manifest, part, form, precision)
        except Exception as error:  # ONNX Runtime has its own types; one file that fails must not hide the others
            broken.append(Absent(name=name, reason=first_line(error)))
            continue
        reason = not_finite(part, feature_ND)
        if reason is not None:
            broken.append(Absent(name=name, reason=reason))
            continue
        before = [f"{source[0]} {source[1]}" for source in sources]
        found[name] = _stage(part, found, name, precision, before, feature_ND)
    for engine in engines:
        form = form_read(manifest, engine.backend, engine.precision)
        sources = _PLAN_SOURCES if RUNTIMES[engine.backend].flavour is not None else (form,)
        before = [f"{source} {engine.precision}" for source in sources]
        feature_ND = engine.feature_ND[: len(part.records)]
        found[engine.engine] = _stage(part, found, engine.engine, engine.precision, before, feature_ND)
    return Stages(images=len(part.records), stages=tuple(found.values()), skipped=tuple(skipped), broken=tuple(broken))


def embed_file(
    folder: Path, manifest: Manifest, reference: Reference, form: Form, precision: Precision
) -> NDArray[np.float32]:
    """Embed the reference's images with the ONNX graphs of one form and precision, as they are written (N, D)."""
    sessions: dict[str, Any] = {}
    feature_ND = np.empty((len(reference.records), manifest.embedding_dim), np.float32)
    for modality, places, image_BHWC in modality_batches(reference.records, manifest, STAGE_BATCH):
        graph = manifest.find(modality, precision, form)
        assert graph is not None  # the caller asked for what is there
        if graph.file not in sessions:
            sessions[graph.file] = plain_session(verified_path(folder, graph).read_bytes())
        session = sessions[graph.file]
        feature_ND[places] = session.run(None, {session.get_inputs()[0].name: image_BHWC})[0]
    return feature_ND


def plain_session(model: bytes) -> Any:
    """Open an ONNX model in ONNX Runtime on the CPU, with every rewriting of the graph off."""
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as engines.onnxruntime_backend
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _stage(
    reference: Reference,
    found: dict[str, Stage],
    name: str,
    precision: Precision,
    before: Sequence[str],
    feature_ND: NDArray[np.float32],
) -> Stage:
    source = next((stage for stage in before if stage in found), PYTORCH)
    before_ND = reference.feature_ND if source == PYTORCH else found[source].feature_ND
    return Stage(
        name=name,
        precision=precision,
        before=source,
        to_reference=difference(reference, reference.feature_ND, feature_ND),
        to_before=difference(reference, before_ND, feature_ND),
        feature_ND=feature_ND,
    )
