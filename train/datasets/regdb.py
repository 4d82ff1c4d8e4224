"""RegDB (DBPerson-Recog-DB1) as it is distributed: 412 identities, 10 visible and 10 thermal images of each.

    Visible/285/male_back_v_05528_285.bmp    Thermal/285/...    idx/{train,test}_{visible,thermal}_{1..10}.txt

The ten pairs of lists are ten divisions of the identities in halves; a model of trial k is trained and tested on pair
k. Torch-free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.errors import BadInput
from train.datasets.images import ImageRecord, ListedDataset, Split, in_order
from train.datasets.listing import list_tree, missing_files
from train.datasets.split_files import check_disjoint, held_out_fifth, read_image_list, refuse_missing

if TYPE_CHECKING:
    from pathlib import Path

    from engines.manifest import Modality

TRIALS = range(1, 11)
VALIDATION_SEED = 412  # plus the trial
# Top folder, the lists' word, modality, and the camera's number; the numbers are as if it were SYSU-MM01.
SIDES: tuple[tuple[str, str, Modality, int], ...] = (
    ("Visible", "visible", "visible", 2),
    ("Thermal", "thermal", "infrared", 3),
)


def open_regdb(folder: Path, *, trial: int = 1) -> ListedDataset:
    """Check a tree and read one trial's lists; what is missing is named."""
    if trial not in TRIALS:
        raise BadInput(f"regdb: expected a trial from {TRIALS[0]} to {TRIALS[-1]}, got {trial}")
    if not folder.is_dir():
        raise BadInput(f"expected the RegDB folder, got {folder}, which does not exist; name it with --data")
    lists = {(part, side[1]): f"idx/{part}_{side[1]}_{trial}.txt" for part in ("train", "test") for side in SIDES}
    missing = [side[0] for side in SIDES if not (folder / side[0]).is_dir()]
    missing += [name for name in lists.values() if not (folder / name).is_file()]
    if missing:
        raise BadInput(f"{folder}: expected the layout of RegDB, missing: {', '.join(missing)}; see docs/training.md")
    tree = list_tree(folder, {side[0]: 2 for side in SIDES})
    people: dict[str, set[int]] = {"train": set(), "test": set()}
    records: list[ImageRecord] = []
    for part, found in people.items():
        for top, word, modality, camera in SIDES:
            images = read_image_list(folder / lists[part, word], top)
            absent = missing_files(tree, ((image.folder, image.name) for image in images))
            refuse_missing(folder, lists[part, word], len(images), absent)
            found |= {image.identity for image in images}
            records += [
                ImageRecord(
                    path=folder / f"{image.folder}/{image.name}",
                    identity=image.identity,
                    camera=camera,
                    modality=modality,
                )
                for image in images
            ]
    check_disjoint({f"{folder}/idx/{part}_*_{trial}.txt": found for part, found in people.items()})
    val = held_out_fifth(people["train"], VALIDATION_SEED + trial)
    identities: dict[Split, tuple[int, ...]] = {
        "train": tuple(sorted(people["train"] - set(val))),
        "val": val,
        "test": tuple(sorted(people["test"])),
    }
    return ListedDataset(name="regdb", folder=folder, trial=trial, identities=identities, records=in_order(records))
