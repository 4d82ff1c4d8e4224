"""The exported PyTorch program: the reference that every other runtime is measured against.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from engines.loaded import MAX_BATCH, chunks

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.loaded import LoadOptions


class TorchRun:
    """One program, in FP32 on the CPU."""

    def __init__(self, path: Path, options: LoadOptions) -> None:
        if options.threads is not None:
            torch.set_num_threads(options.threads)  # PyTorch knows no smaller scope than the process
        self._module = torch.export.load(path).module()

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        # PyTorch warns on read-only memory, such as a Pillow image's; it does not write here, but a copy is cheap.
        image = torch.as_tensor(image_BHWC if image_BHWC.flags.writeable else image_BHWC.copy())
        with torch.inference_mode():
            parts = [np.asarray(self._module(image[rows]).numpy()) for rows in chunks(len(image), MAX_BATCH)]
        return np.concatenate(parts, dtype=np.float32)

    def close(self) -> None:
        self.__dict__.clear()


def load(path: Path, options: LoadOptions) -> TorchRun:
    return TorchRun(path, options)
