"""Options of a run: selection of an epoch, accumulation, cache, TensorBoard, determinism."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from engines.errors import BadInput
from tests.small_other_trees import write_llcm, write_regdb
from tests.small_tree import write_tree
from tests.train.test_training import CPU, run, small_recipe
from train import training_images
from train.checkpoint import load_checkpoint
from train.datasets.sysu import open_sysu
from train.loop import train
from train.method import Batch
from train.methods import load
from train.metrics import Metrics
from train.selection import Judge
from train.train_model import main
from train.training_images import Draw, TrainingImages

if TYPE_CHECKING:
    from pathlib import Path

    from train.method import Method

SMALL = [
    "--set=backbone=resnet_small", "--set=height_px=32", "--set=width_px=16", "--set=identities_per_batch=3",
    "--set=images_per_identity=4", "--set=milestones=[]", "--accelerator=cpu", "--workers=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu")


def judge_with(mean_aps: list[float], **changes: Any) -> Judge:
    left = iter(mean_aps)

    def score(method: Method) -> Metrics:
        value = next(left)
        nothing = np.zeros(0)
        return Metrics(
            cmc_R=np.array([1.0 - value]), mean_ap=value, mean_inp=0.0, queries=1, valid_Q=nothing > 0,
            first_rank_V=nothing.astype(int), average_precision_V=nothing, inverse_penalty_V=nothing,
        )  # fmt: skip

    return Judge(**{"split": "val", "every": 1, "score": score, "keep_best": True, **changes})


def test_the_best_validation_epoch_is_kept_beside_the_last(tree: Path, tmp_path: Path) -> None:
    rows = run("mcja", tree, tmp_path, judge=judge_with([0.2, 0.6, 0.4]))
    assert [row["validation"]["mean_ap"] for row in rows] == [0.2, 0.6, 0.4]  # type: ignore[index]
    best, last = load_checkpoint(tmp_path / "best.pt"), load_checkpoint(tmp_path / "checkpoint.pt")
    assert (best.epoch, last.epoch) == (2, 3)
    assert (best.metrics["selected_by"], best.metrics["epoch"], best.metrics["mean_ap"]) == ("val", 2, 0.6)
    assert not torch.equal(best.model["classifier.weight"], last.model["classifier.weight"])


def test_selection_on_the_test_set_follows_rank_1_and_is_marked(tree: Path, tmp_path: Path) -> None:
    rows = run("mcja", tree, tmp_path, judge=judge_with([0.6, 0.2, 0.4], split="test"))
    assert load_checkpoint(tmp_path / "best.pt").metrics["selected_by"] == "test"
    assert load_checkpoint(tmp_path / "best.pt").epoch == 2  # rank-1 is 1 - mAP in this fake
    assert "validation" not in rows[0]
    assert "test" in rows[0]


def test_a_resumed_run_remembers_the_best_epoch(tree: Path, tmp_path: Path) -> None:
    run("mcja", tree, tmp_path, small_recipe("mcja", epochs=1), judge=judge_with([0.9]))
    run("mcja", tree, tmp_path, resume=True, judge=judge_with([0.2, 0.3]))
    assert load_checkpoint(tmp_path / "best.pt").epoch == 1


def test_judging_without_keeping_changes_nothing(tree: Path, tmp_path: Path) -> None:
    plain = run("baseline", tree, tmp_path / "plain")
    judged = run("baseline", tree, tmp_path / "judged", judge=judge_with([0.5, 0.5], every=2, keep_best=False))
    assert [row["losses"] for row in judged] == [row["losses"] for row in plain]
    assert [("validation" in row) for row in judged] == [False, True, True]
    assert not (tmp_path / "judged/best.pt").exists()


def test_select_val_keeps_the_validation_identities_out_of_training(tree: Path, tmp_path: Path) -> None:
    flags = ["--set=epochs=2", "--select=val", "--evaluate-every=1", "--out", str(tmp_path / "run")]
    assert main(["mcja", "--data", str(tree), *SMALL, *flags]) == 0
    best = load_checkpoint(tmp_path / "run/best.pt")
    assert best.recipe.train_on == ("train",)
    assert best.identity_count == 6
    assert best.metrics["selected_by"] == "val"


def test_select_test_is_said_aloud(tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = ["--set=epochs=1", "--select=test", "--out", str(tmp_path / "run")]
    assert main(["baseline", "--data", str(tree), *SMALL, *flags]) == 0
    assert "chosen on the test set" in caplog.text
    assert load_checkpoint(tmp_path / "run/best.pt").metrics["selected_by"] == "test"


def test_all_splits_trains_a_model_for_each_and_goes_on_where_it_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data, out = write_regdb(tmp_path / "regdb", trials=range(1, 11)), tmp_path / "run"
    flags = ["baseline", "--dataset=regdb", "--data", str(data), *SMALL, "--set=epochs=1", "--out", str(out)]
    assert main([*flags, "--all-splits"]) == 0
    trials = {load_checkpoint(out / f"split-{trial}/checkpoint.pt").dataset["trial"] for trial in range(1, 11)}
    assert trials == set(range(1, 11))
    (out / "split-4/checkpoint.pt").unlink()
    caplog.set_level("INFO")
    assert main([*flags, "--all-splits", "--resume"]) == 0
    assert caplog.text.count("is complete") == 9
    assert (out / "split-4/checkpoint.pt").is_file()


@pytest.mark.parametrize("flags", [["--all-splits"], ["--dataset=regdb", "--all-splits", "--trial=2"]])
def test_all_splits_belongs_to_regdb(
    flags: list[str], tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mcja", "--data", str(tree), *flags, "--out", str(tmp_path / "run")]) == 2
    assert "expected --all-splits with --dataset regdb and without --trial" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_llcm_trains_and_selects_on_its_held_out_fifth(tmp_path: Path) -> None:
    data = write_llcm(tmp_path / "llcm", train=10)
    flags = ["--dataset=llcm", "--data", str(data), "--select=val", "--set=epochs=1", "--out", str(tmp_path / "run")]
    assert main(["imfe", *SMALL, *flags]) == 0
    best = load_checkpoint(tmp_path / "run/best.pt")
    assert (best.identity_count, best.dataset["name"], best.metrics["selected_by"]) == (8, "llcm", "val")


def test_a_dataset_has_its_own_recipe_where_the_authors_gave_one() -> None:
    regdb, sysu = load("mcja").recipe_for("regdb"), load("mcja").recipe_for("sysu")
    assert (regdb.identities_per_batch, regdb.images_per_identity, regdb.epochs) == (
        4,
        32,
        300,
    )  # spec/mcja.md 2.3, 2.4
    assert (sysu.identities_per_batch, sysu.images_per_identity, sysu.epochs) == (8, 16, 140)
    assert load("mpanet").recipe_for("regdb").height_px == 256  # spec/mpanet.md 1.3


def test_accumulated_gradients_are_the_mean_over_the_batches(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches a step: the gradient seen by the optimiser is the mean of the batches' own gradients."""
    recipe = small_recipe("mcja", epochs=1, accumulate=2)
    method = load("mcja")
    seen: list[dict[str, torch.Tensor]] = []
    batches: list[tuple[dict[str, torch.Tensor], Batch]] = []
    losses, step = method.losses, torch.optim.Adam.step

    def keep_batch(self: Method, batch: Batch, epoch: int) -> dict[str, torch.Tensor]:
        batches.append(({key: value.clone() for key, value in self.state_dict().items()}, batch))
        return losses(self, batch, epoch)

    def keep_gradient(self: torch.optim.Adam, *args: object, **options: object) -> None:
        seen.append({str(i): p.grad.clone() for i, p in enumerate(self.param_groups[0]["params"])})
        step(self)

    monkeypatch.setattr(method, "losses", keep_batch)
    monkeypatch.setattr(torch.optim.Adam, "step", keep_gradient)
    train("mcja", recipe, open_sysu(tree).split("train", "val"), tmp_path, dataset={}, hardware=CPU)
    monkeypatch.undo()
    assert len(seen) == (len(batches) + 1) // 2
    network = method(recipe, 8).train()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    gradients = []
    for state, batch in batches[:2]:
        network.load_state_dict(state)
        network.zero_grad()
        torch.stack(list(network.losses(batch, 0).values())).sum().backward()
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in learned])
    for index, (one, other) in enumerate(zip(*gradients, strict=True)):
        torch.testing.assert_close(seen[0][str(index)], (one + other) / 2, rtol=1e-3, atol=1e-5)


def test_accumulation_is_refused_where_a_batch_is_a_step(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="setting accumulate: mpanet takes a step with every batch"):
        run("mpanet", tree, tmp_path, small_recipe("mpanet", accumulate=2))


def test_a_loss_that_is_not_finite_leaves_the_files_of_its_batch(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"epoch 1, batch \d: the loss is nan .* files stand in .*bad_batch\.txt"):
        run("baseline", tree, tmp_path / "run", small_recipe("baseline", lr=1e30))
    files = (tmp_path / "run/bad_batch.txt").read_text().splitlines()
    assert len(files) == 12
    assert all(name.startswith(str(tree)) for name in files)


def test_tensorboard_gets_the_same_numbers_as_the_metrics(tree: Path, tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[attr-defined]

    rows = run("mcja", tree, tmp_path, judge=judge_with([0.1, 0.2, 0.3]))
    found: dict[tuple[str, int], float] = {}
    (path,) = (tmp_path / "tensorboard").iterdir()
    data, place = path.read_bytes(), 0
    while place < len(data):  # TFRecord: length (8 bytes), its checksum (4), the event, its checksum (4)
        length = int.from_bytes(data[place : place + 8], "little")
        event = Event.FromString(data[place + 12 : place + 12 + length])
        found |= {(value.tag, event.step): value.simple_value for value in event.summary.value}
        place += 16 + length
    for row in rows:
        losses: dict[str, float] = row["losses"]  # type: ignore[assignment]
        assert found["loss/cmr", row["epoch"]] == pytest.approx(losses["cmr"])  # type: ignore[index]
        assert found["lr", row["epoch"]] == pytest.approx(row["lr"])  # type: ignore[index]
    assert found["validation/mean_ap", 2] == pytest.approx(0.2)


def test_a_cache_that_was_asked_for_is_full_before_training(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records, recipe = open_sysu(tree).split("train"), small_recipe("mcja")
    images = TrainingImages(records, recipe, "ram")
    plain = TrainingImages(records, recipe, "none")
    monkeypatch.setattr(training_images, "read_image", None)  # no file is opened any more
    draw = Draw(5, (0, 0, 5), 0)
    kept = images[draw].augmented.image_HWC
    monkeypatch.undo()
    assert np.array_equal(kept, plain[draw].augmented.image_HWC)
    assert plain.cache is None


def test_a_cache_larger_than_the_memory_is_refused(tree: Path) -> None:
    recipe = dataclasses.replace(small_recipe("mcja"), height_px=200_000, width_px=200_000)
    with pytest.raises(BadInput, match=r"--cache ram: \d+ images of 200000 x 200000 need .* GB .* use --cache none"):
        TrainingImages(open_sysu(tree).split("train"), recipe, "ram")


def test_deterministic_training_repeats_bit_for_bit(tree: Path, tmp_path: Path) -> None:
    from train.processes import Hardware

    records, recipe = open_sysu(tree).split("train"), small_recipe("mcja", epochs=1)
    hardware = Hardware(accelerator="cpu", workers=0, deterministic=True)
    try:
        for name in ("one", "other"):
            train("mcja", recipe, records, tmp_path / name, dataset={}, hardware=hardware)
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    one, other = (load_checkpoint(tmp_path / name / "checkpoint.pt").model for name in ("one", "other"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_half_precision_on_a_cpu_is_refused_and_not_replaced(tree: Path, tmp_path: Path) -> None:
    from train.processes import Hardware

    with pytest.raises(BadInput, match="--precision 16-mixed: expected a GPU, got a CPU"):
        train(
            "mcja", small_recipe("mcja"), open_sysu(tree).split("train"), tmp_path, dataset={},
            hardware=Hardware(accelerator="cpu", precision="16-mixed"),
        )  # fmt: skip
    assert not any(tmp_path.iterdir())


def test_a_missing_accelerator_is_one_line(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    flags = ["--accelerator", "cuda", "--out", str(tmp_path / "run")]
    assert main(["mcja", "--data", str(tree), *SMALL[:-2], *flags]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("train_model: --accelerator cuda: ")


def test_training_data_of_one_modality_is_refused(tree: Path, tmp_path: Path) -> None:
    visible = [record for record in open_sysu(tree).split("train") if record.modality == "visible"]
    with pytest.raises(BadInput, match="expected training images of both modalities, got no infrared ones"):
        train("mcja", small_recipe("mcja"), visible, tmp_path, dataset={}, hardware=CPU)
    assert not any(tmp_path.iterdir())


def test_too_few_identities_with_both_modalities_are_refused(tree: Path, tmp_path: Path) -> None:
    records = [r for r in open_sysu(tree).split("train") if r.modality == "visible" or r.identity < 3]
    with pytest.raises(BadInput, match=r"at least 3 identities with visible and infrared images .* got 2"):
        train("mcja", small_recipe("mcja"), records, tmp_path, dataset={}, hardware=CPU)


@pytest.mark.parametrize(("setting", "value"), [("epochs", 0), ("identities_per_batch", -1), ("lr", 0.0)])
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(BadInput, match=f"setting {setting}: expected"):
        small_recipe("mcja", **{setting: value})


def test_a_run_with_one_unnamed_optimiser_still_resumes(tree: Path, tmp_path: Path) -> None:
    """Format 1 of the checkpoint, written before methods had several optimisers."""
    whole = run("mcja", tree, tmp_path / "whole")
    run("mcja", tree, tmp_path / "old", small_recipe("mcja", epochs=1))
    path = tmp_path / "old/checkpoint.pt"
    raw = torch.load(path, weights_only=True)
    raw |= {"crosslight_checkpoint": 1, "optimizer": raw["optimizer"]["all"]}
    torch.save(raw, path)
    resumed = run("mcja", tree, tmp_path / "old", resume=True)
    assert [row["losses"] for row in resumed] == [row["losses"] for row in whole]


def test_the_rows_of_metrics_are_json_lines(tree: Path, tmp_path: Path) -> None:
    run("mcja", tree, tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert all(set(row["losses"]) == {"identity", "cmr"} for row in rows)
