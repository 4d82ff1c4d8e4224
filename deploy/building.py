"""From a checkpoint to an engine folder: export, calibrate, quantise, plans, parity at every step, threshold.

Shapes: N images, D embedding.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from calib.drift import LIMITS, Drift, drift_of, violations
from calib.samples import balanced_sample, calibration_images
from calib.threshold import matching_threshold
from deploy.int8 import add_int8
from deploy.plans import add_plans, plan_flavours
from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME
from engines.open import BACKENDS, RUNTIMES, open_engine
from engines.provenance import tool_versions
from train.datasets.sysu import open_sysu
from train.evaluation import embed_images
from train.protocol import key
from train.run_folder import CHECKPOINT_NAME, checkpoint_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.backend import Backend
    from engines.manifest import Precision
    from train.datasets.images import ImageRecord, Split
    from train.datasets.sysu import SysuDataset

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "engines" / "built"
CPU_BACKENDS = ("openvino", "onnxruntime")
BUILD_TOOLS = ("torch", "onnx", "onnxscript", "openvino", "onnxruntime", "tensorrt", "tensorrt-rtx-cu13-bindings")


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The command line of build_engine."""

    model: Path | None = None  # a checkpoint or a run folder; None: the newest run
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    backend: str = "auto"
    data: Path | None = None  # None: where the model was trained
    calibration_images: int = 512
    parity_images: int = 512
    out: Path | None = None
    max_map_drop: float = 0.5
    accept_drift: bool = False
    false_match_rate: float = 0.01

    def __post_init__(self) -> None:
        if not 0 < self.false_match_rate < 1:
            raise BadInput(f"--false-match-rate: expected a share between 0 and 1, got {self.false_match_rate}")
        known = [name for name in BACKENDS if name != "torch"]
        if self.backend not in known:
            raise BadInput(f"expected a backend out of {', '.join(known)}, got {self.backend!r}")
        for name in ("calibration_images", "parity_images"):
            if getattr(self, name) < 2:
                raise BadInput(f"expected at least 2 for --{name.replace('_', '-')}, got {getattr(self, name)}")
        if self.out is not None and self.out.exists() and not (self.out / MANIFEST_NAME).is_file():
            raise BadInput(f"expected a new folder or an engine to replace for --out, got {self.out}, which is neither")


def build_engine(request: BuildRequest) -> Path:
    """Build the folder and return it. It appears whole or not at all; an older one of the name stays until then."""
    for name in ("torch", "onnx", "onnxscript"):
        if find_spec(name) is None:
            raise BadInput(f"expected {name} for the export, which is not installed: pip install -e .[train]")
    from train.checkpoint import build_method, load_checkpoint
    from train.export import export_model

    flavours = plan_flavours(request.backend)  # what cannot be built is refused before minutes of work
    path = find_checkpoint(request.model)
    checkpoint = load_checkpoint(path)
    trained_in = checkpoint.dataset.get("folder")
    if request.data is None and trained_in is None:
        raise BadInput(
            f"{path}: expected to know its data set, which it does not; name the SYSU-MM01 folder with --data"
        )
    dataset = open_sysu(request.data or Path(str(trained_in)))
    split, held_out = held_out_images(dataset, checkpoint.dataset.get("train_on", ()), request.parity_images)
    out = (request.out or BUILT / (path.parent.name if path.stem == "checkpoint" else path.stem)).resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        manifest = export_model(build_method(checkpoint), work, dataset=checkpoint.dataset, metrics=checkpoint.metrics)
        log.info("exported %s fp32 from %s", manifest.method, path)
        parity = ParityCheck(work, held_out, request)
        figures = {"reference": "torch fp32", "split": split, **parity.check("fp32")}
        if "int8" in request.precisions:
            samples = calibration_images(dataset, request.calibration_images)
            manifest, drifts = add_int8(work, manifest, samples, lambda: parity.measure("int8"), parity.broken)
            figures |= parity.judge("int8", drifts)
        manifest = add_plans(work, manifest, request.precisions, flavours)
        matching = _threshold(work, held_out, split, request)
        manifest = dataclasses.replace(manifest, parity=figures, matching=matching, tools=tool_versions(BUILD_TOOLS))
        manifest.save(work)
        work.chmod(0o755)
        swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("built %s (%s)", out, ", ".join(sorted({f"{graph.form} {graph.precision}" for graph in manifest.graphs})))
    return out


def find_checkpoint(model: Path | None, roots: Sequence[Path] = (Path("runs"), ROOT / "runs")) -> Path:
    """Return the checkpoint that model names, or the newest run's."""
    if model is not None:
        path = checkpoint_path(model)
        if not path.is_file():
            raise BadInput(f"expected a checkpoint or a run folder, got {model}; python train/train_model.py makes one")
        return path
    found = [path for root in roots for path in root.glob(f"*/{CHECKPOINT_NAME}")]
    if not found:
        raise BadInput(
            "expected a MODEL or a run in runs/, found none; train one with "
            "`python train/train_model.py mcja --data DIR`, or run `make demo`"
        )
    return checkpoint_path(max(found, key=lambda path: path.stat().st_mtime).parent)


def held_out_images(dataset: SysuDataset, trained_on: Sequence[str], count: int) -> tuple[Split, list[ImageRecord]]:
    """Draw images of people that the model was not trained on: the val split, or test where val was trained on.

    Published SYSU-MM01 rows train on train and val. A threshold from people seen in training would let strangers pass.
    """
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        records = [] if split in trained_on else dataset.split(split)
        if {record.modality for record in records} == {"visible", "infrared"}:
            return split, balanced_sample(records, count)
    raise BadInput(
        f"{dataset.folder}: expected held-out people in exp/val_id.txt or exp/test_id.txt in both modalities, got none"
    )


class ParityCheck:
    """Engines of one folder against its PyTorch program, on the same held-out images."""

    def __init__(self, folder: Path, records: Sequence[ImageRecord], request: BuildRequest) -> None:
        self._folder, self._records, self._request = folder, records, request
        self._backends = [name for name in CPU_BACKENDS if not RUNTIMES[name].missing()]
        self._reference_ND = embed_records(folder, records, "torch", "fp32")

    def measure(self, precision: Precision) -> dict[str, Drift]:
        """Map "openvino int8" and its like to their drift."""
        return {
            f"{name} {precision}": drift_of(
                self._records, self._reference_ND, embed_records(self._folder, self._records, name, precision)
            )
            for name in self._backends
        }

    def broken(self, drifts: dict[str, Drift], precision: Precision = "int8") -> list[str]:
        """Say which limits are broken, and where."""
        return [
            f"{name}: {line}"
            for name, drift in drifts.items()
            for line in violations(drift, LIMITS[precision], self._request.max_map_drop)
        ]

    def judge(self, precision: Precision, drifts: dict[str, Drift]) -> dict[str, Any]:
        """Log the drift and refuse what is over the limits; return the figures for the manifest."""
        for name, drift in drifts.items():
            log.info("parity %s against torch fp32, %d held-out images: %s", name, drift.images, drift)
        found = self.broken(drifts, precision)
        if found and not self._request.accept_drift:
            raise BadInput(
                f"{precision} is too far from PyTorch: {'; '.join(found)}; calibrate on more images "
                "(--calibration-images), leave the precision out, or take it with --accept-drift"
            )
        for line in found:
            log.warning("accepted drift: %s", line)
        return {name: dataclasses.asdict(drift) for name, drift in drifts.items()}

    def check(self, precision: Precision) -> dict[str, Any]:
        return self.judge(precision, self.measure(precision))


def embed_records(
    folder: Path, records: Sequence[ImageRecord], backend: str, precision: str | None
) -> NDArray[np.float32]:
    """Embed images with an engine of folder, in the order of records (N, D)."""
    with open_engine(folder, backend=backend, precision=precision) as engine:
        return embed_with(engine, records)


def embed_with(engine: Backend, records: Sequence[ImageRecord]) -> NDArray[np.float32]:
    """Embed images with an open engine, in the order of records (N, D)."""
    features = embed_images(engine.embed, records, engine.manifest.height_px, engine.manifest.width_px)
    return np.stack([features[key(record)] for record in records])


def _threshold(folder: Path, records: Sequence[ImageRecord], split: Split, request: BuildRequest) -> dict[str, Any]:
    """Choose the matching threshold with the engine that will run."""
    on_cpu = request.backend in CPU_BACKENDS
    # A plan cannot run where there is no GPU; "auto" takes it where there is one.
    backend = request.backend if on_cpu else "auto"
    with open_engine(folder, backend=backend) as engine:
        name, feature_ND = engine.name, embed_with(engine, records)
    found = matching_threshold(records, feature_ND, request.false_match_rate)
    log.info(
        "matching threshold %.4f with %s: %.2f %% false matches in %d pairs of different people, %.1f %% true matches",
        found.threshold, name, 100 * found.false_match_rate, found.pairs, 100 * found.true_match_rate,
    )  # fmt: skip
    source = f"{name}, {len({record.identity for record in records})} people of {split}, visible against infrared"
    return {**dataclasses.asdict(found), "source": source}


def swap(work: Path, out: Path) -> None:
    """Put the finished folder in the place of out; two renames, so that out is never half of each."""
    retired = work.with_name(work.name + ".old")
    if out.exists():
        out.rename(retired)
    work.rename(out)
    shutil.rmtree(retired, ignore_errors=True)
