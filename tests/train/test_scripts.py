"""train_model.py and evaluate_model.py as a user meets them: figures, files, one clear line for bad input."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.exit_code import exit_code
from tests.small_tree import write_tree
from train.evaluate_model import main as evaluate_main
from train.train_model import main as train_main

if TYPE_CHECKING:
    from pathlib import Path

SMALL = [
    part
    for setting in (
        "backbone=resnet_small", "height_px=32", "width_px=16", "identities_per_batch=3", "images_per_identity=4",
        "epochs=1", "pad_px=2",
    )
    for part in ("--set", setting)
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu")


@pytest.fixture(scope="module")
def trained(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["mcja", "--data", str(tree), *SMALL, "--out", str(folder), "--accelerator", "cpu", "--workers", "0"]
    assert train_main([*arguments, "--evaluate-every", "1"]) == 0
    return folder


def test_a_run_folder_explains_itself(trained: Path) -> None:
    recipe = json.loads((trained / "recipe.json").read_text())
    assert (recipe["method"], recipe["height_px"], recipe["contexts"]) == ("mcja", 32, 2)
    row = json.loads((trained / "metrics.jsonl").read_text())
    assert set(row["losses"]) == {"identity", "cmr"}
    kept = ["checkpoint.pt", "metrics.jsonl", "recipe.json", "tensorboard"]
    assert sorted(path.name for path in trained.iterdir()) == kept


def test_a_recipe_file_repeats_a_run(trained: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    arguments = ["mcja", "--data", str(tree), "--recipe", str(trained / "recipe.json"), "--out", str(out)]
    assert train_main([*arguments, "--accelerator", "cpu"]) == 0
    first, second = (json.loads((run / "metrics.jsonl").read_text()) for run in (trained, out))
    assert first["losses"] == second["losses"]


def test_evaluation_prints_the_protocol_and_writes_json(
    trained: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "scores.json"
    assert evaluate_main([str(trained), "--data", str(tree), "--json", str(figures)]) == 0
    expected = "SYSU-MM01 official, all-search, single-shot, gallery 16, probes 24 (24 valid), 10 trials"
    assert expected in capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert 0 <= found["rank1"] <= found["rank10"] <= 1
    assert len(found["trials"]) == 10


@pytest.mark.parametrize("search", ["all", "indoor"])
def test_raw_pixels_can_be_scored(tree: Path, capsys: pytest.CaptureFixture[str], search: str) -> None:
    assert evaluate_main(["pixels", "--data", str(tree), "--search", search]) == 0
    assert f"raw pixels: SYSU-MM01 official, {search}-search" in capsys.readouterr().out


def test_resume_of_a_finished_run_goes_on(trained: Path, tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    arguments = ["mcja", "--data", str(tree), *SMALL, "--set", "epochs=2", "--out", str(folder), "--resume"]
    assert train_main([*arguments, "--accelerator", "cpu"]) == 0
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


def test_evaluation_refuses_a_damaged_image_by_name(
    trained: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "sysu"
    shutil.copytree(tree, broken)
    (broken / "cam6/0010/0002.jpg").write_bytes(b"\xff\xd8 cut short")
    assert evaluate_main([str(trained), "--data", str(broken)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(r"evaluate_model: .*cam6/0010/0002\.jpg: expected an image, got a damaged file .*", line)


def missing_camera(folder: Path) -> None:
    shutil.rmtree(folder / "cam5")


def missing_split(folder: Path) -> None:
    (folder / "exp/train_id.txt").unlink()


def no_training_images(folder: Path) -> None:
    (folder / "exp/train_id.txt").write_text("300\n")
    (folder / "exp/val_id.txt").write_text("301\n")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (missing_camera, "missing: cam5"),
        (missing_split, "missing: exp/train_id.txt"),
        (shutil.rmtree, "which does not exist; name it with --data"),
        (no_training_images, "expected images of the identities in train+val, got none"),
    ],
)
def test_training_refuses_a_damaged_tree(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: object, expected: str
) -> None:
    broken = tmp_path / "sysu"
    shutil.copytree(tree, broken)
    damage(broken)  # type: ignore[operator]
    assert train_main(["mcja", "--data", str(broken), *SMALL, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert expected in error.splitlines()[-1]
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mjca"], "got 'mjca'; did you mean 'mcja'?"),
        (["mcja", "--set", "epoch=3"], "McjaRecipe has no setting 'epoch'; did you mean 'epochs'?"),
        (["mcja", "--set", "backbone=resnet51"], "expected a backbone out of resnet50, resnet18, resnet_small"),
        (["mcja", "--set", 'train_on=["test"]'], "expected train, val or both"),
        (["mcja", "--resume"], "expected --out with --resume"),
        (["mcja", "--recipe", "nowhere.json"], "nowhere.json: expected a recipe.json"),
        (["mcja", "--pretrained", "nowhere.pth"], "expected a file of ImageNet weights, got nowhere.pth"),
    ],
)
def test_training_refuses_bad_arguments(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    out = [] if "--resume" in arguments else ["--out", str(tmp_path / "run")]
    assert exit_code(train_main, [*arguments, "--data", str(tree), *out, "--accelerator", "cpu"]) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


def test_evaluation_refuses_a_checkpoint_of_another_method(
    trained: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate_main([str(trained), "--method", "baseline", "--data", str(tree)]) == 2
    assert "expected a checkpoint of method 'baseline', got one of 'mcja'" in capsys.readouterr().err


def test_evaluation_refuses_a_truncated_checkpoint(
    trained: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "checkpoint.pt"
    short.write_bytes((trained / "checkpoint.pt").read_bytes()[:1000])
    assert evaluate_main([str(short), "--data", str(tree)]) == 2
    assert "truncated or foreign file" in capsys.readouterr().err
