"""What a calibration on site gave, for people: a table, and a picture of who resembles whom in each direction.

Drawn with OpenCV and our own lettering: a device has no matplotlib. Shapes: H height, W width, C channel (RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from deploy.drawing.lettering import put_text, text_mask
from deploy.drawing.pictures import write_png
from deploy.thresholds.site import KNOWN, verdict
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.thresholds.site import Calibration, Finding

    Pixels = NDArray[np.uint8]

GALLERIES = (1, 5, 20, 60)
WIDTH_PX, MARGIN_PX, HEADER_PX, PANEL_PX = 1180, 28, 92, 250
PLOT_PX = 118  # height of the bars
PAPER, INK, QUIET, GRID = (255, 255, 255), (28, 36, 48), (93, 104, 117), (217, 221, 227)
# Okabe and Ito: told apart by colour-blind eyes.
STRANGERS, GENUINE, LIMIT = (213, 94, 0), (0, 114, 178), (28, 36, 48)
EDGES = np.linspace(-0.4, 1.0, 141)


def table(calibration: Calibration) -> str:
    """Return the result as lines: what was measured, the thresholds, and what is missing where nothing is written."""
    thresholds = calibration.thresholds
    rate = thresholds.false_match_rate or 0.0
    head = ["direction", "strangers", "worth", "same", *(f"among {people}" for people in GALLERIES), "true matches"]
    rows = [head]
    for found in calibration.findings:
        name = found.direction
        measured = found.measured
        cells = [name, str(len(found.impostor_N)), "-", str(len(found.genuine_N))]
        if measured is not None:
            cells[2] = f"{measured.tails[0].effective_pairs:.0f}"
        if not found.written:
            rows.append([*cells, *["-"] * (len(GALLERIES) + 1)])
            continue
        for people in GALLERIES:
            mark = "" if thresholds.supported(name, people) else "?"
            cells.append(f"{thresholds.least(name, people):.3f}{mark}")
        true = thresholds.true_match_rate(name, 1)
        halves = " of halves" if found.genuine_source != KNOWN else ""
        rows.append([*cells, "unknown" if true is None else f"{100 * true:.0f} %{halves}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(f"{cell:<{width}}" if not column else f"{cell:>{width}}" for column, (cell, width) in
                  enumerate(zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]  # fmt: skip
    lines.append(
        f"least cosines for {100 * rate:g} % false matches in a search, 95 % sure; ? has too few strangers behind it "
        "and errs to the safe side; worth: independent pairs of strangers; true matches: among 1, halves: of one track"
    )
    return "\n".join(lines + [_remark(found, rate) for found in calibration.findings]) + "\n"


def write_picture(calibration: Calibration, path: Path) -> None:
    """Draw the similarities of strangers and of one person in each direction, with the thresholds, as a PNG file."""
    if path.suffix.lower() != ".png":
        raise BadInput(f"--picture: expected a file name that ends in .png, got {path.name}")
    height_px = HEADER_PX + PANEL_PX * len(calibration.findings) + MARGIN_PX
    canvas_HWC = np.full((height_px, WIDTH_PX, 3), 255, np.uint8)
    thresholds = calibration.thresholds
    title = f"Thresholds for {100 * (thresholds.false_match_rate or 0):g} % false matches in a search"
    put_text(canvas_HWC, title, (MARGIN_PX, 18), 24, INK)
    put_text(canvas_HWC, f"{thresholds.engine}, {thresholds.source}", (MARGIN_PX, 54), 15, QUIET)
    for number, found in enumerate(calibration.findings):
        _draw(canvas_HWC, HEADER_PX + number * PANEL_PX, found, calibration)
    write_png(path, canvas_HWC)


def _remark(found: Finding, rate: float) -> str:
    pairs = ", ".join(f"{one.camera} {one.track} and {two.camera} {two.track} at {cosine:.2f}"
                      for cosine, one, two in found.closest)  # fmt: skip
    alike = f"; most alike strangers: {pairs}" if pairs else ""
    return f"{found.direction}: {verdict(found, rate)}{alike}"


def _draw(canvas_HWC: Pixels, top: int, found: Finding, calibration: Calibration) -> None:
    rate = calibration.thresholds.false_match_rate or 0.0
    cv2.line(canvas_HWC, (MARGIN_PX, top), (WIDTH_PX - MARGIN_PX, top), GRID, 1)
    width = put_text(canvas_HWC, found.direction, (MARGIN_PX, top + 10), 18, INK)
    said = verdict(found, rate)
    room = WIDTH_PX - 2 * MARGIN_PX - width - 16
    while text_mask(said, 14).shape[1] > room:
        said = said.rsplit(" ", 2)[0] + " ..."
    put_text(canvas_HWC, said, (MARGIN_PX + width + 16, top + 14), 14, QUIET)
    base = top + 78 + PLOT_PX
    _axis(canvas_HWC, base)
    highest = 0
    for values_N, colour in ((found.impostor_N, STRANGERS), (found.genuine_N, GENUINE)):
        if len(values_N):
            _bars(canvas_HWC, base, values_N, colour)
    words = (
        (f"{len(found.impostor_N)} pairs of strangers", STRANGERS),
        (f"{len(found.genuine_N)} pairs of one person ({found.genuine_source})", GENUINE),
    )
    for text, colour in words:
        cv2.rectangle(canvas_HWC, (MARGIN_PX + highest, top + 40), (MARGIN_PX + highest + 12, top + 52), colour, -1)
        highest += 18 + put_text(canvas_HWC, text, (MARGIN_PX + highest + 18, top + 37), 14, INK) + 24
    if found.written:
        _limits(canvas_HWC, base, found, calibration)


def _place(cosine: float) -> int:
    span = WIDTH_PX - 2 * MARGIN_PX
    return MARGIN_PX + round(span * (min(max(cosine, EDGES[0]), EDGES[-1]) - EDGES[0]) / (EDGES[-1] - EDGES[0]))


def _axis(canvas_HWC: Pixels, base: int) -> None:
    cv2.line(canvas_HWC, (MARGIN_PX, base), (WIDTH_PX - MARGIN_PX, base), QUIET, 1)
    for tenth in range(-4, 11, 2):
        x = _place(tenth / 10)
        cv2.line(canvas_HWC, (x, base), (x, base + 5), QUIET, 1)
        text = f"{tenth / 10:.1f}"
        put_text(canvas_HWC, text, (x - text_mask(text, 13).shape[1] // 2, base + 7), 13, QUIET)


def _bars(canvas_HWC: Pixels, base: int, values_N: NDArray[np.float64], colour: tuple[int, int, int]) -> None:
    """Draw a histogram, half covering what is below it, as high as its highest bin allows."""
    count_S = np.histogram(np.clip(values_N, EDGES[0], EDGES[-1]), EDGES)[0]
    over_HWC = canvas_HWC.copy()
    for place, share in enumerate((count_S / count_S.max()).tolist()):
        if share:
            # A single pair must be seen: the tail is what this is about.
            top = base - max(2, round(PLOT_PX * share))
            cv2.rectangle(over_HWC, (_place(EDGES[place]), top), (_place(EDGES[place + 1]) - 1, base - 1), colour, -1)
    canvas_HWC[:] = cv2.addWeighted(over_HWC, 0.6, canvas_HWC, 0.4, 0)


def _limits(canvas_HWC: Pixels, base: int, found: Finding, calibration: Calibration) -> None:
    """Draw the thresholds of the smallest and the largest gallery; ? has too few strangers behind it."""
    free = WIDTH_PX - MARGIN_PX  # from the right: the cosine rises with the people
    for people in (GALLERIES[-1], GALLERIES[0]):
        x = _place(calibration.thresholds.least(found.direction, people))
        cv2.line(canvas_HWC, (x, base - PLOT_PX - 2), (x, base), LIMIT, 2)
        text = f"among {people}" + ("" if calibration.thresholds.supported(found.direction, people) else "?")
        left = min(x + 5, free - text_mask(text, 13).shape[1])
        put_text(canvas_HWC, text, (left, base - PLOT_PX - 19), 13, INK)
        free = left - 8
