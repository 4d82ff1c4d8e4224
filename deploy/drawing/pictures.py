"""A picture into a file.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from engines.atomic import atomic_path
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


def write_png(path: Path, image_HWC: NDArray[np.uint8], *, private: bool = False) -> None:
    """Write a PNG atomically; private: nobody else may read it."""
    try:
        with atomic_path(path, private=private) as temporary:
            _, data = cv2.imencode(".png", image_HWC[:, :, ::-1])
            temporary.write_bytes(data.tobytes())
    except OSError as error:
        raise BadInput(f"could not write {path}: {error}; free some disk or name another file") from error
