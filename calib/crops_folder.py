"""Calibration images out of a folder: crops of the customer's own cameras, or the tree of a data set.

    visible/<track>/<time>.png    infrared/<track>/<time>.png

is what `run_cameras.py --record-crops DIR` leaves; pictures may also lie right in visible/ and infrared/, and one of
the two may be absent. Nobody knows who is on a crop: each folder counts as one identity, a picture outside of any as
one of its own, and no number stands in both modalities. Their camera is 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from calib.samples import (
    CALIBRATION_IMAGES,
    CalibrationSet,
    balanced_sample,
    calibration_from_dataset,
    images_sha256,
)
from engines.errors import BadInput
from engines.manifest import MODALITIES, sha256_of
from train.datasets.images import SPLITS, ImageRecord, read_image
from train.datasets.open import open_dataset

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from engines.manifest import Modality
    from train.datasets.images import Dataset, Split

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp"})
# Folders that a data set has and crops have not.
MARKS = {"sysu": ("exp", "cam1"), "regdb": ("idx", "Visible"), "llcm": ("idx", "vis")}
RECORD = "record some with run_cameras.py --record-crops DIR"
SHOWN = 4  # entries of a wrong folder that the error names


def calibration_from_folder(
    folder: Path,
    count: int = CALIBRATION_IMAGES,
    seed: int = 0,
    *,
    dataset: Dataset | None = None,
    trained_on: Collection[str] = ("train",),
) -> CalibrationSet:
    """Draw from the crops of a folder, or from the training identities where it is the tree of a data set.

    dataset is what the model was trained on, with the splits in trained_on: pictures of its other people are refused.
    """
    name = dataset_layout(folder)
    if name is not None:
        # The people of one trial of RegDB judge in another: the tree is divided as it was for the training.
        trial = dataset.trial if dataset is not None and dataset.name == name else 1
        chosen = calibration_from_dataset(open_dataset(name, folder, trial=trial), count, seed)
        pool: Sequence[ImageRecord] = chosen.records
    else:
        pool = read_crops(folder)
        drawn = balanced_sample(pool, count, seed)
        for record in drawn:
            read_image(record.path)  # a damaged one is refused now, not minutes into the calibration
        chosen = CalibrationSet(
            records=tuple(drawn),
            source=folder,
            description=f"{len(drawn)} of {len(pool)} crops in {folder.name}, seed {seed}",
            sha256=images_sha256(drawn),
        )
    if dataset is not None:
        refuse_held_out(pool, dataset, trained_on)
    return chosen


def dataset_layout(folder: Path) -> str | None:
    """Return the name of the data set whose layout a folder has, or None."""
    present = set(_entries(folder))
    for name, marks in MARKS.items():
        if present.issuperset(marks):
            return name
    return None


def read_crops(folder: Path) -> list[ImageRecord]:
    """List the crops of both modalities, visible first, then by path; a folder without any is refused."""
    found = _entries(folder)
    present: list[Modality] = [modality for modality in MODALITIES if (folder / modality).is_dir()]
    if not present:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        got = f"found {', '.join(found[:SHOWN])}{more}" if found else "the folder is empty"
        raise BadInput(f"{folder}: expected folders visible and infrared with crops, {got}; {RECORD}")
    records: list[ImageRecord] = []
    numbers: dict[Path, int] = {}
    for modality in present:
        top = folder / modality
        # A name that starts with a dot is a picture that was never finished.
        paths = (path for path in top.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
        for path in sorted(paths):
            track = path if path.parent == top else path.parent
            identity = numbers.setdefault(track, len(numbers) + 1)
            records.append(ImageRecord(path=path, identity=identity, camera=0, modality=modality))
    if not records:
        kinds = ", ".join(sorted(SUFFIXES))
        raise BadInput(f"{folder}: expected pictures ({kinds}) in {' and '.join(present)}, got none; {RECORD}")
    return records


def refuse_held_out(records: Sequence[ImageRecord], dataset: Dataset, trained_on: Collection[str] = ("train",)) -> None:
    """Refuse pictures that are, byte for byte, pictures of people that the model was not trained on.

    Those people judge the engine. A picture that was written anew is not recognised.
    """
    splits: list[Split] = [split for split in SPLITS if split not in trained_on]
    try:
        found = _same_bytes(records, dataset.split(*splits))
    except OSError as error:
        raise BadInput(
            f"{error.filename}: expected a picture that can be read, got {error.strerror}; restore or remove it"
        ) from error
    if found:
        first, original = found[0]
        raise BadInput(
            f"{first.path}: expected nobody who judges the engine, got {dataset.name}'s held-out identity "
            f"{original.identity}; {len(found)} of {len(records)} pictures are of {' and '.join(splits)} identities: "
            "remove them"
        )


def _same_bytes(records: Sequence[ImageRecord], others: Sequence[ImageRecord]) -> list[tuple[ImageRecord, ImageRecord]]:
    """Pair the records with those of others that have the same SHA-256. Most sizes differ: only the rest is read."""
    sizes = {record.path.stat().st_size for record in records}
    alike = [record for record in others if record.path.stat().st_size in sizes]
    sizes = {record.path.stat().st_size for record in alike}
    known = {sha256_of(record.path): record for record in alike}
    return [
        (record, known[digest])
        for record in records
        if record.path.stat().st_size in sizes and (digest := sha256_of(record.path)) in known
    ]


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise BadInput(f"expected a folder of calibration crops, got {folder}: {error.strerror}; {RECORD}") from error
