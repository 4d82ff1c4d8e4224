"""What a build was asked for, checked before any work."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calib.drift import LIMITS, Limits
from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME
from engines.open import RUNTIMES
from engines.plan_target import BatchProfile
from train.datasets.open import DATASETS

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from engines.manifest import Precision
    from engines.plan_target import Hardware


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """How TensorRT plans are built; the defaults suit a device that builds for itself."""

    capabilities: tuple[str, ...] = ()  # of TensorRT-RTX plans; none: engines.tensorrt_build.RTX_CAPABILITIES
    batch: BatchProfile = dataclasses.field(default_factory=BatchProfile)
    workspace_mb: int = 1024
    hardware: Hardware = "same"
    version_compatible: bool = False
    dla: int | None = None

    def __post_init__(self) -> None:
        if self.workspace_mb < 1:
            raise BadInput(f"--workspace-mb: expected a positive number of megabytes, got {self.workspace_mb}")
        if self.dla is not None and self.dla < 0:
            raise BadInput(f"--dla: expected the number of an accelerator, 0 or more, got {self.dla}")


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """The command line of build_engine."""

    model: Path | None = None  # a checkpoint, a run folder or an engine folder; None: the newest run
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    backend: str = "auto"
    data: Path | None = None  # None: where the model was trained
    dataset: str | None = None  # the layout of data; None: that of the training
    calibration_data: Path | None = None  # None: the training identities of the dataset
    calibration_images: int = 512
    opset17: bool = False
    implicit_int8: bool = False
    parity_images: int = 512
    out: Path | None = None
    max_map_drop: float = 0.5
    min_cosine: float | None = None  # None: calib.drift.LIMITS
    min_rank1_agreement: float | None = None
    accept_drift: bool = False
    false_match_rate: float = 0.01
    plans: PlanOptions = dataclasses.field(default_factory=PlanOptions)

    def __post_init__(self) -> None:
        if not 0 < self.false_match_rate < 1:
            raise BadInput(f"--false-match-rate: expected a share between 0 and 1, got {self.false_match_rate}")
        for name in ("min_cosine", "min_rank1_agreement"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise BadInput(f"--{name.replace('_', '-')}: expected a share from 0 to 1, got {value}")
        if not self.max_map_drop >= 0:
            raise BadInput(f"--max-map-drop: expected 0 or more points of mAP, got {self.max_map_drop}")
        known = ["auto", *(name for name, runtime in RUNTIMES.items() if runtime.automatic)]
        if self.backend not in known:
            raise BadInput(f"expected a backend out of {', '.join(known)}, got {self.backend!r}")
        if self.dataset is not None and self.dataset not in DATASETS:
            raise BadInput(f"--dataset: expected one of {', '.join(DATASETS)}, got {self.dataset!r}")
        for name in ("calibration_images", "parity_images"):
            if getattr(self, name) < 2:
                raise BadInput(f"expected at least 2 for --{name.replace('_', '-')}, got {getattr(self, name)}")
        if self.out is not None and self.out.exists() and not (self.out / MANIFEST_NAME).is_file():
            raise BadInput(f"expected a new folder or an engine to replace for --out, got {self.out}, which is neither")

    def limits(self, precision: Precision) -> Limits:
        """Return what an engine of this precision must keep; the command line's own limits are for INT8."""
        limits = LIMITS[precision]
        if precision != "int8":
            return limits
        return dataclasses.replace(
            limits,
            worst_cosine=limits.worst_cosine if self.min_cosine is None else self.min_cosine,
            rank1_agreement=limits.rank1_agreement if self.min_rank1_agreement is None else self.min_rank1_agreement,
        )


def request_of(args: argparse.Namespace) -> BuildRequest:
    """Read the arguments of deploy.building.options."""
    smallest, usual, largest = args.batch
    return BuildRequest(
        model=args.model,
        precisions=tuple(args.precision),
        backend=args.backend,
        data=args.data,
        dataset=args.dataset,
        calibration_data=args.calibration_data,
        calibration_images=args.calibration_images,
        opset17=args.opset17,
        implicit_int8=args.implicit_int8,
        parity_images=args.parity_images,
        out=args.out,
        max_map_drop=args.max_map_drop,
        min_cosine=args.min_cosine,
        min_rank1_agreement=args.min_rank1_agreement,
        accept_drift=args.accept_drift,
        false_match_rate=args.false_match_rate,
        plans=PlanOptions(
            capabilities=tuple(args.capability),
            batch=BatchProfile(smallest=smallest, usual=usual, largest=largest),
            workspace_mb=args.workspace_mb,
            hardware=args.hardware,
            version_compatible=args.version_compatible,
            dla=args.dla,
        ),
    )
