"""The parity of an engine folder as one result: measured and judged, with the address of a loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from calib.drift import LIMITS, violations
from deploy.parity.compare import compare
from deploy.parity.layers import measure_layers
from deploy.parity.reference import load_reference
from deploy.parity.stages import PYTORCH, measure_stages
from engines.manifest import PRECISIONS, load_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from calib.drift import Limits
    from deploy.parity.compare import Comparison
    from deploy.parity.layers import Layers
    from deploy.parity.reference import Reference
    from deploy.parity.stages import Stages
    from engines.manifest import Precision

# Worst cosine between an image in a batch of 8 and the same alone. Measured 1.0 in OpenVINO and ONNX Runtime; a runtime
# may choose another kernel for another batch, whose sums are in another order, and INT8 then rounds some values the
# other way: 0.992 on a random MCJA in ONNX Runtime. A batch that mixes its images up has the cosine of two images.
BATCH_LIMITS: dict[Precision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.97}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A limit that does not hold: where, and by how much."""

    where: str  # an engine or a stage
    what: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that was measured on one folder, and what is over its limits."""

    folder: Path
    method: str
    reference: Reference
    comparison: Comparison
    stages: Stages
    layers: Layers
    limits: Mapping[Precision, Limits]
    max_map_drop: float  # points of 100
    findings: tuple[Finding, ...]
    address: str  # where the first loss is; empty where nothing is over a limit


def measure_parity(
    folder: Path,
    *,
    data: Path | None = None,
    backend: str = "auto",
    precisions: Sequence[Precision] = PRECISIONS,
    images: int | None = None,
    max_map_drop: float = 0.5,
    limits: Mapping[Precision, Limits] = LIMITS,
) -> Report:
    """Measure engines, stages and layers of a folder against its reference and judge them."""
    manifest = load_manifest(folder)
    reference = load_reference(folder, data).first(images)
    comparison = compare(folder, reference, backend=backend, precisions=precisions)
    stages = measure_stages(folder, reference, comparison.engines, precisions=precisions)
    layers = measure_layers(folder, reference, precisions=precisions)
    findings = judge(comparison, stages, limits, max_map_drop)
    return Report(
        folder=folder,
        method=manifest.method,
        reference=reference,
        comparison=comparison,
        stages=stages,
        layers=layers,
        limits=limits,
        max_map_drop=max_map_drop,
        findings=tuple(findings),
        address=address(folder, comparison, stages, layers, limits) if findings else "",
    )


def judge(
    comparison: Comparison, stages: Stages, limits: Mapping[Precision, Limits], max_map_drop: float
) -> list[Finding]:
    """Say what is over a limit: engines against PyTorch, then stages against PyTorch and what they were made from.

    The mAP of the stages is not judged: they see fewer images.
    """
    found = [Finding(where=item.name, what=item.reason) for item in comparison.broken]
    for engine in comparison.engines:
        lines = violations(engine.difference.drift, limits[engine.precision], max_map_drop)
        if engine.batch_cosine < BATCH_LIMITS[engine.precision]:
            lines.append(
                f"cosine {engine.batch_cosine:.4f} between a batch of 8 and of 1 is under "
                f"{BATCH_LIMITS[engine.precision]}"
            )
        found += [Finding(where=engine.engine, what=line) for line in lines]
    found += [Finding(where=f"stage {item.name}", what=item.reason) for item in stages.broken]
    judged = {engine.engine for engine in comparison.engines}
    for stage in stages.stages:
        against = {} if stage.name in judged else {PYTORCH: stage.to_reference}
        found += [
            Finding(where=f"stage {stage.name}", what=f"against {name}: {line}")
            for name, compared in (against | {stage.before: stage.to_before}).items()
            for line in violations(compared.drift, limits[stage.precision], float("inf"))
        ]
    return found


def address(
    folder: Path, comparison: Comparison, stages: Stages, layers: Layers, limits: Mapping[Precision, Limits]
) -> str:
    """Name the first stage that is over the limits against the one before it, its modality and its worst layer."""
    for item in (*stages.broken, *comparison.broken):
        return f"{item.name}: {item.reason}"
    for stage in stages.stages:
        over = violations(stage.to_before.drift, limits[stage.precision], float("inf"))
        if not over:
            continue
        worst = min(stage.to_before.modalities, key=lambda figures: figures.mean_cosine)
        where = f"{stage.name} against {stage.before}: {over[0]}; worst in {worst.modality}"
        form, _, _ = stage.name.partition(" ")
        files = [
            graph.file
            for graph in load_manifest(folder).graphs
            if (graph.form, graph.precision, graph.modality) == (form, stage.precision, worst.modality)
        ]
        suspect = layers.suspect(files[0]) if files else None
        if suspect is None:
            return where
        return f"{where}; the signal falls most at {suspect.layer} of {suspect.file}, to {suspect.sqnr_db:.1f} dB"
    return ""
