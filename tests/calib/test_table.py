"""The table comes back as it was saved, and a damaged one is one line."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from calib.calibrate import calibrate, list_sha256, measured_tensors
from calib.ranges import RANGE_METHODS
from calib.samples import images_sha256
from calib.table import CalibrationTable, load_table
from engines.errors import BadInput
from engines.manifest import sha256_of
from tests.calib.small_graph import HEIGHT, WIDTH, small_graph
from train.datasets.sysu import sysu_image

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.images import ImageRecord

TABLE = CalibrationTable(
    graph_sha256="ab",
    range_method="mse",
    images=3,
    images_sha256="cd",
    list_sha256="ef",
    amax={"relu": 1.5, "add": 0.0},
    lowest={"relu": 0.0, "add": -2.5},
)


def test_a_table_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    TABLE.save(tmp_path / "t.json")
    assert load_table(tmp_path / "t.json") == TABLE


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"amax": {"relu": -1, "add": 0}}, "expected a range of 0 or more for 'relu', got -1"),
        ({"amax": {"relu": float("nan"), "add": 0}}, "expected a range of 0 or more for 'relu', got nan"),
        ({"amax": {"relu": True, "add": 0}}, "expected a range of 0 or more for 'relu', got True"),
        ({"lowest": {"relu": 0.5, "add": 0}}, "expected a least value of 0 or less for 'relu', got 0.5"),
        ({"lowest": {"relu": 0.0}}, "expected amax and lowest of the same tensors, got one of 'add'"),
        ({"amax": [1.5]}, "expected dict as amax, got [1.5]"),
        ({"images": "3"}, "expected int as images, got '3'"),
        ({"range_method": "best"}, "expected a range method out of mse, percentile, absmax, entropy, got 'best'"),
        ({"format": 1}, "expected format 2, got 1; calibrate again"),
        ({"unknown": 1}, "a field is missing, unknown or of the wrong type"),
    ],
)
def test_a_wrong_field_is_one_line(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    assert expected in refused(tmp_path, json.dumps({**dataclasses.asdict(TABLE), **change}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "expected a calibration table, got"),
        ("[]", "a field is missing, unknown or of the wrong type"),
        ('{"format": 2, "graph_sha256": "a"}', "a field is missing, unknown or of the wrong type"),
        # As the first release wrote it.
        (
            '{"graph_sha256":"a","range_method":"mse","images":1,"images_sha256":"b","amax":{"x":1.0},"format":1}',
            "expected format 2, got 1; calibrate again",
        ),
    ],
)
def test_a_damaged_table_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in refused(tmp_path, text)


def refused(folder: Path, text: str) -> str:
    path = folder / "t.json"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load_table(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[ImageRecord]:
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(4):
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return [sysu_image(path=folder / f"{number}.png", identity=number, camera=1) for number in range(4)]


def test_one_pass_gives_a_table_for_each_method(images: list[ImageRecord], tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(small_graph().SerializeToString())
    tables = calibrate(path, images, HEIGHT, WIDTH, threads=1)
    assert tuple(tables) == RANGE_METHODS
    for method, table in tables.items():
        assert (table.range_method, table.images, table.graph_sha256) == (method, 4, sha256_of(path))
        assert (table.images_sha256, table.list_sha256) == (images_sha256(images), list_sha256(images))
        assert tuple(table.amax) == measured_tensors(small_graph())
        assert {name for name, value in table.lowest.items() if value < 0} == {"centred"}
        assert all(table.amax[name] <= tables["absmax"].amax[name] for name in table.amax)


def test_the_list_hash_is_of_names_and_order_alone(images: list[ImageRecord], tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"another picture")
    moved = dataclasses.replace(images[0], path=tmp_path / "0.png")
    assert list_sha256([moved, *images[1:]]) == list_sha256(images)
    assert images_sha256([moved, *images[1:]]) != images_sha256(images)
    assert list_sha256(images[::-1]) != list_sha256(images)
    assert list_sha256(images[:3]) != list_sha256(images)
