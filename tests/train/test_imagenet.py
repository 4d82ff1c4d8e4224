"""ImageNet weights: from a file, from the hub through a stand-in for the network, and what is refused."""

from __future__ import annotations

import ast
import hashlib
import io
import logging
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from engines.errors import BadInput
from tests.shared_material import shared_folder
from train import imagenet
from train.backbone import build_backbone
from train.imagenet import imagenet_weights
from train.methods import load
from train.recipe import override

if TYPE_CHECKING:
    from collections.abc import Callable


class Response(io.BytesIO):
    """What urlopen answers; told may differ from what is delivered, as when a connection breaks."""

    def __init__(self, body: bytes, told: int | None = None) -> None:
        super().__init__(body)
        self.headers = {} if told == 0 else {"Content-Length": str(len(body) if told is None else told)}


class Network:
    """An opener that counts, and answers as it was told to."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.asked: list[str] = []
        self._answer = answer

    def __call__(self, url: str) -> Any:
        self.asked.append(url)
        return self._answer()


def fail(error: BaseException) -> Callable[[], Any]:
    def answer() -> Any:
        raise error

    return answer


@pytest.fixture
def body() -> bytes:
    buffer = io.BytesIO()
    torch.save({"conv1.weight": torch.rand(300_000, generator=torch.Generator().manual_seed(1))}, buffer)
    return buffer.getvalue()


@pytest.fixture
def target(body: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the hub keeps the file, in an empty cache; its name carries body's hash."""
    name = f"resnet50-{hashlib.sha256(body).hexdigest()[:8]}.pth"
    monkeypatch.setitem(imagenet.PUBLISHED, "resnet50", name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints" / name


def left_behind(target: Path) -> list[str]:
    return [path.name for path in target.parent.iterdir()] if target.parent.exists() else []


def file_of(path: Path, weights: dict[str, Any]) -> Path:
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def published_names() -> dict[str, torch.Tensor]:
    """torchvision's ResNet-50 as MCJA's public checkpoint holds it: an independent list of names and shapes."""
    lines = shared_folder("golden/mcja_keys_m2.txt").read_text().splitlines()
    found: dict[str, torch.Tensor] = {}
    for name, shape, kind in (line.split("\t") for line in lines if line.startswith("backbone.")):
        one = torch.tensor(7) if kind == "torch.int64" else torch.tensor(0.5)
        found[name.removeprefix("backbone.")] = one.expand(ast.literal_eval(shape))  # a few kB on the disk
    return found


def test_a_file_in_torchvisions_format_loads_strictly(published_names: dict[str, Any], tmp_path: Path) -> None:
    path = file_of(tmp_path / "weights.pth", published_names)
    weights, source = imagenet_weights(path, "resnet50")
    assert source == str(path)
    mcja = load("mcja")
    method = mcja(mcja.default_recipe, 2)
    method.load_backbone(weights, source)
    assert (method.state_dict()["backbone.layer4.2.conv3.weight"] == 0.5).all()


def test_batch_counters_missing_in_a_very_old_file_start_at_zero(
    published_names: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = {name: value for name, value in published_names.items() if not name.endswith("num_batches_tracked")}
    with caplog.at_level(logging.INFO):
        weights, source = imagenet_weights(file_of(tmp_path / "old.pth", old), "resnet50")
    assert "53 batch counters are not in the file and start at 0" in caplog.text
    assert set(weights) == set(published_names)
    assert weights["layer1.0.bn2.num_batches_tracked"].item() == 0
    assert source in caplog.text


def test_a_missing_weight_is_named(published_names: dict[str, Any], tmp_path: Path) -> None:
    short = {name: value for name, value in published_names.items() if name != "layer2.1.conv2.weight"}
    weights, source = imagenet_weights(file_of(tmp_path / "short.pth", short), "resnet50")
    mcja = load("mcja")
    with pytest.raises(
        BadInput,
        match=r"short\.pth: expected the weights of this network, got others: .*missing layer2\.1\.conv2\.weight",
    ):
        mcja(mcja.default_recipe, 2).load_backbone(weights, source)


def test_a_network_for_the_cpu_begins_from_a_file(tmp_path: Path) -> None:
    values = build_backbone("resnet_small", 2).state_dict()
    weights, source = imagenet_weights(file_of(tmp_path / "small.pth", values), "resnet_small")
    baseline = load("baseline")
    method = baseline(override(baseline.default_recipe, ["backbone=resnet_small"]), 2)
    method.load_backbone(weights, source)
    assert torch.equal(method.state_dict()["infrared_conv1.weight"], values["conv1.weight"])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"conv1.weight": torch.tensor([1.0, float("nan")])}, "conv1.weight has 1 values that are not finite"),
        ({"bn1.running_var": torch.tensor([-1.0])}, "bn1.running_var has negative variances"),
        ({"state_dict": {}}, "got 'state_dict' in it, which is no weight"),
    ],
)
def test_values_that_cannot_be_are_refused(weights: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        imagenet_weights(file_of(tmp_path / "weights.pth", weights), "resnet50")


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BadInput, match=r"expected a file of ImageNet weights, got .*nowhere\.pth, which does not exist"
    ):
        imagenet_weights(tmp_path / "nowhere.pth", "resnet50")


@pytest.mark.parametrize("backbone", ["resnet50", "resnet18"])
def test_published_names_carry_the_start_of_a_hash(backbone: str) -> None:
    digits = imagenet.PUBLISHED[backbone].removesuffix(".pth").split("-")[1]
    assert len(bytes.fromhex(digits)) == 4


@pytest.mark.parametrize("told", [None, 0])
def test_the_hubs_file_is_downloaded_once(body: bytes, target: Path, told: int | None) -> None:
    network = Network(lambda: Response(body, told))
    first, source = imagenet_weights(Path("imagenet"), "resnet50", network)  # what --pretrained imagenet gives
    again, _ = imagenet_weights(None, "resnet50", network)
    assert network.asked == [f"https://download.pytorch.org/models/{target.name}"]
    assert source == str(target)
    assert target.read_bytes() == body
    assert left_behind(target) == [target.name]
    assert torch.equal(first["conv1.weight"], again["conv1.weight"])


def test_nothing_is_written_to_a_pipe_while_downloading(
    body: bytes, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imagenet_weights(None, "resnet50", Network(lambda: Response(body)))
    assert target.is_file()
    assert capsys.readouterr() == ("", "")


class Broken(Response):
    """A connection that breaks behind the first piece."""

    error: BaseException = ConnectionResetError("connection reset by peer")

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise self.error
        return super().read(size)


class Interrupted(Broken):
    error = KeyboardInterrupt()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda body: Response(b"<html>log in first</html>"),
            r"expected a SHA-256 that begins with \w{8}, got \w{8}; ",
        ),
        (lambda body: Response(body[:-1] + b"!"), "expected a SHA-256 that begins with"),
        (lambda body: Response(body[:1000], told=len(body)), r"expected \d+ bytes, got 1000; try again, or "),
        (Broken, r"could not be downloaded \(connection reset by peer\); "),
    ],
    ids=["login page", "changed byte", "short", "reset"],
)
def test_a_bad_download_leaves_nothing_behind(
    body: bytes, target: Path, answer: Callable[[bytes], Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        imagenet_weights(None, "resnet50", Network(lambda: answer(body)))
    url = f"https://download.pytorch.org/models/{target.name}"
    assert f"fetch {url} by hand and put it at {target}" in str(caught.value)
    assert left_behind(target) == []


def test_an_interrupted_download_leaves_nothing_behind(body: bytes, target: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        imagenet_weights(None, "resnet50", Network(lambda: Interrupted(body)))
    assert left_behind(target) == []


@pytest.mark.parametrize(
    "error",
    [urllib.error.URLError("Name or service not known"), TimeoutError("timed out")],
    ids=["no name", "timeout"],
)
def test_without_a_network_the_line_says_what_to_fetch_and_where_to_put_it(target: Path, error: OSError) -> None:
    with pytest.raises(BadInput, match="could not be downloaded") as caught:
        imagenet_weights(None, "resnet50", Network(fail(error)))
    assert str(target) in str(caught.value)
    assert left_behind(target) == []


def test_a_file_put_there_by_hand_is_used(body: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(body)
    weights, _ = imagenet_weights(None, "resnet50", Network(fail(AssertionError("no download expected"))))
    assert len(weights["conv1.weight"]) == 300_000


def test_a_damaged_file_in_the_cache_is_refused_and_kept(body: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(body[:-5])
    with pytest.raises(BadInput, match="got a damaged file; remove it"):
        imagenet_weights(None, "resnet50", Network(lambda: Response(body)))
    assert target.read_bytes() == body[:-5]


def test_a_network_without_published_weights_is_refused() -> None:
    with pytest.raises(BadInput, match=r"published ImageNet weights \(resnet50, resnet18\), got 'resnet_small'"):
        imagenet_weights(None, "resnet_small", Network(fail(AssertionError("no download expected"))))
