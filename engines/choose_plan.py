"""Choose the graphs of an engine folder that a runtime on this device can read."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from engines.manifest import MODALITIES
from engines.plan_target import FLAVOURS, HARDWARE, parse_target
from engines.tensorrt_sdk import cuda_driver, load_sdk, sdk_installed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from engines.manifest import Form, Graph, Manifest, Modality, Precision
    from engines.plan_target import Flavour


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU and the library that would run a plan on it."""

    flavour: Flavour
    version: str
    capability: str  # such as SM87
    gpu: str  # the name that the driver gives it

    def __str__(self) -> str:
        return f"{self.flavour} {self.version}, {self.capability}, {self.gpu}"

    def refusal(self, graph: Graph) -> str | None:
        """Say why this device cannot run graph's plan; None where it can."""
        return parse_target(graph.target).refusal(
            flavour=self.flavour, version=self.version, capability=self.capability, gpu=self.gpu
        )


def device_here(flavour: Flavour) -> Device | None:
    """Return the first GPU and the installed library; None where one of the two is missing."""
    if not sdk_installed(flavour) or find_spec("pycuda") is None:
        return None
    try:
        cuda = cuda_driver()
        if cuda.Device.count() == 0:
            return None
        device = cuda.Device(0)
        major, minor = device.compute_capability()
        version = str(load_sdk(flavour).__version__)
        return Device(flavour=flavour, version=version, capability=f"SM{major}{minor}", gpu=str(device.name()))
    except Exception:  # no driver, no library: pycuda and TensorRT raise their own types
        return None


def graphs_of(
    manifest: Manifest, precision: Precision, forms: Sequence[Form], device: Device | None = None
) -> dict[Modality, Graph] | None:
    """Return a graph for each modality, both of the first form that has both; None where one is missing.

    A plan counts where device can run it.
    """
    for form in forms:
        complete: dict[Modality, Graph] = {}
        for modality in MODALITIES:
            listed = [
                graph
                for graph in manifest.graphs
                if (graph.modality, graph.precision, graph.form) == (modality, precision, form)
            ]
            fitting = [graph for graph in listed if form not in FLAVOURS or _fits(graph, device)]
            if fitting:
                complete[modality] = min(fitting, key=_rank) if form in FLAVOURS else fitting[0]
        if len(complete) == len(MODALITIES):
            return complete
    return None


def no_plan_fits(
    folder: Path, manifest: Manifest, wanted: Sequence[Precision], flavour: Flavour, device: Device | None
) -> str:
    """Say in one line which plans there are, why each does not fit, and how to build one that does."""
    here = str(device) if device is not None else f"no GPU that {flavour} and pycuda can use"
    reasons: dict[str, str] = {}
    for graph in manifest.graphs:
        if graph.form == flavour and graph.precision in wanted:
            refusal = device.refusal(graph) if device is not None else f"it is for {graph.target}"
            reasons[graph.file] = f"{graph.file} ({refusal or 'the other modality has no plan that fits'})"
    there = ", ".join(reasons.values()) or f"no {' or '.join(wanted)} plan of {flavour}"
    precision = buildable(manifest, wanted) or wanted[0]
    return (
        f"{folder}: expected a plan for this device ({here}), got {there}; build one here with `python "
        f"deploy/build_engine.py {folder} --precision {precision} --backend {flavour}`"
    )


def buildable(manifest: Manifest, wanted: Sequence[Precision]) -> Precision | None:
    """Return the first precision out of wanted of which the folder has the ONNX graphs that a plan is built from."""
    for precision in wanted:
        if graphs_of(manifest, precision, ("onnx", "onnx-typed", "onnx-opset17")) is not None:
            return precision
    return None


def listing(manifest: Manifest) -> str:
    """Say what the folder holds, such as "onnx fp32, onnx int8"."""
    return ", ".join(sorted({f"{graph.form} {graph.precision}" for graph in manifest.graphs}))


def _fits(graph: Graph, device: Device | None) -> bool:
    return device is not None and device.refusal(graph) is None


def _rank(graph: Graph) -> tuple[bool, bool, int]:
    """Put the plan that was built the most closely for this device first; a DLA is slower than the GPU beside it."""
    target = parse_target(graph.target)
    return target.dla is not None, target.version_compatible, HARDWARE.index(target.hardware)
