"""Training end to end on a tiny tree: learning, exact resume, damaged input, checkpoints."""

from __future__ import annotations

import dataclasses
import json
import signal
from typing import TYPE_CHECKING

import pytest
import torch

from engines.errors import BadInput
from tests.small_tree import write_tree
from train import loop
from train.checkpoint import Checkpoint, load_checkpoint, load_method, save_checkpoint
from train.datasets.sysu import open_sysu
from train.loop import learning_rate_factor, train
from train.methods import METHODS, load
from train.processes import Hardware
from train.recipe import Recipe, override

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

CPU = Hardware(accelerator="cpu", workers=0)


# MPANet normalises every image over its places: two of them would leave nothing but signs.
# AlignGAN's discriminators halve an image five times; the three epochs are one of each of its phases.
OWN_SETTINGS: dict[str, dict[str, object]] = {
    "mpanet": {"height_px": 64, "width_px": 32},
    "aligngan": {
        "height_px": 64, "width_px": 32, "feature_height_px": 64, "feature_width_px": 32, "generator_width": 8,
        "discriminator_width": 8, "pixel_identities": 2, "iterations_per_epoch": 6, "feature_epochs": 1,
        "pixel_epochs": 1, "pad_px": 0,
    },
}  # fmt: skip
ONE_PHASE = {"aligngan": {"feature_epochs": 8}}  # a classifier's loss falls over many epochs only there
SGD_RATE = {"imfe": 100.0, "aligngan": 0.2}  # times the rate that a test gives for Adam; 0.2 makes AlignGAN's own


def small_recipe(name: str, **changes: object) -> Recipe:
    small: dict[str, object] = {
        "backbone": "resnet_small",
        "height_px": 32,
        "width_px": 16,
        "identities_per_batch": 3,
        "images_per_identity": 4,
        "epochs": 3,
        "warmup_epochs": 0,
        "milestones": (2,),
        "pad_px": 2,
        **OWN_SETTINGS.get(name, {}),
        **changes,
    }
    if isinstance(rate := changes.get("lr"), float):
        small["lr"] = rate * SGD_RATE.get(name, 1.0)
    return dataclasses.replace(load(name).default_recipe, **small)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu")


def run(
    name: str, tree: Path, folder: Path, recipe: Recipe | None = None, **options: object
) -> list[dict[str, object]]:
    records = open_sysu(tree).split("train", "val")
    train(name, recipe or small_recipe(name), records, folder, dataset={}, hardware=CPU, **options)  # type: ignore[arg-type]
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_the_tiny_tree(name: str, tree: Path, tmp_path: Path) -> None:
    rows = run(
        name, tree, tmp_path / "run", small_recipe(name, epochs=8, milestones=(7,), lr=1e-3, **ONE_PHASE.get(name, {}))
    )
    losses = [row["losses"]["identity"] for row in rows]  # type: ignore[index]
    assert losses[-1] < 0.75 * losses[0]
    assert [row["epoch"] for row in rows] == list(range(1, 9))


@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_stays_close_to_full_precision(name: str, tree: Path, tmp_path: Path) -> None:
    """bf16 keeps 8 bits of a number: at weights that hardly move, an epoch's losses agree to a few percent."""
    records, recipe = open_sysu(tree).split("train"), small_recipe(name, epochs=1, lr=1e-9)
    losses: dict[str, dict[str, float]] = {}
    for precision in ("32-true", "bf16-mixed"):
        folder, hardware = tmp_path / precision, Hardware(accelerator="cpu", precision=precision, workers=0)
        train(name, recipe, records, folder, dataset={}, hardware=hardware)
        losses[precision] = json.loads((folder / "metrics.jsonl").read_text())["losses"]
    assert losses["bf16-mixed"] == pytest.approx(losses["32-true"], rel=0.05)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_gets_a_finite_gradient(name: str, tree: Path) -> None:
    from train.sampler import epoch_batches
    from train.training_images import Collate, TrainingImages, epoch_loader

    records, recipe = open_sysu(tree).split("train"), small_recipe(name)
    torch.manual_seed(0)
    method = load(name)(recipe, 6)
    collate = Collate({record.identity: record.identity - 1 for record in records})
    images = TrainingImages(records, recipe)
    for epoch in range(recipe.epochs):  # AlignGAN trains other networks in each
        batch, *_ = next(iter(epoch_loader(images, collate, epoch_batches(records, recipe, epoch), epoch, 0)))
        for update in method.updates(batch, epoch):
            torch.stack(list(update.losses.values())).sum().backward()
    for parameter_name, parameter in method.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name


@pytest.mark.parametrize("name", METHODS)
def test_resume_after_a_kill_gives_the_same_losses(
    name: str, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name, tree, tmp_path / "whole")

    real_save, saved = loop.save_checkpoint, []

    def killed_in_the_second_epoch(path: Path, checkpoint: Checkpoint) -> None:
        if saved:
            raise KeyboardInterrupt  # after the row of epoch 2 was written, before its checkpoint
        saved.append(checkpoint.epoch)
        real_save(path, checkpoint)

    monkeypatch.setattr(loop, "save_checkpoint", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run(name, tree, tmp_path / "killed")
    monkeypatch.setattr(loop, "save_checkpoint", real_save)
    torch.rand(7)  # whatever the process drew meanwhile
    resumed = run(name, tree, tmp_path / "killed", resume=True)
    assert [row["losses"] for row in resumed] == [row["losses"] for row in whole]
    one, other = (load_checkpoint(tmp_path / folder / "checkpoint.pt").model for folder in ("whole", "killed"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_finished_run_is_not_overwritten(tree: Path, tmp_path: Path) -> None:
    run("baseline", tree, tmp_path, small_recipe("baseline", epochs=1))
    with pytest.raises(BadInput, match="--resume"):
        run("baseline", tree, tmp_path, small_recipe("baseline", epochs=1))


def test_resume_with_other_numbers_is_refused(tree: Path, tmp_path: Path) -> None:
    run("baseline", tree, tmp_path, small_recipe("baseline", epochs=1))
    with pytest.raises(BadInput, match=r"the run has lr=0.00035, asked was 0.1"):
        run("baseline", tree, tmp_path, small_recipe("baseline", lr=0.1), resume=True)


def test_a_damaged_jpeg_is_named_skipped_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tree = write_tree(tmp_path / "sysu")
    damaged = tree / "cam1/0003/0002.jpg"
    damaged.write_bytes(damaged.read_bytes()[:90])
    rows = run("mcja", tree, tmp_path / "run", small_recipe("mcja", epochs=1))
    assert rows[0]["damaged_images"] == 1
    assert "1 damaged images skipped, first" in caplog.text
    assert "cam1/0003/0002.jpg" in caplog.text


def test_an_identity_without_a_readable_image_stops_training(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "sysu", images=1)
    for camera in (3, 6):
        (tree / f"cam{camera}/0002/0001.jpg").write_bytes(b"no image")
    with pytest.raises(BadInput, match="identity 2: every infrared image is damaged"):
        run("mcja", tree, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_with_its_terms(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"epoch \d, batch \d: the loss is (nan|inf)"):
        run("baseline", tree, tmp_path / "run", small_recipe("baseline", lr=1e30))


@pytest.fixture
def child_signals_as_before() -> Generator[None]:
    """Take away the SIGCHLD handler that a DataLoader with workers leaves behind.

    Python's handlers run on the alternate signal stack that faulthandler made. OpenVINO or TensorRT-RTX, loaded by
    other tests of this process, replace that stack and free theirs, and the next child that ends (git) would then kill
    pytest with SIGSEGV. Seen in gdb, in clock_nanosleep; no process of ours outside pytest has all three.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.mark.usefixtures("child_signals_as_before")
def test_workers_do_not_change_the_batches(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train import training_images
    from train.sampler import epoch_batches

    records, recipe = open_sysu(tree).split("train"), small_recipe("mcja")
    collate = training_images.Collate({record.identity: record.identity for record in records})
    batches = epoch_batches(records, recipe, 0)

    def first(limit: int, workers: int) -> torch.Tensor:
        monkeypatch.setattr(training_images, "CACHE_LIMIT_BYTES", limit)
        images = training_images.TrainingImages(records, recipe)
        return next(iter(training_images.epoch_loader(images, collate, batches, 0, workers)))[0].image_BCHW

    assert torch.equal(first(1 << 30, 0), first(0, 2))


def test_learning_rate_warms_up_and_decays() -> None:
    recipe = Recipe(warmup_epochs=2, milestones=(4, 6))
    factors = [round(learning_rate_factor(recipe, epoch), 6) for epoch in range(8)]
    assert factors == [0.5, 1, 1, 1, 0.1, 0.1, 0.01, 0.01]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs=three", "expected int like 140, got 'three'"),
        ("lr", "expected --set name=value"),
        ("milestones=[1.5]", "expected int"),
    ],
)
def test_wrong_settings_are_refused(setting: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        override(load("mcja").default_recipe, [setting])


def test_settings_replace_values() -> None:
    recipe = override(load("mcja").default_recipe, ["lr=1", "milestones=[3, 5]", "backbone=resnet_small"])
    assert (recipe.lr, recipe.milestones, recipe.backbone) == (1.0, (3, 5), "resnet_small")


def test_an_unknown_method_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match=r"expected a method out of .*mcja.*, got 'mjca'; did you mean 'mcja'"):
        load("mjca")


@pytest.fixture(scope="module")
def checkpoint(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run("mcja", tree, folder, small_recipe("mcja", epochs=1))
    return folder / "checkpoint.pt"


def test_a_checkpoint_builds_the_network_it_came_from(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    assert loaded.recipe == small_recipe("mcja", epochs=1)
    weights = load_method(checkpoint).state_dict()
    assert all(torch.equal(weights[key], loaded.model[key]) for key in weights)


@pytest.mark.parametrize("keep", [0, 100, 5000, -200])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, keep: int) -> None:
    short = tmp_path / "short.pt"
    short.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(BadInput, match="truncated or foreign"):
        load_checkpoint(short)


def test_a_checkpoint_of_another_method_is_refused(checkpoint: Path) -> None:
    with pytest.raises(BadInput, match="of method 'baseline', got one of 'mcja'"):
        load_checkpoint(checkpoint, "baseline")


def test_a_checkpoint_with_a_missing_key_names_it(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    del loaded.model["classifier.weight"]
    save_checkpoint(tmp_path / "short.pt", loaded)
    with pytest.raises(BadInput, match=r"missing classifier\.weight"):
        load_method(tmp_path / "short.pt")


def test_a_full_disk_keeps_the_previous_checkpoint(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_checkpoint(checkpoint)
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, loaded)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(BadInput, match="No space left"):
        save_checkpoint(path, loaded)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]
