"""LLCM as it is distributed: 1,064 identities before nine cameras, each of which is visible and near infrared.

    vis/0001/0001_c01_s185535_f7010_vis.jpg    nir/...    idx/train_vis.txt  idx/train_nir.txt
    test_vis/cam1/0003/*.jpg                   test_nir/cam1/...             idx/test_id.txt

No near-infrared test image is from camera 3: its folder is empty or absent. Torch-free.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from engines.errors import BadInput
from train.datasets.images import ImageRecord, ListedDataset, Split, in_order
from train.datasets.listing import list_tree, missing_files
from train.datasets.split_files import (
    check_disjoint,
    held_out_fifth,
    read_identities,
    read_image_list,
    refuse_missing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from engines.manifest import Modality
    from train.datasets.listing import Listed

VALIDATION_SEED = 1064
MODALITIES: dict[str, Modality] = {"vis": "visible", "nir": "infrared"}
TEST_LIST = "idx/test_id.txt"
CAMERA_IN_NAME = re.compile(r"_c([0-9]{2})_")
TEST_FOLDER = re.compile(r"test_(vis|nir)/cam([0-9]+)/([0-9]+)")


def open_llcm(folder: Path) -> ListedDataset:
    """Check a tree, read its lists and list its test images; what is missing is named."""
    if not folder.is_dir():
        raise BadInput(f"expected the LLCM folder, got {folder}, which does not exist; name it with --data")
    tops = [*MODALITIES, *(f"test_{kind}" for kind in MODALITIES)]
    files = [*(_train_list(kind) for kind in MODALITIES), TEST_LIST]
    missing = [name for name in tops if not (folder / name).is_dir()]
    missing += [name for name in files if not (folder / name).is_file()]
    if missing:
        raise BadInput(f"{folder}: expected the layout of LLCM, missing: {', '.join(missing)}; see docs/training.md")
    tree = list_tree(folder, {top: 3 if top.startswith("test") else 2 for top in tops})
    test = read_identities(folder / TEST_LIST)
    records = [record for kind in MODALITIES for record in _training_images(folder, kind, tree)]
    train = {record.identity for record in records}
    check_disjoint({f"{folder}/idx/train_*.txt": train, f"{folder / TEST_LIST}": test})
    records += _test_images(folder, set(test), tree)
    val = held_out_fifth(train, VALIDATION_SEED)
    identities: dict[Split, tuple[int, ...]] = {"train": tuple(sorted(train - set(val))), "val": val, "test": test}
    return ListedDataset(name="llcm", folder=folder, identities=identities, records=in_order(records))


def _train_list(kind: str) -> str:
    return f"idx/train_{kind}.txt"


def _training_images(folder: Path, kind: str, tree: Mapping[str, Listed]) -> Iterator[ImageRecord]:
    images = read_image_list(folder / _train_list(kind), kind)
    absent = missing_files(tree, ((image.folder, image.name) for image in images))
    refuse_missing(folder, _train_list(kind), len(images), absent)
    for image in images:
        camera = CAMERA_IN_NAME.search(image.name)
        if camera is None:
            raise BadInput(
                f"{folder / _train_list(kind)}: expected the camera in each file name, as in 0001_c01_s185535_f7010_"
                f"{kind}.jpg, got {image.name!r}"
            )
        yield ImageRecord(
            path=folder / f"{image.folder}/{image.name}",
            identity=image.identity,
            camera=int(camera[1]),
            modality=MODALITIES[kind],
        )


def _test_images(folder: Path, identities: Iterable[int], tree: Mapping[str, Listed]) -> Iterator[ImageRecord]:
    for relative, listed in tree.items():
        match = TEST_FOLDER.fullmatch(relative)
        if match is None or int(match[3]) not in identities:
            continue
        place = folder / relative
        for name in listed.files:
            if name.lower().endswith(".jpg"):
                yield ImageRecord(
                    path=place / name,
                    identity=int(match[3]),
                    camera=int(match[2]),
                    modality=MODALITIES[match[1]],
                )
