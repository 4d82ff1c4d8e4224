"""Where a person of an infrared picture stands in the visible picture of the camera beside it.

Two cameras side by side see near things shifted against far ones, so one plane map is not enough: it is a map of
what is far away, plus a shift that grows with nearness. Nearness is told by size, in pixels per metre: a marker's
known side when the map is fitted, a person's height of about 1.7 m when it is used.

    visible = project(matrix, infrared) + pixels_per_metre * shift

Shapes: N points, 2 x and y, 4 box (left, top, width, height) in pixels.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from engines.atomic import write_text
from engines.errors import BadInput
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    Points = NDArray[np.float64]

PERSON_M = 1.7  # people of 1.5 and 1.9 m are off by a tenth of the shift
EDGE = 0.02  # of the picture: a box that ends there is cut off, and its height says nothing
FORMAT = 1
LARGEST_PX, FARTHEST_PX = 100_000, 1e6  # a picture's side, and where a point may come to lie
# Of the person's height: detectors' boxes of one person in two pictures differ by about a tenth of it.
SLACK, REACH = 0.1, 0.25
SIZE_SLACK, SIZE_REACH = math.log(1.2), math.log(1.6) - math.log(1.2)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """The fitted map of one pair. Sizes are width and height in pixels; residuals are of views left out of the fit."""

    visible_px: tuple[int, int]
    infrared_px: tuple[int, int]
    matrix: tuple[float, ...]  # 9, row by row; infrared to visible pixels of what is far away
    shift: tuple[float, float]  # visible pixels for each pixel per metre in the infrared picture
    residual_px: float  # median
    residual_p95_px: float
    views: int
    points: int
    model: str
    created: str
    format: int = FORMAT

    def project(self, point_N2: Points, pixels_per_metre_N: Points) -> Points:
        """Return the visible pixels of infrared pixels at these scales."""
        return project(np.reshape(self.matrix, (3, 3)), np.asarray(self.shift), point_N2, pixels_per_metre_N)

    def refuse_sizes(self, visible: str, infrared: str, size_px: Mapping[str, tuple[int, int]]) -> None:
        """Raise BadInput where a camera that has given a picture gives another size than the one aligned."""
        for name, aligned_px in ((visible, self.visible_px), (infrared, self.infrared_px)):
            got = size_px.get(name, (0, 0))
            if got not in ((0, 0), aligned_px):
                raise BadInput(
                    f"alignment of {visible} and {infrared}: expected pictures of {aligned_px[0]}x{aligned_px[1]} from "
                    f"{name}, got {got[0]}x{got[1]}; set the camera back, or align the pair again with "
                    "deploy/align_cameras.py"
                )

    def person(self, infrared_box_4: ArrayLike) -> Points:
        """Return the visible box (4) of a person's infrared box."""
        left, top, width, height = np.asarray(infrared_box_4, np.float64).tolist()
        corner_22 = np.array([[left, top], [left + width, top + height]])
        scale = np.full(2, height / PERSON_M)
        (x0, y0), (x1, y1) = self.project(corner_22, scale).tolist()
        return np.array([x0, y0, x1 - x0, y1 - y0])

    def agreement(self, visible_box_4: ArrayLike, infrared_box_4: ArrayLike) -> float:
        """Return how well two boxes can be one person: 1 the same spot, 0 undecided, -1 impossible.

        Between, it falls with the distance of the middles, in heights, and with the ratio of the heights. The height
        of a box that a picture cuts off is left out, and so is the direction in which it is cut.
        """
        found_4, infrared_4 = np.asarray(visible_box_4, np.float64), np.asarray(infrared_box_4, np.float64)
        expected_4 = self.person(infrared_4)
        cut = _is_cut(found_4, self.visible_px) | _is_cut(infrared_4, self.infrared_px)
        height_px = max(float(expected_4[3]), 1.0)
        middle_2 = expected_4[:2] + expected_4[2:] / 2
        found_2 = found_4[:2] + found_4[2:] / 2
        away_2 = np.abs(found_2 - middle_2) / height_px
        distance = float(np.linalg.norm(np.where(cut, 0.0, away_2)))
        slack = SLACK + self.residual_px / height_px
        agreement = _fall(distance, slack, REACH)
        if not cut[1]:
            ratio = abs(math.log(max(float(found_4[3]), 1.0) / height_px))
            agreement = min(agreement, _fall(ratio, SIZE_SLACK, SIZE_REACH))
        return agreement if not cut.all() else 0.0

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def project(matrix_33: Points, shift_2: Points, point_N2: Points, pixels_per_metre_N: Points) -> Points:
    """Return the visible pixels (N, 2) of infrared pixels at these scales."""
    point_N3 = np.column_stack([point_N2, np.ones(len(point_N2))]) @ matrix_33.T
    return point_N3[:, :2] / point_N3[:, 2:] + np.outer(pixels_per_metre_N, shift_2)


def load_alignment(path: Path) -> Alignment:
    """Read an alignment; every defect is one line."""
    again = "make it anew with deploy/align_cameras.py"
    try:
        raw: object = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: expected an alignment, got no such file; {again}") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected an alignment as JSON, got {error}; {again}") from error
    names = {item.name for item in dataclasses.fields(Alignment)}
    if not isinstance(raw, dict) or set(cast("dict[str, Any]", raw)) != names:
        raise BadInput(f"{path}: expected an alignment with {', '.join(sorted(names))}, got other keys; {again}")
    fields = cast("dict[str, Any]", raw)
    if (type(fields["format"]), fields["format"]) != (int, FORMAT):  # True and 1.0 are 1 too
        raise BadInput(f"{path}: expected format {FORMAT}, got {fields['format']!r}; {again}")
    for name, length in (("visible_px", 2), ("infrared_px", 2), ("matrix", 9), ("shift", 2)):
        value = cast("list[Any]", fields[name]) if isinstance(fields[name], list) else []
        if len(value) != length or not all(map(_is_number, value)):
            raise BadInput(f"{path}: {name}: expected {length} numbers, got {fields[name]!r}; {again}")
        fields[name] = tuple(value)
    for name, (what, fits) in _FITS.items():
        if not fits(fields[name]):
            raise BadInput(f"{path}: {name}: expected {what}, got {fields[name]!r}; {again}")
    found = Alignment(**fields)
    if not _maps(found):
        raise BadInput(f"{path}: matrix: expected a map of the whole infrared picture, got {found.matrix}; {again}")
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_size(value: tuple[object, ...]) -> bool:
    return all(isinstance(side, int) and 1 <= side <= LARGEST_PX for side in value)


def _is_some(value: object) -> bool:
    return _is_number(value) and cast("float", value) >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_some(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


_FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "visible_px": ("width and height in pixels", _is_size),
    "infrared_px": ("width and height in pixels", _is_size),
    "residual_px": ("a number of 0 or more", _is_some),
    "residual_p95_px": ("a number of 0 or more", _is_some),
    "views": ("a whole number of 0 or more", _is_count),
    "points": ("a whole number of 0 or more", _is_count),
    "model": ("a text", _is_text),
    "created": ("a text", _is_text),
}


def _maps(found: Alignment) -> bool:
    """Say whether the four corners of the infrared picture have a place: then so has all that is between them."""
    width, height = found.infrared_px
    corner_43 = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    with np.errstate(all="ignore"):
        place_43 = corner_43 @ np.reshape(found.matrix, (3, 3)).T
        limit_4 = FARTHEST_PX * np.abs(place_43[:, 2])
        fits = (place_43[:, 2] > 0).all() or (place_43[:, 2] < 0).all()
        fits = fits and max(map(abs, found.matrix)) < 1e9
        return bool(fits and (np.abs(place_43[:, :2]) <= limit_4[:, None]).all() and max(map(abs, found.shift)) < 1e6)


def _is_cut(box_4: Points, size_px: tuple[int, int]) -> NDArray[np.bool_]:
    """Return whether the picture cuts a box off: sideways, and above or below."""
    size_2 = np.asarray(size_px, np.float64)
    low_2, high_2 = box_4[:2], box_4[:2] + box_4[2:]
    return np.asarray((low_2 < EDGE * size_2) | (high_2 > (1 - EDGE) * size_2))


def _fall(value: float, slack: float, reach: float) -> float:
    """Return 1 up to slack, 0 at slack + reach, -1 from slack + 2 reach on."""
    return 1.0 - min(max(value - slack, 0.0) / reach, 2.0)
