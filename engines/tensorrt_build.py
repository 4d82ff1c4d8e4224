"""Build a TensorRT or TensorRT-RTX plan from an exported ONNX graph.

RTX plans are built without a GPU, for named compute capabilities; full TensorRT builds for the GPU at hand. The graph
says which layers are INT8 (Q/DQ pairs), so every version that can is asked for strong typing; TensorRT 8.x gets flags.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.plan_target import BatchProfile, PlanTarget
from engines.tensorrt_sdk import collecting_logger, cuda_driver, load_sdk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engines.manifest import Precision
    from engines.plan_target import Flavour

# Ampere data centre, Ampere, Ada. A plan for three is as large as a plan for one (measured: 47.71 MB).
RTX_CAPABILITIES = ("SM80", "SM86", "SM89")
WORKSPACE_BYTES = 1 << 30


def build_plan(
    onnx_path: Path,
    plan_path: Path,
    *,
    flavour: Flavour,
    precision: Precision,
    capabilities: Sequence[str] = RTX_CAPABILITIES,
    profile: BatchProfile | None = None,
) -> PlanTarget:
    """Write the plan atomically and return what it was built for."""
    sdk = load_sdk(flavour)
    logger, errors = collecting_logger(sdk)
    try:
        builder = sdk.Builder(logger)
    except TypeError as error:
        raise BadInput(
            f"{flavour} {sdk.__version__} could not start ({_reason(errors, str(error))}); check the driver"
        ) from error
    network = builder.create_network(network_flags(sdk))
    parser = sdk.OnnxParser(network, logger)
    if not parser.parse(onnx_path.read_bytes()):
        raise BadInput(f"{onnx_path}: {flavour} {sdk.__version__} refuses the graph: {_parser_error(parser, errors)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(sdk.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    set_precision(sdk, config, precision)
    target = _set_target(sdk, config, capabilities) if flavour == "tensorrt-rtx" else _gpu_here()
    batch = profile or BatchProfile()
    _add_profile(builder, config, network, batch)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BadInput(
            f"{onnx_path}: {flavour} {sdk.__version__} could not build a plan: {_reason(errors, 'no reason given')}"
        )
    with atomic_path(plan_path) as temporary:
        temporary.write_bytes(memoryview(plan))
    return PlanTarget(flavour=flavour, version=str(sdk.__version__), capabilities=tuple(target.split()), batch=batch)


def network_flags(sdk: Any) -> int:
    """8.x needs EXPLICIT_BATCH, 10.x takes STRONGLY_TYPED, 11 is always both and its enum has lost the first."""
    flags = 0
    for name in (
        ("STRONGLY_TYPED",) if hasattr(sdk.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") else ("EXPLICIT_BATCH",)
    ):
        flags |= 1 << int(getattr(sdk.NetworkDefinitionCreationFlag, name))
    return flags


def set_precision(sdk: Any, config: Any, precision: Precision) -> None:
    """Set flags where the network is weakly typed (8.x); strong typing refuses them, and since 11 they are gone."""
    if hasattr(sdk.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return
    if precision in ("fp16", "int8"):
        config.set_flag(sdk.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(sdk.BuilderFlag.INT8)


def _set_target(sdk: Any, config: Any, capabilities: Sequence[str]) -> str:
    known = [name for name in dir(sdk.ComputeCapability) if name.startswith("SM")]
    unknown = [name for name in capabilities if name not in known]
    if unknown or not capabilities:
        raise BadInput(
            f"expected compute capabilities out of {', '.join(known)}, got {', '.join(capabilities) or 'none'}"
        )
    config.num_compute_capabilities = len(capabilities)
    for index, name in enumerate(capabilities):
        config.set_compute_capability(getattr(sdk.ComputeCapability, name), index)
    return " ".join(capabilities)


def _gpu_here() -> str:
    """Name the compute capability that full TensorRT builds for: the first GPU's."""
    major, minor = cuda_driver().Device(0).compute_capability()
    return f"SM{major}{minor}"


def _add_profile(builder: Any, config: Any, network: Any, batch: BatchProfile) -> None:
    profile = builder.create_optimization_profile()
    pixels = network.get_input(0)
    image = tuple(pixels.shape)[1:]
    profile.set_shape(pixels.name, (batch.smallest, *image), (batch.usual, *image), (batch.largest, *image))
    config.add_optimization_profile(profile)


def _parser_error(parser: Any, errors: list[str]) -> str:
    described = [" ".join(str(parser.get_error(number).desc()).split()) for number in range(parser.num_errors)]
    return _reason(described, _reason(errors, "no reason given"))


def _reason(messages: list[str], otherwise: str) -> str:
    return messages[0][:300] if messages else otherwise
