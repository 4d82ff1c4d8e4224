"""What is run with each version's real bindings, each in a process of its own (tests.engines.tensorrt_bindings)."""

from __future__ import annotations

import ctypes
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

import engines.tensorrt_build
from engines.errors import BadInput
from engines.plan_target import BatchProfile
from engines.tensorrt_build import PlanRequest, build_plan
from engines.tensorrt_calibrator import make_calibrator
from engines.tensorrt_sdk import progress_monitor, recording_logger
from engines.tensorrt_versions import capabilities_of
from tests.engines.tensorrt_fake import TypedSdk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from engines.plan_target import Flavour

INSPECTED = json.dumps({
    "Layers": [{"Name": "a + b", "LayerType": "CaskConvolution", "Inputs": [{"Name": "x", "Format/Datatype": "Int8"}]}]
})  # fmt: skip
# What stands for a small network: pixels in, one layer of the node "mean".
ANSWERS: dict[str, Any] = {
    "Builder.num_DLA_cores": 2,
    "INetworkDefinition.num_inputs": 1,
    "INetworkDefinition.num_outputs": 1,
    "INetworkDefinition.num_layers": 1,
    "ITensor.name": "pixels",
    "ITensor.shape": (-1, 64, 32, 3),
    "ILayer.num_outputs": 1,
    "ILayer.name": "mean",
    "ILayer.metadata": "[ONNX Layer: mean]",
    "OnnxParser.num_errors": 1,
    "EngineInspector.get_engine_information": INSPECTED,
    "ParserError.node_operator": "Det",
    "ParserError.node_name": "the_det",
    "ParserError.local_function_stack": ["outer (Block)"],
    "ParserError.desc": "its own words",
}
STATIC = BatchProfile(smallest=8, usual=8, largest=8)
# deployment.md 1.2: what 8.5's source does not have and 8.6 has. It has no wheel, so this stands for it.
ABSENT_IN_8_5 = frozenset({
    "HardwareCompatibilityLevel", "IBuilderConfig.hardware_compatibility_level", "BuilderFlag.VERSION_COMPATIBLE",
    "BuilderFlag.EXCLUDE_LEAN_RUNTIME", "IBuilderConfig.plugins_to_serialize", "Runtime.engine_host_code_allowed",
    "IBuilderConfig.builder_optimization_level", "IBuilderConfig.max_aux_streams", "OnnxParserFlag.NATIVE_INSTANCENORM",
    "INetworkDefinition.add_normalization", "ILayer.metadata",
})  # fmt: skip


def flavour_of(sdk: Any) -> Flavour:
    return "tensorrt-rtx" if "rtx" in sdk.__name__ else "tensorrt"


def everything(sdk: Any) -> dict[str, Any]:
    return {"capabilities": capabilities(sdk), "subclasses": subclasses(sdk), "names": names(sdk), **builds(sdk)}


def builds_as_8_5(sdk: Any) -> dict[str, Any]:
    return builds(sdk, ABSENT_IN_8_5)


def builds(sdk: Any, without: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Build every kind of plan that the version claims."""
    found: dict[str, Any] = {"touched": [], "calls": {}, "refused": {}}
    touched = set[str]()
    with tempfile.TemporaryDirectory() as work:
        for name, changes, answers in _variants(TypedSdk(sdk, answers=ANSWERS, without=without), Path(work)):
            typed = TypedSdk(sdk, answers=_answers(sdk) | answers, without=without)
            plan = Path(work) / "x.plan"
            plan.unlink(missing_ok=True)
            flavour = flavour_of(sdk)
            request = PlanRequest(flavour=flavour, **({"capabilities": ("SM86",), "precision": "fp16"} | changes))
            with (
                mock.patch.object(engines.tensorrt_build, "load_sdk", lambda _, typed=typed: typed),
                mock.patch.object(engines.tensorrt_build, "cuda_driver", FakeDriver),
            ):
                try:
                    found["calls"][name] = {"target": str(build_plan(Path(work) / "x.onnx", plan, request))}
                    assert plan.read_bytes() == b"plan"
                except (BadInput, KeyboardInterrupt) as error:
                    found["refused"][name] = f"{type(error).__name__} {error}"
                    assert not plan.exists()
            found["calls"].setdefault(name, {})["calls"] = typed.calls
            touched |= typed.touched
        kept = Path(work) / "new.cache"
        found["layers"] = sorted(path.name for path in Path(work).glob("*.json"))
        found["timing_cache"] = kept.read_text(encoding="utf-8") if kept.exists() else None
    found["touched"] = sorted(touched)
    return found


def _answers(sdk: Any) -> dict[str, Any]:
    return ANSWERS | {
        "ITensor.dtype": sdk.DataType.FLOAT,
        "ParserError.code": sdk.ErrorCode.UNSUPPORTED_NODE,
    }


def _variants(sdk: Any, work: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    (work / "x.onnx").write_bytes(b"the fake parser does not look")
    (work / "old.cache").write_bytes(b"timings")
    (work / "int8.cache").write_text("TRT-8501-EntropyCalibration2\npixels: 3c010a14\n", encoding="utf-8")
    known = capabilities_of(sdk, flavour_of(sdk.real))
    for precision in ("fp32", "fp16", "int8"):
        yield precision, {"precision": precision}, {}
    yield "float nodes", {"float_nodes": ("mean", "unknown")}, {}
    yield "new timing cache", {"timing_cache": work / "new.cache"}, {}
    yield "old timing cache", {"timing_cache": work / "old.cache"}, {}
    yield "foreign timing cache", {"timing_cache": work / "old.cache"}, {"IBuilderConfig.set_timing_cache": False}
    yield "unreadable timing cache", {"timing_cache": work}, {}
    for hardware in known.hardware:
        yield hardware, {"hardware": hardware}, {}
    if known.version_compatible:
        yield "version compatible", {"version_compatible": True, "layers": work / "layers.json"}, {}
    if flavour_of(sdk.real) == "tensorrt":
        yield "layers", {"layers": work / "layers.json"}, {}
        names_only = '{"Layers": ["a + b"]}'
        yield "other layers", {"layers": work / "x.json"}, {"EngineInspector.get_engine_information": names_only}
        yield "unloadable", {"layers": work / "x.json"}, {"Runtime.deserialize_cuda_engine": None}
    if known.implicit_int8:
        dla = {"dla": 1, "batch": STATIC}
        yield "dla fp16", dla | {"float_nodes": ("mean",), "layers": work / "dla.json"}, {}
        yield "dla ranges", dla | {"precision": "int8", "ranges": {"pixels": 2.5}}, {}
        yield "dla cache", dla | {"precision": "int8", "calibration_cache": work / "int8.cache"}, {}
        yield "missing dla", dla | {"dla": 2}, {}
        yield "no dla", dla, {"Builder.num_DLA_cores": 0}
    yield "refused graph", {}, {"OnnxParser.parse": False}
    yield "failed build", {}, {"Builder.build_serialized_network": None}
    asked = iter((False, True) if known.progress else (True,))
    yield "cancelled", {"cancel": lambda: next(asked)}, {"Builder.build_serialized_network": _two_steps}


def _two_steps(sdk: TypedSdk) -> memoryview | None:
    """Build as TensorRT does with a monitor: ask it at every step, give up when it says so; without one, build."""
    monitor = sdk.assigned.get("IBuilderConfig.progress_monitor")
    if monitor is not None:
        monitor.phase_start("Building", None, 3)
        if not (monitor.step_complete("Building", 0) and monitor.step_complete("Building", 1)):
            return None
    return memoryview(b"plan")


class FakeDriver:
    """pycuda.driver with one GPU."""

    class Device:
        def __init__(self, number: int) -> None:
            self.number = number

        def compute_capability(self) -> tuple[int, int]:
            return (8, 7)

        def name(self) -> str:
            return "Orin"


def capabilities(sdk: Any) -> dict[str, Any]:
    found = capabilities_of(sdk, flavour_of(sdk))
    return {
        "policy": found.policy,
        "progress": found.progress,
        "timing_cache": found.timing_cache,
        "hardware": found.hardware,
        "version_compatible": found.version_compatible,
        "implicit_int8": found.implicit_int8,
        "targets": sorted(found.targets),
    }


def subclasses(sdk: Any) -> dict[str, Any]:
    """Make our logger, monitor and calibrator and call them as TensorRT does."""
    logger, log = recording_logger(sdk, verbose=True)
    for name in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"):
        message = f"{name} message\nof two lines"
        logger.log(getattr(sdk.ILogger, name), message)
    logger.log(sdk.ILogger.ERROR, "Cuda Runtime (cudaError 35: no driver)")
    found: dict[str, Any] = {"log": [log.errors, log.warnings, log.details], "base": isinstance(logger, sdk.ILogger)}
    if hasattr(sdk, "IProgressMonitor"):
        stop: list[bool] = []
        monitor = progress_monitor(sdk, lambda: bool(stop))
        monitor.phase_start("Building", None, 3)
        monitor.phase_start("Timing", "Building", 2)
        found["monitor"] = [monitor.step_complete("Timing", 0)]
        monitor.phase_finish("Timing")
        stop.append(True)
        found["monitor"] += [monitor.step_complete("Building", 0), isinstance(monitor, sdk.IProgressMonitor)]
        monitor.phase_finish("Building")
    if hasattr(sdk, "IInt8EntropyCalibrator2"):
        found["calibrator"] = _calibrated(sdk)
    return found


def _calibrated(sdk: Any) -> dict[str, Any]:
    device = HostAsDevice()
    batches = [np.full((2, 4, 4, 3), value, np.uint8) for value in (7, 9)] + [np.zeros((1, 4, 4, 3), np.uint8)]
    with tempfile.TemporaryDirectory() as work:
        cache = Path(work) / "model.cache"
        calibrator = make_calibrator(sdk, batch=2, cache=cache, batches=batches, driver=lambda: device)
        read_first = calibrator.read_calibration_cache()
        seen: list[list[int]] = []
        while (addresses := calibrator.get_batch(["pixels"])) is not None:
            seen.append(sorted(set(ctypes.string_at(addresses[0], batches[0].nbytes))))
        calibrator.write_calibration_cache(b"TRT-1-EntropyCalibration2\npixels: 3c010a14\n")
        calibrator.free()
        calibrator.free()
        again = make_calibrator(sdk, batch=2, cache=cache)
        return {
            "is": isinstance(calibrator, sdk.IInt8EntropyCalibrator2),
            "algorithm": calibrator.get_algorithm().name,
            "batch": calibrator.get_batch_size(),
            "read_first": read_first,
            "seen": seen,
            "read_again": again.read_calibration_cache().decode(),
            "batch_again": again.get_batch(["pixels"]),
            "device": device.record,
        }


class HostAsDevice:
    """pycuda.driver whose device memory is the host's, so that an address can be read back."""

    def __init__(self) -> None:
        self.record: list[str] = []
        self._memory: list[Any] = []

    def Device(self, number: int) -> Any:
        return SimpleNamespace(retain_primary_context=lambda: self)

    def push(self) -> None:
        self.record.append("push")

    def pop(self) -> None:
        self.record.append("pop")

    def mem_alloc(self, size: int) -> Any:
        self.record.append(f"allocate {size}")
        self._memory.append(Memory(self, size))
        return self._memory[-1]

    def memcpy_htod(self, memory: Memory, array: Any) -> None:
        assert self.record[-1] == "push" or self.record[-1].startswith("allocate"), "no context is current"
        ctypes.memmove(int(memory), array.ctypes.data, array.nbytes)


class Memory:
    def __init__(self, device: HostAsDevice, size: int) -> None:
        self._device, self._buffer = device, ctypes.create_string_buffer(size)

    def __int__(self) -> int:
        return ctypes.addressof(self._buffer)

    def free(self) -> None:
        self._device.record.append("free")


def names(sdk: Any) -> dict[str, list[str]]:
    """Map each class of the version, and "" for the module, to its names."""
    classes = {name: dir(value) for name, value in vars(sdk).items() if isinstance(value, type)}
    return {"": dir(sdk), **classes}
