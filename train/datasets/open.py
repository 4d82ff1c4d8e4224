"""Open a data set by its name, and say what it is. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from engines.errors import BadInput
from engines.spelling import did_you_mean
from train.datasets.images import SPLITS, Split
from train.datasets.llcm import open_llcm
from train.datasets.regdb import open_regdb
from train.datasets.sysu import open_sysu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from train.datasets.images import Dataset, ImageRecord

DATASETS: dict[str, Callable[[Path], Dataset]] = {"sysu": open_sysu, "regdb": open_regdb, "llcm": open_llcm}
TITLES = {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM"}
TRAINING: tuple[Split, ...] = ("train", "val")
TESTING: tuple[Split, ...] = ("test",)


class Counts(NamedTuple):
    """How much there is of a part of a data set."""

    identities: int
    visible: int
    infrared: int


# What the papers call the training set is train and val together. Every trial of RegDB has the same counts.
PUBLISHED: dict[str, dict[tuple[Split, ...], Counts]] = {
    "sysu": {TRAINING: Counts(395, 22_258, 11_909), TESTING: Counts(96, 6_775, 3_803)},
    "regdb": {TRAINING: Counts(206, 2_060, 2_060), TESTING: Counts(206, 2_060, 2_060)},
    "llcm": {TRAINING: Counts(713, 16_946, 13_975), TESTING: Counts(351, 8_680, 7_166)},
}


def open_dataset(name: str, folder: Path, *, trial: int = 1) -> Dataset:
    """Check the tree of a data set and read its split files; trial, 1 to 10, picks one of RegDB's divisions."""
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS)
        raise BadInput(f"expected a data set out of {', '.join(DATASETS)}, got {name!r}{hint}")
    if name == "regdb":
        return open_regdb(folder, trial=trial)
    if trial != 1:
        raise BadInput(f"{name}: expected trial 1, for only regdb has ten divisions of its identities, got {trial}")
    return DATASETS[name](folder)


def checked_split(dataset: Dataset, *splits: Split) -> list[ImageRecord]:
    """List the images of the splits; refuse what can neither be trained on nor searched across the modalities.

    That is no image at all, or nobody with both modalities. Single identities that lack one do no harm: a sampler
    passes over them or takes what they have, and a probe without a true match does not count. `describe` counts them.
    """
    records = dataset.split(*splits)
    what = f"{dataset.folder}: expected images of the identities in {_joined(splits)}"
    if not records:
        raise BadInput(f"{what}, got none; check that the folder is complete and that its split files belong to it")
    visible, infrared = _seen(records)
    if not visible & infrared:
        raise BadInput(
            f"{what} in both modalities, got {len(visible)} identities with visible and {len(infrared)} with infrared "
            "images, nobody with both; check that the folder is complete"
        )
    return records


def describe(dataset: Dataset) -> str:
    """Say in one line what was found, and by what it differs from the published data set.

    To differ is no error: a synthetic tree in the same layout does. What is worth knowing of it comes last: listed
    identities without any image, and those with images of one modality only. `checked_split` refuses what is.
    """
    found: dict[Split, list[ImageRecord]] = {split: dataset.split(split) for split in SPLITS}
    title = f"{dataset.name} trial {dataset.trial}" if dataset.name == "regdb" else dataset.name
    parts = [f"{split} {_written(_count(dataset.identities[split], records))}" for split, records in found.items()]
    published = PUBLISHED.get(dataset.name, {})
    differences: list[str] = []
    notes: list[str] = []
    for splits in (TRAINING, TESTING):
        identities = [identity for split in splits for identity in dataset.identities[split]]
        records = [record for split in splits for record in found[split]]
        counts = _count(identities, records)
        differences += [
            f"{field} of {_joined(splits)} {has:,} instead of {wanted:,}"
            for field, has, wanted in zip(Counts._fields, counts, published.get(splits, counts), strict=True)
            if has != wanted
        ]
        notes += _notes(_joined(splits), identities, records)
    verdict = f"not the published data: {', '.join(differences)}" if differences else "these are the published counts"
    return "; ".join([f"{title}: {', '.join(parts)}", verdict, *notes])


def _notes(where: str, identities: Sequence[int], records: Sequence[ImageRecord]) -> list[str]:
    visible, infrared = _seen(records)
    absent = [identity for identity in identities if identity not in visible | infrared]
    single = sorted(visible ^ infrared)
    return [
        f"{len(found)} identities of {where} {what}, the first is {found[0]}"
        for found, what in ((absent, "without any image"), (single, "in one modality only"))
        if found
    ]


def _seen(records: Iterable[ImageRecord]) -> tuple[set[int], set[int]]:
    """Return who has visible and who has infrared images."""
    seen: dict[str, set[int]] = {"visible": set(), "infrared": set()}
    for record in records:
        seen[record.modality].add(record.identity)
    return seen["visible"], seen["infrared"]


def _count(identities: Sequence[int], records: Sequence[ImageRecord]) -> Counts:
    visible = sum(record.modality == "visible" for record in records)
    return Counts(len(identities), visible, len(records) - visible)


def _written(counts: Counts) -> str:
    return f"{counts.identities:,} identities ({counts.visible:,} visible, {counts.infrared:,} infrared images)"


def _joined(splits: Sequence[Split]) -> str:
    return "+".join(splits)
