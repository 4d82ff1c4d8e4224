from __future__ import annotations

import numpy as np
import pytest

from deploy.drawing.lettering import put_plate, put_text, text_mask, text_plate

INK, FILL = (236, 240, 245), (14, 17, 22)


def test_a_plate_is_its_text_on_its_colour() -> None:
    mask_HW = text_mask("ID 3  0.82", 15)
    canvas_HWC = np.full((*mask_HW.shape, 3), FILL, np.uint8)
    put_text(canvas_HWC, "ID 3  0.82", (0, 0), 15, INK)
    plate_HWC = text_plate("ID 3  0.82", 15, INK, FILL)
    assert np.array_equal(plate_HWC, canvas_HWC)
    assert len(np.unique(plate_HWC)) > 10  # antialiased


def test_a_plate_that_was_copied_stays_as_it_was() -> None:
    canvas_HWC = np.zeros((40, 200, 3), np.uint8)
    before_HWC = text_plate("door", 13, INK, FILL).copy()
    put_plate(canvas_HWC, text_plate("door", 13, INK, FILL), (3, 4))
    canvas_HWC[:] = 255
    assert np.array_equal(text_plate("door", 13, INK, FILL), before_HWC)


@pytest.mark.parametrize("place", [(5, 5), (-4, -3), (35, 25), (-22, 5), (5, -12), (60, 5), (5, 60)])
def test_what_is_beyond_the_border_is_cut(place: tuple[int, int]) -> None:
    plate_HWC = np.arange(10 * 20 * 3, dtype=np.uint8).reshape(10, 20, 3)
    canvas_HWC = np.zeros((30, 40, 3), np.uint8)
    put_plate(canvas_HWC, plate_HWC, place)
    wide_HWC = np.zeros((200, 240, 3), np.uint8)  # room on every side
    x, y = place[0] + 100, place[1] + 100
    wide_HWC[y : y + 10, x : x + 20] = plate_HWC
    assert np.array_equal(canvas_HWC, wide_HWC[100:130, 100:140])


@pytest.mark.parametrize("place", [(0, -20), (-400, 0), (500, 0), (0, 500)])
def test_text_beyond_the_border_leaves_no_trace(place: tuple[int, int]) -> None:
    canvas_HWC = np.zeros((30, 40, 3), np.uint8)
    put_text(canvas_HWC, "nobody", place, 14, INK)
    assert not canvas_HWC.any()
