"""TensorRT plans of a detector: built on request beside its ONNX file, and found again for the device at hand.

A plan is FP32 and has a JSON file beside it: what it was built for, and the hashes of the ONNX file and of the plan. A
plan is code, so one without that file, or of another hash, is not run.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from deploy.detection.graph import FREE_BATCH, FREE_SIZE_PX, with_size
from deploy.detection.heads.form import TensorSpec
from engines.atomic import atomic_path, write_text
from engines.choose_plan import device_here
from engines.errors import BadInput
from engines.manifest import sha256_of
from engines.plan_target import FLAVOURS, BatchProfile, PlanTarget, parse_target
from engines.strict_json import parse_json
from engines.tensorrt_build import RTX_CAPABILITIES, WORKSPACE_BYTES
from engines.tensorrt_refusal import failed_build, refused_nodes
from engines.tensorrt_sdk import load_sdk, progress_monitor, recording_logger, without_collection
from engines.tensorrt_versions import capabilities_of, network_flags, prepare_parser, set_precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deploy.detection.graph import Graph
    from engines.choose_plan import Device
    from engines.plan_target import Flavour
    from engines.tensorrt_versions import Capabilities

log = logging.getLogger(__name__)

BATCH = BatchProfile(smallest=1, usual=2, largest=FREE_BATCH)  # where the graph leaves it free


def load_plan_graph(path: Path, backend: str, size_px: tuple[int, int] | None, *, auto_build: bool) -> Graph | None:
    """Return the detector on this machine's GPU; None where "auto" finds no GPU or no plan, or a CPU is named."""
    for flavour in FLAVOURS:
        if backend not in ("auto", flavour):
            continue
        device = device_here(flavour)
        if device is None:
            if backend == flavour:
                raise BadInput(f"expected a GPU, pycuda and {flavour} for the detector, got none of the three together")
            continue
        plan = find_plan(path, device)
        if plan is None and auto_build:
            log.info("%s: no plan fits %s; building one", path, device)
            plan = build_detector_plan(path, flavour, size_px=size_px)
        if plan is not None:
            from deploy.detection.tensorrt_run import TensorRtGraph

            return TensorRtGraph(plan, flavour)
        line = f"{path}: expected a plan for this device ({device}) beside it, got none; --auto-build builds one"
        if backend == flavour:
            raise BadInput(line)
        log.warning("%s; the detector runs on the CPU", line)  # not what the owner of this GPU expects
    return None


def build_detector_plan(
    path: Path,
    flavour: Flavour,
    *,
    capabilities: Sequence[str] = RTX_CAPABILITIES,
    size_px: tuple[int, int] | None = None,
) -> Path:
    """Build the plan and return its path. TensorRT-RTX builds for named GPUs, TensorRT for the one at hand."""
    sdk = load_sdk(flavour)
    known = capabilities_of(sdk, flavour)
    target = _target(known, capabilities)
    with without_collection():
        content = _build(sdk, known, path, target, size_px or FREE_SIZE_PX)
    plan = path.with_name(f"{path.stem}.{flavour}-{target.version}-{'-'.join(target.capabilities)}.plan")
    try:
        with atomic_path(plan) as temporary:
            temporary.write_bytes(content)
        about = {"target": str(target), "onnx_sha256": sha256_of(path), "plan_sha256": sha256_of(plan)}
        write_text(plan.with_suffix(".json"), json.dumps(about, indent=2) + "\n")
    except OSError as error:
        raise BadInput(f"could not write {plan}: {error}; free some disk or copy the detector elsewhere") from error
    log.info("built %s, %.1f MB", plan.name, plan.stat().st_size / 1e6)
    return plan


def find_plan(path: Path, device: Device) -> Path | None:
    """Return a plan beside the file that was built from it and that the device can run."""
    onnx_sha256 = ""
    for about_path in sorted(path.parent.glob(f"{path.stem}.{device.flavour}-*.json")):
        plan = about_path.with_suffix(".plan")
        try:
            about: Any = parse_json(about_path.read_text(encoding="utf-8"))
            refusal = parse_target(str(about["target"])).refusal(
                flavour=device.flavour, version=device.version, capability=device.capability, gpu=device.gpu
            )
            onnx_sha256 = onnx_sha256 or sha256_of(path)
            if refusal is None and about["onnx_sha256"] != onnx_sha256:
                refusal = f"it was built from another {path.name}"
            if refusal is None and about["plan_sha256"] != sha256_of(plan):
                refusal = "it was changed behind its build"
        except (OSError, ValueError, KeyError, TypeError) as error:
            refusal = f"{about_path.name} cannot be used: {error}"
        if refusal is None:
            return plan
        log.warning("%s is not used: %s", plan.name, refusal)
    return None


def _target(known: Capabilities, capabilities: Sequence[str]) -> PlanTarget:
    if known.targets:
        unknown = [name for name in capabilities if name not in known.targets]
        if unknown or not capabilities:
            raise BadInput(
                f"expected compute capabilities out of {', '.join(known.targets)}, got {', '.join(capabilities)}"
            )
        return PlanTarget(
            flavour=known.flavour, version=known.version, capabilities=tuple(capabilities), batch=BATCH, hardware="same"
        )
    device = device_here(known.flavour)
    if device is None:
        raise BadInput(f"expected a GPU and pycuda to build a {known.flavour} plan for, got none; build on the device")
    return PlanTarget(
        flavour=known.flavour, version=known.version, capabilities=(device.capability,), batch=BATCH, gpu=device.gpu
    )


def _build(sdk: Any, known: Capabilities, path: Path, target: PlanTarget, size_px: tuple[int, int]) -> bytes:
    title = f"{known.flavour} {known.version}"
    logger, told = recording_logger(sdk)
    try:
        builder: Any = sdk.Builder(logger)
    except TypeError as error:
        reason = told.errors[0] if told.errors else str(error)
        raise BadInput(f"{title} could not start ({reason}); check the driver") from error
    policy = known.policy_for(None)
    network: Any = builder.create_network(network_flags(sdk, policy))
    parser: Any = sdk.OnnxParser(network, logger)  # it owns the weights until the plan is built
    prepare_parser(sdk, parser, logger)
    register_plugins(sdk, logger)
    if not parser.parse(path.read_bytes()):
        raise BadInput(f"{path}: {title} refuses the graph: {refused_nodes(parser, told)}")
    config: Any = builder.create_builder_config()
    config.set_memory_pool_limit(sdk.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    set_precision(sdk, config, policy, "fp32")
    if known.targets:
        config.num_compute_capabilities = len(target.capabilities)
        for index, name in enumerate(target.capabilities):
            config.set_compute_capability(getattr(sdk.ComputeCapability, name), index)
    if known.progress:
        config.progress_monitor = progress_monitor(sdk, lambda: False)
    _add_profile(builder, config, network, size_px)
    plan: Any = builder.build_serialized_network(network, config)
    if plan is None:
        reason = failed_build(told, largest=BATCH.largest, workspace_bytes=WORKSPACE_BYTES)
        raise BadInput(f"{path}: {title} could not build a plan: {reason}")
    return bytes(memoryview(plan))


def register_plugins(sdk: Any, logger: Any) -> None:
    """Make EfficientNMS known, to the parser and to whoever loads the plan; TensorRT-RTX has no plugins."""
    if hasattr(sdk, "init_libnvinfer_plugins"):
        sdk.init_libnvinfer_plugins(logger, "")


def _add_profile(builder: Any, config: Any, network: Any, size_px: tuple[int, int]) -> None:
    """Say how large what is free may be: the batch, and one size of the picture."""
    profile: Any = builder.create_optimization_profile()
    for number in range(network.num_inputs):
        tensor: Any = network.get_input(number)
        shape = tuple(int(size) for size in tensor.shape)
        free = tuple(size if size >= 0 else None for size in shape)
        rest = with_size(TensorSpec(name=str(tensor.name), shape=free, dtype=np.dtype(object)), size_px).shape[1:]
        batches = (BATCH.smallest, BATCH.usual, BATCH.largest) if shape[0] < 0 else (shape[0],) * 3
        profile.set_shape(tensor.name, *((batch, *rest) for batch in batches))
    config.add_optimization_profile(profile)
