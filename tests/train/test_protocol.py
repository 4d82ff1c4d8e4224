"""SYSU-MM01's official draw and counts, on blank trees with the real cardinalities."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.errors import BadInput
from tests.shared_material import shared_folder
from tests.small_tree import write_tree
from train.datasets.sysu import open_sysu, read_identities
from train.protocol import gallery_images, key, probe_images, score

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.sysu import SysuDataset


@pytest.fixture(scope="module")
def real_cardinalities(tmp_path_factory: pytest.TempPathFactory) -> SysuDataset:
    """Empty files where SYSU-MM01 has its test images: the protocol reads names, not pixels."""
    splits = shared_folder("data/splits")
    folder = tmp_path_factory.mktemp("sysu")
    counts = json.loads((splits / "sysu_image_counts_per_cam_id.json").read_text())
    test = {f"{identity:04d}" for identity in read_identities(splits / "test_id.txt")}
    for camera, identities in counts.items():
        (folder / camera).mkdir()
        for identity in test & set(identities):
            target = folder / camera / identity
            target.mkdir()
            for index in range(identities[identity]):
                (target / f"{index + 1:04d}.jpg").touch()
    (folder / "exp").mkdir()
    for name in ("train_id.txt", "val_id.txt", "test_id.txt", "rand_perm_cam.mat"):
        shutil.copy(splits / name, folder / "exp" / name)
    return open_sysu(folder)


@pytest.mark.parametrize(
    ("search", "shots", "gallery"), [("all", 1, 301), ("all", 10, 3010), ("indoor", 1, 112), ("indoor", 10, 1120)]
)
def test_gallery_sizes_of_the_official_protocol(
    real_cardinalities: SysuDataset, search: str, shots: int, gallery: int
) -> None:
    for trial in (0, 9):
        drawn = gallery_images(real_cardinalities, search, shots, trial)  # type: ignore[arg-type]
        assert len(drawn) == gallery
        assert len({key(record) for record in drawn}) == gallery


@pytest.mark.parametrize(("search", "valid", "identities"), [("all", 3803, 96), ("indoor", 2208, 56)])
def test_probe_counts_of_the_official_protocol(
    real_cardinalities: SysuDataset, search: str, valid: int, identities: int
) -> None:
    probes = probe_images(real_cardinalities)
    assert len(probes) == 3803
    rng = np.random.default_rng(0)
    records = real_cardinalities.split("test")
    features = {key(record): rng.normal(size=8).astype(np.float32) for record in records}
    scores = score(real_cardinalities, features, search=search, trials=[0])  # type: ignore[arg-type]
    assert (scores.probes, scores.trials[0].queries) == (3803, valid)
    assert len(scores.trials[0].cmc_R) == identities


def test_the_draw_follows_the_permutation_file(real_cardinalities: SysuDataset) -> None:
    """Trial t of identity i in camera c shows image perm[t, 0], counted from 1 in ascending file name."""
    permutations = real_cardinalities.permutations
    for trial in (0, 5):
        for record in gallery_images(real_cardinalities, "all", 1, trial):
            assert int(record.path.stem) == permutations[record.camera, record.identity][trial, 0]


def test_perfect_features_score_one(tmp_path: Path) -> None:
    dataset = open_sysu(write_tree(tmp_path / "tree"))
    identities = dataset.identities["test"]
    features = {
        key(record): np.eye(len(identities), dtype=np.float32)[identities.index(record.identity)]
        for record in dataset.split("test")
    }
    scores = score(dataset, features)
    assert (scores.rank1, scores.mean_ap, scores.mean_inp, len(scores.trials)) == (1.0, 1.0, 1.0, 10)


def test_a_stray_image_is_refused(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree")
    shutil.copy(folder / "cam1/0009/0001.jpg", folder / "cam1/0009/0009.jpg")
    with pytest.raises(BadInput, match=r"lists 3 images of identity 9 in camera 1, the folder holds 4"):
        gallery_images(open_sysu(folder), "all", 1, 0)


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (".", "which does not exist"),
        ("cam4", "missing: cam4;"),
        ("exp/val_id.txt", r"missing: exp/val_id.txt;"),
    ],
)
def test_a_tree_with_a_missing_part_is_refused_by_name(tmp_path: Path, remove: str, message: str) -> None:
    folder = write_tree(tmp_path / "tree", train=1, val=1, test=1, images=1)
    target = folder / remove
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(BadInput, match=message):
        open_sysu(folder)


@pytest.mark.parametrize("text", ["1,2,x", "", "1;2"])
def test_a_damaged_identity_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train_id.txt"
    path.write_text(text)
    with pytest.raises(BadInput, match="integers separated by commas"):
        read_identities(path)


def test_missing_and_damaged_permutations_are_refused(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree", train=1, val=1, test=1, images=1)
    (folder / "exp/rand_perm_cam.mat").write_bytes(b"MATLAB" * 50)
    with pytest.raises(BadInput, match="unreadable"):
        _ = open_sysu(folder).permutations
    (folder / "exp/rand_perm_cam.mat").unlink()
    with pytest.raises(BadInput, match="missing"):
        _ = open_sysu(folder).permutations
