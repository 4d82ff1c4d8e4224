"""Build a TensorRT or TensorRT-RTX plan from an ONNX graph.

RTX plans are built without a GPU, for named compute capabilities; full TensorRT builds for the GPU at hand. Which graph
a version takes, and how it is told the precision, is in engines.tensorrt_versions.
"""

from __future__ import annotations

import logging
import traceback
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.plan_target import BatchProfile, PlanTarget
from engines.tensorrt_calibrator import make_calibrator
from engines.tensorrt_layers import table_of_inspector, table_of_log, write_layers
from engines.tensorrt_refusal import failed_build, refused_nodes
from engines.tensorrt_sdk import (
    ctrl_c_sets,
    cuda_driver,
    load_sdk,
    progress_monitor,
    recording_logger,
    without_collection,
)
from engines.tensorrt_versions import (
    capabilities_of,
    keep_float,
    network_flags,
    prepare_parser,
    set_dynamic_ranges,
    set_precision,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from engines.manifest import Precision
    from engines.plan_target import Flavour, Hardware
    from engines.tensorrt_layers import LayerTable
    from engines.tensorrt_sdk import SdkLog
    from engines.tensorrt_versions import Capabilities, Policy

log = logging.getLogger(__name__)

# Ampere data centre, Ampere, Ada. A plan for three is as large as a plan for one (measured: 47.71 MB).
RTX_CAPABILITIES = ("SM80", "SM86", "SM89")
WORKSPACE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """What to build. The graph must be one that Capabilities.sources names for the precision."""

    flavour: Flavour
    precision: Precision
    capabilities: tuple[str, ...] = RTX_CAPABILITIES  # of TensorRT-RTX plans; full TensorRT takes the GPU at hand
    batch: BatchProfile = field(default_factory=BatchProfile)
    workspace_bytes: int = WORKSPACE_BYTES
    timing_cache: Path | None = None  # one for each TensorRT version, GPU and power mode; RTX needs none
    hardware: Hardware = "same"
    version_compatible: bool = False
    dla: int | None = None  # number of the accelerator; what it cannot run falls back to the GPU
    ranges: Mapping[str, float] | None = None  # for INT8 on a DLA: tensor -> magnitude that becomes 127 ...
    calibration_cache: Path | None = None  # ... or TensorRT's own file of them ...
    calibration_batches: Iterable[NDArray[np.uint8]] | None = None  # ... or pixels (batch.usual, H, W, 3) to measure
    float_nodes: tuple[str, ...] = ()  # ONNX nodes that stay FP32 where flags set the precision (8.x, DLA)
    layers: Path | None = None  # where to write the layer table; it makes full TensorRT load the plan once
    cancel: Callable[[], bool] | None = None  # asked at every step from 10.0 on; true ends as Ctrl-C does

    def __post_init__(self) -> None:
        if self.workspace_bytes < 1:
            raise BadInput(f"expected a workspace of at least one byte, got {self.workspace_bytes}")
        if self.dla is None:
            return
        if self.precision == "fp32":
            raise BadInput("expected fp16 or int8 on a DLA, got fp32; build that one for the GPU")
        if not self.batch.smallest == self.batch.usual == self.batch.largest:
            raise BadInput(f"expected one batch size on a DLA, such as 8/8/8, got {self.batch}")
        if self.precision == "int8" and not (self.ranges or self.calibration_cache or self.calibration_batches):
            raise BadInput("expected ranges or a calibration cache for INT8 on a DLA, got none; calibrate the model")


def build_plan(onnx_path: Path, plan_path: Path, request: PlanRequest) -> PlanTarget:
    """Write the plan atomically and return what it was built for.

    Ctrl-C and request.cancel end in KeyboardInterrupt, at the builder's next step or, with 8.x, at the end of its work.
    """
    with without_collection():
        try:
            return _build(onnx_path, plan_path, request)
        except BaseException as error:
            # The frames of the failed build would keep the builder and its GPU memory for as long as the message, and
            # leave both to a collection in whatever TensorRT does next (see without_collection).
            traceback.clear_frames(error.__traceback__)
            raise


def _build(onnx_path: Path, plan_path: Path, request: PlanRequest) -> PlanTarget:
    sdk = load_sdk(request.flavour)
    capabilities = capabilities_of(sdk, request.flavour)
    policy = _accept(capabilities, request)
    title = f"{capabilities.flavour} {capabilities.version}"
    rtx = request.flavour == "tensorrt-rtx"
    logger, told = recording_logger(sdk, verbose=rtx and request.layers is not None)
    builder = _start(sdk, logger, told, title)
    target = _target(builder, capabilities, request)
    network = builder.create_network(network_flags(sdk, policy))
    parser = sdk.OnnxParser(network, logger)  # it owns the weights until the plan is built
    prepare_parser(sdk, parser, logger)
    if not parser.parse(onnx_path.read_bytes()):
        raise BadInput(f"{onnx_path}: {title} refuses the graph: {refused_nodes(parser, told)}")
    _check_network(network, onnx_path)
    config = _configure(sdk, builder, network, capabilities, policy, request)
    calibrator = _set_int8_ranges(sdk, config, network, request)
    try:
        plan = _serialize(sdk, builder, network, config, capabilities, request)
    finally:
        if calibrator is not None:
            calibrator.free()
        for line in told.warnings:
            log.debug("%s: %s", title, line)
    if plan is None:
        reason = failed_build(told, largest=request.batch.largest, workspace_bytes=request.workspace_bytes)
        raise BadInput(f"{onnx_path}: {title} could not build a plan: {reason}")
    content = memoryview(plan)
    table = _layer_table(sdk, logger, told, content, request)
    _write_plan(plan_path, content)
    if capabilities.timing_cache and request.timing_cache is not None:
        _keep_timing_cache(config, request.timing_cache)
    if request.layers is not None and table is not None:
        write_layers(request.layers, table)
    return target


def _accept(capabilities: Capabilities, request: PlanRequest) -> Policy:
    """Refuse what this package cannot do; return how it is told the precision."""
    title = f"{capabilities.flavour} {capabilities.version}"
    unknown = [name for name in request.capabilities if name not in capabilities.targets]
    if request.flavour == "tensorrt-rtx" and (unknown or not request.capabilities):
        raise BadInput(
            f"expected compute capabilities out of {', '.join(capabilities.targets)}, "
            f"got {', '.join(request.capabilities) or 'none'}"
        )
    if request.hardware not in capabilities.hardware:
        raise BadInput(
            f"expected one of {', '.join(capabilities.hardware)} as hardware for {title}, got {request.hardware}"
        )
    if request.version_compatible and not capabilities.version_compatible:
        raise BadInput(f"expected TensorRT 8.6 or newer for a version-compatible plan, got {title}; build without that")
    return capabilities.policy_for(request.dla)


def _start(sdk: Any, logger: Any, told: SdkLog, title: str) -> Any:
    try:
        return sdk.Builder(logger)
    except TypeError as error:
        reason = told.errors[0] if told.errors else str(error)
        raise BadInput(f"{title} could not start ({reason}); check the driver") from error


def _target(builder: Any, capabilities: Capabilities, request: PlanRequest) -> PlanTarget:
    cores = 0 if request.dla is None else int(builder.num_DLA_cores)
    if request.dla is not None and not 0 <= request.dla < cores:
        there = f"cores 0 to {cores - 1}" if cores else "no DLA here"
        raise BadInput(f"expected a DLA core of this device, got {request.dla} and {there}; build for the GPU")
    names, gpu = (request.capabilities, "") if capabilities.targets else _gpu_here()
    return PlanTarget(
        flavour=request.flavour,
        version=capabilities.version,
        capabilities=names,
        batch=request.batch,
        hardware=request.hardware,
        version_compatible=request.version_compatible,
        dla=request.dla,
        gpu=gpu if request.hardware == "same" else "",
    )


def _gpu_here() -> tuple[tuple[str, ...], str]:
    """Return compute capability and name of what full TensorRT builds for: the first GPU."""
    try:
        device = cuda_driver().Device(0)
        major, minor = device.compute_capability()
        return (f"SM{major}{minor}",), str(device.name())
    except Exception as error:  # no pycuda, no driver, no GPU: pycuda raises its own types
        raise BadInput(
            f"expected a GPU and pycuda to build for, got {' '.join(str(error).split())}; tensorrt builds its plans on "
            "the device that runs them"
        ) from error


def _check_network(network: Any, onnx_path: Path) -> None:
    """Check for our own graphs' form: pixels with a free batch size in, one embedding out."""
    if network.num_inputs != 1 or network.num_outputs != 1:
        raise BadInput(
            f"{onnx_path}: expected a graph with one input and one output, got {network.num_inputs} and "
            f"{network.num_outputs}; export it with deploy/build_engine.py"
        )
    shape = tuple(int(size) for size in network.get_input(0).shape)
    if len(shape) < 2 or shape[0] != -1 or min(shape[1:]) < 1:
        raise BadInput(
            f"{onnx_path}: expected an input with a free batch size alone, got {shape} (-1 is free); export it with "
            "deploy/build_engine.py"
        )


def _configure(
    sdk: Any, builder: Any, network: Any, capabilities: Capabilities, policy: Policy, request: PlanRequest
) -> Any:
    config = builder.create_builder_config()
    config.set_memory_pool_limit(sdk.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    set_precision(sdk, config, policy, request.precision)
    if policy == "legacy" and request.float_nodes:
        keep_float(sdk, config, network, request.float_nodes)
    _set_device(sdk, config, capabilities, request)
    if request.layers is not None:
        config.profiling_verbosity = sdk.ProfilingVerbosity.DETAILED
    if capabilities.timing_cache and request.timing_cache is not None:
        _use_timing_cache(config, request.timing_cache)
    _add_profile(builder, config, network, request.batch)
    return config


def _set_device(sdk: Any, config: Any, capabilities: Capabilities, request: PlanRequest) -> None:
    """Say which devices the plan is for, and which versions may load it."""
    match request.hardware:
        case "same":
            pass
        case "same-sm":
            config.hardware_compatibility_level = sdk.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
        case "ampere-plus":
            config.hardware_compatibility_level = sdk.HardwareCompatibilityLevel.AMPERE_PLUS
    if request.version_compatible:
        config.set_flag(sdk.BuilderFlag.VERSION_COMPATIBLE)
    if capabilities.targets:
        config.num_compute_capabilities = len(request.capabilities)
        for index, name in enumerate(request.capabilities):
            config.set_compute_capability(getattr(sdk.ComputeCapability, name), index)
    if request.dla is not None:
        config.default_device_type = sdk.DeviceType.DLA
        config.DLA_core = request.dla
        config.set_flag(sdk.BuilderFlag.GPU_FALLBACK)


def _add_profile(builder: Any, config: Any, network: Any, batch: BatchProfile) -> None:
    profile = builder.create_optimization_profile()
    pixels = network.get_input(0)
    image = tuple(pixels.shape)[1:]
    profile.set_shape(pixels.name, (batch.smallest, *image), (batch.usual, *image), (batch.largest, *image))
    if config.add_optimization_profile(profile) < 0:
        raise BadInput(f"expected batch sizes that TensorRT takes, got {batch} for an image of {image}")


def _set_int8_ranges(sdk: Any, config: Any, network: Any, request: PlanRequest) -> Any | None:
    """Give a DLA its INT8 ranges, from a table or by a calibrator, which is returned for its memory to be freed."""
    if request.dla is None or request.precision != "int8":
        return None
    if request.ranges is not None:
        set_dynamic_ranges(network, request.ranges)
        return None
    calibrator = make_calibrator(
        sdk, batch=request.batch.usual, cache=request.calibration_cache, batches=request.calibration_batches
    )
    config.int8_calibrator = calibrator
    return calibrator


def _serialize(
    sdk: Any, builder: Any, network: Any, config: Any, capabilities: Capabilities, request: PlanRequest
) -> Any:
    """Build in another thread, so that Ctrl-C reaches this one while the builder works; None where it failed."""
    stop = Event()

    def stopped() -> bool:
        if not stop.is_set() and request.cancel is not None and request.cancel():
            stop.set()
        return stop.is_set()

    if capabilities.progress:
        config.progress_monitor = progress_monitor(sdk, stopped)
    plan: Future[Any] = Future()

    def build() -> None:
        try:
            plan.set_result(builder.build_serialized_network(network, config))
        except BaseException as error:  # raised again by result()
            plan.set_exception(error)

    with ctrl_c_sets(stop):
        Thread(target=build, name="plan", daemon=True).start()
        built = plan.result()
    if stop.is_set() or (not capabilities.progress and stopped()):
        raise KeyboardInterrupt
    return built


def _layer_table(sdk: Any, logger: Any, told: SdkLog, plan: memoryview, request: PlanRequest) -> LayerTable | None:
    """Read the layers where they are wanted; a version that lists them in another form still gives its plan."""
    try:
        if request.layers is None:
            return None
        if request.flavour == "tensorrt-rtx":
            return table_of_log(told.details)
        return table_of_inspector(_inspect(sdk, logger, told, plan, request), told.details)
    except BadInput as error:
        log.warning("no layer table: %s", error)
        return None


def _inspect(sdk: Any, logger: Any, told: SdkLog, plan: memoryview, request: PlanRequest) -> str:
    runtime = sdk.Runtime(logger)
    if request.version_compatible:
        runtime.engine_host_code_allowed = True  # such a plan carries its runtime; this one was built a moment ago
    if request.dla is not None:
        runtime.DLA_core = request.dla
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BadInput(f"the new plan could not be loaded ({told.errors[-1] if told.errors else 'no reason given'})")
    return engine.create_engine_inspector().get_engine_information(sdk.LayerInformationFormat.JSON)


def _write_plan(path: Path, content: memoryview) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise BadInput(f"could not write {path}: {error}; free some disk or name another folder") from error


def _use_timing_cache(config: Any, path: Path) -> None:
    """Start from the measurements of earlier builds; those of another GPU or version are left aside."""
    content = b""
    try:
        content = path.read_bytes() if path.exists() else b""
    except OSError as error:
        log.warning("%s: the timing cache cannot be read (%s); starting a new one", path, error)
    cache = config.create_timing_cache(content)
    if cache is not None and config.set_timing_cache(cache, False):
        return
    if content:
        log.warning("%s: the timing cache is of another GPU or TensorRT version, or damaged; starting a new one", path)
    config.set_timing_cache(config.create_timing_cache(b""), False)


def _keep_timing_cache(config: Any, path: Path) -> None:
    cache = config.get_timing_cache()
    if cache is None:
        return
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(memoryview(cache.serialize()))
    except OSError as error:  # the plan is there; the next build is slower
        log.warning("%s: the timing cache cannot be written (%s)", path, error)
