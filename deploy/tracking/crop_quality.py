"""How good a box is as evidence of who somebody is: a number from 0 to 1, or the reason why it is none.

The number is a product of terms, each 1 where nothing is lost: height, aspect, what others cover, the detector's
score, sharpness, and for long-wave infrared how far the person stands out from the surroundings.

Sharpness is the variance of the Laplacian over the variance of the grey values, so that neither light nor clothes
count, measured at a height of 64 pixels after a slight blur, so that size counts little and noise too. Medians of the
60 crops of `one-by-one-person-detection.mp4`, 258 to 405 px high, and of the same reduced to 64, 48 and 24 px:

| | as cut | 64 px | 48 px | 24 px |
|---|---|---|---|---|
| as it is | 0.090 | 0.090 | 0.048 | 0.010 |
| blurred by a Gaussian of 2 % of the height | 0.020 | 0.020 | 0.018 | 0.009 |
| by 4 %: no face, no stripes | 0.005 | 0.004 | 0.005 | 0.005 |
| by 4 %, and noise of 15 grey levels | 0.005 | 0.031 | 0.016 | 0.006 |

The four people of the long-wave still (TFW) have 0.094 to 0.150. A crop takes 0.05 to 0.19 ms (29 to 900 px, one
thread).

Shapes: N boxes, 4 box (left, top, width, height) in pixels, H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from deploy.detection.detector import intersection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.tracking.crops import CropSettings

    Pixels = NDArray[np.uint8]
    Float = NDArray[np.float32]

Reject = Literal["edge", "small", "aspect", "covered", "flat", "blurred", "faint"]

WORK_HEIGHT_PX = 64
SHARP = 0.05  # sharpness at which nothing is lost
GOOD_HEIGHT = 3.0  # of the least height
GOOD_ASPECT = (1.8, 3.5)
GOOD_RELIEF = 30.0  # grey levels; the four people of the still have 18 to 47
WORST_TERM = 0.3  # of height and sharpness, where they are only just accepted


def assess(image_HWC: Pixels, box_N4: Float, index: int, score: float, settings: CropSettings) -> Reject | float:
    """Return the quality of box `index`, which the other boxes of the picture may cover, or why it is no evidence."""
    fault = judge(box_N4, index, image_HWC.shape[:2], settings)
    if fault is not None:
        return fault
    left, top, width, height = box_N4[index].tolist()
    grey_HW = shrink(image_HWC, left, top, width, height)
    if float(grey_HW.std()) < settings.least_contrast:
        return "flat"
    sharpness = measure_sharpness(grey_HW)
    if sharpness < settings.least_sharpness:
        return "blurred"
    quality = (
        _rise(height, settings.least_height_px, GOOD_HEIGHT * settings.least_height_px)
        * _rise(float(np.log(sharpness)), float(np.log(settings.least_sharpness)), float(np.log(SHARP)))
        * _aspect_term(height / width, settings)
        * (1.0 - covered(box_N4, index))
        * (0.5 + 0.5 * min(max(score, 0.0), 1.0))
    )
    if settings.thermal:
        relief = measure_relief(image_HWC, box_N4[index])
        if relief < settings.least_relief:
            return "faint"
        quality *= _rise(relief, settings.least_relief, GOOD_RELIEF)
    return quality


def judge(box_N4: Float, index: int, frame_size: tuple[int, ...], settings: CropSettings) -> Reject | None:
    """Return why the shape and place of box `index` in a frame of this height and width rule it out, or None."""
    left, top, width, height = box_N4[index].tolist()
    edge = settings.edge_px
    if left <= edge or top <= edge or left + width >= frame_size[1] - edge or top + height >= frame_size[0] - edge:
        return "edge"
    if height < settings.least_height_px:
        return "small"
    if not settings.least_aspect <= height / max(width, 1e-6) <= settings.most_aspect:
        return "aspect"
    return "covered" if covered(box_N4, index) > settings.most_covered else None


def covered(box_N4: Float, index: int) -> float:
    """Return the part of box `index` that the one other box which hides most of it may hide."""
    shared_N = intersection(box_N4[index : index + 1], box_N4)[0]
    shared_N[index] = 0
    return float(shared_N.max(initial=0) / max(float(box_N4[index, 2] * box_N4[index, 3]), 1e-6))


def shrink(image_HWC: Pixels, left: float, top: float, width: float, height: float) -> Float:
    """Return the green channel of a box, at most 64 pixels high, as float32 (H, W)."""
    y0, y1 = max(0, round(top)), max(round(top + height), round(top) + 1)
    x0, x1 = max(0, round(left)), max(round(left + width), round(left) + 1)
    # Averaging all pixels of a person 900 px high takes 0.8 ms; every third in both directions shows the same.
    skip = max(1, (y1 - y0) // (4 * WORK_HEIGHT_PX))
    grey_HW = np.ascontiguousarray(image_HWC[y0:y1:skip, x0:x1:skip, 1])
    if grey_HW.shape[0] > WORK_HEIGHT_PX:
        size = max(3, round(grey_HW.shape[1] * WORK_HEIGHT_PX / grey_HW.shape[0])), WORK_HEIGHT_PX
        grey_HW = cv2.resize(grey_HW, size, interpolation=cv2.INTER_AREA)
    return grey_HW.astype(np.float32)


def measure_sharpness(grey_HW: Float) -> float:
    """Return how much fine detail a box at its working height holds; 0.09 is a sharp person, 0.005 a smear."""
    smooth_HW = cv2.GaussianBlur(grey_HW, (3, 3), 0)
    detail_HW = np.asarray(cv2.Laplacian(smooth_HW, cv2.CV_32F), np.float32)[1:-1, 1:-1]
    # Fewer pixels show the same blur as steeper edges: with the third power of the height, as measured.
    scale = min(1.0, grey_HW.shape[0] / WORK_HEIGHT_PX) ** 3
    return float(detail_HW.var() / max(float(grey_HW.var()), 1e-6)) * scale if detail_HW.size else 0.0


def measure_relief(image_HWC: Pixels, box_4: Float) -> float:
    """Return by how many grey levels the trunk differs from the median of the strips at both sides.

    The mean of the differences, not the difference of the means: warm and cold parts of a person cancel out in a mean
    (1 grey level on one of the four people of the still, whose differences average 18).
    """
    left, top, width, height = box_4.tolist()
    y0, y1 = max(0, round(top + 0.15 * height)), round(top + 0.7 * height)
    inner_0, inner_1 = max(0, round(left + 0.3 * width)), round(left + 0.7 * width)
    strip = max(1, round(0.3 * width))
    x0, x1 = max(0, round(left)), round(left + width)
    skip = max(1, (y1 - y0) // WORK_HEIGHT_PX)
    rows_HW = image_HWC[y0:y1:skip, :, 1]
    beside_N = np.concatenate([rows_HW[:, max(0, x0 - strip) : x0].ravel(), rows_HW[:, x1 : x1 + strip].ravel()])
    core_N = rows_HW[:, inner_0:inner_1].ravel()
    if not beside_N.size or not core_N.size:
        return 0.0
    return float(np.abs(core_N.astype(np.float32) - np.float32(np.median(beside_N))).mean())


def _rise(value: float, worst: float, good: float) -> float:
    """Return WORST_TERM at worst, 1 from good on, a line between."""
    return WORST_TERM + (1.0 - WORST_TERM) * min(max((value - worst) / (good - worst), 0.0), 1.0)


def _aspect_term(aspect: float, settings: CropSettings) -> float:
    """Return 1 for a person who stands, half of it at the limits."""
    low, high = GOOD_ASPECT
    if aspect < low:
        return 1.0 - 0.5 * (low - aspect) / max(low - settings.least_aspect, 1e-6)
    return 1.0 - 0.5 * max(aspect - high, 0.0) / max(settings.most_aspect - high, 1e-6)
