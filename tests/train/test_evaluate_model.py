"""evaluate_model.py on three datasets: what it opens, what it refuses, what it prints and writes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from engines.manifest import Graph, Manifest
from tests.small_other_trees import write_llcm, write_regdb
from tests.small_tree import write_tree
from train.checkpoint import Checkpoint, save_checkpoint
from train.evaluate_model import main, parser
from train.evaluation_model import PIXELS, embed_pixels
from train.methods import load

if TYPE_CHECKING:
    from collections.abc import Callable

    Printed = Callable[..., str]

FLAGS = {
    "--method", "--backend", "--precision", "--dataset", "--data", "--lineage", "--search", "--shots", "--direction",
    "--trial", "--rerank", "--flip", "--json",
}  # fmt: skip


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trees")
    return {
        "sysu": write_tree(folder / "sysu"),
        "regdb": write_regdb(folder / "regdb", trials=range(1, 11)),
        "llcm": write_llcm(folder / "llcm", test=8),
        # More images than MSER's k1, far more: among few, everybody is everybody's neighbour.
        "sysu for MSER": write_tree(folder / "larger", train=1, val=1, test=16),
        "regdb for MSER": write_regdb(folder / "larger-regdb", identities=64, trials=(1,)),
    }


@pytest.fixture
def printed(trees: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> Printed:
    """Score a model and return what was printed; the call must succeed."""

    def run(model: Path | str, dataset: str, *more: str) -> str:
        code = main([str(model), "--dataset", dataset.split()[0], "--data", str(trees[dataset]), *more])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run


@pytest.fixture
def refused(trees: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> Printed:
    """Score a model and return the one line that refuses it."""

    def run(model: Path | str, dataset: str, *more: str) -> str:
        assert main([str(model), "--dataset", dataset, "--data", str(trees[dataset]), *more]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.strip().splitlines()[-1]

    return run


def write_checkpoint(path: Path, seed: int = 0, dataset: dict[str, Any] | None = None, **metrics: Any) -> Path:
    """Write a small network with random weights and the given provenance."""
    changes = {"backbone": "resnet_small", "height_px": 32, "width_px": 16}
    torch.manual_seed(seed)
    method = load("mcja")(dataclasses.replace(load("mcja").default_recipe, **changes), 4)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(
        path,
        Checkpoint(
            method_name="mcja",
            recipe=method.recipe,
            identity_count=4,
            epoch=1,
            model=method.state_dict(),
            optimizer={},
            dataset=dataset or {},
            metrics=metrics,
        ),
    )
    return path


def figures_of(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(rank-1|mAP|mINP) ([0-9.]+)", line)}


def test_the_flags_are_those_that_were_decided(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    assert set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", shown, re.MULTILINE)) == {*FLAGS, "--help", "--version"}
    for lineage in ("official", "seeded", "mpanet", "transposed"):
        assert lineage in shown


@pytest.mark.parametrize(
    ("dataset", "more", "header"),
    [
        ("sysu", [], "SYSU-MM01 official, all-search, single-shot, gallery 16, probes 24 (24 valid), 10 trials"),
        (
            "sysu",
            ["--lineage", "seeded", "--search", "indoor"],
            "SYSU-MM01 seeded, indoor-search, single-shot, gallery 8, probes 24 (24 valid), 10 trials",
        ),
        ("sysu", ["--flip"], "10 trials, flip averaging"),
        ("regdb", [], "RegDB official, visible-to-infrared, split 1, gallery 18, probes 18 (18 valid)"),
        (
            "regdb",
            ["--lineage", "mpanet", "--direction", "infrared-to-visible", "--trial", "10"],
            "RegDB mpanet, infrared-to-visible, CMC over identities, split 10, gallery 18, probes 18 (18 valid)",
        ),
        ("llcm", [], "LLCM official, infrared-to-visible, gallery 24, probes 32 (32 valid), 10 trials"),
        (
            "llcm",
            ["--lineage", "transposed"],
            "LLCM transposed, visible-to-infrared (the authors' script since 2023-06-20: sampled infrared images rank "
            "ALL visible ones; not comparable), gallery 48, probes 16 (16 valid), 10 trials",
        ),
    ],
)
def test_the_first_line_names_the_protocol(printed: Printed, dataset: str, more: list[str], header: str) -> None:
    lines = printed(PIXELS, dataset, *more).splitlines()
    assert lines[0].startswith("raw pixels: ")
    assert lines[0].endswith(header)
    assert re.match(r"  plain +rank-1 [0-9.]+ ", lines[1])
    assert ("±" in lines[1]) == (dataset != "regdb")
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("dataset", "more", "message"),
    [
        ("sysu", ["--lineage", "mpanet"], "expected a lineage of sysu out of official, seeded, got 'mpanet'"),
        ("sysu", ["--lineage", "seeded", "--shots", "10"], "single-shot only"),
        ("llcm", ["--search", "indoor"], "llcm has no indoor-search"),
        ("sysu", ["--trial", "2"], "--trial: expected it with --dataset regdb only, got it with sysu"),
        ("llcm", ["--rerank", "both"], "--rerank mser: expected a data set out of sysu, regdb"),
        ("regdb", ["--trial", "11"], "--trial: expected a RegDB split from 1 to 10, got 11"),
    ],
)
def test_a_combination_that_does_not_exist_is_refused(
    refused: Printed, dataset: str, more: list[str], message: str
) -> None:
    assert message in refused(PIXELS, dataset, *more)


def test_a_regdb_model_is_scored_on_its_own_split_only(printed: Printed, refused: Printed, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "run/checkpoint.pt", dataset={"name": "regdb", "trial": 3})
    assert "RegDB official, visible-to-infrared, split 3," in printed(model, "regdb")
    assert printed(model, "regdb", "--trial", "3") == printed(model, "regdb")
    line = refused(model, "regdb", "--trial", "4")
    assert "--trial 4: expected split 3, on which this model was trained" in line
    assert "abnormally high" in line


def test_a_model_that_does_not_say_its_split_is_scored_on_any(printed: Printed, tmp_path: Path) -> None:
    for number, dataset in enumerate(({"name": "regdb"}, {})):
        model = write_checkpoint(tmp_path / f"{number}/checkpoint.pt", dataset=dataset)
        assert "split 4," in printed(model, "regdb", "--trial", "4")
        assert "split 1," in printed(model, "regdb")


def test_a_model_of_another_dataset_says_so(printed: Printed, tmp_path: Path) -> None:
    model = write_checkpoint(tmp_path / "checkpoint.pt", dataset={"name": "sysu", "train_on": ["train"]})
    assert printed(model, "llcm").startswith("mcja (pytorch fp32), trained on SYSU-MM01: LLCM official")
    assert printed(model, "sysu").startswith("mcja (pytorch fp32): SYSU-MM01 official")
    other = write_checkpoint(tmp_path / "other.pt", dataset={"name": "regdb", "trial": 3})
    assert printed(other, "sysu").startswith("mcja (pytorch fp32), trained on RegDB: SYSU-MM01 official")


def test_a_run_folder_gives_its_chosen_epoch_and_says_how_it_was_chosen(printed: Printed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    write_checkpoint(run / "checkpoint.pt", seed=1)
    last = printed(run, "sysu")
    assert last.startswith("mcja (pytorch fp32): ")
    write_checkpoint(run / "best.pt", seed=2, selected_by="val", epoch=12, mean_ap=0.5)
    best = printed(run, "sysu")
    assert best.startswith("mcja (pytorch fp32), epoch 12, selected on the validation identities: SYSU-MM01 official")
    assert figures_of(best) != figures_of(last)
    assert printed(run / "checkpoint.pt", "sysu") == last
    write_checkpoint(run / "best.pt", seed=2, selected_by="test", epoch=12, mean_ap=0.5)
    assert printed(run, "sysu").startswith(
        "mcja (pytorch fp32), epoch 12, SELECTED ON THE TEST SET: not comparable with honest figures: SYSU-MM01"
    )


def test_ten_models_are_scored_on_their_splits_and_averaged(printed: Printed, tmp_path: Path) -> None:
    for split in range(1, 11):
        name = "best.pt" if split == 5 else "checkpoint.pt"  # a run may have either
        write_checkpoint(tmp_path / f"run/split-{split}" / name, seed=split, dataset={"name": "regdb", "trial": split})
    figures = tmp_path / "figures.json"
    lines = printed(tmp_path / "run", "regdb", "--json", str(figures)).splitlines()
    heads, rows = lines[:-2:2], lines[1:-2:2]
    assert [re.findall(r"split (\d+),", head) for head in heads] == [[str(split)] for split in range(1, 11)]
    assert lines[-2] == "mean of ten models: RegDB official, visible-to-infrared"
    found = figures_of(lines[-1])
    for name in ("rank-1", "mAP", "mINP"):
        values = [figures_of(row)[name] for row in rows]
        assert found[name] == pytest.approx(np.mean(values), abs=0.011)
        assert f"{name} {found[name]:.2f} ± " in lines[-1]
        spread = float(re.findall(rf"{name} [0-9.]+ ± ([0-9.]+)", lines[-1])[0])
        assert spread == pytest.approx(np.std(values), abs=0.011)
    written = json.loads(figures.read_text())
    assert (written["model"], len(written["models"])) == ("mean of ten models", 10)
    assert "trial" not in written
    assert [model["trial"] for model in written["models"]] == list(range(1, 11))
    assert written["rank1"] == pytest.approx(np.mean([model["rank1"] for model in written["models"]]))


def test_some_of_ten_models_are_no_mean_of_ten(printed: Printed, tmp_path: Path) -> None:
    for split in (2, 7):
        path = tmp_path / f"run/split-{split}/checkpoint.pt"
        write_checkpoint(path, dataset={"name": "regdb", "trial": split})
    assert "mean of 2 of ten models: RegDB" in printed(tmp_path / "run", "regdb")
    alone = printed(tmp_path / "run", "regdb", "--trial", "7")
    assert "split 7," in alone
    assert "mean of" not in alone


def test_ten_models_are_refused_on_another_dataset(refused: Printed, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "run/split-1/checkpoint.pt", dataset={"name": "regdb", "trial": 1})
    line = refused(tmp_path / "run", "sysu")
    assert "holds a model for each RegDB split" in line


def test_json_holds_the_figures_and_what_they_are(printed: Printed, tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    line = printed(PIXELS, "llcm", "--flip", "--json", str(path)).splitlines()[1]
    found = json.loads(path.read_text())
    assert {name: found[name] for name in ("model", "dataset", "lineage", "direction", "flip_averaging")} == {
        "model": "raw pixels",
        "dataset": "llcm",
        "lineage": "official",
        "direction": "infrared-to-visible",
        "flip_averaging": True,
    }
    assert f"rank-1 {100 * found['rank1']:.2f} ± {100 * found['rank1_spread']:.2f}" in line
    assert f"mAP {100 * found['mean_ap']:.2f} ± {100 * found['mean_ap_spread']:.2f}" in line
    assert f"mINP {100 * found['mean_inp']:.2f} ± {100 * found['mean_inp_spread']:.2f}" in line
    assert [set(trial) for trial in found["trials"]] == [{"rank1", "mean_ap", "mean_inp", "queries"}] * 10
    assert "reranked" not in found


@pytest.mark.parametrize("dataset", ["sysu for MSER", "regdb for MSER"])
def test_re_ranked_figures_stand_below_the_plain_ones_and_say_what_they_are(
    printed: Printed, tmp_path: Path, dataset: str
) -> None:
    path = tmp_path / "figures.json"
    plain = printed(PIXELS, dataset).splitlines()
    lines = printed(PIXELS, dataset, "--rerank", "both", "--json", str(path)).splitlines()
    assert lines[:2] == plain
    assert [line.split()[0] for line in lines[2:]] == ["MSER", "k-reciprocal"]
    assert all(line.endswith("  transductive: uses all other probes") for line in lines[2:])
    assert "transductive" not in lines[1]
    found = json.loads(path.read_text())
    for name, line in zip(("mser", "k-reciprocal"), lines[2:], strict=True):
        assert found["reranked"][name]["note"] == "transductive: uses all other probes"
        assert f"rank-1 {100 * found['reranked'][name]['rank1']:.2f}" in line
    # k-reciprocal changes nothing here: raw pixels never join an infrared stripe to its inverse.
    assert found["reranked"]["mser"]["mean_ap"] != found["mean_ap"]
    assert printed(PIXELS, dataset, "--rerank", "k-reciprocal").splitlines() == [*plain, lines[3]]
    assert printed(PIXELS, dataset, "--rerank", "k-reciprocal", "--rerank", "mser").splitlines() == lines


class OpenEngine(contextlib.nullcontext["OpenEngine"]):
    """An engine of a manifest, without a graph behind it."""

    name = "openvino int8"
    embed = staticmethod(embed_pixels)

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(self)
        self.manifest = manifest


def test_an_engine_knows_its_split_and_how_its_epoch_was_chosen(
    printed: Printed, refused: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest(
        method="mcja",
        height_px=32,
        width_px=16,
        embedding_dim=512,
        graphs=(Graph(file="a.onnx", sha256="", modality="visible", precision="int8", form="onnx"),),
        dataset={"name": "regdb", "trial": 6},
        metrics={"selected_by": "test", "epoch": 3},
    )
    manifest.save(tmp_path)
    monkeypatch.setattr("engines.open.open_engine", lambda folder, **_: OpenEngine(manifest))
    selected = "mcja (openvino int8), epoch 3, SELECTED ON THE TEST SET: not comparable with honest figures"
    assert printed(tmp_path, "regdb").startswith(f"{selected}: RegDB official, visible-to-infrared, split 6,")
    assert printed(tmp_path, "llcm").startswith(f"{selected}, trained on RegDB: LLCM official")
    assert "expected split 6" in refused(tmp_path, "regdb", "--trial", "5")
