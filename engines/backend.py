"""What every runtime offers: embed a batch of one modality.

Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines.errors import BadInput
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.manifest import Manifest, Modality


class Backend(Protocol):
    """A loaded model. `embed` is the whole interface; closing frees what it holds."""

    @property
    def name(self) -> str:
        """Runtime and precision for people, such as "openvino int8"."""
        ...

    @property
    def manifest(self) -> Manifest: ...

    def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        """Embed uint8 RGB pixels (B, H, W, 3) into unit vectors (B, D)."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Backend: ...

    def __exit__(self, *failure: object) -> None: ...


def check_batch(image_BHWC: NDArray[np.uint8], modality: str, manifest: Manifest) -> None:
    """Refuse a batch that the manifest does not describe."""
    if modality not in MODALITIES:
        raise BadInput(f"expected a modality out of {', '.join(MODALITIES)}, got {modality!r}")
    expected = (manifest.height_px, manifest.width_px, 3)
    if image_BHWC.dtype != np.uint8 or image_BHWC.ndim != 4 or image_BHWC.shape[1:] != expected:
        raise BadInput(
            f"expected a uint8 batch of shape (B, {expected[0]}, {expected[1]}, 3), got {image_BHWC.shape} "
            f"{image_BHWC.dtype}; engines.preprocess.batch_crops makes one"
        )
