"""MATLAB's cells are read as SciPy reads them, and a damaged file is one line."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from engines.errors import BadInput
from train.datasets.mat_file import Cell, read_cell
from train.datasets.sysu import read_permutations

if TYPE_CHECKING:
    from pathlib import Path


def cells(*dtypes: type) -> np.ndarray:
    rng = np.random.default_rng(3)
    outer = np.empty((len(dtypes), 1), object)
    for row, dtype in enumerate(dtypes):
        outer[row, 0] = np.empty((4, 1), object)
        for identity, count in enumerate((0, 1, 3, 20)):
            values = np.array([rng.permutation(count) + 1 for _ in range(10)]).reshape(10, count)
            outer[row, 0][identity, 0] = values.astype(dtype)
    return outer


@pytest.mark.parametrize("compressed", [False, True])
def test_cells_are_those_that_scipy_reads(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    drawn = {"other": np.eye(3), "rand_perm_cam": cells(np.uint8, np.int16, np.uint32, np.float64, np.int64)}
    savemat(path, drawn, do_compression=compressed)
    expected = loadmat(str(path))["rand_perm_cam"]
    found = read_cell(path, "rand_perm_cam")
    assert (found.rows, found.columns) == expected.shape
    for row, item in enumerate(found.items):
        assert isinstance(item, Cell)
        for identity, values in enumerate(item.items):
            assert isinstance(values, np.ndarray)
            assert values.shape == expected[row, 0][identity, 0].shape
            assert np.array_equal(values, expected[row, 0][identity, 0])
    assert read_permutations(path)[2, 3].shape == (10, 3)


def test_numbers_of_the_other_byte_order_are_turned(tmp_path: Path) -> None:
    """Written by hand from the format's description, for SciPy writes the machine's own order only."""

    def element(kind: int, body: bytes) -> bytes:
        return struct.pack(">II", kind, len(body)) + body + bytes(-len(body) % 8)

    def matrix(name: bytes, flags: int, sizes: tuple[int, int], body: bytes) -> bytes:
        head = element(6, struct.pack(">II", flags, 0)) + element(5, struct.pack(">ii", *sizes)) + element(1, name)
        return element(14, head + body)

    inner = matrix(b"", 11, (2, 2), element(4, struct.pack(">HHHH", 1, 2, 3, 300)))
    path = tmp_path / "b.mat"
    path.write_bytes(b" " * 124 + struct.pack(">H", 0x0100) + b"MI" + matrix(b"c", 1, (1, 1), inner))
    (values,) = read_cell(path, "c").items
    assert np.asarray(values).tolist() == [[1, 3], [2, 300]]


@pytest.mark.parametrize(
    "value",
    [np.eye(3), "text", {"a": 1}, np.array([[0.5]], object), np.array([[1j]], object), np.array([["a"]], object)],
    ids=["numbers", "text", "a struct", "halves", "complex", "text in cells"],
)
def test_another_variable_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"rand_perm_cam": value})
    with pytest.raises(BadInput, match="something else"):
        read_permutations(path)


def test_a_row_that_is_no_permutation_is_refused(tmp_path: Path) -> None:
    drawn = cells(np.uint8)
    drawn[0, 0][2, 0][4, 1] = drawn[0, 0][2, 0][4, 0]
    savemat(tmp_path / "a.mat", {"rand_perm_cam": drawn})
    with pytest.raises(BadInput, match="camera 1, identity 3"):
        read_permutations(tmp_path / "a.mat")


def test_a_file_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {"rand_perm_cam": cells(np.uint8)})
    content = path.read_bytes()
    for length in (0, 100, 127, 128, 130, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(BadInput, match="unreadable"):
            read_permutations(path)
