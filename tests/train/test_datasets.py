"""The data sets on disk: what is read, what is refused and what is said of them."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines.errors import BadInput
from tests.shared_material import shared_folder
from tests.small_other_trees import WRITERS, write_llcm, write_regdb
from tests.small_tree import write_blank_tree, write_splits, write_tree
from train.datasets.images import SPLITS, read_image
from train.datasets.llcm import open_llcm
from train.datasets.open import checked_split, describe, open_dataset
from train.datasets.regdb import open_regdb
from train.datasets.split_files import held_out_fifth, read_identities, read_image_list
from train.datasets.sysu import open_sysu

if TYPE_CHECKING:
    from train.datasets.images import Dataset, ImageRecord


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small tree of each kind. Read only."""
    return {name: write(tmp_path_factory.mktemp("trees") / name) for name, write in WRITERS.items()}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def relative(dataset: Dataset, records: list[ImageRecord]) -> list[str]:
    return [record.path.relative_to(dataset.folder).as_posix() for record in records]


# What is read


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_opens_by_name_with_disjoint_splits_of_both_modalities(trees: dict[str, Path], name: str) -> None:
    dataset = open_dataset(name, trees[name])
    assert (dataset.name, dataset.folder) == (name, trees[name])
    everyone = [identity for split in SPLITS for identity in dataset.identities[split]]
    assert len(everyone) == len(set(everyone))
    for split in SPLITS:
        records = checked_split(dataset, split)
        assert {record.identity for record in records} == set(dataset.identities[split])
        assert {record.modality for record in records} == {"visible", "infrared"}
        assert read_image(records[0].path).shape == (32, 16, 3)
    assert len(dataset.split("train", "val")) == len(dataset.split("train")) + len(dataset.split("val"))


@pytest.mark.parametrize("name", WRITERS)
def test_images_come_in_an_order_that_the_names_decide(trees: dict[str, Path], name: str) -> None:
    """Visible and infrared apart, then camera, identity, file name; SYSU goes by camera alone."""
    dataset = open_dataset(name, trees[name])
    found = [
        (name != "sysu" and record.modality == "infrared", record.camera, record.identity, record.path.name)
        for record in dataset.split("val", "train")
    ]
    assert found == sorted(found)


def test_regdb_takes_the_folder_as_identity_and_the_side_as_modality(trees: dict[str, Path]) -> None:
    dataset = open_regdb(trees["regdb"], trial=2)
    lines = (trees["regdb"] / "idx/test_thermal_2.txt").read_text().split("\n")[:-1]
    thermal = [record for record in dataset.split("test") if record.modality == "infrared"]
    assert sorted(relative(dataset, thermal)) == sorted(line.split(" ")[0] for line in lines)
    for record in dataset.split(*SPLITS):
        top, identity, _ = relative(dataset, [record])[0].split("/")
        assert (top, int(identity)) == ("Visible" if record.modality == "visible" else "Thermal", record.identity)
        assert record.camera == (2 if record.modality == "visible" else 3)


def test_llcm_takes_the_camera_from_the_name_in_training_and_from_the_folder_in_test(tmp_path: Path) -> None:
    folder = write_llcm(tmp_path / "llcm")
    odd = folder / "test_nir/cam2/0008"
    next(odd.iterdir()).rename(odd / "0008_c07_s100000_f0007_nir.jpg")  # a name that says another camera
    dataset = open_llcm(folder)
    for record in dataset.split("train", "val"):
        assert f"_c{record.camera:02d}_" in record.path.name
        assert record.path.parts[-3] in {"vis", "nir"}
    for record in dataset.split("test"):
        assert record.path.parts[-3] == f"cam{record.camera}"
    assert Counter((record.modality, record.camera) for record in dataset.split("test")) == {
        **dict.fromkeys((("visible", camera) for camera in (1, 2, 3)), 8),
        **dict.fromkeys((("infrared", camera) for camera in (1, 2)), 8),
    }


@pytest.mark.parametrize("absent", [False, True], ids=["empty", "absent"])
def test_llcm_without_near_infrared_of_camera_3_is_right(tmp_path: Path, absent: bool) -> None:
    folder = write_llcm(tmp_path / "llcm")
    if absent:
        (folder / "test_nir/cam3").rmdir()
    records = open_llcm(folder).split("test")
    assert {record.camera for record in records if record.modality == "infrared"} == {1, 2}
    assert {record.camera for record in records if record.modality == "visible"} == {1, 2, 3}


def test_llcm_ignores_test_folders_of_people_who_are_not_listed(tmp_path: Path) -> None:
    folder = write_llcm(tmp_path / "llcm")
    (folder / "idx/test_id.txt").write_text("7,9\n")
    shutil.copytree(folder / "test_vis/cam1/0008", folder / "test_vis/cam1/0001")
    dataset = open_llcm(folder)
    assert {record.identity for record in dataset.split("test")} == {7, 9}
    assert not any(name.startswith("test") for name in relative(dataset, dataset.split("train", "val")))


@pytest.mark.parametrize("name", ["regdb", "llcm"])
def test_validation_is_a_fixed_fifth_of_the_training_list(trees: dict[str, Path], name: str) -> None:
    first, again = (open_dataset(name, trees[name]) for _ in range(2))
    assert first.identities == again.identities
    assert len(first.identities["val"]) == 1  # of 6
    assert [len(held_out_fifth(range(size), 1)) for size in (1, 2, 9, 10, 206, 713)] == [0, 1, 1, 2, 41, 142]
    assert held_out_fifth(range(206), 1) != held_out_fifth(range(206), 2)
    assert held_out_fifth({5, 3, 9, 1}, 7) == held_out_fifth([1, 3, 5, 9], 7)


def test_regdb_has_ten_trials_each_with_its_own_halves(tmp_path: Path) -> None:
    folder = write_regdb(tmp_path / "regdb", trials=range(1, 11))
    seen = []
    for trial in range(1, 11):
        dataset = open_dataset("regdb", folder, trial=trial)
        lines = (folder / f"idx/train_visible_{trial}.txt").read_text().split("\n")[:-1]
        wanted = {int(line.split("/")[1]) for line in lines}
        assert {*dataset.identities["train"], *dataset.identities["val"]} == wanted
        assert {*dataset.identities["test"]} == {*range(1, 13)} - wanted
        seen.append(frozenset(wanted))
        assert describe(dataset).startswith(f"regdb trial {trial}: ")
    assert len(set(seen)) > 5


def test_regdb_draws_validation_anew_for_each_trial(tmp_path: Path) -> None:
    folder = write_regdb(tmp_path / "regdb", identities=60, images=1, trials=(1,), blank=True)
    for path in sorted((folder / "idx").iterdir()):
        shutil.copy(path, path.with_name(path.name.replace("_1.", "_2.")))
    first, second = (open_regdb(folder, trial=trial).identities for trial in (1, 2))
    assert (len(first["val"]), len(second["val"])) == (6, 6)
    assert first["val"] != second["val"]
    assert first["test"] == second["test"]


# What is refused


@pytest.mark.parametrize(
    ("name", "trial", "message"),
    [
        ("sysuu", 1, r"out of sysu, regdb, llcm, got 'sysuu'; did you mean 'sysu'\?"),
        ("market", 1, r"got 'market'$"),
        ("regdb", 0, "trial from 1 to 10, got 0"),
        ("regdb", 11, "trial from 1 to 10, got 11"),
        ("sysu", 2, "sysu: expected trial 1"),
        ("llcm", 0, "llcm: expected trial 1"),
    ],
)
def test_unknown_names_and_trials_are_refused(trees: dict[str, Path], name: str, trial: int, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        open_dataset(name, trees.get(name, Path()), trial=trial)


@pytest.mark.parametrize(
    ("name", "remove", "message"),
    [
        ("sysu", ".", "SYSU-MM01 folder"),
        ("regdb", ".", "RegDB folder"),
        ("llcm", ".", "LLCM folder"),
        ("regdb", "Thermal", "missing: Thermal;"),
        ("regdb", "idx/test_visible_1.txt", "missing: idx/test_visible_1.txt;"),
        ("llcm", "test_nir", "missing: test_nir;"),
        ("llcm", "idx/train_nir.txt", "missing: idx/train_nir.txt;"),
        ("llcm", "idx/test_id.txt", "missing: idx/test_id.txt;"),
    ],
)
def test_a_tree_with_a_missing_part_is_refused_by_name(tmp_path: Path, name: str, remove: str, message: str) -> None:
    folder = WRITERS[name](tmp_path / name)
    target = folder / remove
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(BadInput, match=message):
        open_dataset(name, folder)


def test_listed_images_that_are_missing_are_counted_and_the_first_named(tmp_path: Path) -> None:
    folder = write_regdb(tmp_path / "regdb")
    images = read_image_list(folder / "idx/train_thermal_1.txt", "Thermal")
    for image in images[:5]:
        (folder / image.folder / image.name).unlink()
    first = f"{images[0].folder}/{images[0].name}"
    with pytest.raises(
        BadInput, match=rf"idx/train_thermal_1.txt lists 18 images, 5 of them missing: {first}, .* and 2"
    ):
        open_regdb(folder)
    folder = write_llcm(tmp_path / "llcm")
    shutil.rmtree(folder / "vis/0003")
    with pytest.raises(BadInput, match=r"train_vis.txt lists 36 images, 6 of them missing: vis/0003/0003_c01_s100000"):
        open_llcm(folder)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Visible/3/a.bmp", "line 2: expected 'Visible/<identity>/<file> <label>', got 'Visible/3/a.bmp'"),
        ("Visible/3/a.bmp  0", "line 2: expected 'Visible"),  # two spaces
        ("Visible/three/a.bmp 0", "line 2: expected 'Visible"),
        ("Thermal/3/a.bmp 0", "line 2: expected 'Visible"),
        ("Visible/3/a.bmp x", "line 2: expected 'Visible"),
        ("", "line 2: expected 'Visible"),
        ("Visible/3/a.bmp 1", "line 2: expected one label for each identity .* got label 1 for identity 3"),
        ("Visible/4/a.bmp 0", "line 2: expected one label for each identity .* got label 0 for identity 4"),
        ("Visible/3/first.bmp 0", "line 2: expected each image once"),
    ],
)
def test_a_wrong_line_is_refused_with_its_number(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "train_visible_1.txt"
    path.write_text(f"Visible/3/first.bmp 0\n{line}\nVisible/5/last.bmp 2\n")
    with pytest.raises(BadInput, match=message) as refusal:
        read_image_list(path, "Visible")
    assert str(path) in str(refusal.value)


def test_an_image_list_may_end_lines_as_windows_does(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"vis/0003/a.jpg 0\r\nvis/0004/b.jpg 1\r\n\r\n")
    assert read_image_list(tmp_path / "list.txt", "vis") == [("vis/0003", "a.jpg", 3), ("vis/0004", "b.jpg", 4)]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe\x00"], ids=["empty", "blank", "binary"])
def test_an_image_list_without_content_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(BadInput, match=r"list\.txt: expected "):
        read_image_list(tmp_path / "list.txt", "vis")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2,x\n", "integers separated by commas, got '1,2,x'"),
        (b"1,2,\n", "integers separated by commas"),
        (b"1_0,2\n", "integers separated by commas"),
        (b"1,2\n3\n", "integers separated by commas"),
        (b"1,-2\n", "integers separated by commas"),
        (b"\n", "got an empty file"),
        (b"0,1\n", "identities from 1 on, got 0"),
        (b"4,7,4,9,7\n", r"each identity once, got 4 again \(2 repeated\)"),
        (b"1,\xff\n", "expected a text file"),
    ],
)
def test_a_wrong_identity_list_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "test_id.txt").write_bytes(content)
    with pytest.raises(BadInput, match=rf"test_id\.txt: .*{message}"):
        read_identities(tmp_path / "test_id.txt")


def test_an_identity_in_two_splits_is_refused_with_both_files(tmp_path: Path) -> None:
    sysu = write_tree(tmp_path / "sysu")
    (sysu / "exp/val_id.txt").write_text("7,8,10,11\n")
    with pytest.raises(BadInput, match=r"val_id\.txt and .*test_id\.txt: .* identity 10 stands in both \(2 in all\)"):
        open_sysu(sysu)
    llcm = write_llcm(tmp_path / "llcm")
    (llcm / "idx/test_id.txt").write_text("6,7,8\n")
    with pytest.raises(BadInput, match=r"train_\*\.txt and .*test_id\.txt: .* identity 6 stands in both"):
        open_llcm(llcm)
    regdb = write_regdb(tmp_path / "regdb")
    shutil.copy(regdb / "idx/train_visible_1.txt", regdb / "idx/test_visible_1.txt")
    with pytest.raises(BadInput, match=r"train_\*_1\.txt and .*test_\*_1\.txt: .* stands in both \(6 in all\)"):
        open_regdb(regdb)


def test_an_llcm_training_image_that_names_no_camera_is_refused(tmp_path: Path) -> None:
    folder = write_llcm(tmp_path / "llcm")
    name = "0001_c01_s100000_f0007_vis.jpg"
    (folder / "vis/0001" / name).rename(folder / "vis/0001/0001.jpg")
    edit(folder / "idx/train_vis.txt", name, "0001.jpg")
    with pytest.raises(BadInput, match=r"train_vis\.txt: expected the camera in each file name.* got '0001\.jpg'"):
        open_llcm(folder)


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ((1, 2, 3, 4, 5, 6), r"images of the identities in train\+val, got none"),
        ((3, 6), "8 identities with visible and 0 with infrared images, nobody with both"),
    ],
)
def test_splits_that_cannot_be_trained_on_are_refused(tmp_path: Path, cameras: tuple[int, ...], message: str) -> None:
    folder = write_tree(tmp_path / "tree")
    for camera in cameras:
        for identity in range(1, 9):
            shutil.rmtree(folder / f"cam{camera}/{identity:04d}")
    with pytest.raises(BadInput, match=message):
        checked_split(open_sysu(folder), "train", "val")
    assert checked_split(open_sysu(folder), "test")


# What is said


def test_a_tree_that_is_not_the_published_one_says_by_what_it_differs(trees: dict[str, Path]) -> None:
    assert describe(open_sysu(trees["sysu"])) == (
        "sysu: train 6 identities (72 visible, 36 infrared images), val 2 identities (24 visible, 12 infrared images), "
        "test 4 identities (48 visible, 24 infrared images); not the published data: identities of train+val 8 instead "
        "of 395, visible of train+val 96 instead of 22,258, infrared of train+val 48 instead of 11,909, identities of "
        "test 4 instead of 96, visible of test 48 instead of 6,775, infrared of test 24 instead of 3,803"
    )


def test_people_without_images_or_with_one_modality_are_counted_and_the_first_named(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree")
    for place in ("cam3/0002", "cam6/0002", "cam3/0005", "cam6/0005", *(f"cam{camera}/0010" for camera in range(1, 7))):
        shutil.rmtree(folder / place)
    dataset = open_sysu(folder)
    assert describe(dataset).endswith(
        "; 2 identities of train+val in one modality only, the first is 2; "
        "1 identities of test without any image, the first is 10"
    )
    assert len(checked_split(dataset, "train")) == 4 * 18 + 2 * 12  # no error: the others can be trained on


def test_the_real_cardinalities_of_sysu_are_the_published_counts(tmp_path: Path) -> None:
    splits = shared_folder("data/splits")
    table = json.loads((splits / "sysu_image_counts_per_cam_id.json").read_text())
    identities = {split: list(read_identities(splits / f"{split}_id.txt")) for split in SPLITS}
    wanted = {identity for members in identities.values() for identity in members}
    counts = {
        (int(camera[3:]), int(identity)): count
        for camera, row in table.items()
        for identity, count in row.items()
        if int(identity) in wanted
    }
    folder = tmp_path / "sysu"
    write_blank_tree(folder, counts)
    write_splits(folder, identities, {(1, 1): 1})
    line = describe(open_sysu(folder))
    assert line.endswith("test 96 identities (6,775 visible, 3,803 infrared images); these are the published counts")
    (folder / "cam6/0006/0001.jpg").unlink()
    assert "not the published data: infrared of test 3,802 instead of 3,803" in describe(open_sysu(folder))


def test_the_real_cardinalities_of_regdb_are_the_published_counts(tmp_path: Path) -> None:
    folder = write_regdb(tmp_path / "regdb", identities=412, images=10, trials=(4,), blank=True)
    assert describe(open_regdb(folder, trial=4)) == (
        "regdb trial 4: train 165 identities (1,650 visible, 1,650 infrared images), val 41 identities (410 visible, "
        "410 infrared images), test 206 identities (2,060 visible, 2,060 infrared images); these are the published "
        "counts"
    )
