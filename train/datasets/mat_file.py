"""Cells of whole numbers from a MATLAB file (level 5: -v6, and -v7, which is compressed), as SYSU-MM01 has one.

SciPy's reader is not used: bytes that were changed in such a file made it fail with a segmentation fault (SciPy 1.17,
found by tests/fuzz). Here every length is checked before it is believed. Torch-free.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal, TypeAlias

    from numpy.typing import NDArray

    Item: TypeAlias = "NDArray[np.int64] | Cell"
    Order = Literal["<", ">"]

HEADER = 128
CELL, FIRST_NUMBER, LAST_NUMBER = 1, 6, 15  # classes of arrays: 6 is double, 8 to 15 are whole numbers
MATRIX, COMPRESSED = 14, 15  # types of elements
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
COMPLEX = 0x0800
DEEPEST = 4
LARGEST = 2.0**31
MOST_BYTES = 256 * 2**20  # unpacked; the official draw has 0.8 MB


@dataclass(frozen=True)
class Cell:
    """A cell array: rows, columns, and its items column by column."""

    rows: int
    columns: int
    items: tuple[Item, ...]


def read_cell(path: Path, name: str) -> Cell:
    """Return a variable that is a cell array; whatever else the file is raises ValueError or OSError."""
    try:
        return _find(path.read_bytes(), name)
    except (struct.error, zlib.error) as error:
        raise ValueError("it is torn") from error


def _find(content: bytes, name: str) -> Cell:
    orders: dict[bytes, Order] = {b"IM": "<", b"MI": ">"}
    order = orders.get(content[126:HEADER])
    if order is None:
        raise ValueError("it holds something else")
    reader = _Reader(content[HEADER:], order)
    while reader.left():
        kind, body = reader.element()
        if kind == COMPRESSED:
            unpacker = zlib.decompressobj()
            kind, body = _Reader(unpacker.decompress(body, MOST_BYTES), order).element()
        if kind == MATRIX:
            found, item = _array(_Reader(body, order), DEEPEST)
            if found == name and isinstance(item, Cell):
                return item
    raise ValueError("it holds something else")


class _Reader:
    """Takes one element behind the other out of bytes."""

    def __init__(self, content: bytes, order: Order) -> None:
        self._content, self._place = content, 0
        self.order: Order = order

    def left(self) -> int:
        return len(self._content) - self._place

    def element(self) -> tuple[int, bytes]:
        """Return the type and the bytes of the next element."""
        first, length = struct.unpack_from(f"{self.order}II", self._content, self._place)
        start = self._place + 8
        if first >> 16:  # up to four bytes lie in the tag itself
            first, length, start = first & 0xFFFF, first >> 16, self._place + 4
            if length > 4:
                raise ValueError("it is torn")
            self._place += 8
        else:
            # Compressed ones are not filled up to eight bytes.
            self._place = start + (length if first == COMPRESSED else -(-length // 8) * 8)
        body = self._content[start : start + length]
        if len(body) != length:
            raise ValueError("it is torn")
        return first, body

    def numbers(self) -> NDArray[np.float64] | NDArray[np.int64]:
        """Return the next element as numbers, whatever its type."""
        kind, body = self.element()
        if kind not in NUMBERS:
            raise ValueError("it is torn")
        return np.frombuffer(body, np.dtype(NUMBERS[kind]).newbyteorder(self.order))


def _array(reader: _Reader, depth: int) -> tuple[str, Item]:
    """Return name and content of a matrix; one of no bytes is empty."""
    if not reader.left():
        return "", np.empty((0, 0), np.int64)
    flags, sizes = reader.numbers(), reader.numbers()
    _, name = reader.element()
    if flags.size != 2 or sizes.size != 2 or (sizes < 0).any():
        raise ValueError("it is torn")
    kind, (rows, columns) = int(flags[0]) & 0xFF, (int(size) for size in sizes)
    if kind == CELL:
        return name.decode("latin-1"), _cell(reader, rows, columns, depth)
    if not FIRST_NUMBER <= kind <= LAST_NUMBER or int(flags[0]) & COMPLEX:
        raise ValueError("it holds something else")
    values = reader.numbers()
    if values.size != rows * columns or not (np.abs(values) < LARGEST).all() or (values % 1).any():
        raise ValueError("it holds something else")
    return name.decode("latin-1"), np.asarray(values, np.int64).reshape((rows, columns), order="F")


def _cell(reader: _Reader, rows: int, columns: int, depth: int) -> Cell:
    if not depth or prod((rows, columns)) * 8 > reader.left():  # each item has a tag at least
        raise ValueError("it is torn")
    items: list[Item] = []
    for _ in range(rows * columns):
        kind, body = reader.element()
        if kind != MATRIX:
            raise ValueError("it is torn")
        items.append(_array(_Reader(body, reader.order), depth - 1)[1])
    return Cell(rows, columns, tuple(items))
