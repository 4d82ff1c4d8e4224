"""The images of a build: which calibrate, and which people, never seen in training, judge."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calib.crops_folder import calibration_from_folder, read_crops
from calib.samples import CalibrationSet, balanced_sample, calibration_from_dataset, held_out_images, images_sha256
from engines.errors import BadInput
from engines.manifest import MODALITIES
from train.datasets.open import open_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.building.request import BuildRequest
    from train.datasets.images import ImageRecord

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What a build looks at."""

    samples: CalibrationSet
    held_out: list[ImageRecord]
    split: str  # val or test of the dataset; "crops" where nobody is labelled
    dataset: str | None  # name; None where nobody is labelled
    folder: Path  # of the images that judge


def open_sources(request: BuildRequest, trained: Mapping[str, Any]) -> Sources:
    """Open the dataset of the training, or the one that the request names, and draw from it.

    Without any dataset at hand, half of the crops in --calibration-data calibrate and the other half judge.
    """
    folder = request.data or (Path(str(trained["folder"])) if trained.get("folder") else None)
    if folder is None and request.calibration_data is None:
        raise BadInput("expected to know the model's data set, which it does not say; name its folder with --data")
    if request.data is None and request.calibration_data is not None and (folder is None or not folder.is_dir()):
        return _crops_only(request, request.calibration_data)
    assert folder is not None
    name = request.dataset or str(trained.get("name", "sysu"))
    trial = int(trained.get("trial", 1)) if name == "regdb" else 1
    dataset = open_dataset(name, folder, trial=trial)
    trained_on = trained.get("train_on", ())
    split, held_out = held_out_images(dataset, trained_on, request.parity_images)
    if request.calibration_data is None:
        samples = calibration_from_dataset(dataset, request.calibration_images)
    else:
        samples = calibration_from_folder(
            request.calibration_data, request.calibration_images, dataset=dataset, trained_on=trained_on
        )
    return Sources(samples=samples, held_out=held_out, split=split, dataset=name, folder=folder)


def _crops_only(request: BuildRequest, folder: Path) -> Sources:
    """Divide the crops by track, so that nobody's picture both calibrates and judges."""
    crops = read_crops(folder)
    tracks = sorted({record.identity for record in crops})
    judging = set(tracks[1::2])
    held_out = balanced_sample([record for record in crops if record.identity in judging], request.parity_images)
    rest = [record for record in crops if record.identity not in judging]
    if {record.modality for record in held_out} != set(MODALITIES) or not rest:
        raise BadInput(
            f"{folder}: expected crops of two tracks or more in visible and in infrared, half of which judge, got "
            f"{len(tracks)} tracks; record more with run_cameras.py --record-crops, or name the data set with --data"
        )
    drawn = tuple(balanced_sample(rest, request.calibration_images))
    log.warning("nobody is labelled in %s: no mAP is measured and no matching threshold is set", folder)
    samples = CalibrationSet(
        records=drawn,
        source=folder,
        description=f"{len(drawn)} crops of {len(tracks) - len(judging)} tracks in {folder.name}, the others judge",
        sha256=images_sha256(drawn),
    )
    return Sources(samples=samples, held_out=held_out, split="crops", dataset=None, folder=folder)
