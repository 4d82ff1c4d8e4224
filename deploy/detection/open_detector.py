"""Open a detector's file: its runtime, its head by the graph's signature, and what detector.json says otherwise."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import numpy as np

from deploy.detection.graph import CPU_RUNTIMES, load_cpu_graph
from deploy.detection.graph_detector import GraphDetector, Head
from deploy.detection.heads import FORMS
from deploy.detection.heads.form import Convention, Signature
from deploy.detection.network_input import FREE_BATCH, Batch, understand_inputs
from deploy.detection.plan import load_plan_graph
from deploy.detection.sidecar import load_sidecar
from engines.errors import BadInput, first_line
from engines.plan_target import FLAVOURS

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.detection.graph import Graph
    from deploy.detection.heads.form import Form
    from deploy.detection.network_input import NetworkInput
    from deploy.detection.sidecar import Sidecar

log = logging.getLogger(__name__)

BACKENDS = ("auto", *FLAVOURS, *CPU_RUNTIMES)


def open_detector(path: Path, *, threads: int = 1, backend: str = "auto", auto_build: bool = False) -> GraphDetector:
    """Open an ONNX file as a detector of people, in FP32.

    "auto" takes TensorRT where a GPU and a plan for it are here, else the CPU; with auto_build a missing plan is built
    beside the file (minutes, once).
    """
    if backend not in BACKENDS:
        raise BadInput(f"expected a backend out of {', '.join(BACKENDS)} for the detector, got {backend!r}")
    if not path.is_file():
        raise BadInput(
            f"--detector: expected an ONNX file, got {str(path)!r}: no such file; deploy/fetch_detector.py gets one"
        )
    sidecar = load_sidecar(path, tuple(form.name for form in FORMS))
    graph = load_plan_graph(path, backend, sidecar.size_px, auto_build=auto_build)
    graph = graph or load_cpu_graph(path, backend, threads, sidecar.size_px)
    try:
        detector = _fit_head(path, graph, sidecar)
    except BaseException:
        graph.close()
        raise
    log.info("detector %s: %s", path.name, detector.name)
    return detector


def _fit_head(path: Path, graph: Graph, sidecar: Sidecar) -> GraphDetector:
    network = understand_inputs(graph.inputs)
    if network is None:
        seen = ", ".join(map(str, graph.inputs))
        raise BadInput(
            f"{path}: expected one input for pictures (B, 3, H, W), (B, H, W, 3) or (3, H, W), at most with their "
            f"sizes (B, 2) and a mask, got {seen}; export the detector with such an input"
        )
    signature = _ask(path, graph, network)
    form, order = _choose(path, signature, sidecar)
    if not form.batched and network.batch not in (None, 1):
        raise BadInput(f"{path}: expected a batch of 1 for a {form.name} head, got {network.batch}; export it so")
    convention = sidecar.apply(form.convention)
    head = Head(form=form, signature=signature, order=order, person=convention.person)
    try:
        head.read(signature.answers)
    except (IndexError, ValueError) as error:
        raise BadInput(
            f"{path}: expected outputs of a {form.name} head in which class {convention.person} is a person, got "
            f"{signature} ({error}); set head and person in detector.json"
        ) from error
    most = FREE_BATCH if form.batched else 1
    return GraphDetector(graph, head, Batch(network, graph.inputs, convention, most))


def _ask(path: Path, graph: Graph, network: NetworkInput) -> Signature:
    """Run the graph on a plain picture: the answer has the sizes that were free, and the first run allocates."""
    batch = Batch(network, graph.inputs, Convention(scale=1.0), most=1)
    batch.put_grey()
    try:
        answers = tuple(np.array(answer) for answer in graph(batch.arrays(1)))
    except Exception as error:  # each runtime has its own types
        raise BadInput(
            f"{path}: {graph.name} cannot run the detector ({first_line(error)}); export it again, or take another"
        ) from error
    outputs = tuple(
        dataclasses.replace(spec, shape=answer.shape, dtype=answer.dtype)
        for spec, answer in zip(graph.outputs, answers, strict=True)
    )
    return Signature(
        height_px=network.height_px, width_px=network.width_px, inputs=graph.inputs, outputs=outputs, answers=answers
    )


def _choose(path: Path, signature: Signature, sidecar: Sidecar) -> tuple[Form, tuple[int, ...]]:
    """Return the head and the order of its outputs: the one that detector.json names, else the first that fits."""
    for form in FORMS:
        order = form.find(signature)
        if form.name == sidecar.head:
            return form, order or tuple(range(len(signature.outputs)))
        if sidecar.head is None and order is not None:
            return form, order
    known = "; ".join(form.looks for form in FORMS if form.looks)
    raise BadInput(
        f"{path}: expected a detector's outputs, one of {known}; got {signature}; export it in one of these forms, or "
        "name its head in detector.json beside it"
    )
