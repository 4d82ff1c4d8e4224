"""What calibrates and what judges: any dataset of the project, crops of a site, or both, and never the same people."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from calib.crops_folder import read_crops
from deploy.building.request import BuildRequest
from deploy.building.samples import open_sources
from engines.errors import BadInput
from tests.small_other_trees import write_llcm, write_regdb
from train.datasets.open import open_dataset

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def crops(session_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tracks a modality, three pictures each, of training people, as run_cameras.py --record-crops writes them."""
    folder = tmp_path_factory.mktemp("crops")
    for record in open_dataset("sysu", session_tree).split("train"):
        if record.camera in (1, 3) and record.identity <= 4:
            target = folder / record.modality / f"track-{record.identity}"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(record.path, target / record.path.name)
    return folder


def trained(tree: Path, name: str = "sysu") -> dict[str, object]:
    return {"name": name, "folder": str(tree), "train_on": ["train"]}


@pytest.mark.parametrize(("name", "write"), [("regdb", write_regdb), ("llcm", write_llcm)])
def test_every_dataset_calibrates_on_training_people_and_judges_with_others(
    name: str, write: object, tmp_path: Path
) -> None:
    tree = tmp_path / name
    write(tree)  # type: ignore[operator]
    sources = open_sources(BuildRequest(calibration_images=16, parity_images=12), trained(tree, name))
    people = open_dataset(name, tree).identities
    assert {record.identity for record in sources.samples.records} <= set(people["train"])
    assert sources.split == "val"
    assert {record.identity for record in sources.held_out} <= set(people["val"])
    assert (sources.dataset, sources.folder) == (name, tree)
    assert name in sources.samples.description


def test_crops_calibrate_and_the_dataset_judges(session_tree: Path, crops: Path) -> None:
    sources = open_sources(BuildRequest(calibration_data=crops, calibration_images=10), trained(session_tree))
    assert len(sources.samples.records) == 10
    assert all(record.path.is_relative_to(crops) for record in sources.samples.records)
    assert sources.dataset == "sysu"
    assert all(record.path.is_relative_to(session_tree) for record in sources.held_out)


def test_crops_of_judging_people_are_refused(session_tree: Path, tmp_path: Path) -> None:
    for record in open_dataset("sysu", session_tree).split("val")[:2]:
        (tmp_path / "visible").mkdir(exist_ok=True)
        shutil.copy(record.path, tmp_path / "visible" / f"{record.identity}-{record.path.name}")
    with pytest.raises(BadInput, match=r"expected nobody who judges the engine, got sysu's held-out identity"):
        open_sources(BuildRequest(calibration_data=tmp_path), trained(session_tree))


def test_without_a_dataset_half_of_the_tracks_judge(crops: Path, tmp_path: Path) -> None:
    request = BuildRequest(calibration_data=crops, calibration_images=100, parity_images=100)
    sources = open_sources(request, trained(tmp_path / "gone"))
    assert sources.dataset is None
    assert sources.split == "crops"
    judging = {record.identity for record in sources.held_out}
    calibrating = {record.identity for record in sources.samples.records}
    assert not judging & calibrating
    assert len(judging | calibrating) == len({record.identity for record in read_crops(crops)})
    assert {record.modality for record in sources.held_out} == {"visible", "infrared"}
    assert {record.modality for record in sources.samples.records} == {"visible", "infrared"}


def test_nothing_at_all_is_one_line() -> None:
    with pytest.raises(BadInput) as caught:
        open_sources(BuildRequest(), {})
    assert str(caught.value) == (
        "expected to know the model's data set, which it does not say; name its folder with --data"
    )


def test_one_track_cannot_judge_itself(crops: Path, tmp_path: Path) -> None:
    shutil.copytree(crops / "visible" / "track-1", tmp_path / "crops" / "visible" / "track-1")
    with pytest.raises(BadInput, match=r"expected crops of two tracks or more in visible and in infrared"):
        open_sources(BuildRequest(calibration_data=tmp_path / "crops"), {})
