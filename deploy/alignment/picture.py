"""The picture of an alignment: every view with its corners, where the map puts them, and the errors.

RGB. Shapes: H height, W width, C channel, N points, 2 x and y.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deploy.alignment.alignment import project
from deploy.drawing.display import BACKGROUND, INK, PANEL, QUIET
from deploy.drawing.lettering import put_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deploy.alignment.fit import Fit, View

    Pixels = NDArray[np.uint8]
    Points = NDArray[np.float64]

TILE_PX, COLUMNS, GAP_PX, HEADER_PX, FOOTER_PX = 380, 4, 10, 88, 44
SEEN, MAPPED = (64, 196, 255), (255, 167, 38)
MAGNIFIED = 4  # errors of two to five pixels would not be seen


def draw_alignment(views: Sequence[View], pictures: Sequence[Pixels], fit: Fit) -> Pixels:
    """Return one tile a view: the visible picture, its corners, and each error as a line drawn four times as long."""
    height, width = pictures[0].shape[:2]
    tile_height = round(TILE_PX * height / width)
    rows = -(-len(views) // COLUMNS)
    columns = min(COLUMNS, len(views))
    size = (HEADER_PX + rows * (tile_height + GAP_PX) + FOOTER_PX, max(GAP_PX + columns * (TILE_PX + GAP_PX), 1190))
    canvas_HWC = np.full((*size, 3), BACKGROUND, np.uint8)
    _write_header(canvas_HWC, fit)
    for number, (view, picture_HWC, error_N) in enumerate(zip(views, pictures, fit.errors, strict=True)):
        row, column = divmod(number, COLUMNS)
        x, y = GAP_PX + column * (TILE_PX + GAP_PX), HEADER_PX + row * (tile_height + GAP_PX)
        tile_HWC = np.asarray(cv2.resize(picture_HWC, (TILE_PX, tile_height), interpolation=cv2.INTER_AREA), np.uint8)
        tile_HWC = np.asarray(tile_HWC * 0.55, np.uint8)
        _draw_errors(tile_HWC, view, fit, TILE_PX / width)
        label = f"{view.name}   {np.median(error_N):.1f} px, {len(error_N) // 4} markers"
        cv2.rectangle(tile_HWC, (0, tile_height - 26), (TILE_PX, tile_height), PANEL, -1)
        put_text(tile_HWC, label, (8, tile_height - 22), 14, INK)
        canvas_HWC[y : y + tile_height, x : x + TILE_PX] = tile_HWC
    _draw_scale(canvas_HWC, TILE_PX / width)
    return canvas_HWC


def _write_header(canvas_HWC: Pixels, fit: Fit) -> None:
    error_N = fit.error_N
    put_text(canvas_HWC, "Alignment: infrared into visible", (GAP_PX + 4, 10), 24, INK)
    told = (
        f"views left out of the fit: median {np.median(error_N):.1f} px, 95 % below {np.quantile(error_N, 0.95):.1f} px"
        f"     {fit.model} with a shift for nearness, {len(fit.errors)} views, {len(error_N)} corners"
    )
    put_text(canvas_HWC, told, (GAP_PX + 4, 48), 17, QUIET)


def _draw_errors(tile_HWC: Pixels, view: View, fit: Fit, scale: float) -> None:
    mapped_N2 = project(fit.matrix_33, fit.shift_2, view.infrared_N2, view.pixels_per_metre_N)
    for seen, mapped in zip(view.visible_N2, mapped_N2, strict=True):
        start = (round(seen[0] * scale), round(seen[1] * scale))
        far = seen + MAGNIFIED * (mapped - seen)
        cv2.line(tile_HWC, start, (round(far[0] * scale), round(far[1] * scale)), MAPPED, 2, cv2.LINE_AA)
        cv2.circle(tile_HWC, start, 3, SEEN, -1, cv2.LINE_AA)


def _draw_scale(canvas_HWC: Pixels, scale: float) -> None:
    y = canvas_HWC.shape[0] - FOOTER_PX // 2
    length = round(10 * MAGNIFIED * scale)
    cv2.circle(canvas_HWC, (GAP_PX + 12, y), 4, SEEN, -1, cv2.LINE_AA)
    x = GAP_PX + 26
    x += put_text(canvas_HWC, "corner in the visible picture", (x, y - 11), 16, QUIET) + 30
    cv2.line(canvas_HWC, (x, y), (x + length, y), MAPPED, 2, cv2.LINE_AA)
    put_text(canvas_HWC, f"an error of 10 px, drawn {MAGNIFIED} times as long", (x + length + 12, y - 11), 16, QUIET)
