"""Several processes give what one gives: the same images, the same losses, the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from engines.errors import BadInput
from tests.small_tree import write_tree
from tests.train.test_training import small_recipe
from train.checkpoint import load_checkpoint
from train.datasets.sysu import open_sysu
from train.methods import load
from train.sampler import epoch_batches, share
from train.training_images import Collate, SeededBatches, TrainingImages

if TYPE_CHECKING:
    from train.training_images import Loaded

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "tests.train.torchrun_program"
COMPARED = ("baseline", "mcja", "mpanet", "imfe")  # aligngan: its encoder's norm and dropout run on shares


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu")


def start(processes: int, tree: Path, out: Path, names: str, resume: str = "") -> None:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    done = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else ["-m"]), PROGRAM, str(tree), str(out), names, resume],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_train_what_one_trains(tree: Path, tmp_path: Path) -> None:
    """Same losses and weights up to rounding, with the second process killed and resumed in between."""
    start(1, tree, tmp_path / "one", ",".join(COMPARED))
    start(2, tree, tmp_path / "two", ",".join(COMPARED), "begin")
    start(2, tree, tmp_path / "two", ",".join(COMPARED), "go on")
    for name in COMPARED:
        rows: list[list[dict[str, dict[str, float]]]] = [
            [json.loads(line) for line in (tmp_path / folder / name / "metrics.jsonl").read_text().splitlines()]
            for folder in ("one", "two")
        ]
        assert len(rows[0]) == len(rows[1]) == 2
        for alone, joined in zip(*rows, strict=True):
            assert joined["losses"] == pytest.approx(alone["losses"], rel=2e-3, abs=2e-5), name
        torch.manual_seed(load_checkpoint(tmp_path / "one" / name / "checkpoint.pt").recipe.seed)
        begun = load(name)(small_recipe(name), 8).state_dict()
        alone, joined = (
            {key: value - begun[key] for key, value in load_checkpoint(path).model.items() if value.is_floating_point()}
            for path in (tmp_path / folder / name / "checkpoint.pt" for folder in ("one", "two"))
        )
        for key, change in alone.items():
            # 2e-3 of the change for the order of sums, and two roundings of the float32 weight that holds it.
            tolerance = 2e-3 * float(change.norm()) + 2.4e-7 * float(begun[key].norm()) + 1e-7
            assert float((joined[key] - change).norm()) <= tolerance, f"{name} {key}"


def drawn(tree: Path, name: str, rank: int, processes: int) -> list[Loaded]:
    records, recipe = open_sysu(tree).split("train", "val"), small_recipe(name, identities_per_batch=4)
    images, collate = TrainingImages(records, recipe), Collate({record.identity: record.identity for record in records})
    batches = SeededBatches(epoch_batches(records, recipe, 0), recipe.seed, 0, rank, processes)
    return [collate([images[draw] for draw in draws]) for draws in batches]


@pytest.mark.parametrize("name", ["mcja", "baseline"])
def test_shares_of_processes_make_up_the_batch_pixel_for_pixel(name: str, tree: Path) -> None:
    whole = drawn(tree, name, 0, 1)
    shares = [drawn(tree, name, rank, 2) for rank in (0, 1)]
    for index, batch in enumerate(whole):
        parts = [share[index] for share in shares]
        assert [file for part in parts for file in part.files] == batch.files
        assert torch.equal(torch.cat([part.batch.image_BCHW for part in parts]), batch.batch.image_BCHW)
        for part in parts:
            assert len(part.batch.identity_B.unique()) == 2  # whole identities, so that no share lacks a modality


def test_parts_are_shared_out_one_by_one() -> None:
    parts = (tuple(range(8)), (), (10, 11, 12, 13))
    assert share(parts, 1, 2) == ((4, 5, 6, 7), (), (12, 13))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(BadInput, match=r"expected a batch that 3 processes can share, got 8 images"):
        share((tuple(range(8)),), 0, 3)
