"""Add TensorRT plans to an engine folder, from its own graphs: a device needs neither PyTorch nor a data set."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

from engines.choose_plan import device_here, graphs_of
from engines.errors import BadInput
from engines.manifest import Graph, load_manifest, sha256_of, verified_path
from engines.plan_target import FLAVOURS
from engines.tensorrt_build import RTX_CAPABILITIES, PlanRequest, build_plan
from engines.tensorrt_sdk import load_sdk, sdk_installed
from engines.tensorrt_versions import capabilities_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.building.request import BuildRequest
    from engines.manifest import Manifest, Precision
    from engines.plan_target import Flavour
    from engines.tensorrt_versions import Capabilities

log = logging.getLogger(__name__)


def plan_flavours(backend: str) -> list[Flavour]:
    """Return which plans to build: for "auto" those whose builder works here, for a named one that, or a refusal.

    TensorRT builds for the GPU at hand and so needs one; TensorRT-RTX builds for named GPUs.
    """
    if backend == "auto":
        here: list[Flavour] = [flavour for flavour in FLAVOURS if sdk_installed(flavour)]
        return [flavour for flavour in here if flavour == "tensorrt-rtx" or device_here(flavour) is not None]
    named: list[Flavour] = [flavour for flavour in FLAVOURS if flavour == backend]
    for flavour in named:
        load_sdk(flavour)
    return named


def add_plans(folder: Path, manifest: Manifest, request: BuildRequest, flavours: Sequence[Flavour]) -> Manifest:
    """Build a plan of every precision that was asked for; return the saved manifest that lists them.

    The manifest is saved behind each, so that what was built stays when a later one fails or is interrupted.
    """
    for flavour in flavours:
        capabilities = capabilities_of(load_sdk(flavour), flavour)
        for precision in request.precisions:
            manifest = _add(folder, manifest, request, capabilities, precision)
    return manifest


def add_plans_to(folder: Path, request: BuildRequest, flavours: Sequence[Flavour]) -> Path:
    """Add plans for this device to a finished engine folder and return it."""
    if not flavours:
        raise BadInput(
            f"{folder} is an engine; expected --backend tensorrt or tensorrt-rtx to add plans to it, got "
            f"{request.backend}, for which there is nothing to build here"
        )
    manifest = load_manifest(folder)
    held = [precision for precision in request.precisions if graphs_of(manifest, precision, ("onnx", "onnx-typed"))]
    if not held:
        raise BadInput(f"{folder}: expected {' or '.join(request.precisions)} graphs, got none; build the model again")
    add_plans(folder, manifest, dataclasses.replace(request, precisions=tuple(held)), flavours)
    return folder


def rebuild(folder: Path, flavour: Flavour, precision: Precision) -> None:
    """Build the plan that open_engine found missing, with the defaults of build_engine.py."""
    from deploy.building.request import BuildRequest  # here, or every start of run_cameras.py would load calibration

    add_plans_to(folder, BuildRequest(model=folder, precisions=(precision,), backend=flavour), [flavour])


def _add(
    folder: Path, manifest: Manifest, request: BuildRequest, capabilities: Capabilities, precision: Precision
) -> Manifest:
    options = request.plans
    flavour = capabilities.flavour
    added: dict[str, list[Graph]] = {}  # source file -> its plan, once a modality
    for graph in _sources(folder, manifest, capabilities, precision, dla=options.dla is not None):
        if graph.file in added:
            plan = added[graph.file][0]
            added[graph.file].append(dataclasses.replace(plan, modality=graph.modality))
            continue
        stem = graph.file.split(".")[0]
        unnamed = folder / f".{stem}.{precision}.{flavour}.plan"
        layers = folder / f".{stem}.{precision}.{flavour}.layers.json"
        device = device_here(flavour)
        here = "-".join((capabilities.version, device.capability if device is not None else "any"))
        cache = folder / f"{stem}.calibration.cache"
        on_dla = options.dla is not None and precision == "int8"
        if on_dla and not cache.is_file():
            raise BadInput(
                f"{folder}: expected {cache.name} for INT8 on a DLA, which is missing; build the model again with "
                "--implicit-int8"
            )
        target = build_plan(
            verified_path(folder, graph),
            unnamed,
            PlanRequest(
                flavour=flavour,
                precision=precision,
                capabilities=options.capabilities or RTX_CAPABILITIES,
                batch=options.batch,
                workspace_bytes=options.workspace_mb << 20,
                timing_cache=folder.parent / f".timing-{flavour}-{here}.cache" if capabilities.timing_cache else None,
                hardware=options.hardware,
                version_compatible=options.version_compatible,
                dla=options.dla,
                calibration_cache=cache if on_dla else None,
                float_nodes=_float_nodes(manifest, stem, precision, on_dla=on_dla),
                layers=layers,
            ),
        )
        accelerator = "" if target.dla is None else f"-dla{target.dla}"
        name = f"{stem}.{precision}.{flavour}-{target.version}-{'-'.join(target.capabilities)}{accelerator}"
        plan_path = unnamed.replace(folder / f"{name}.plan")
        if layers.is_file():
            layers.replace(folder / f"{name}.layers.json")
        log.info("built %s for %s, %.1f MB", plan_path.name, target, plan_path.stat().st_size / 1e6)
        added[graph.file] = [
            Graph(
                file=plan_path.name,
                sha256=sha256_of(plan_path),
                modality=graph.modality,
                precision=precision,
                form=flavour,
                target=str(target),
            )
        ]
    plans = [plan for listed in added.values() for plan in listed]
    files = {plan.file for plan in plans}
    kept = [graph for graph in manifest.graphs if graph.file not in files]
    result = dataclasses.replace(manifest, graphs=(*kept, *plans))
    result.save(folder)
    return result


def _sources(
    folder: Path, manifest: Manifest, capabilities: Capabilities, precision: Precision, *, dla: bool
) -> list[Graph]:
    """Return the graph of each modality that this builder takes for the precision."""
    wanted = capabilities.sources(precision, dla=dla)
    for source in wanted:
        graphs = graphs_of(manifest, source.precision, (source.form,))
        if graphs is not None:
            return list(graphs.values())
    flag = " and --opset17" if wanted[0].form == "onnx-opset17" else ""
    raise BadInput(
        f"{folder}: expected {wanted[0].form} graphs in {wanted[0].precision} for {capabilities.flavour} "
        f"{capabilities.version}, got none; build the model again with --precision {precision}{flag}"
    )


def _float_nodes(manifest: Manifest, stem: str, precision: Precision, *, on_dla: bool) -> tuple[str, ...]:
    """Name what must not be rounded where flags, and not the graph's types, set the precision."""
    calibration = manifest.calibration
    if on_dla:
        return tuple(calibration.get("implicit_float", {}).get(stem, ()))
    return tuple(calibration.get("fp32_nodes", {}).get(precision, {}).get(stem, {}))
