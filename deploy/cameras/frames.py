"""One picture of one camera, as the loop sees it.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engines.manifest import Modality


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One picture. `index` counts what the camera took, dropped frames included; `time_s` is when it was caught, on
    the clock of the run, the camera's offset taken off.
    """

    image_HWC: NDArray[
        np.uint8
    ]  # RGB; thermal: grey in three channels, in the polarity that the network was trained on
    time_s: float
    index: int
    camera: str
    modality: Modality
    inverted_for_detector: bool = False  # white-hot thermal: a detector trained on visible pictures sees more inverted
    frozen: bool = False  # the camera repeats itself (flat-field correction): nothing new is in this picture

    @property
    def detector_HWC(self) -> NDArray[np.uint8]:
        """The picture as a detector of visible people wants it."""
        return np.asarray(255 - self.image_HWC, np.uint8) if self.inverted_for_detector else self.image_HWC
