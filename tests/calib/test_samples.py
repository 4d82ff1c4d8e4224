"""Which images calibrate: balanced, seeded, and only people of the training split."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calib.samples import balanced_sample, calibration_images, images_sha256, pixel_batches
from engines.errors import BadInput
from train.datasets.sysu import open_sysu, sysu_image

if TYPE_CHECKING:
    from train.datasets.sysu import SysuDataset


@pytest.fixture(scope="module")
def dataset(session_tree: Path) -> SysuDataset:
    return open_sysu(session_tree)


def test_modalities_cameras_and_people_take_turns(dataset: SysuDataset) -> None:
    drawn = calibration_images(dataset, 48)
    assert Counter(record.modality for record in drawn) == {"visible": 24, "infrared": 24}
    assert Counter(record.camera for record in drawn) == {1: 6, 2: 6, 4: 6, 5: 6, 3: 12, 6: 12}
    counts = Counter((record.camera, record.identity) for record in drawn)
    for camera in range(1, 7):
        own = [count for (where, _), count in counts.items() if where == camera]
        assert len(own) == 6
        assert max(own) - min(own) == 0
    assert len({record.path for record in drawn}) == 48


def test_only_training_people_are_drawn(dataset: SysuDataset) -> None:
    drawn = calibration_images(dataset, 10_000)
    assert {record.identity for record in drawn} == set(dataset.identities["train"])
    assert len(drawn) == 6 * 6 * 3  # all of them, once


def test_a_camera_with_few_images_does_not_stop_the_others() -> None:
    few = [sysu_image(path=Path("a"), identity=1, camera=3)]
    many = [sysu_image(path=Path(str(index)), identity=1 + index % 2, camera=1) for index in range(9)]
    assert Counter(record.camera for record in balanced_sample([*few, *many], 8)) == {3: 1, 1: 7}


def test_the_seed_decides(dataset: SysuDataset) -> None:
    first, again, other = (calibration_images(dataset, 20, seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_the_hash_follows_the_bytes(dataset: SysuDataset, tmp_path: Path) -> None:
    record = dataset.split("train")[0]
    copy = sysu_image(
        path=Path(shutil.copy(record.path, tmp_path / record.path.name)), identity=record.identity, camera=record.camera
    )
    assert images_sha256([record]) == images_sha256([copy])  # where the tree lies does not matter
    with copy.path.open("ab") as file:
        file.write(b"x")
    assert images_sha256([record]) != images_sha256([copy])


def test_batches_hold_every_image_resized(dataset: SysuDataset) -> None:
    batches = list(pixel_batches(dataset.split("train")[:10], 20, 10, 4))
    assert [batch.shape for batch in batches] == [(4, 20, 10, 3), (4, 20, 10, 3), (2, 20, 10, 3)]
    assert all(batch.dtype == np.uint8 for batch in batches)


def test_nothing_to_draw_is_refused(dataset: SysuDataset) -> None:
    with pytest.raises(BadInput, match="expected at least 1 image to draw, got 0"):
        balanced_sample(dataset.split("train"), 0)
