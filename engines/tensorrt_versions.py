"""What differs between TensorRT 8.5, 8.6, 10.x, 11.x and TensorRT-RTX, found by looking at the loaded package.

Three policies say how a network gets its precision:
- legacy (8.5, 8.6; on a DLA up to 10.x): an FP32 or Q/DQ graph and flags; nodes that overflow are kept FP32 one by one.
- strong (10.x): the types in the graph are the precision; precision flags are an error.
- strong11 (11.x and TensorRT-RTX): as strong, but the flags are gone from the package and typing is always strong.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from engines.manifest import Form, Precision
    from engines.plan_target import Flavour, Hardware

log = logging.getLogger(__name__)

Policy = Literal["legacy", "strong", "strong11"]


class Source(NamedTuple):
    """Which ONNX graph of an engine folder a builder takes."""

    form: Form
    precision: Precision


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What one installed package can do."""

    flavour: Flavour
    version: str
    policy: Policy
    progress: bool  # since 10.0: a build can be watched and stopped
    timing_cache: bool  # TensorRT-RTX times nothing at build, and asking it for a cache needs a GPU
    hardware: tuple[Hardware, ...]
    version_compatible: bool
    implicit_int8: bool  # calibrators and dynamic ranges, up to 10.x: what INT8 on a DLA needs
    targets: tuple[str, ...]  # compute capabilities that can be named without such a GPU: TensorRT-RTX

    def policy_for(self, dla: int | None) -> Policy:
        """Return the policy of one plan; a DLA takes implicit INT8, which strong typing excludes."""
        if dla is None:
            return self.policy
        if not self.implicit_int8:
            # 11.4.1 on AGX Orin has a DLA again, strongly typed, through a parser flag. Not tried, so not claimed.
            raise BadInput(
                f"expected TensorRT up to 10.x for a DLA, got {self.flavour} {self.version}; build for the GPU"
            )
        return "legacy"

    def sources(self, precision: Precision, *, dla: bool = False) -> tuple[Source, ...]:
        """Return the graphs that give a plan of this precision, the best first."""
        if self.policy == "legacy" or dla:
            # FP16 is a flag on the FP32 graph, and so is INT8 on a DLA, with ranges instead of Q/DQ pairs.
            form: Form = "onnx-opset17" if self.policy == "legacy" else "onnx"
            return (Source(form, "int8" if precision == "int8" and not dla else "fp32"),)
        if precision == "fp32":
            return (Source("onnx", "fp32"),)
        typed = Source("onnx-typed", precision)
        # The second INT8 graph runs too, with FP32 between its INT8 layers.
        return (typed, Source("onnx", "int8")) if precision == "int8" else (typed,)


def capabilities_of(sdk: Any, flavour: Flavour) -> Capabilities:
    """Look at the package itself: a version number says less than what is there."""
    levels = getattr(sdk, "HardwareCompatibilityLevel", None)
    hardware: list[Hardware] = ["same"]
    if flavour == "tensorrt" and hasattr(levels, "SAME_COMPUTE_CAPABILITY"):  # an RTX plan names its capabilities
        hardware.append("same-sm")
    if flavour == "tensorrt" and hasattr(levels, "AMPERE_PLUS"):
        hardware.append("ampere-plus")
    return Capabilities(
        flavour=flavour,
        version=str(sdk.__version__),
        policy=_policy(sdk),
        progress=hasattr(sdk, "IProgressMonitor"),
        timing_cache=flavour == "tensorrt",
        hardware=tuple(hardware),
        # TensorRT-RTX has the flag and then looks for a lean runtime that its wheels do not have.
        version_compatible=flavour == "tensorrt" and hasattr(sdk.BuilderFlag, "VERSION_COMPATIBLE"),
        implicit_int8=hasattr(sdk, "IInt8EntropyCalibrator2"),
        targets=tuple(sorted(_targets(sdk), key=lambda name: int(name[2:]))),
    )


def _targets(sdk: Any) -> list[str]:
    return [name for name in dir(getattr(sdk, "ComputeCapability", None)) if re.fullmatch(r"SM\d+", name)]


def _policy(sdk: Any) -> Policy:
    if not hasattr(sdk.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        return "legacy"
    return "strong" if hasattr(sdk.BuilderFlag, "FP16") else "strong11"


def network_flags(sdk: Any, policy: Policy) -> int:
    """Return the flags of create_network. 8.x requires the explicit batch, 10.x ignores that flag, 11 has lost it."""
    if policy == "legacy":
        return 1 << int(sdk.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
    return 1 << int(sdk.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if policy == "strong" else 0


def prepare_parser(sdk: Any, parser: Any, logger: Any) -> None:
    """Have InstanceNorm as a layer of TensorRT's own, which a version-compatible plan requires and 8.6 has off."""
    if hasattr(getattr(sdk, "OnnxParserFlag", None), "NATIVE_INSTANCENORM"):
        parser.set_flag(sdk.OnnxParserFlag.NATIVE_INSTANCENORM)
    else:
        sdk.init_libnvinfer_plugins(logger, "")  # 8.5 has it as a plugin, which must be registered to load the plan too


def set_precision(sdk: Any, config: Any, policy: Policy, precision: Precision) -> None:
    """Set precision flags where the network is weakly typed; strong typing refuses them."""
    if precision == "fp32":
        # An FP32 plan is what others are measured against; TF32, on by default, rounds every factor to 10 bits.
        config.clear_flag(sdk.BuilderFlag.TF32)
    if policy != "legacy":
        return
    if precision in ("fp16", "int8"):
        config.set_flag(sdk.BuilderFlag.FP16)
    if precision == "int8":
        config.set_flag(sdk.BuilderFlag.INT8)


def keep_float(sdk: Any, config: Any, network: Any, nodes: Sequence[str]) -> None:
    """Keep the layers of these ONNX nodes in FP32, in a weakly typed network."""
    wanted, found = set(nodes), set[str]()
    for layer in _layers(network):
        node = _onnx_node(layer)
        outputs = [layer.get_output(number) for number in range(layer.num_outputs)]
        # A layer that computes shapes is integer, and a precision on it fails the build.
        if node not in wanted or not all(output.dtype == sdk.DataType.FLOAT for output in outputs):
            continue
        found.add(node)
        layer.precision = sdk.DataType.FLOAT
        for number in range(layer.num_outputs):
            layer.set_output_type(number, sdk.DataType.FLOAT)
    if found:
        config.set_flag(sdk.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    if wanted - found:
        log.warning(
            "%d nodes to keep FP32 are no layers of the network: %s", len(wanted - found), sorted(wanted - found)
        )


def set_dynamic_ranges(network: Any, ranges: Mapping[str, float]) -> None:
    """Give tensors of an FP32 network their INT8 ranges; those without one run in FP16."""
    tensors = [network.get_input(number) for number in range(network.num_inputs)]
    for layer in _layers(network):
        tensors += [layer.get_output(number) for number in range(layer.num_outputs)]
    known = [tensor for tensor in tensors if tensor.name in ranges]
    if not known:
        raise BadInput("expected ranges of the graph's tensors, got none that it has; calibrate this graph")
    for tensor in known:
        amax = ranges[tensor.name] or 1.0  # always 0: any range will do, but 0 is not one
        if not tensor.set_dynamic_range(-amax, amax):
            raise BadInput(f"expected a range that TensorRT takes for tensor {tensor.name!r}, got {amax}")


def _layers(network: Any) -> Iterator[Any]:
    return (network.get_layer(number) for number in range(network.num_layers))


def _onnx_node(layer: Any) -> str:
    """Return the ONNX node that a layer belongs to; a node may be several layers, of which 8.5 names only the first."""
    found = re.search(r"\[ONNX Layer: ([^\]]+)\]", str(getattr(layer, "metadata", "")))
    return found[1] if found else str(layer.name)
