"""AlignGAN's public checkpoints, eight files a step: which are read, and where their keys go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from engines.errors import BadInput
from engines.manifest import MODALITIES
from tests.train.public_checkpoints import drawn, hollow, images, listed_parts, loaded_directly, save
from train.backbone import Backbone
from train.checkpoint import load_checkpoint, load_method
from train.import_checkpoint import main
from train.importing import read_public
from train.methods import METHODS

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


def write_steps(folder: Path, **steps: range) -> Path:
    """Write small parts, step7=range(8) for all eight of step 7; each holds its own step and number."""
    folder.mkdir()
    for name, parts in steps.items():
        step = int(name.removeprefix("step"))
        for part in parts:
            save(folder / f"model-{part}_{step}.pkl", {"module.at": torch.tensor([float(step), float(part)])})
    return folder


def test_aligngans_newest_complete_step_is_read_and_newer_ones_logged(tmp_path: Path) -> None:
    folder = write_steps(tmp_path / "models", step9=range(8), step150=range(8), step250=range(7))
    (folder / "model-8_250.pkl").touch()
    (folder / "notes.txt").touch()
    public = read_public("aligngan", folder)
    assert {key: value.tolist() for key, value in public.weights.items()} == {
        f"{part}.module.at": [150.0, part] for part in range(8)
    }
    assert [path.name for path in public.files] == [f"model-{part}_150.pkl" for part in range(8)]
    assert public.notes == ("step 150, of the complete steps 9, 150", "newer step 250 lacks model-7_250.pkl")


def test_a_part_stands_for_its_own_step(tmp_path: Path) -> None:
    folder = write_steps(tmp_path / "models", step9=range(8), step150=range(8))
    public = read_public("aligngan", folder / "model-3_9.pkl")
    assert public.weights["7.module.at"].tolist() == [9.0, 7.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "of one step, got step 20 lacks model-6_20.pkl, model-7_20.pkl; step 10 lacks model-0_10.pkl"),
        ("model-1_10.pkl", "of one step, got step 10 lacks model-0_10.pkl"),
        ("model-1_30.pkl", "expected the folder with model-0_STEP.pkl to model-7_STEP.pkl, got "),
        ("model.pth", "expected the folder with model-0_STEP.pkl to model-7_STEP.pkl, got "),
        ("empty", "of one step, got none"),
    ],
)
def test_a_step_without_all_its_parts_is_refused(name: str, message: str, tmp_path: Path) -> None:
    folder = write_steps(tmp_path / "models", step20=range(6), step10=range(1, 8))
    (folder / "model.pth").touch()
    (folder / "empty").mkdir()
    with pytest.raises(BadInput) as caught:
        read_public("aligngan", folder / name)
    assert message in str(caught.value)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    folder = write_steps(tmp_path / "models", step20=range(8))
    (folder / "model-5_20.pkl").write_bytes(b"cut")
    with pytest.raises(
        BadInput, match=r"model-5_20\.pkl: expected a checkpoint of a method's public code, got a trunc"
    ):
        read_public("aligngan", folder)


@pytest.mark.skipif("aligngan" not in METHODS, reason="the method is not in train.methods")
def test_aligngan_takes_every_key_of_its_eight_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "models", tmp_path / "aligngan.pt"
    folder.mkdir()
    public: dict[str, Tensor] = {}
    for part, names in enumerate(listed_parts()):
        weights = drawn(names, part) if part in (0, 6) else hollow(names)  # the generator and the encoder that ship
        save(folder / f"model-{part}_250.pkl", weights)
        public |= {f"{part}.{key}": value for key, value in weights.items()}
    assert main(["aligngan", str(folder), "--out", str(out)]) == 0

    checkpoint, found = load_checkpoint(out), load_method(out)
    assert checkpoint.identity_count == 395
    assert list(checkpoint.dataset["sha256"]) == [f"model-{part}_250.pkl" for part in range(8)]
    loaded = {found.public_name(name): value for name, value in found.state_dict().items()}
    assert loaded.keys() == public.keys()
    assert all(torch.equal(loaded[key], value) for key, value in public.items())
    assert f"all {len(public)} keys" in capsys.readouterr().out

    # spec/aligngan.md 1.6: where torchvision's names lie in the public encoder.
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    encoder = next(module for module in found.modules() if isinstance(module, Backbone))
    for name, value in encoder.state_dict().items():
        block, _, rest = name.partition(".")
        assert torch.equal(value, public[f"6.module.resnet_conv.{places[block]}.{rest}"]), name

    own = {name: public[found.public_name(name)] for name in found.state_dict()}
    direct = loaded_directly("aligngan", checkpoint.recipe, 395, own)
    for modality in MODALITIES:
        with torch.no_grad():
            expected_BD = direct.embed(images(), modality)
            assert expected_BD.isfinite().all()
            assert torch.equal(found.embed(images(), modality), expected_BD)
