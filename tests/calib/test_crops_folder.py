"""Calibration images out of a folder: recorded crops or a data set's tree, and never anybody who judges."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from calib.crops_folder import calibration_from_folder, dataset_layout, read_crops, refuse_held_out
from calib.samples import images_sha256
from engines.errors import BadInput
from tests.small_other_trees import WRITERS
from train.datasets.open import open_dataset
from train.protocol import key

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.images import ImageRecord

TRACKS = {"visible/a": 3, "visible/b": 2, "infrared/a": 4}


def write_crops(folder: Path, tracks: dict[str, int], suffix: str = ".png") -> Path:
    """Write so many pictures into each folder, all different."""
    rng = np.random.default_rng(1)
    for track, count in tracks.items():
        (folder / track).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (20, 10, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / track / f"{index:03d}{suffix}")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        calibration_from_folder(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_track_folder_is_one_identity_and_no_number_stands_in_both_modalities(tmp_path: Path) -> None:
    records = read_crops(write_crops(tmp_path, TRACKS))
    found = Counter((record.modality, record.path.parent.name, record.identity, record.camera) for record in records)
    assert found == {("visible", "a", 1, 0): 3, ("visible", "b", 2, 0): 2, ("infrared", "a", 3, 0): 4}
    assert len({key(record) for record in records}) == 9  # embeddings are kept by this name


def test_pictures_outside_of_tracks_count_one_by_one(tmp_path: Path) -> None:
    write_crops(tmp_path, {"visible": 3, "infrared/x/y": 2}, ".jpg")
    records = read_crops(tmp_path)
    assert [(record.modality, record.identity) for record in records] == [
        ("visible", 1), ("visible", 2), ("visible", 3), ("infrared", 4), ("infrared", 4),
    ]  # fmt: skip


def test_tracks_and_modalities_take_turns(tmp_path: Path) -> None:
    write_crops(tmp_path, {"visible/a": 20, "visible/b": 2, "infrared/a": 20})
    chosen = calibration_from_folder(tmp_path, 8)
    assert Counter((record.modality, record.identity) for record in chosen.records) == {
        ("visible", 1): 2, ("visible", 2): 2, ("infrared", 3): 4,
    }  # fmt: skip
    assert chosen.records == calibration_from_folder(tmp_path, 8).records
    assert chosen.records != calibration_from_folder(tmp_path, 8, seed=1).records
    assert chosen.sha256 == images_sha256(chosen.records)
    assert chosen.description == f"8 of 42 crops in {tmp_path.name}, seed 0"
    assert {str(image["file"]).split("/")[0] for image in chosen.as_dict()["images"]} == {"visible", "infrared"}  # type: ignore[attr-defined]


def test_what_is_no_finished_picture_is_passed_over(tmp_path: Path) -> None:
    write_crops(tmp_path, {"visible/a": 2})
    (tmp_path / "visible/a/.000.png.x1.png").write_bytes(b"half a picture")
    (tmp_path / "visible/a/notes.txt").write_text("door camera")
    assert len(read_crops(tmp_path)) == 2


def test_a_folder_without_crops_is_one_line(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").endswith(
        "none: No such file or directory; record some with run_cameras.py --record-crops DIR"
    )
    (tmp_path / "file").touch()
    assert "file: Not a directory; record some" in refusal(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "expected folders visible and infrared with crops, the folder is empty; record some" in refusal(
        tmp_path / "empty"
    )
    for name in "abcdef":
        (tmp_path / "other" / name).mkdir(parents=True)
    assert "found a, b, c, d and 2 more" in refusal(tmp_path / "other")
    (tmp_path / "blank/infrared/track").mkdir(parents=True)
    assert "expected pictures (.bmp, .jpeg, .jpg, .png) in infrared, got none" in refusal(tmp_path / "blank")


def test_a_damaged_picture_is_named_before_anything_is_calibrated(tmp_path: Path) -> None:
    write_crops(tmp_path, TRACKS)
    (tmp_path / "infrared/a/002.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    line = refusal(tmp_path)
    assert line.startswith(f"{tmp_path / 'infrared/a/002.png'}: expected an image, got a damaged file")


@pytest.mark.parametrize("name", WRITERS)
def test_the_tree_of_a_data_set_gives_its_training_people(name: str, tmp_path: Path) -> None:
    tree = WRITERS[name](tmp_path / "tree")
    assert dataset_layout(tree) == name
    chosen = calibration_from_folder(tree, 10_000)
    assert {record.identity for record in chosen.records} == set(open_dataset(name, tree).identities["train"])


def test_a_tree_of_regdb_is_divided_as_for_the_training(tmp_path: Path) -> None:
    tree = WRITERS["regdb"](tmp_path / "tree")
    trained = open_dataset("regdb", tree, trial=2)
    chosen = calibration_from_folder(tree, 10_000, dataset=trained)
    assert {record.identity for record in chosen.records} == set(trained.identities["train"])
    # Divided otherwise, people who judge would calibrate, and that is seen too.
    with pytest.raises(BadInput, match="expected nobody who judges the engine"):
        refuse_held_out(calibration_from_folder(tree, 10_000).records, trained)


def copies(records: list[ImageRecord], folder: Path) -> Path:
    for index, record in enumerate(records):
        target = folder / record.modality / f"{index:02d}{record.path.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(record.path, target)
    return folder


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("split", ["val", "test"])
def test_pictures_of_held_out_people_are_refused_whatever_their_name(name: str, split: str, tmp_path: Path) -> None:
    dataset = open_dataset(name, WRITERS[name](tmp_path / "tree"))
    stolen = [record for record in dataset.split(split) if record.modality == "infrared"][:2]  # type: ignore[arg-type]
    folder = copies([*dataset.split("train")[:5], *stolen], tmp_path / "crops")
    first = f"{folder / 'infrared' / '05'}{stolen[0].path.suffix}"
    with pytest.raises(BadInput) as caught:
        calibration_from_folder(folder, dataset=dataset)
    assert str(caught.value) == (
        f"{first}: expected nobody who judges the engine, got {name}'s held-out identity {stolen[0].identity}; "
        "2 of 7 pictures are of val and test identities: remove them"
    )


def test_every_picture_of_the_folder_is_looked_at_not_only_the_drawn_ones(tmp_path: Path) -> None:
    dataset = open_dataset("sysu", WRITERS["sysu"](tmp_path / "tree"))
    folder = copies([*dataset.split("train"), dataset.split("test")[0]], tmp_path / "crops")
    for seed in range(3):
        with pytest.raises(BadInput, match="1 of 109 pictures"):
            calibration_from_folder(folder, 2, seed, dataset=dataset)


def test_pictures_of_people_trained_on_are_welcome(tmp_path: Path) -> None:
    dataset = open_dataset("sysu", WRITERS["sysu"](tmp_path / "tree"))
    folder = copies([*dataset.split("train")[:4], *dataset.split("val")[:4]], tmp_path / "crops")
    chosen = calibration_from_folder(folder, dataset=dataset, trained_on=("train", "val"))
    assert len(chosen.records) == 8


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    dataset = open_dataset("sysu", WRITERS["sysu"](tmp_path / "tree"))
    folder = write_crops(tmp_path / "crops", TRACKS)
    (folder / "visible/a/gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"gone\.png: expected an image, got a damaged file"):
        calibration_from_folder(folder, dataset=dataset)
    with pytest.raises(BadInput, match=r"gone\.png: expected a picture that can be read, got No such file"):
        refuse_held_out(read_crops(folder), dataset)
