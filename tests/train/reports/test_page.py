"""report.py: the page about a run, the page that sets runs side by side, and the numbers on them."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.small_other_trees import write_llcm, write_regdb
from tests.small_tree import write_tree
from train.checkpoint import load_checkpoint, save_checkpoint
from train.datasets.open import open_dataset
from train.datasets.sysu import open_sysu
from train.evaluate_model import main as evaluate_main
from train.protocol import key
from train.report import main as report_main
from train.reports.build import before, choose_protocols, initial_method, open_run
from train.reports.embeddings import map_section
from train.reports.figures import training_figures
from train.reports.page import page as framed
from train.reports.runs import METHOD_TITLES, labels
from train.reports.sections import run_section, warnings
from train.reports.statistics import map_images
from train.train_model import main as train_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMALL = [
    "--set=backbone=resnet_small", "--set=height_px=32", "--set=width_px=16", "--set=identities_per_batch=3",
    "--set=images_per_identity=4", "--set=milestones=[]", "--accelerator=cpu", "--workers=0",
]  # fmt: skip
HEADINGS = [
    "The run", "Accuracy", "CMC curves", "Training", "Rank lists", "Similarities", "Map of the embeddings",
]  # fmt: skip


def make_run(method: str, tree: Path, folder: Path, *more: str) -> Path:
    assert train_main([method, "--data", str(tree), *SMALL, "--out", str(folder), *more]) == 0
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu")


@pytest.fixture(scope="module")
def mcja(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    return make_run("mcja", tree, folder, "--set=epochs=2", "--evaluate-every=1", '--set=train_on=["train"]')


@pytest.fixture(scope="module")
def baseline(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run("baseline", tree, tmp_path_factory.mktemp("runs") / "theirs", "--set=epochs=1")


@pytest.fixture(scope="module")
def page(mcja: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    assert report_main([str(mcja), "--data", str(tree), "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def comparison(mcja: Path, baseline: Path, tree: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "comparison.html"
    assert report_main(["--compare", str(mcja), str(baseline), "--data", str(tree), "--out", str(out)]) == 0
    return out.read_text(encoding="utf-8")


def edited(run: Path, target: Path, **changes: Any) -> Path:
    """Copy a run with another checkpoint."""
    shutil.copytree(run, target)
    checkpoint = load_checkpoint(target / "checkpoint.pt")
    save_checkpoint(target / "checkpoint.pt", dataclasses.replace(checkpoint, **changes))
    return target


def words(text: str) -> str:
    """The page without its tags and pictures."""
    return " ".join(re.sub(r"<[^>]*>", " ", re.sub(r"<(style|svg).*?</\1>", "", text, flags=re.DOTALL)).split())


# The page.


@pytest.mark.parametrize("name", ["page", "comparison"])
def test_a_page_needs_no_other_file_and_no_script(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name)
    assert not re.findall(r"<(?:script|link|iframe|object|embed)\b", text)
    fetched = re.findall(r"""(?:src|href|srcset)\s*=\s*["']([^"'#]{0,30})""", text)
    assert fetched
    assert {item for item in fetched if not item.startswith("data:image/jpeg;base64,") and item} == set()
    assert re.findall(r"url\((?!#)", text) == []
    assert "@import" not in text
    assert ">nan" not in text


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_page_has_each_part_with_a_note(page: str, heading: str) -> None:
    assert len(re.findall(rf'<h2>{heading}</h2><p class="note">[^<]{{30,}}</p>', page)) == 1


def test_the_page_says_what_evaluation_says(mcja: Path, tree: Path, tmp_path: Path, page: str) -> None:
    text = words(page)
    for search in ("all", "indoor"):
        figures = tmp_path / f"{search}.json"
        assert evaluate_main([str(mcja), "--data", str(tree), "--search", search, "--json", str(figures)]) == 0
        found = json.loads(figures.read_text())
        row = re.search(rf"official, {search}-search, single-shot ([\d.]+ ±.*?) 10 ", text)
        assert row is not None
        said = [float(value) for value in re.findall(r"\d+\.\d+", row.group(1))]
        wanted = [found[name] for name in ("rank1", "rank1_spread", "rank10", "rank20", "mean_ap")]
        assert said[:5] == pytest.approx([100 * value for value in wanted], abs=0.0051)
        assert said[6] == pytest.approx(100 * found["mean_inp"], abs=0.0051)


def test_the_page_names_the_run(mcja: Path, page: str) -> None:
    text = words(page)
    checkpoint = load_checkpoint(mcja / "checkpoint.pt")
    assert "<h1>mine: MCJA</h1>" in page
    assert checkpoint.git_revision in text
    assert "epoch 2 of 2, last epoch" in text
    assert "backbone resnet50 resnet_small" in text  # setting, default, this run
    assert "lr_decay" not in text  # is the default
    assert "data in the layout of SYSU-MM01" in text
    assert "Scores on the validation identities" in text


def test_trials_and_cameras_are_folded_away(page: str) -> None:
    folded = re.findall(r"<details><summary>(.*?)</summary>(.*?)</details>", page, flags=re.DOTALL)
    assert [title for title, _ in folded] == ["Each trial", "Each pair of cameras"]
    assert folded[0][1].count("<tr>") == 2 * 11
    assert folded[1][1].count("<tr>") == 1 + 2 * 4


def test_a_picture_of_the_same_person_has_a_green_frame(page: str) -> None:
    for frame, alt in re.findall(r'<figure class="(right|wrong)"><img alt="([^"]*)"', page):
        assert ("same person" in alt) == (frame == "right")
    assert page.count('<figure class="probe">') == 6


def test_a_choice_on_the_test_set_is_shouted(mcja: Path, tree: Path, tmp_path: Path) -> None:
    chosen = {"selected_by": "test", "epoch": 2, "rank1": 0.5, "mean_ap": 0.4, "mean_inp": 0.3}
    run, _ = open_run(edited(mcja, tmp_path / "run", metrics=chosen), "chosen")
    warned = warnings(run, open_sysu(tree))
    assert [line.split(".")[0] for line in warned] == ["chosen: SELECTED ON THE TEST SET"]
    text = words(run_section(run, open_sysu(tree)))
    assert "epoch 2 of 2, SELECTED ON THE TEST SET (rank-1 50.0 %, mAP 40.0 % on them)" in text
    assert '<p class="warning">chosen: SELECTED' in framed("a run", "", [], [], warned)


def test_imfe_is_called_a_reconstruction() -> None:
    assert "reconstruction" in METHOD_TITLES["imfe"]


def test_a_loss_term_may_begin_late() -> None:
    rows = [
        {"epoch": epoch, "loss": 1.0, "losses": losses, "lr": 0.1, "images_per_s": 9.0}
        for epoch, losses in enumerate([{"generator": 1.0}, {"generator": 0.5}, {"identity": 2.0}], start=1)
    ]
    assert list(training_figures(rows)) == [
        "Total loss", "Loss: generator", "Loss: identity", "Learning rate", "Speed",
    ]  # fmt: skip


# The comparison.


def test_a_comparison_shows_both_runs_and_what_differs(comparison: str) -> None:
    text = words(comparison)
    for name in ("mine (MCJA)", "theirs (Baseline)"):
        assert name in text
    recipes = re.search(r"Recipe differences.*?Where the runs differ most", text)
    assert recipes is not None
    assert "setting mine theirs" in recipes.group()
    assert "epochs 2 1" in recipes.group()
    assert "triplet_margin – 0.3" in recipes.group()
    assert "backbone" not in recipes.group()  # is the same
    assert "rank-1 on the validation identities" in text


def test_a_comparison_counts_gains_and_losses(comparison: str) -> None:
    row = re.search(r"mean change of AP, points theirs ([\d.]+) % ([\d.]+) % ([+-][\d.]+)", words(comparison))
    assert row is not None
    assert float(row.group(1)) + float(row.group(2)) <= 100.1
    assert comparison.count('<figure class="probe">') == 2 * 2


def test_two_equal_runs_differ_on_no_probe(mcja: Path, tree: Path, tmp_path: Path) -> None:
    shutil.copytree(mcja, tmp_path / "again")
    out = tmp_path / "c.html"
    assert report_main(["--compare", str(mcja), str(tmp_path / "again"), "--data", str(tree), "--out", str(out)]) == 0
    text = words(out.read_text())
    assert "again 0.0 % 0.0 % +0.00" in text
    assert "There is no largest gain" in text
    assert "The recipes are the same." in text


def test_runs_are_named_by_as_much_of_their_path_as_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a/run", tmp_path / "b/run"]
    for path in paths:
        path.mkdir(parents=True)
        (path / "best.pt").touch()
    assert labels(paths[:1]) == ["run"]
    assert labels(paths) == ["a/run", "b/run"]
    assert labels([paths[0], paths[0] / "best.pt"]) == ["run/run", "run/best.pt"]


# One clear line.


def no_metrics(run: Path) -> None:
    (run / "metrics.jsonl").unlink()


def cut_metrics(run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "lo')


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (shutil.rmtree, r"expected a checkpoint, got .*run, which does not exist"),
        (no_metrics, r"run: expected metrics\.jsonl beside the checkpoint, got none"),
        (cut_metrics, r"metrics\.jsonl: expected one object an epoch, line 3 is none"),
    ],
)
def test_a_damaged_run_is_refused_in_one_line(
    mcja: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None], expected: str,
) -> None:  # fmt: skip
    run = tmp_path / "run"
    shutil.copytree(mcja, run)
    damage(run)
    assert report_main([str(run), "--data", str(tree), "--out", str(tmp_path / "r.html")]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("report: ")
    assert re.search(expected, line), line
    assert not (tmp_path / "r.html").exists()


def test_runs_of_different_datasets_are_not_compared(
    mcja: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = edited(mcja, tmp_path / "other", dataset={"name": "regdb", "trial": 3})
    assert report_main(["--compare", str(mcja), str(other), "--data", str(tree)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "expected runs of one data set and split, got mine: sysu, other: regdb split 3" in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected one RUN, or --compare"),
        (["a", "--compare", "b", "c"], "expected one RUN, or --compare"),
        (["--compare", "b"], "expected two or more runs behind --compare"),
    ],
)
def test_arguments_that_name_no_page_are_refused(
    tree: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert report_main([*arguments, "--data", str(tree)]) == 2
    assert expected in capsys.readouterr().err.splitlines()[-1]


# The network before training.


def test_the_network_before_training_is_the_one_that_training_began_with(tree: Path, tmp_path: Path) -> None:
    """A run whose steps are too small to change a weight ends with the weights that it began with."""
    run = make_run("baseline", tree, tmp_path / "run", "--set=epochs=1", "--set=lr=1e-30", "--set=weight_decay=0.0")
    checkpoint = load_checkpoint(run / "checkpoint.pt")
    drawn = torch.get_rng_state()
    method = initial_method(checkpoint)
    assert isinstance(method, torch.nn.Module)
    assert torch.equal(torch.get_rng_state(), drawn)
    for name, parameter in method.named_parameters():
        torch.testing.assert_close(parameter.detach(), checkpoint.model[name], atol=1e-20, rtol=0)


def test_absent_imagenet_weights_leave_a_line_in_the_place_of_the_map(mcja: Path, tree: Path, tmp_path: Path) -> None:
    gone = {"name": "sysu", "pretrained": "/nowhere/resnet.pth"}
    run = edited(mcja, tmp_path / "run", dataset=gone)
    opened, checkpoint = open_run(run, "run")
    reason = before(checkpoint, [])
    assert isinstance(reason, str)
    assert "/nowhere/resnet.pth" in reason
    dataset = open_sysu(tree)
    rng = np.random.default_rng(3)
    features = {key(record): rng.normal(size=6).astype(np.float32) for record in dataset.split("test")}
    text = map_section(opened, features, map_images(dataset.split("test")), reason)
    assert text.count("<figure>") == 1
    assert "there is no map before training" in words(text)


# Other trees.


def test_protocols_of_a_tree_are_what_it_has_the_images_for(tree: Path, tmp_path: Path) -> None:
    protocols, left_out = choose_protocols(open_sysu(tree))
    assert [protocol.choices["search"] for protocol in protocols] == ["all", "indoor"]
    assert left_out == ["Ten shots are left out: a person has at most 3 images in a visible camera here."]
    many = write_tree(tmp_path / "many", train=1, val=1, test=2, images=10, size=(8, 4))
    protocols, left_out = choose_protocols(open_sysu(many))
    assert [protocol.choices["shots"] for protocol in protocols] == [1, 1, 10, 10]
    assert left_out == []


def test_a_tree_without_the_official_draw_is_scored_by_the_seeded_one(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "sysu")
    (tmp_path / "sysu/exp/rand_perm_cam.mat").unlink()
    protocols, left_out = choose_protocols(open_sysu(tmp_path / "sysu"))
    assert [protocol.lineage for protocol in protocols] == ["seeded", "seeded"]
    assert "rand_perm_cam.mat" in left_out[0]


def test_llcm_is_scored_in_both_directions(tmp_path: Path) -> None:
    dataset = open_dataset("llcm", write_llcm(tmp_path / "llcm"))
    protocols, _ = choose_protocols(dataset)
    assert [protocol.choices["direction"] for protocol in protocols] == ["visible-to-infrared", "infrared-to-visible"]


def test_a_run_on_regdb_has_a_page_of_both_directions(tmp_path: Path) -> None:
    tree = write_regdb(tmp_path / "regdb")
    more = ["--set=epochs=1", "--dataset=regdb", "--trial=2"]
    run = make_run("baseline", tree, tmp_path / "run", *more)
    assert report_main([str(run), "--data", str(tree)]) == 0
    page = (run / "report.html").read_text()
    text = words(page)
    assert "layout of RegDB, split 2" in text
    for direction in ("visible-to-infrared", "infrared-to-visible"):
        assert f"RegDB official, {direction}" in text
    assert "<summary>" not in page  # one trial, one camera of each modality
