"""Arrays from a NumPy .npz that came from outside."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

MOST_UNPACKED = 20  # times the file: a zip of kilobytes can unpack to gigabytes. Ours are not compressed: once


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return every array by name; what is damaged, packed too tightly or a pickle raises ValueError or OSError."""
    try:
        with path.open("rb") as file:
            # NumPy leaves a damaged file open where it opened it itself.
            sizes = [item.file_size for item in zipfile.ZipFile(file).infolist()]
            if sum(sizes) > MOST_UNPACKED * (path.stat().st_size + 4096):
                raise ValueError(f"it unpacks to {sum(sizes) / 1e6:.0f} MB")
            with np.load(file, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError):
        raise
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise anything, memory errors too
        raise ValueError(f"it is damaged: {error}") from error
