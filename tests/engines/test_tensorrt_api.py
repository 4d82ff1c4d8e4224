"""Our TensorRT code against the real Python bindings of every version that it claims, without a GPU.

build_plan runs from end to end with each version's classes, signatures and enums (tests.engines.tensorrt_fake); our
logger, monitor and calibrator are made from the real base classes. What is not shown: that a builder accepts the graph.
8.5 (JetPack 5) has no wheel: it stands here as 8.6.1 without the names that its source lacks (deployment.md 1.2).
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.engines.tensorrt_bindings import RTX, VERSIONS, WHEELS, results_of

ENGINES = Path(__file__).resolve().parents[2] / "engines"
BUILDING = ("build", "calibrator", "layers", "refusal", "sdk", "versions")
# What is reached from something of type Any and is not TensorRT's: pycuda, the bar, and our own calibrator.
OTHERS = {
    "Device", "compute_capability", "init", "mem_alloc", "memcpy_htod", "retain_primary_context", "push", "pop", "free",
    "name",
}  # fmt: skip
# policy, create_network's flags, precision flags of an INT8 build
POLICIES = {
    "8.6.1": ("legacy", "1", ["FP16", "INT8"]),
    "10.3.0": ("strong", "2", []),
    "10.13.3.9": ("strong", "2", []),
    "10.16.1.11": ("strong", "2", []),
    "11.4.0.106": ("strong11", "0", []),
    RTX: ("strong11", "0", []),
}
HARDWARE = {
    "8.6.1": ["same", "ampere-plus"],
    "10.3.0": ["same", "ampere-plus"],
    "10.13.3.9": ["same", "same-sm", "ampere-plus"],
    "10.16.1.11": ["same", "same-sm", "ampere-plus"],
    "11.4.0.106": ["same", "same-sm", "ampere-plus"],
    RTX: ["same"],
}
IMPLICIT_INT8 = [version for version in WHEELS if not version.startswith("11")]


def calls_of(found: dict[str, Any], build: str, *labels: str) -> list[list[str]]:
    return [call for call in found["calls"][build]["calls"] if call[0] in labels]


def flags_of(found: dict[str, Any], build: str) -> list[str]:
    return [call[1] for call in calls_of(found, build, "IBuilderConfig.set_flag")]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_build_fits_the_bindings(version: str) -> None:
    """A missing name, a wrong argument or a property that cannot be set would have ended the program."""
    found = results_of(version, "everything")
    policy, network, int8_flags = POLICIES[version]
    assert found["capabilities"]["policy"] == policy
    assert calls_of(found, "int8", "Builder.create_network") == [["Builder.create_network", network]]
    assert flags_of(found, "int8") == int8_flags
    assert flags_of(found, "fp16") == int8_flags[:1]
    assert calls_of(found, "fp32", "IBuilderConfig.clear_flag") == [["IBuilderConfig.clear_flag", "TF32"]]
    assert ["IOptimizationProfile.set_shape", "'pixels'", "(1, 64, 32, 3)", "(8, 64, 32, 3)", "(32, 64, 32, 3)"] in (
        found["calls"]["int8"]["calls"]
    )
    without_dla = {"missing dla", "no dla"} if version in IMPLICIT_INT8 else set()
    assert set(found["refused"]) == {"refused graph", "failed build", "cancelled"} | without_dla


@pytest.mark.parametrize("version", VERSIONS)
def test_capabilities_are_those_of_the_version(version: str) -> None:
    found = results_of(version, "everything")["capabilities"]
    assert found["hardware"] == HARDWARE[version]
    assert found["progress"] == (version != "8.6.1")
    assert found["version_compatible"] == found["timing_cache"] == (version != RTX)
    assert found["implicit_int8"] == (version in IMPLICIT_INT8)
    assert ("SM86" in found["targets"]) == (version == RTX)
    assert "SM87" not in found["targets"]  # no Orin: TensorRT-RTX is no backend there


@pytest.mark.parametrize("version", VERSIONS)
def test_refusals_name_operator_and_node_where_the_version_tells(version: str) -> None:
    refused = results_of(version, "everything")["refused"]
    told = "its own words" if version == "8.6.1" else "operator Det is not supported (node the_det of outer (Block))"
    assert refused["refused graph"].endswith(f"refuses the graph: {told}")
    assert refused["failed build"].endswith("could not build a plan: no reason given")
    assert refused["cancelled"].startswith("KeyboardInterrupt")


@pytest.mark.parametrize("version", WHEELS)
def test_compatibility_and_timing_cache_reach_the_builder(version: str) -> None:
    found = results_of(version, "everything")
    assert found["calls"]["version compatible"]["target"].endswith(" version-compatible gpu=Orin")
    assert "VERSION_COMPATIBLE" in flags_of(found, "version compatible")
    level = "IBuilderConfig.hardware_compatibility_level ="
    assert calls_of(found, "ampere-plus", level) == [[level, "AMPERE_PLUS"]]
    cache = ("IBuilderConfig.create_timing_cache", "IBuilderConfig.set_timing_cache", "ITimingCache.serialize")
    used = [
        ["IBuilderConfig.create_timing_cache", "bytes"],
        ["IBuilderConfig.set_timing_cache", "ITimingCache", "False"],
    ]
    assert calls_of(found, "old timing cache", *cache) == [*used, ["ITimingCache.serialize"]]
    assert calls_of(found, "foreign timing cache", *cache) == [
        *used,
        *used,
        ["ITimingCache.serialize"],
    ]  # and a new one


@pytest.mark.parametrize("version", WHEELS)
def test_a_plan_is_kept_where_its_layers_cannot_be_read(version: str) -> None:
    found = results_of(version, "everything")
    for build in ("layers", "other layers", "unloadable"):
        assert found["calls"][build]["target"].startswith(f"tensorrt {version} SM87 ")
        assert calls_of(found, build, "IBuilderConfig.profiling_verbosity =")[0][1] == "DETAILED"
    assert found["layers"] == (["dla.json", "layers.json"] if version in IMPLICIT_INT8 else ["layers.json"])


@pytest.mark.parametrize("version", IMPLICIT_INT8)
def test_a_dla_gets_flags_and_ranges(version: str) -> None:
    found = results_of(version, "everything")
    assert found["refused"]["missing dla"].endswith("got 2 and cores 0 to 1; build for the GPU")
    assert found["refused"]["no dla"].endswith("got 1 and no DLA here; build for the GPU")
    for build in ("dla fp16", "dla ranges", "dla cache"):
        assert found["calls"][build]["target"].endswith(" SM87 batch=8/8/8 dla=1 gpu=Orin")
        assert calls_of(found, build, "Builder.create_network")[0][1] == "1"  # weak typing, on 10.x too
        assert calls_of(found, build, "IBuilderConfig.default_device_type =", "IBuilderConfig.DLA_core =") == [
            ["IBuilderConfig.default_device_type =", "DLA"], ["IBuilderConfig.DLA_core =", "1"],
        ]  # fmt: skip
    assert calls_of(found, "dla fp16", "Runtime.DLA_core =") == [["Runtime.DLA_core =", "1"]]  # to list its layers
    assert flags_of(found, "dla fp16") == ["FP16", "OBEY_PRECISION_CONSTRAINTS", "GPU_FALLBACK"]
    assert flags_of(found, "dla ranges") == flags_of(found, "dla cache") == ["FP16", "INT8", "GPU_FALLBACK"]
    assert ["ITensor.set_dynamic_range", "-2.5", "2.5"] in found["calls"]["dla ranges"]["calls"]
    assert calls_of(found, "dla cache", "IBuilderConfig.int8_calibrator =") == [
        ["IBuilderConfig.int8_calibrator =", "Calibrator"]
    ]
    assert calls_of(found, "dla fp16", "ILayer.precision =", "ILayer.set_output_type") == [
        ["ILayer.precision =", "FLOAT"], ["ILayer.set_output_type", "0", "FLOAT"],
    ]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_our_subclasses_work_on_the_real_base_classes(version: str) -> None:
    found = results_of(version, "everything")["subclasses"]
    assert found["base"] is True
    assert found["log"] == [
        ["INTERNAL_ERROR message of two lines", "ERROR message of two lines"],
        ["WARNING message of two lines"],
        ["INFO message\nof two lines", "VERBOSE message\nof two lines"],
    ]
    assert found.get("monitor") == (None if version == "8.6.1" else [True, False, True])
    assert ("calibrator" in found) == (version in IMPLICIT_INT8)


@pytest.mark.parametrize(
    ("version", "header"),
    [("8.6.1", "TRT-8601"), ("10.3.0", "TRT-100300"), ("10.13.3.9", "TRT-101303"), ("10.16.1.11", "TRT-101601")],
)
def test_the_calibrator_feeds_pixels_and_keeps_what_was_measured(version: str, header: str) -> None:
    found = results_of(version, "everything")["subclasses"]["calibrator"]
    assert found["is"] is True
    assert (found["algorithm"], found["batch"], found["read_first"]) == ("ENTROPY_CALIBRATION_2", 2, None)
    assert found["seen"] == [[7], [9]]  # the bytes at the address that TensorRT gets; a part batch is left out
    assert found["read_again"] == f"{header}-EntropyCalibration2\npixels: 3c010a14\n"
    assert found["batch_again"] is None
    assert found["device"] == ["push", "allocate 96", "pop", "push", "pop", "push", "free", "pop"]


def test_8_5_builds_without_what_its_source_lacks() -> None:
    found = results_of("8.6.1", "builds_as_8_5")
    assert flags_of(found, "int8") == ["FP16", "INT8"]
    assert set(found["calls"]) >= {"fp32", "fp16", "int8", "float nodes", "layers", "dla ranges", "old timing cache"}
    assert not set(found["calls"]) & {"ampere-plus", "same-sm", "version compatible"}


def test_the_builds_above_reach_every_name_in_our_source() -> None:
    """What our code reaches from a TensorRT object, read out of the source, was tried with at least one version."""
    tried = set[str]()
    for version in VERSIONS:
        found = results_of(version, "everything")
        tried |= {label.split(".")[-1] for label in found["touched"]}
        subclassed = ("ILogger", "IProgressMonitor", "IInt8EntropyCalibrator2")
        tried |= {name for base in subclassed for name in found["names"].get(base, ())}
    tried |= {label.split(".")[-1] for label in results_of("8.6.1", "builds_as_8_5")["touched"]}
    reached = {name for part in BUILDING for name in names_reached(ENGINES / f"tensorrt_{part}.py")}
    assert len(reached) > 60
    assert not reached - tried - OTHERS


# The runtime's own branches: what it reaches that some version lacks, behind a hasattr of its own.
LACKING = {
    "CudaGraphStrategy": set(WHEELS),
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE": set(WHEELS),
    "ExecutionContextAllocationStrategy": {"8.6.1"},
    "ExecutionContextAllocationStrategy.USER_MANAGED": {"8.6.1"},
    "ICudaEngine.create_execution_context_without_device_memory": {"11.4.0.106", RTX},
    "ICudaEngine.create_runtime_config": {"8.6.1", "10.3.0"},
    "ICudaEngine.device_memory_size": {"11.4.0.106", RTX},
    "ICudaEngine.device_memory_size_v2": {"8.6.1"},
    "IExecutionContext.set_device_memory": {"8.6.1"},
    "IRuntimeConfig.cuda_graph_strategy": set(WHEELS),
    "IRuntimeConfig.set_execution_context_allocation_strategy": {"8.6.1", "10.3.0"},
}
RUNTIME_CLASSES = {
    "_runtime": "Runtime", "_engine": "ICudaEngine", "context": "IExecutionContext", "config": "IRuntimeConfig",
}  # fmt: skip


def test_the_runtime_reaches_what_every_version_has_but_for_its_own_branches() -> None:
    """Static: the names in engines/tensorrt_backend.py. tests/engines/test_tensorrt_backend.py runs it, simulated."""
    labels = runtime_labels(ENGINES / "tensorrt_backend.py")
    assert {"Runtime.deserialize_cuda_engine", "IExecutionContext.execute_async_v3", "TensorIOMode.INPUT"} <= labels
    lacking: dict[str, set[str]] = {}
    for version in VERSIONS:
        names = results_of(version, "everything")["names"]
        for label in labels:
            owner, _, name = label.rpartition(".")
            if name not in names.get(owner, ()):
                lacking.setdefault(label, set()).add(version)
    assert lacking == {label: versions for label, versions in LACKING.items() if label in labels}


def runtime_labels(path: Path) -> set[str]:
    """Return what a file takes from TensorRT's module ("DataType.FLOAT") and from its objects ("Runtime.DLA_core")."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = last_name(node.value)
        if owner in RUNTIME_CLASSES:
            found.add(f"{RUNTIME_CLASSES[owner]}.{node.attr}")
        elif owner in ("sdk", "_sdk"):
            found.add(node.attr)
        elif isinstance(node.value, ast.Attribute) and last_name(node.value.value) in ("sdk", "_sdk"):
            found.add(f"{owner}.{node.attr}")
    return found


def last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def names_reached(path: Path) -> set[str]:
    """Return every attribute that a file takes from a value of type Any: that is how TensorRT's objects are typed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    returning = {
        node.name for node in functions if node.returns is not None and ast.unparse(node.returns).startswith("Any")
    }
    found = set[str]()
    for function in functions:
        roots = untyped_names(function, returning)
        found |= {
            node.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Attribute) and root_of(node.value) in roots | returning
        }
    return found


def untyped_names(function: ast.FunctionDef, returning: set[str]) -> set[str]:
    """Return the arguments of type Any, and the variables that come from them."""
    given = [*function.args.args, *function.args.kwonlyargs]
    roots = {item.arg for item in given if item.annotation is not None and ast.unparse(item.annotation) == "Any"}
    while True:
        before = len(roots)
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and root_of(node.value) in roots | returning:
                targets = [name for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
                roots |= {name.id for name in targets}
            elif isinstance(node, (ast.For, ast.comprehension)) and root_of(node.iter) in roots | returning:
                roots |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
        if len(roots) == before:
            return roots


def root_of(node: ast.expr) -> str:
    """Return the name that a chain such as a.b(c)[d].e starts with."""
    while not isinstance(node, ast.Name):
        match node:
            case ast.Attribute() | ast.Subscript():
                node = node.value
            case ast.Call():
                node = node.func
            case ast.ListComp():
                node = node.elt
            case _:
                return ""
    return node.id
