"""A parity report as a table for people, as JSON for programs, and as JUnit for build servers."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from engines.provenance import tool_versions, utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calib.drift import Drift
    from deploy.parity.compare import Absent, EngineFigures
    from deploy.parity.figures import Difference
    from deploy.parity.layers import Layers
    from deploy.parity.report import Report
    from deploy.parity.stages import Stage, Stages

WORST_LAYERS = 5  # in the table; the picture has more
TOOLS = ("numpy", "onnx", "onnxruntime", "openvino", "tensorrt", "tensorrt-rtx-cu13-bindings", "pycuda", "torch")


def to_table(report: Report) -> str:
    """Write the figures for a person; the last line is the verdict."""
    reference = report.reference
    people = len({record.identity for record in reference.records})
    labelled = "no labels" if reference.dataset is None else f"{people} people of {reference.dataset} {reference.split}"
    lines = [
        f"{report.folder.name} ({report.method}) against PyTorch FP32 on {len(reference.records)} held-out images, "
        f"{labelled}",
        "",
        *_engine_rows(report),
        *_absent_rows(report.comparison.skipped, "not run"),
        "",
        *_stage_rows(report.stages),
        *_absent_rows(report.stages.skipped, "not run"),
        "",
        *_layer_rows(report.layers),
        *_absent_rows(report.layers.skipped, "not compared"),
        "",
    ]
    lines += [f"over the limit: {finding.where}: {finding.what}" for finding in report.findings]
    if report.address:
        lines.append(f"the loss is at {report.address}")
    lines.append("parity FAILED" if report.findings else "parity holds")
    return "\n".join(lines) + "\n"


def _engine_rows(report: Report) -> list[str]:
    head = ("engine", "cosine worst", "mean", "rank-1 agrees", "top-5 shared", "sim. error", "batch 8, 1")
    rows = [f"{head[0]:<22}{head[1]:>13}{head[2]:>10}{head[3]:>15}{head[4]:>14}{head[5]:>12}{head[6]:>11}"]
    for engine in report.comparison.engines:
        drift = engine.difference.drift
        rows.append(
            f"{engine.engine:<22}{drift.worst_cosine:13.5f}{drift.mean_cosine:10.5f}"
            f"{100 * drift.rank1_agreement:13.1f} %{100 * engine.top5_overlap:12.1f} %"
            f"{drift.max_similarity_error:12.4f}{engine.batch_cosine:11.5f}"
        )
        rows += [
            f"  {figures.modality:<20}{figures.worst_cosine:13.5f}{figures.mean_cosine:10.5f}  worst: "
            f"{figures.worst_image}"
            for figures in engine.difference.modalities
        ]
    searched = [(engine.engine, engine.search) for engine in report.comparison.engines if engine.search is not None]
    if searched:
        first = searched[0][1]
        rows += [
            "",
            f"search: PyTorch has mAP {first.reference_map:.2f} and rank-1 {first.reference_rank1:.2f} in "
            f"{first.queries} queries; differences in points, with the range of 95 of 100 draws of the queries",
        ]
        rows += [
            f"{name:<22}mAP {found.map_difference!s:<24} rank-1 {found.rank1_difference!s:<24} true match moved in "
            f"{int((found.moves_V != 0).sum())} queries"
            for name, found in searched
        ]
    return rows


def _stage_rows(stages: Stages) -> list[str]:
    rows = [
        f"stages on {stages.images} images: worst and mean cosine, rank-1 agreement, against PyTorch and against the "
        "stage before",
        f"{'stage':<22}{'PyTorch':>28}   {'stage before':>28}",
    ]
    rows += [
        f"{stage.name:<22}{_brief(stage.to_reference)}   {_brief(stage.to_before)}  {stage.before}"
        for stage in stages.stages
    ]
    return rows + [f"{item.name:<22}BROKEN: {item.reason}" for item in stages.broken]


def _layer_rows(layers: Layers) -> list[str]:
    if not layers.layers:
        return ["layers: no FP16 or INT8 file to compare with FP32"]
    rows = [f"layers on {layers.images} images, SQNR against the FP32 file; the worst {WORST_LAYERS}:"]
    rows += [
        f"  {layer.sqnr_db:6.1f} dB  {layer.layer} ({layer.operator}) of {layer.file}"
        for layer in layers.worst(WORST_LAYERS)
    ]
    return rows


def _absent_rows(items: Sequence[Absent], what: str) -> list[str]:
    return [f"{what}: {item.name}: {item.reason}" for item in items]


def _brief(found: Difference) -> str:
    drift = found.drift
    return f"{drift.worst_cosine:9.5f}{drift.mean_cosine:9.5f}{100 * drift.rank1_agreement:8.1f} %"


def to_json(report: Report) -> str:
    """Write all figures, with what they were measured on and with."""
    reference = report.reference
    return (
        json.dumps(
            {
                "folder": str(report.folder),
                "method": report.method,
                "images": len(reference.records),
                "dataset": reference.dataset,
                "split": reference.split,
                "limits": {name: dataclasses.asdict(limit) for name, limit in report.limits.items()},
                "max_map_drop": report.max_map_drop,
                "engines": [_engine_dict(engine) for engine in report.comparison.engines],
                "stage_images": report.stages.images,
                "stages": [_stage_dict(stage) for stage in report.stages.stages],
                "layer_images": report.layers.images,
                "layers": [dataclasses.asdict(layer) for layer in report.layers.layers],
                "not_run": [
                    dataclasses.asdict(item)
                    for item in (*report.comparison.skipped, *report.stages.skipped, *report.layers.skipped)
                ],
                "findings": [dataclasses.asdict(finding) for finding in report.findings],
                "address": report.address,
                "tools": tool_versions(TOOLS),
                "created": utc_now(),
            },
            indent=2,
        )
        + "\n"
    )


def to_junit(report: Report) -> str:
    """Write a test case for each engine and stage, for a build server."""
    cases = [
        *(item.engine for item in report.comparison.engines),
        *(item.name for item in report.comparison.broken),
        *(f"stage {item.name}" for item in report.stages.stages),
        *(f"stage {item.name}" for item in report.stages.broken),
    ]
    skipped = [
        *((item.name, item.reason) for item in report.comparison.skipped),
        *((f"stage {item.name}", item.reason) for item in report.stages.skipped),
    ]
    failed = {finding.where for finding in report.findings}
    suite = ElementTree.Element(
        "testsuite",
        name=f"parity {report.folder.name}",
        tests=str(len(cases) + len(skipped)),
        failures=str(len(failed)),
        skipped=str(len(skipped)),
    )
    for name in cases:
        case = ElementTree.SubElement(suite, "testcase", classname="parity", name=name)
        lines = [finding.what for finding in report.findings if finding.where == name]
        if lines:
            failure = ElementTree.SubElement(case, "failure", message=lines[0])
            failure.text = "\n".join([*lines, *([f"the loss is at {report.address}"] if report.address else [])])
    for name, reason in skipped:
        case = ElementTree.SubElement(suite, "testcase", classname="parity", name=name)
        ElementTree.SubElement(case, "skipped", message=reason)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _engine_dict(engine: EngineFigures) -> dict[str, Any]:
    found = engine.search
    result: dict[str, Any] = {
        "engine": engine.engine,
        **dataclasses.asdict(engine.difference.drift),
        "modalities": [dataclasses.asdict(figures) for figures in engine.difference.modalities],
        "top5_overlap": engine.top5_overlap,
        "batch_cosine": engine.batch_cosine,
    }
    if found is not None:
        places: list[int] = found.moves_V.tolist()
        moves = Counter(places)
        result |= {
            "queries": found.queries,
            "reference_map": found.reference_map,
            "reference_rank1": found.reference_rank1,
            "map_interval": dataclasses.asdict(found.map_difference),
            "rank1_interval": dataclasses.asdict(found.rank1_difference),
            "true_match_moves": {str(place): moves[place] for place in sorted(moves)},
        }
    return result


def _stage_dict(stage: Stage) -> dict[str, Any]:
    def figures(found: Difference) -> dict[str, Any]:
        drift: Drift = found.drift
        return {**dataclasses.asdict(drift), "modalities": [dataclasses.asdict(item) for item in found.modalities]}

    return {
        "stage": stage.name,
        "before": stage.before,
        "to_reference": figures(stage.to_reference),
        "to_before": figures(stage.to_before),
    }
