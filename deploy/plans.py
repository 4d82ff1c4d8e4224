"""Add TensorRT plans to an engine folder, where a builder is installed."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from engines.manifest import Graph, sha256_of
from engines.plan_target import FLAVOURS
from engines.tensorrt_build import build_plan
from engines.tensorrt_sdk import load_sdk, sdk_installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engines.manifest import Manifest, Precision
    from engines.plan_target import Flavour

log = logging.getLogger(__name__)


def plan_flavours(backend: str) -> list[Flavour]:
    """Return which plans to build: for "auto" those whose builder is here, for a named one that, or a refusal."""
    if backend == "auto":
        return [flavour for flavour in FLAVOURS if sdk_installed(flavour)]
    named: list[Flavour] = [flavour for flavour in FLAVOURS if flavour == backend]
    for flavour in named:
        load_sdk(flavour)
    return named


def add_plans(
    folder: Path, manifest: Manifest, precisions: Sequence[Precision], flavours: Sequence[Flavour]
) -> Manifest:
    """Build a plan from every ONNX graph of the precisions; return the saved manifest that lists them."""
    graphs = list(manifest.graphs)
    for flavour in flavours:
        built: dict[str, str] = {}  # ONNX file -> target
        for graph in manifest.graphs:
            if graph.form != "onnx" or graph.precision not in precisions:
                continue
            plan = folder / graph.file.replace(".onnx", f".{flavour}.plan")
            if graph.file not in built:
                built[graph.file] = str(
                    build_plan(folder / graph.file, plan, flavour=flavour, precision=graph.precision)
                )
                log.info("built %s for %s, %.1f MB", plan.name, built[graph.file], plan.stat().st_size / 1e6)
            graphs.append(
                Graph(
                    file=plan.name,
                    sha256=sha256_of(plan),
                    modality=graph.modality,
                    precision=graph.precision,
                    form=flavour,
                    target=built[graph.file],
                )
            )
    result = dataclasses.replace(manifest, graphs=tuple(graphs))
    result.save(folder)
    return result
