from __future__ import annotations

import cv2
import numpy as np

from deploy.cameras.frames import Frame
from deploy.drawing.display import FOOTER_PX, HEADER_PX, Display, Status
from deploy.matching.matcher import Decision
from deploy.sightings import TrackKey
from deploy.tracking.tracker import TrackedBox

STATUS = Status(engine="openvino int8", time_s=61.5, frames_per_s=24.0, summary="identities 1")


def picture(height: int, width: int, value: int | None = None) -> Frame:
    """A plain picture, or a smooth one with a chequered pattern of single pixels on it."""
    if value is not None:
        image_HWC = np.full((height, width, 3), value, np.uint8)
    else:
        down, across = np.mgrid[:height, :width]
        chequered = 100 + 50 * (-1.0) ** (down + across)
        image_HWC = np.stack([255 * down / height, 255 * across / width, chequered], -1).astype(np.uint8)
    return Frame(image_HWC=image_HWC, time_s=0.0, index=0, camera="door", modality="visible")


def view_of(target: Display) -> np.ndarray:
    return target.compose(STATUS)[HEADER_PX:-FOOTER_PX]


def test_a_large_picture_is_shown_as_the_mean_of_its_pixels() -> None:
    target, frame = Display([("door", (3840, 2160))]), picture(2160, 3840)
    target.update(frame, {}, {})
    view_HWC = view_of(target)
    expected_HWC = cv2.resize(frame.image_HWC, view_HWC.shape[1::-1], interpolation=cv2.INTER_AREA)
    # Below the camera's name. A third of the pixels: blocks of 3 x 3 have one light or dark pixel too many.
    assert np.abs(view_HWC[60:].astype(int) - expected_HWC[60:]).max() <= 8


def test_a_picture_gives_way_to_the_next_one_and_bars_stay_clean() -> None:
    target = Display([("door", (640, 360))])
    clean_HWC = None
    for value in (200, 60, 200):  # tall pictures leave bars beside them
        target.update(picture(500, 300, value), {}, {})
        view_HWC = view_of(target)
        assert (view_HWC[100:, 640] == value).all()
        clean_HWC = view_HWC if clean_HWC is None else clean_HWC
    assert np.array_equal(view_of(target), clean_HWC)


def test_what_was_drawn_before_leaves_no_trace() -> None:
    target, frame = Display([("door", (640, 360))]), picture(360, 640, 90)
    target.update(frame, {}, {})
    empty_HWC = target.compose(STATUS)
    key = TrackKey("door", 1)
    box = TrackedBox(track=1, box_4=np.array([200, 100, 60, 160], np.float32), score=0.9)
    target.update(frame, {key: box}, {key: Decision(identity=1)})
    target.note("door", "reconnecting: no answer")
    assert not np.array_equal(target.compose(STATUS), empty_HWC)
    target.update(frame, {}, {})
    target.note("door", "")
    assert np.array_equal(target.compose(STATUS), empty_HWC)
