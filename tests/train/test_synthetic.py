"""The synthetic data set: its layout, its determinism, and that it gives nothing away that a real one would not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import BadInput
from tests.exit_code import exit_code
from tests.shared_material import shared_folder
from train import make_synthetic
from train.datasets.images import read_image
from train.datasets.synthetic import DatasetShape, Plan, draw_counts, write_dataset
from train.datasets.synthetic_camera import CAMERAS, SceneStyle, figure_radiance, render_crop
from train.datasets.synthetic_figure import Light, Place, draw_figure
from train.datasets.synthetic_material import Surface, dye_fabric, linear, palette
from train.datasets.synthetic_person import draw_person
from train.datasets.synthetic_pose import Pose, draw_pose
from train.datasets.synthetic_sysu import plan_like_sysu
from train.datasets.synthetic_tailor import make_solids
from train.datasets.sysu import INFRARED_CAMERAS, VISIBLE_CAMERAS, open_sysu

STYLE = SceneStyle(height_px=64, width_px=32)
SHAPE = DatasetShape(train_identities=4, val_identities=2, test_identities=3, visible_images=2, infrared_images=2)


def small_plan(seed: int = 0, **settings: object) -> Plan:
    identities, counts = draw_counts(SHAPE, seed)
    return replace(Plan(identities=identities, counts=counts, seed=seed, style=STYLE), **settings)  # type: ignore[arg-type]


def digest(folder: Path) -> str:
    lines = [
        f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("synthetic") / "tree"
    write_dataset(small_plan(), target)
    return target


def test_a_seed_gives_the_same_bytes_again_and_another_seed_others(tree: Path, tmp_path: Path) -> None:
    write_dataset(small_plan(), tmp_path / "again")
    write_dataset(small_plan(seed=1), tmp_path / "other")
    assert digest(tmp_path / "again") == digest(tree)
    assert digest(tmp_path / "other") != digest(tree)


@pytest.mark.slow
def test_the_number_of_workers_does_not_change_a_byte(tree: Path, tmp_path: Path) -> None:
    write_dataset(small_plan(), tmp_path / "two", workers=2)
    assert digest(tmp_path / "two") == digest(tree)


def test_the_tree_opens_as_sysu_with_the_planned_images(tree: Path) -> None:
    plan, dataset = small_plan(), open_sysu(tree)
    assert dataset.identities == plan.identities
    found = [(record.camera, record.identity) for record in dataset.split("train", "val", "test")]
    assert {key: found.count(key) for key in set(found)} == plan.counts
    assert read_image(dataset.split("test")[0].path).shape[2] == 3


def test_permutations_permute_each_camera_and_identity(tree: Path) -> None:
    permutations = open_sysu(tree).permutations
    counts = small_plan().counts
    assert set(permutations) == set(counts)
    for key, rows in permutations.items():
        assert rows.shape == (10, counts[key])
        assert (np.sort(rows, 1) == np.arange(1, counts[key] + 1)).all()


def test_everyone_is_seen_in_both_modalities_but_not_by_every_camera() -> None:
    shape = DatasetShape()
    identities, counts = draw_counts(shape, 0)
    assert tuple(len(identities[split]) for split in ("train", "val", "test")) == (
        shape.train_identities,
        shape.val_identities,
        shape.test_identities,
    )
    everyone = [identity for members in identities.values() for identity in members]
    for identity in everyone:
        cameras = {camera for camera, owner in counts if owner == identity}
        assert cameras & set(VISIBLE_CAMERAS)
        assert cameras & set(INFRARED_CAMERAS)
        assert (1 in cameras) == (2 in cameras)  # the indoor cameras saw the same people
    indoor = sum((1, identity) in counts for identity in everyone) / len(everyone)
    assert abs(indoor - shape.indoor_share) < 0.1


def test_infrared_images_are_one_channel_three_times(tree: Path) -> None:
    for record in open_sysu(tree).split("train", cameras=INFRARED_CAMERAS)[:6]:
        pixels = read_image(record.path)
        assert (pixels == pixels[..., :1]).all()


@pytest.mark.slow
def test_sysu_cardinalities_give_the_galleries_and_probes_of_the_protocol(tmp_path: Path) -> None:
    splits = shared_folder("data/splits")
    plan = plan_like_sysu(splits, seed=0, style=STYLE, infrared="nir", only=("test",), blank=True)
    write_dataset(plan, tmp_path / "sysu", official_exp=splits)
    dataset = open_sysu(tmp_path / "sysu")
    test = set(dataset.identities["test"])
    for cameras, single in ((VISIBLE_CAMERAS, 301), ((1, 2), 112)):
        drawn = [
            rows for (camera, identity), rows in dataset.permutations.items() if camera in cameras and identity in test
        ]
        assert (sum(rows[0, :1].size for rows in drawn), sum(rows[0, :10].size for rows in drawn)) == (
            single,
            10 * single,
        )
    assert len(dataset.split("test", cameras=INFRARED_CAMERAS)) == 3803
    assert len(dataset.split("test", cameras=VISIBLE_CAMERAS)) == 6775


def test_planned_sysu_training_images_are_the_published_numbers() -> None:
    plan = plan_like_sysu(shared_folder("data/splits"), seed=0, style=STYLE, infrared="nir")
    wanted = {*plan.identities["train"], *plan.identities["val"]}
    per_modality = [
        sum(count for (camera, identity), count in plan.counts.items() if camera in cameras and identity in wanted)
        for cameras in (VISIBLE_CAMERAS, INFRARED_CAMERAS)
    ]
    assert (per_modality, plan.image_count) == ([22258, 11909], 30071 + 15792)


def test_another_hue_leaves_near_infrared_unchanged() -> None:
    colours = [linear(screen) for screen in ((70, 112, 170), (56, 104, 66), (132, 98, 66), (104, 54, 104))]
    assert len({dye_fabric(np.random.default_rng(4), "cotton", colour).infrared for colour in colours}) == 1


def test_brightness_of_garments_hardly_tells_near_infrared() -> None:
    tops = [draw_person(0, identity).materials[Surface.TOP] for identity in range(600)]
    luma = np.array([0.3 * item.colour[0] + 0.6 * item.colour[1] + 0.1 * item.colour[2] for item in tops])
    infrared = np.array([item.infrared for item in tops])
    # Carbon black absorbs both and white absorbs neither, so it is not nothing; a grey copy would have 1.
    assert abs(float(np.corrcoef(luma, infrared)[0, 1])) < 0.5
    coloured = (luma > 0.06) & (luma < 0.35)
    assert abs(float(np.corrcoef(luma[coloured], infrared[coloured])[0, 1])) < 0.25


def test_some_patterns_vanish_in_infrared_and_most_stay() -> None:
    people = [draw_person(0, identity) for identity in range(200)]
    contrast = [
        abs(person.materials[Surface.TOP].infrared - person.materials[Surface.TOP_PATTERN].infrared)
        for person in people
    ]
    vanished = float(np.mean(np.array(contrast) < 0.01))
    assert 0.1 < vanished < 0.4


def test_skin_is_the_warmest_surface_in_the_long_wave() -> None:
    for identity in range(20):
        materials = draw_person(0, identity).materials
        assert materials[Surface.SKIN].warmth == max(material.warmth for material in materials.values())


def test_a_pattern_turns_with_the_body() -> None:
    person = next(p for p in (draw_person(0, i) for i in range(200)) if p.outfit.bag == "backpack")
    covers = []
    for yaw in (0.0, np.pi):
        pose = Pose(yaw=yaw, phase=0, stride=0, arm_swing=0, elbow=0.2, spread=0.1, lean=0, pitch=0.1)
        figure = draw_figure(make_solids(person), person.body, pose, Place(64, 245, 230), Light(0, 0.5, 0), (256, 128))
        covers.append((figure.surface_HW == Surface.BAG).sum())
    assert covers[1] > 5 * max(1, covers[0])  # the backpack is seen from behind


def nearest_identity_share(feature_ND: np.ndarray, identity_N: np.ndarray, group_N: np.ndarray) -> float:
    """Share of images whose nearest neighbour from another group (camera) is the same person."""
    distance_NN = ((feature_ND[:, None] - feature_ND[None]) ** 2).sum(-1)
    distance_NN[group_N[:, None] == group_N[None]] = np.inf
    return float((identity_N[distance_NN.argmin(1)] == identity_N).mean())


def test_background_pose_and_file_size_do_not_name_the_person() -> None:
    style, identities, cameras = SceneStyle(height_px=48, width_px=24, size_spread=0), range(20), (1, 4, 5)
    backgrounds, poses, sizes, labels, groups = [], [], [], [], []
    for identity in identities:
        person = draw_person(0, identity)
        solids = make_solids(person)
        for camera in cameras:
            for index in range(2):
                key = (0, 4, camera, identity, index)
                hidden, shown = (
                    render_crop(person, solids, camera, np.random.default_rng(key), seed=0, style=style,
                                infrared="nir", hide_person=hide)
                    for hide in (True, False)
                )  # fmt: skip
                backgrounds.append(cv2.resize(hidden, (12, 24)).astype(np.float32).ravel())
                pose = draw_pose(np.random.default_rng(key), CAMERAS[camera].pitch, 1.0)
                poses.append((np.cos(pose.yaw), np.sin(pose.yaw), pose.stride, pose.elbow))
                sizes.append((cv2.imencode(".jpg", shown)[1].size / 1000, 0.0))
                labels.append(identity)
                groups.append(camera)
    identity_N, group_N = np.array(labels), np.array(groups)
    # Chance is 1 / 20. Three standard errors of 120 trials are 6 points.
    for feature in (backgrounds, poses, sizes):
        assert nearest_identity_share(np.array(feature, np.float32), identity_N, group_N) < 0.05 + 0.06


def test_hiding_the_person_changes_only_where_the_person_is() -> None:
    person = draw_person(0, 3)
    solids = make_solids(person)
    shown, hidden = (
        render_crop(person, solids, 4, np.random.default_rng(9), seed=0, style=SceneStyle(blur_px=0.0), infrared="nir",
                    hide_person=hide).astype(int)
        for hide in (False, True)
    )  # fmt: skip
    changed = (np.abs(shown - hidden).sum(2) > 0).mean()
    assert 0.08 < changed < 0.6


def test_cover_is_one_inside_and_zero_outside_the_person() -> None:
    person = draw_person(0, 5)
    pose = Pose(yaw=0, phase=0, stride=0, arm_swing=0, elbow=0.2, spread=0.1, lean=0, pitch=0.1)
    figure = draw_figure(make_solids(person), person.body, pose, Place(64, 245, 230), Light(0, 0.5, 0), (256, 128))
    light_HWC, cover_HW1 = figure_radiance(figure, person, "visible", (128, 64))
    assert cover_HW1[50, 32] == 1
    assert cover_HW1[2, 2] == 0
    assert light_HWC.max() <= palette(person.materials, "visible", 17).max()


def test_a_folder_with_content_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert make_synthetic.main(["--out", str(tmp_path), "--workers", "1"]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("make_synthetic: ")
    assert "not empty" in line
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("size", [0, 10_000])
def test_impossible_numbers_of_people_are_refused(size: int) -> None:
    with pytest.raises(BadInput, match="identity"):
        draw_counts(DatasetShape(train_identities=size), 0)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--only", "test"], "--like-sysu"),
        (["--like-sysu", "splits", "--train-identities", "9"], "identities"),
        (["--seed", "-1"], "--seed"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_in_one_line(
    flags: list[str], word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(make_synthetic.main, ["--out", str(tmp_path / "tree"), *flags]) == 2
    assert word in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (tmp_path / "tree").exists()


def test_quilting_is_seen_alike_by_both_reflected_light_sensors() -> None:
    people = (draw_person(0, identity) for identity in range(2000))
    wanted = ("hoops", "plain", 0.0)
    person = next(p for p in people if (p.outfit.top_relief, p.outfit.top_pattern, p.outfit.opening) == wanted)
    pose = Pose(yaw=0, phase=0, stride=0, arm_swing=0, elbow=0.2, spread=0.1, lean=0, pitch=0.1)
    figure = draw_figure(make_solids(person), person.body, pose, Place(64, 245, 230), Light(0, 0.5, 0), (256, 128))
    column_H = figure.shade_HW[figure.surface_HW[:, 64] == Surface.TOP, 64].astype(float)
    assert column_H.min() < 0.6 * column_H.max()  # the shade, which all sensors share, carries it


def test_missing_splits_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"sysu_image_counts_per_cam_id\.json"):
        plan_like_sysu(tmp_path, seed=0, style=STYLE, infrared="nir")


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.datasets.synthetic.permutation_file", fail)
    with pytest.raises(BadInput, match="No space left"):
        write_dataset(small_plan(), tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []
