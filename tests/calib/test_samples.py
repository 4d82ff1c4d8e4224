"""Which images calibrate and which judge: balanced, seeded, and never the same people."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calib.samples import (
    CalibrationSet,
    balanced_sample,
    calibration_from_dataset,
    calibration_images,
    held_out_images,
    images_sha256,
    pixel_batches,
    refuse_missing_modality,
)
from engines.errors import BadInput
from tests.small_other_trees import WRITERS
from train.datasets.images import ListedDataset
from train.datasets.open import open_dataset
from train.datasets.sysu import open_sysu, sysu_image

if TYPE_CHECKING:
    from engines.manifest import Modality
    from train.datasets.images import Dataset
    from train.datasets.sysu import SysuDataset


@pytest.fixture(scope="module")
def dataset(session_tree: Path) -> SysuDataset:
    return open_sysu(session_tree)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    return {name: open_dataset(name, write(tmp_path_factory.mktemp(name))) for name, write in WRITERS.items()}


def test_modalities_cameras_and_people_take_turns(dataset: SysuDataset) -> None:
    drawn = calibration_images(dataset, 48)
    assert Counter(record.modality for record in drawn) == {"visible": 24, "infrared": 24}
    assert Counter(record.camera for record in drawn) == {1: 6, 2: 6, 4: 6, 5: 6, 3: 12, 6: 12}
    counts = Counter((record.camera, record.identity) for record in drawn)
    for camera in range(1, 7):
        own = [count for (where, _), count in counts.items() if where == camera]
        assert len(own) == 6
        assert max(own) - min(own) == 0
    assert len({record.path for record in drawn}) == 48


def test_only_training_people_are_drawn(dataset: SysuDataset) -> None:
    drawn = calibration_images(dataset, 10_000)
    assert {record.identity for record in drawn} == set(dataset.identities["train"])
    assert len(drawn) == 6 * 6 * 3  # all of them, once


@pytest.mark.parametrize("name", WRITERS)
def test_every_data_set_calibrates_on_all_its_training_people_in_both_modalities(
    datasets: dict[str, Dataset], name: str
) -> None:
    dataset = datasets[name]
    chosen = calibration_from_dataset(dataset, 12)
    assert Counter(record.modality for record in chosen.records) == {"visible": 6, "infrared": 6}
    assert {record.identity for record in chosen.records} <= set(dataset.identities["train"])
    everything = calibration_from_dataset(dataset, 10_000)
    assert {record.identity for record in everything.records} == set(dataset.identities["train"])


@pytest.mark.parametrize("name", WRITERS)
def test_who_judges_never_calibrates(datasets: dict[str, Dataset], name: str) -> None:
    dataset = datasets[name]
    calibrating = {record.path for record in calibration_from_dataset(dataset, 10_000).records}
    for trained_on, expected in ((("train",), "val"), (("train", "val"), "test")):
        split, judging = held_out_images(dataset, trained_on, 10_000)
        assert split == expected
        assert {record.identity for record in judging} == set(dataset.identities[split])
        assert not calibrating & {record.path for record in judging}


def test_regdb_is_drawn_from_the_trial_that_was_trained_on(tmp_path: Path) -> None:
    WRITERS["regdb"](tmp_path / "regdb")
    people = []
    for trial in (1, 2):
        dataset = open_dataset("regdb", tmp_path / "regdb", trial=trial)
        chosen = calibration_from_dataset(dataset)
        people.append({record.identity for record in chosen.records})
        assert people[-1] == set(dataset.identities["train"])
        assert f"regdb trial {trial}" in chosen.description
    assert people[0] != people[1]


def test_the_set_names_every_image_below_its_source(dataset: SysuDataset) -> None:
    chosen = calibration_from_dataset(dataset, 9, seed=3)
    listed = json.loads(json.dumps(chosen.as_dict()))
    assert [dataset.folder / image["file"] for image in listed["images"]] == [record.path for record in chosen.records]
    first = chosen.records[0]
    assert listed["images"][0] == {
        "file": f"cam{first.camera}/{first.identity:04d}/{first.path.name}",
        "modality": first.modality,
        "camera": first.camera,
        "identity": first.identity,
    }
    assert listed["sha256"] == images_sha256(chosen.records)
    assert (listed["source"], listed["description"]) == (
        str(dataset.folder),
        f"9 images of {len({record.identity for record in chosen.records})} train identities of sysu, seed 3",
    )


def test_512_images_are_drawn_by_default(tmp_path: Path) -> None:
    WRITERS["sysu"](tmp_path / "tree")
    dataset = open_sysu(tmp_path / "tree")
    records = tuple(dataset.split("train"))
    many = ListedDataset(
        name="sysu", folder=tmp_path, identities={"train": dataset.identities["train"], "val": (), "test": ()},
        records=records * 6,
    )  # fmt: skip
    assert len(calibration_from_dataset(many).records) == 512


def test_a_camera_with_few_images_does_not_stop_the_others() -> None:
    few = [sysu_image(path=Path("a"), identity=1, camera=3)]
    many = [sysu_image(path=Path(str(index)), identity=1 + index % 2, camera=1) for index in range(9)]
    assert Counter(record.camera for record in balanced_sample([*few, *many], 8)) == {3: 1, 1: 7}


def test_the_seed_decides(dataset: SysuDataset) -> None:
    first, again, other = (calibration_images(dataset, 20, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_fewer_images_are_the_first_of_more(dataset: SysuDataset) -> None:
    assert calibration_images(dataset, 60, 5)[:13] == calibration_images(dataset, 13, 5)


def test_the_hash_follows_the_bytes(dataset: SysuDataset, tmp_path: Path) -> None:
    record = dataset.split("train")[0]
    copy = sysu_image(
        path=Path(shutil.copy(record.path, tmp_path / record.path.name)), identity=record.identity, camera=record.camera
    )
    assert images_sha256([record]) == images_sha256([copy])  # where the tree lies does not matter
    with copy.path.open("ab") as file:
        file.write(b"x")
    assert images_sha256([record]) != images_sha256([copy])


def test_batches_hold_every_image_resized(dataset: SysuDataset) -> None:
    batches = list(pixel_batches(dataset.split("train")[:10], 20, 10, 4))
    assert [batch.shape for batch in batches] == [(4, 20, 10, 3), (4, 20, 10, 3), (2, 20, 10, 3)]
    assert all(batch.dtype == np.uint8 for batch in batches)


def test_nothing_to_draw_is_refused(dataset: SysuDataset) -> None:
    with pytest.raises(BadInput, match="expected at least 1 image to draw, got 0"):
        balanced_sample(dataset.split("train"), 0)


LISTS = {
    "sysu": (r"exp/train_id\.txt", r"exp/val_id\.txt or exp/test_id\.txt"),
    "regdb": (
        r"idx/train_visible_4\.txt and idx/train_thermal_4\.txt",
        r"idx/train_\*_4\.txt or in idx/test_\*_4\.txt",
    ),
    "llcm": (r"idx/train_vis\.txt and idx/train_nir\.txt", r"idx/train_\*\.txt or in idx/test_id\.txt"),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_a_data_set_lacks_is_named_by_its_lists(tmp_path: Path, name: str) -> None:
    empty = ListedDataset(
        name=name, folder=tmp_path, identities={"train": (), "val": (), "test": ()}, records=(), trial=4
    )
    train, held_out = LISTS[name]
    with pytest.raises(BadInput, match=f"expected images of the identities in {train}, got none"):
        calibration_from_dataset(empty)
    with pytest.raises(BadInput, match=f"expected held-out people in .*{held_out} in both modalities, got none"):
        held_out_images(empty, ["train"], 24)


def one_modality(dataset: Dataset, modality: Modality) -> CalibrationSet:
    records = tuple(record for record in dataset.split("train") if record.modality == modality)
    return CalibrationSet(records=records, source=Path("crops"), description="", sha256="")


def test_a_graph_must_have_seen_what_it_embeds(dataset: SysuDataset) -> None:
    infrared = one_modality(dataset, "infrared")
    message = (
        r"^crops: expected visible images to calibrate visible\.fp32\.onnx, got 0 visible and 36 infrared; "
        "add some, or leave int8 out$"
    )
    with pytest.raises(BadInput, match=message):
        refuse_missing_modality(infrared, {"infrared.fp32.onnx": ["infrared"], "visible.fp32.onnx": ["visible"]})
    with pytest.raises(BadInput, match=r"expected visible images to calibrate model\.fp32\.onnx"):
        refuse_missing_modality(infrared, {"model.fp32.onnx": ["visible", "infrared"]})


def test_one_modality_is_enough_for_its_own_graph(dataset: SysuDataset) -> None:
    refuse_missing_modality(one_modality(dataset, "infrared"), {"infrared.fp32.onnx": ["infrared"]})
    both = calibration_from_dataset(dataset, 8)
    refuse_missing_modality(both, {"infrared.fp32.onnx": ["infrared"], "visible.fp32.onnx": ["visible"]})
