"""From a checkpoint to an engine folder: export, calibrate, quantise, plans, parity at every step, threshold.

Shapes: N images, D embedding.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.implicit import dynamic_ranges, float_nodes
from calib.opset17 import to_opset17
from calib.samples import refuse_missing_modality
from calib.tensorrt_cache import write_cache
from calib.threshold import measure_labelled
from deploy.building.graphs import fp32_files, read_graph, write_graphs
from deploy.building.half_graphs import add_fp16, add_typed_int8, measure_graphs
from deploy.building.int8 import Int8Build, trade_table
from deploy.building.parity_check import CPU_BACKENDS, ParityCheck, embed_with
from deploy.building.plans import add_plans, add_plans_to, plan_flavours
from deploy.building.samples import open_sources
from deploy.parity.reference import REFERENCE_NAME, write_reference
from deploy.thresholds.thresholds import Thresholds
from engines.atomic import write_text
from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME, sha256_of
from engines.open import open_engine
from engines.provenance import tool_versions
from train.run_folder import CHECKPOINT_NAME, checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deploy.building.half_graphs import Largest
    from deploy.building.request import BuildRequest
    from deploy.building.samples import Sources
    from engines.manifest import Manifest

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "engines" / "built"
DEMO_RUN = ROOT / "demo" / "run"  # what make demo leaves, for whoever has nothing else yet
BUILD_TOOLS = ("torch", "onnx", "onnxscript", "openvino", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13-bindings")
IMAGES_NAME = "calibration-images.json"
CACHE_VERSION = "10.3.0"  # JetPack 6.1 and 6.2; a build on another version rewrites the header


def build_engine(request: BuildRequest) -> Path:
    """Build the folder and return it. It appears whole or not at all; an older one of the name stays until then.

    A model that is an engine folder gets plans for this device, and nothing else of it changes.
    """
    flavours = plan_flavours(request.backend)  # what cannot be built is refused before minutes of work
    if request.model is not None and (request.model / MANIFEST_NAME).is_file():
        return add_plans_to(request.model, request, flavours)
    for name in ("torch", "onnx", "onnxscript"):
        if find_spec(name) is None:
            raise BadInput(f"expected {name} for the export, which is not installed: pip install -e .[train]")
    from train.checkpoint import build_method, load_checkpoint
    from train.export import export_model

    path = find_checkpoint(request.model)
    checkpoint = load_checkpoint(path)
    sources = open_sources(request, checkpoint.dataset)
    out = (request.out or BUILT / (path.parent.name if path.stem in ("checkpoint", "best") else path.stem)).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        manifest = export_model(build_method(checkpoint), work, dataset=checkpoint.dataset, metrics=checkpoint.metrics)
        log.info("exported %s fp32 from %s", manifest.method, path)
        manifest = _add_precisions(work, manifest, sources, request)
        manifest = add_plans(work, manifest, request, flavours)
        matching = {} if sources.dataset is None else _threshold(work, sources, request)
        manifest = dataclasses.replace(manifest, matching=matching, tools=tool_versions(BUILD_TOOLS))
        manifest.save(work)
        work.chmod(0o755)
        swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("built %s (%s)", out, ", ".join(sorted({f"{graph.form} {graph.precision}" for graph in manifest.graphs})))
    return out


def _add_precisions(folder: Path, manifest: Manifest, sources: Sources, request: BuildRequest) -> Manifest:
    """Add the graphs of every precision that was asked for, each judged against PyTorch as it comes."""
    parity = ParityCheck(folder, sources.held_out, request, dataset=sources.dataset)
    figures: dict[str, Any] = {"reference": "torch fp32", "split": sources.split, **parity.check("fp32")}
    calibration: dict[str, Any] = {}
    fp32_nodes: dict[str, Any] = {}
    if request.opset17:
        models = {stem: to_opset17(read_graph(folder, stem)) for stem in fp32_files(manifest)}
        manifest = write_graphs(folder, manifest, "fp32", "onnx-opset17", models)
    samples = sources.samples.records
    largest = measure_graphs(folder, manifest, samples) if set(request.precisions) & {"fp16", "int8"} else {}
    if "fp16" in request.precisions:
        manifest, fp32_nodes["fp16"] = add_fp16(folder, manifest, largest)
        figures |= parity.check("fp16")
    if "int8" in request.precisions:
        manifest, calibration, fp32_nodes["int8"] = _add_int8(folder, manifest, sources, request, parity, largest)
        figures |= parity.check("int8")
    if fp32_nodes:
        calibration["fp32_nodes"] = fp32_nodes
    reference = {
        "file": REFERENCE_NAME,
        "sha256": write_reference(
            folder, sources.folder, sources.held_out, parity.reference_ND, dataset=sources.dataset, split=sources.split
        ),
    }
    result = dataclasses.replace(manifest, parity=figures, calibration=calibration, reference=reference)
    result.save(folder)
    return result


def _add_int8(
    folder: Path,
    manifest: Manifest,
    sources: Sources,
    request: BuildRequest,
    parity: ParityCheck,
    largest: Largest,
) -> tuple[Manifest, dict[str, Any], dict[str, Any]]:
    """Write every INT8 form from one calibration; return what the manifest says of it, and of its FP32 nodes."""
    refuse_missing_modality(sources.samples, {f"{stem}.fp32.onnx": seen for stem, seen in fp32_files(manifest).items()})
    build = Int8Build(folder, manifest, sources.samples.records, parity, implicit=request.implicit_int8)
    build.choose_ranges()
    build.spend_budget()
    chosen = build.as_dict()
    log.info("the trade of INT8 on %s:\n%s", parity.backends[0], trade_table(build.trades, chosen["layers"]))
    int8 = build.models()
    manifest, kept = add_typed_int8(folder, build.manifest, int8, largest)
    if request.opset17:
        legacy = {stem: to_opset17(model) for stem, model in int8.items()}
        manifest = write_graphs(folder, manifest, "int8", "onnx-opset17", legacy)
    if request.implicit_int8:
        for stem, model in build.floats.items():
            ranges = dynamic_ranges(model, build.table(stem))
            write_cache(folder / f"{stem}.calibration.cache", ranges, CACHE_VERSION)
            chosen.setdefault("implicit_float", {})[stem] = [*float_nodes(model), *build.kept_of(stem)]
    images = sources.samples.as_dict()
    write_text(folder / IMAGES_NAME, json.dumps(images, indent=1) + "\n")
    listed = {"file": IMAGES_NAME, "sha256": sha256_of(folder / IMAGES_NAME)}
    facts = {
        "images": len(sources.samples.records),
        "source": sources.samples.description,
        "images_sha256": sources.samples.sha256,
        "list": listed,
    }
    return manifest, {**facts, **chosen}, kept


def find_checkpoint(model: Path | None, roots: Sequence[Path] = (Path("runs"), ROOT / "runs")) -> Path:
    """Return the checkpoint that model names, or the newest run's."""
    if model is not None:
        path = checkpoint_path(model)
        if not path.is_file():
            raise BadInput(f"expected a checkpoint or a run folder, got {model}; python train/train_model.py makes one")
        return path
    found = [path for root in roots for path in root.glob(f"*/{CHECKPOINT_NAME}")] or [*DEMO_RUN.glob(CHECKPOINT_NAME)]
    if not found:
        raise BadInput(
            "expected a MODEL or a run in runs/, found none; train one with "
            "`python train/train_model.py mcja --data FOLDER`, or run `make demo`"
        )
    return checkpoint_path(max(found, key=lambda path: path.stat().st_mtime).parent)


def _threshold(folder: Path, sources: Sources, request: BuildRequest) -> dict[str, Any]:
    """Choose the matching threshold with the engine that will run."""
    on_cpu = request.backend in CPU_BACKENDS
    # A plan cannot run where there is no GPU; "auto" takes it where there is one.
    backend = request.backend if on_cpu else "auto"
    with open_engine(folder, backend=backend) as engine:
        name, feature_ND = engine.name, embed_with(engine, sources.held_out)
    people = len({record.identity for record in sources.held_out})
    found = Thresholds(
        measured=measure_labelled(sources.held_out, feature_ND),
        false_match_rate=request.false_match_rate,
        source=f"{name}, {people} people of {sources.split}, visible against infrared",
    )
    matching = found.as_manifest()
    log.info(
        "matching threshold %.4f with %s for %.2f %% false matches, from %d pairs of different people, %.1f %% true "
        "matches; people that may be searched at this rate: %s",
        matching["threshold"], name, 100 * request.false_match_rate, matching["pairs"],
        100 * matching["true_match_rate"], ", ".join(f"{found.most_people(way)} {way}" for way in found.measured),
    )  # fmt: skip
    if not any(found.most_people(way) for way in found.measured):
        log.warning(
            "%d held-out people are too few to promise %.2f %% false matches even in a search among one person; the "
            "thresholds err to the safe side: hold out more people, or ask for a higher --false-match-rate",
            people, 100 * request.false_match_rate,
        )  # fmt: skip
    return matching


def swap(work: Path, out: Path) -> None:
    """Put the finished folder in the place of out; two renames, so that out is never half of each."""
    retired = work.with_name(work.name + ".old")
    if out.exists():
        out.rename(retired)
    work.rename(out)
    shutil.rmtree(retired, ignore_errors=True)
