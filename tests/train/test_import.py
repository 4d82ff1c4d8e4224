"""Checkpoints of public code: key lists of golden/ go in and come out as our networks; what does not fit is named."""

from __future__ import annotations

import argparse
import json
import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from engines.manifest import sha256_of
from tests.exit_code import exit_code
from tests.train.public_checkpoints import drawn, hollow, images, listed, loaded_directly, save
from train.checkpoint import load_checkpoint, load_method
from train.import_checkpoint import main
from train.methods import load
from train.methods.mcja import McjaRecipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor


@pytest.fixture
def mcja() -> dict[str, Tensor]:
    return hollow(listed("mcja_keys_m2.txt"))


@pytest.mark.parametrize(("contexts", "identities", "epochs"), [(2, 395, 140), (12, 206, 300)])
def test_mcja_embeds_as_the_public_weights_loaded_directly(
    contexts: int, identities: int, epochs: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = drawn(listed(f"mcja_keys_m{contexts}.txt"), contexts)
    file, out = save(tmp_path / "sysu_model_best-90.pth", weights), tmp_path / "mcja.pt"
    assert main(["mcja", str(file), "--out", str(out)]) == 0

    checkpoint = load_checkpoint(out)
    assert (checkpoint.identity_count, checkpoint.epoch, checkpoint.optimizer) == (identities, epochs, {})
    assert isinstance(checkpoint.recipe, McjaRecipe)
    assert checkpoint.recipe.contexts == contexts
    assert checkpoint.dataset["imported_from"] == "sysu_model_best-90.pth"
    assert checkpoint.dataset["sha256"] == {"sysu_model_best-90.pth": sha256_of(file)}
    assert checkpoint.dataset["train_on"] == ["train", "val"]  # an engine's threshold comes from the test people then
    assert checkpoint.model.keys() == weights.keys()
    assert all(torch.equal(checkpoint.model[key], value) for key, value in weights.items())

    direct = loaded_directly("mcja", McjaRecipe(contexts=contexts), identities, weights)
    with torch.no_grad():
        expected_BD, found_BD = direct.embed(images(), "visible"), load_method(out).embed(images(), "visible")
    assert expected_BD.isfinite().all()
    assert torch.equal(found_BD, expected_BD)

    # Counts of spec/mcja.md 2.9, measured on the public network.
    count = {2: "26,402,866", 12: "26,097,764"}[contexts]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"mcja: {identities} identities, resnet50, D 2048, {count} parameters, all 391 keys"
    assert lines[1] == f"wrote {out}; next: python train/evaluate_model.py {out} --data FOLDER"
    assert lines[2] == f"or: python deploy/build_engine.py {out} --data FOLDER"


def test_mpanet_embeds_as_the_public_weights_loaded_directly(tmp_path: Path) -> None:
    names = {
        key: (
            (10, *shape[1:]) if "classifier" in key else shape,
            kind,
        )  # the head's rows are the data's, not the code's
        for key, (shape, kind) in listed("mpanet_keys.txt").items()
    }
    assert len(names) == 334
    weights = drawn(names, 3)
    file, out = save(tmp_path / "model_best.pth", weights), tmp_path / "mpanet.pt"
    assert main(["mpanet", str(file), "--out", str(out)]) == 0
    checkpoint = load_checkpoint(out)
    assert checkpoint.identity_count == 10
    direct = loaded_directly("mpanet", load("mpanet").default_recipe, 10, weights)
    found = load_method(out)
    with torch.no_grad():
        expected_BD = direct.embed(images(), "infrared")
        assert expected_BD.isfinite().all()
        assert torch.equal(found.embed(images(), "infrared"), expected_BD)
    assert found.embedding_dim == 14336
    loaded = {found.public_name(name): value for name, value in checkpoint.model.items()}
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_wrapped_state_dict_of_data_parallel_is_unwrapped_and_logged(
    wrapper: str, mcja: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parallel = {f"module.{key}": value for key, value in mcja.items()}
    file, out = save(tmp_path / "model.pth", {"epoch": 90, "optimizer": {}, wrapper: parallel}), tmp_path / "out.pt"
    with caplog.at_level(logging.INFO):
        assert main(["mcja", str(file), "--out", str(out)]) == 0
    assert f"the state dict lay under '{wrapper}'; beside it and left out: epoch, optimizer" in caplog.text
    assert "every key began with 'module.' (DataParallel), which was taken off" in caplog.text
    model = load_checkpoint(out).model
    assert all(torch.equal(model[key], value) for key, value in mcja.items())


def test_half_precision_is_widened_and_logged(
    mcja: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    half = {key: value.half() if value.is_floating_point() else value for key, value in mcja.items()}
    with caplog.at_level(logging.INFO):
        assert main(["mcja", str(save(tmp_path / "half.pth", half)), "--out", str(tmp_path / "out.pt")]) == 0
    assert "values in torch.float16 are stored in the network's own precision" in caplog.text
    assert {value.dtype for value in load_checkpoint(tmp_path / "out.pt").model.values()} == {
        torch.float32,
        torch.int64,
    }


def refused(capsys: pytest.CaptureFixture[str], method: str, file: Path, *arguments: str) -> str:
    """Import what must fail: exit code 2, one line, no traceback and no file; returns the line."""
    out = file.parent / "refused.pt"
    assert exit_code(main, [method, str(file), "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert not out.exists()
    lines = [line for line in error.splitlines() if line.startswith("import_checkpoint: ")]
    assert len(lines) == 1
    return lines[0]


def test_every_key_that_does_not_fit_is_named(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = [key for key in mcja if key.startswith("backbone.layer4.2.")]
    damaged = {key: value for key, value in mcja.items() if key not in absent}
    damaged |= {"head.weight": torch.ones(3), "bn_neck.bias": torch.zeros(7)}
    damaged["bn_neck.num_batches_tracked"] = torch.tensor(0.5)
    file, report = save(tmp_path / "model.pth", damaged), tmp_path / "keys.json"

    line = refused(capsys, "mcja", file)
    assert "expected the 391 keys of mcja (resnet50, 395 identities), got 374" in line
    assert "18 missing (backbone.layer4.2.conv1.weight, backbone.layer4.2.bn1.weight, " in line
    assert "1 unexpected (head.weight)" in line
    assert "2 of another shape (bn_neck.bias has shape (7,) for (2048,), bn_neck.num_batches_tracked holds " in line
    assert line.endswith("; --report FILE lists all")

    assert refused(capsys, "mcja", file, "--report", str(report)).endswith(f"; {report} lists all")
    found = json.loads(report.read_text())
    assert found["missing"] == absent
    assert found["unexpected"] == ["head.weight"]
    assert found["unfit"] == [
        "bn_neck.bias has shape (7,) for (2048,)",
        "bn_neck.num_batches_tracked holds torch.float32 for torch.int64",
    ]
    assert found["impossible"] == []


@pytest.mark.parametrize("key", ["classifier.weight", "MDA_2.0.sc_conv.weight"])
def test_a_missing_key_that_tells_the_networks_size_is_named(
    key: str, mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del mcja[key]
    assert f"1 missing ({key})" in refused(capsys, "mcja", save(tmp_path / "model.pth", mcja))


@pytest.mark.parametrize("value", [torch.tensor(1.0), torch.zeros(0, 2048)], ids=["no axis", "no row"])
def test_a_head_without_identities_is_named(
    value: Tensor, mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mcja["classifier.weight"] = value
    assert "1 of another shape (classifier.weight has shape" in refused(
        capsys, "mcja", save(tmp_path / "model.pth", mcja)
    )


@pytest.mark.parametrize(
    ("key", "number", "message"),
    [
        ("MDA_3.1.ca_conv.weight", float("nan"), "1 impossible (MDA_3.1.ca_conv.weight has 2048 values that are not "),
        ("bn_neck.weight", float("inf"), "1 impossible (bn_neck.weight has 2048 values that are not finite)"),
        ("MDA_2.1.ca_bn.running_var", -0.1, "1 impossible (MDA_2.1.ca_bn.running_var has negative variances)"),
    ],
)
def test_values_that_cannot_be_are_named(
    key: str, number: float, message: str, mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mcja[key] = torch.full_like(mcja[key], number)
    assert message in refused(capsys, "mcja", save(tmp_path / "model.pth", mcja))


def test_a_checkpoint_of_another_method_is_refused_with_both_key_lists_in_the_report(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, report = save(tmp_path / "model.pth", mcja), tmp_path / "keys.json"
    line = refused(capsys, "mpanet", file, "--report", str(report))
    assert "expected the 334 keys of mpanet (resnet50, 395 identities), got 391" in line
    found, theirs = json.loads(report.read_text()), listed("mpanet_keys.txt")
    assert found["missing"] == sorted(theirs.keys() - mcja.keys(), key=list(theirs).index)
    assert found["unexpected"] == sorted(mcja.keys() - theirs.keys(), key=list(mcja).index)
    assert found["keys"] == list(mcja)


def test_a_setting_that_contradicts_the_weights_is_refused(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "mcja", save(tmp_path / "model.pth", mcja), "--set", "contexts=3")
    assert "MDA_2.0.sc_conv.weight has shape (2, 512, 1, 1) for (3, 512, 1, 1)" in line


def test_a_setting_that_the_weights_do_not_tell_is_kept(mcja: dict[str, Tensor], tmp_path: Path) -> None:
    file, out = save(tmp_path / "model.pth", mcja), tmp_path / "out.pt"
    assert main(["mcja", str(file), "--out", str(out), "--set", "height_px=256", "--set", "epochs=120"]) == 0
    checkpoint = load_checkpoint(out)
    assert (checkpoint.recipe.height_px, checkpoint.epoch) == (256, 120)


class Command:
    """Unpickled carelessly, it runs a command."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("archive", [True, False], ids=["zip", "legacy"])
def test_a_file_with_code_in_it_does_not_run(
    archive: bool, mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "it ran"
    file = tmp_path / "model.pth"
    torch.save({**mcja, "extra": Command(trace)}, file, _use_new_zipfile_serialization=archive)
    assert "got a file that asks for posix.system, which could run code" in refused(capsys, "mcja", file)
    assert not trace.exists()


def test_a_whole_training_state_with_objects_is_refused_by_their_name(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(tmp_path / "model.pth", {"state_dict": mcja, "args": argparse.Namespace(lr=0.1)})
    assert "asks for argparse.Namespace" in refused(capsys, "mcja", file)


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_truncated_file_is_refused(
    keep: int, mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(tmp_path / "model.pth", mcja)
    file.write_bytes(file.read_bytes()[:keep])
    assert "got a truncated or foreign file" in refused(capsys, "mcja", file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "with named values, got list"),
        ({}, "expected a state dict of named tensors, got nothing"),
        ({"net": {"a": torch.ones(1)}}, "got net of 1, which are none; save model.state_dict() alone"),
        ({"model": {}, "state_dict": {}}, "got model, state_dict of 2"),
        ({"crosslight_checkpoint": 1}, "got a Crosslight checkpoint; it needs no import"),
        ({"a": torch.eye(3).to_sparse()}, "got a of 1, which are none"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(
    content: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "mcja", save(tmp_path / "model.pth", content))


def test_an_out_file_that_exists_is_kept(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.pt"
    out.write_bytes(b"precious")
    assert main(["mcja", str(save(tmp_path / "model.pth", mcja)), "--out", str(out)]) == 2
    assert "expected a new file for --out, got " in capsys.readouterr().err
    assert out.read_bytes() == b"precious"


def test_a_report_that_cannot_be_written_is_one_line(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(tmp_path / "model.pth", mcja)
    assert "could not write the report" in refused(capsys, "mcja", file, "--report", str(tmp_path))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("baseline", "expected a method with public checkpoints (mcja, mpanet, aligngan), got 'baseline'"),
        ("mjca", "did you mean 'mcja'?"),
    ],
)
def test_a_method_without_public_checkpoints_is_refused(
    method: str, message: str, mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, method, save(tmp_path / "model.pth", mcja))


def test_why_a_networks_size_cannot_be_told_stands_in_the_report(
    mcja: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, report = save(tmp_path / "model.pth", mcja), tmp_path / "keys.json"
    refused(capsys, "baseline", file, "--report", str(report))
    found = json.loads(report.read_text())
    assert found["problem"].startswith("expected a method with public checkpoints")
    assert found["keys"] == list(mcja)
