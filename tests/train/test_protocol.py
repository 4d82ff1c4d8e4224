"""The official draws and counts, on blank trees with SYSU-MM01's real cardinalities, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from engines.errors import BadInput
from tests.shared_material import shared_folder
from tests.small_other_trees import write_llcm, write_regdb
from tests.small_tree import write_blank_tree, write_tree
from train.datasets.open import open_dataset
from train.datasets.sysu import open_sysu, read_identities
from train.protocol import build_protocol, key, score

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.images import Dataset, ImageRecord
    from train.datasets.sysu import SysuDataset

CAMERAS = {"all": (1, 2, 4, 5), "indoor": (1, 2)}


@pytest.fixture(scope="module")
def real_cardinalities(tmp_path_factory: pytest.TempPathFactory) -> SysuDataset:
    """Empty files where SYSU-MM01 has its test images: the protocol reads names, not pixels."""
    splits = shared_folder("data/splits")
    folder = tmp_path_factory.mktemp("tree") / "sysu"
    listed = json.loads((splits / "sysu_image_counts_per_cam_id.json").read_text())
    test = read_identities(splits / "test_id.txt")
    counts = {
        (int(camera.removeprefix("cam")), identity): int(images[f"{identity:04d}"])
        for camera, images in listed.items()
        for identity in test
        if f"{identity:04d}" in images
    }
    write_blank_tree(folder, counts)
    (folder / "exp").mkdir()
    for name in ("train_id.txt", "val_id.txt", "test_id.txt", "rand_perm_cam.mat"):
        shutil.copy(splits / name, folder / "exp" / name)
    return open_sysu(folder)


@pytest.mark.parametrize(
    ("lineage", "search", "shots", "gallery"),
    [
        ("official", "all", 1, 301),
        ("official", "all", 10, 3010),
        ("official", "indoor", 1, 112),
        ("official", "indoor", 10, 1120),
        ("seeded", "all", 1, 301),
        ("seeded", "indoor", 1, 112),
    ],
)
def test_gallery_sizes_of_sysu(
    real_cardinalities: SysuDataset, lineage: str, search: str, shots: int, gallery: int
) -> None:
    protocol = build_protocol(real_cardinalities, lineage=lineage, search=search, shots=shots)
    assert len(protocol.trials) == 10
    for trial in protocol.trials:
        assert len({key(record) for record in trial.gallery}) == len(trial.gallery) == gallery
        assert {record.camera for record in trial.gallery} == set(CAMERAS[search])
        assert len(trial.query) == 3803


@pytest.mark.parametrize("lineage", ["official", "seeded"])
@pytest.mark.parametrize(("search", "valid", "identities"), [("all", 3803, 96), ("indoor", 2208, 56)])
def test_valid_probes_of_sysu(
    real_cardinalities: SysuDataset, lineage: str, search: str, valid: int, identities: int
) -> None:
    protocol = build_protocol(real_cardinalities, lineage=lineage, search=search)
    rng = np.random.default_rng(0)
    features = {key(record): rng.normal(size=8).astype(np.float32) for record in protocol.images()}
    scores = score(protocol, features)
    assert scores.probes == 3803
    assert {trial.queries for trial in scores.trials} == {valid}
    assert {len(trial.cmc_R) for trial in scores.trials} == {identities}


def test_the_official_draw_follows_the_permutation_file(real_cardinalities: SysuDataset) -> None:
    """Trial t of identity i in camera c shows image perm[t, 0], counted from 1 in ascending file name."""
    permutations = real_cardinalities.permutations
    for index, trial in enumerate(build_protocol(real_cardinalities).trials):
        for record in trial.gallery:
            assert int(record.path.stem) == permutations[record.camera, record.identity][index, 0]


def test_the_seeded_draw_follows_python_s_stream(real_cardinalities: SysuDataset) -> None:
    """random.seed(trial); identity outer, camera inner; one choice of the sorted files of each folder that exists."""
    folder = real_cardinalities.folder
    identities = sorted(int(text) for text in (folder / "exp/test_id.txt").read_text().split(","))
    state = random.getstate()
    try:
        for search, cameras in CAMERAS.items():
            protocol = build_protocol(real_cardinalities, lineage="seeded", search=search)
            for number in (0, 3, 9):
                random.seed(number)
                drawn = [
                    random.choice(sorted(place.iterdir()))
                    for identity in identities
                    for camera in cameras
                    if (place := folder / f"cam{camera}/{identity:04d}").is_dir()
                ]
                assert [record.path for record in protocol.trials[number].gallery] == drawn
    finally:
        random.setstate(state)


def test_the_trials_of_a_lineage_differ_and_the_lineages_too(real_cardinalities: SysuDataset) -> None:
    official, seeded = (build_protocol(real_cardinalities, lineage=name) for name in ("official", "seeded"))
    drawn = [frozenset(map(key, trial.gallery)) for trial in (*official.trials, *seeded.trials)]
    assert len(set(drawn)) == 20


def test_perfect_features_score_one(tmp_path: Path) -> None:
    dataset = open_sysu(write_tree(tmp_path / "tree"))
    identities = dataset.identities["test"]
    features = {
        key(record): np.eye(len(identities), dtype=np.float32)[identities.index(record.identity)]
        for record in dataset.split("test")
    }
    scores = score(build_protocol(dataset), features)
    assert (scores.rank1, scores.mean_ap, scores.mean_inp, len(scores.trials)) == (1.0, 1.0, 1.0, 10)
    assert (scores.rank1_spread, scores.mean_ap_spread, scores.mean_inp_spread) == (0.0, 0.0, 0.0)


def test_a_distance_takes_the_place_of_the_cosine_and_is_ranked_lowest_first(tmp_path: Path) -> None:
    protocol = build_protocol(open_sysu(write_tree(tmp_path / "tree", train=1, val=1, test=3, images=1)))

    def knows_everybody(trial: object) -> np.ndarray:
        found = next(item for item in protocol.trials if item is trial)
        return np.array([[float(a.identity != b.identity) for b in found.gallery] for a in found.query])

    assert score(protocol, {}, distance=knows_everybody).mean_ap == 1.0
    assert score(protocol, {}, distance=lambda trial: -knows_everybody(trial)).mean_ap < 0.6


def test_a_stray_image_is_refused(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "tree")
    shutil.copy(folder / "cam1/0009/0001.jpg", folder / "cam1/0009/0009.jpg")
    with pytest.raises(BadInput, match=r"lists 3 images of identity 9 in camera 1, the folder holds 4"):
        build_protocol(open_sysu(folder))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """One blank tree of each layout."""
    folder = tmp_path_factory.mktemp("trees")
    write_tree(folder / "sysu", train=1, val=1, test=2, images=1)
    write_regdb(folder / "regdb", trials=(4,), blank=True)
    write_llcm(folder / "llcm", blank=True)
    return {
        name: open_dataset(name, folder / name, trial=4 if name == "regdb" else 1) for name in ("sysu", "regdb", "llcm")
    }


@pytest.mark.parametrize(
    ("dataset", "choices", "title"),
    [
        ("sysu", {}, "SYSU-MM01 official, all-search, single-shot"),
        ("sysu", {"search": "indoor", "shots": 10}, "SYSU-MM01 official, indoor-search, 10-shot"),
        ("sysu", {"lineage": "seeded"}, "SYSU-MM01 seeded, all-search, single-shot"),
        ("regdb", {}, "RegDB official, visible-to-infrared"),
        (
            "regdb",
            {"lineage": "mpanet", "direction": "infrared-to-visible"},
            "RegDB mpanet, infrared-to-visible, CMC over identities",
        ),
        ("llcm", {}, "LLCM official, infrared-to-visible"),
        (
            "llcm",
            {"lineage": "transposed"},
            "LLCM transposed, visible-to-infrared (the authors' script since 2023-06-20: sampled infrared images rank "
            "ALL visible ones; not comparable)",
        ),
    ],
)
def test_a_protocol_says_what_it_is(
    small: dict[str, Dataset], dataset: str, choices: dict[str, str], title: str
) -> None:
    assert build_protocol(small[dataset], **choices).title == title  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dataset", "choices", "message"),
    [
        ("sysu", {"lineage": "mpanet"}, "expected a lineage of sysu out of official, seeded, got 'mpanet'"),
        ("regdb", {"lineage": "seeded"}, "expected a lineage of regdb out of official, mpanet, got 'seeded'"),
        ("llcm", {"lineage": "mpanet"}, "expected a lineage of llcm out of official, transposed, got 'mpanet'"),
        ("sysu", {"shots": 5}, "expected search all or indoor and 1 or 10 shots, got 'all' and 5"),
        ("sysu", {"search": "outdoor"}, "expected search all or indoor"),
        ("sysu", {"lineage": "seeded", "shots": 10}, "single-shot only, got 10 shots: .* take --lineage official"),
        ("sysu", {"direction": "visible-to-infrared"}, "expected the direction infrared-to-visible, its only one"),
        (
            "regdb",
            {"search": "indoor"},
            "regdb has no indoor-search with 1 shots; .* visible-to-infrared, infrared-to-",
        ),
        ("llcm", {"shots": 10}, "llcm has no all-search with 10 shots"),
        ("regdb", {"direction": "both"}, "expected a direction out of visible-to-infrared, infrared-to-visible"),
        (
            "llcm",
            {"lineage": "transposed", "direction": "infrared-to-visible"},
            "visible-to-infrared only, got infrared-to-visible; .* take --lineage official",
        ),
    ],
)
def test_a_combination_that_nobody_defined_is_refused(
    small: dict[str, Dataset], dataset: str, choices: dict[str, str], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        build_protocol(small[dataset], **choices)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_test_set_of_one_modality_is_refused(tmp_path: Path) -> None:
    folder = write_llcm(tmp_path / "llcm", blank=True)
    for place in folder.glob("test_nir/cam*"):
        shutil.rmtree(place)
    with pytest.raises(BadInput, match=r"expected test images of both modalities, got 0 queries and 24 gallery"):
        build_protocol(open_dataset("llcm", folder), lineage="transposed")


def test_every_image_has_its_own_name(small: dict[str, Dataset]) -> None:
    for dataset in small.values():
        records = dataset.split("train", "val", "test")
        assert len(records) == len({key(record) for record in records})
    first = small["sysu"].split("train")[0]
    assert key(first) == "cam1/0001/0001"


def test_a_camera_of_both_modalities_gives_two_names(small: dict[str, Dataset], tmp_path: Path) -> None:
    """Even where the file names are the same."""

    def named(record: ImageRecord) -> str:
        return key(type(record)(path=tmp_path / "0001.jpg", identity=7, camera=3, modality=record.modality))

    assert len({named(record) for record in small["llcm"].split("test")}) == 2


@pytest.mark.parametrize("dataset", ["sysu", "regdb", "llcm"])
def test_the_images_of_a_protocol_are_those_of_its_trials_each_once(small: dict[str, Dataset], dataset: str) -> None:
    protocol = build_protocol(small[dataset])
    names = [key(record) for record in protocol.images()]
    assert len(names) == len(set(names))
    assert set(names) == {key(record) for trial in protocol.trials for record in (*trial.query, *trial.gallery)}


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


def test_trials_that_share_one_product_score_as_trials_alone(tmp_path: Path) -> None:
    """Ten trials draw from three images a person and camera, so that the product is made once for all of them."""
    dataset = open_dataset("sysu", write_tree(tmp_path / "sysu", train=1, val=1, test=6))
    protocol = build_protocol(dataset, shots=10)
    rng = np.random.default_rng(4)
    features = {key(record): rng.standard_normal(8).astype(np.float32) for record in protocol.images()}
    together = score(protocol, features)
    for trial, found in zip(protocol.trials, together.trials, strict=True):
        alone = score(dataclasses.replace(protocol, trials=(trial,)), features).trials[0]
        assert found.mean_ap == pytest.approx(alone.mean_ap, abs=1e-12)
        assert np.array_equal(found.first_rank_V, alone.first_rank_V)
