"""Find ArUco markers in visible and thermal pictures.

A printed board is black on white in visible light; in thermal pictures warm ink is bright, so every picture is
searched as it is and inverted, plain and with local contrast, and the reading with the most markers is kept.

Shapes: H height, W width, N points, 2 x and y.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from deploy.alignment.fit import View
from engines.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Points = NDArray[np.float64]

DICTIONARIES = {name: int(getattr(cv2.aruco, name)) for name in dir(cv2.aruco) if name.startswith("DICT_")}


class MarkerFinder:
    """Markers of one dictionary by number."""

    def __init__(self, dictionary: str) -> None:
        if dictionary not in DICTIONARIES:
            raise BadInput(f"--dictionary: expected one of {', '.join(sorted(DICTIONARIES))}, got {dictionary!r}")
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._detector = cv2.aruco.ArucoDetector(
            cv2.aruco.getPredefinedDictionary(DICTIONARIES[dictionary]), parameters
        )
        self._contrast = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8))

    def find(self, image_HWC: Pixels) -> dict[int, Points]:
        """Return the four corners (4, 2) of every marker in an RGB picture."""
        grey_HW = np.asarray(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY), np.uint8)
        clear_HW = np.asarray(self._contrast.apply(grey_HW), np.uint8)
        readings = [self._read(picture_HW) for picture_HW in (grey_HW, 255 - grey_HW, clear_HW, 255 - clear_HW)]
        return max(readings, key=len)

    def _read(self, picture_HW: Pixels) -> dict[int, Points]:
        answer: Any = self._detector.detectMarkers(picture_HW)
        corners, numbers, _ = answer
        if numbers is None:  # against its stubs
            return {}
        found = np.asarray(numbers).ravel().tolist()
        # The same number twice is one misread marker too many: neither is sure.
        return {
            int(number): np.asarray(corner, np.float64).reshape(4, 2)
            for number, corner in zip(found, corners, strict=True)
            if found.count(number) == 1
        }


def make_view(name: str, visible: dict[int, Points], infrared: dict[int, Points], marker_m: float) -> View | None:
    """Return what both pictures show; None where no marker is in both."""
    shared = sorted(set(visible) & set(infrared))
    if not shared:
        return None
    # The root of the area: a tilted marker is foreshortened one way only.
    sides_px = [abs(cv2.contourArea(infrared[number].astype(np.float32))) ** 0.5 for number in shared]
    return View(
        name=name,
        visible_N2=np.concatenate([visible[number] for number in shared]),
        infrared_N2=np.concatenate([infrared[number] for number in shared]),
        pixels_per_metre_N=np.repeat(np.asarray(sides_px) / marker_m, 4),
    )
