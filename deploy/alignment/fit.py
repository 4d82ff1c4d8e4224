"""Fit the map between two pictures from markers that both see, and say how well it fits views that it never saw.

Two models are tried, an affine map and a homography, each with the shift of nearness; the one that predicts left-out
views better is kept. On the ten views of the SpeakingFaces board (768 x 512 pixels) the shift takes the median error of
a left-out view from 7.4 to 3.9 pixels.

Shapes: N points, 2 x and y, P parameters.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import cv2
import numpy as np

from deploy.alignment.alignment import project
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

Model = Literal["affine", "homography"]
MODELS: tuple[Model, ...] = get_args(Model)
LEAST_VIEWS = 4
LEAST_POINTS = 24  # six markers: a homography and a shift are ten numbers
OUTLIER_PX = 3.0  # from here on an error counts less than its square


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """The corners that both pictures of one view show. Scales are pixels per metre in the infrared picture."""

    name: str
    visible_N2: Points
    infrared_N2: Points
    pixels_per_metre_N: Points


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """A map, and the error in pixels of every point of every view, fitted without that view."""

    model: Model
    matrix_33: Points
    shift_2: Points
    errors: tuple[Points, ...]

    @property
    def error_N(self) -> Points:
        return np.concatenate(self.errors)


def fit_views(views: Sequence[View]) -> Fit:
    """Fit both models and return the one whose left-out errors have the smaller median."""
    points = sum(len(view.visible_N2) for view in views)
    if len(views) < LEAST_VIEWS or points < LEAST_POINTS:
        raise BadInput(
            f"expected at least {LEAST_VIEWS} views with {LEAST_POINTS} corners that both cameras see, got "
            f"{len(views)} views with {points}; show the board at more places and distances"
        )
    fits = [_fit_model(views, model) for model in MODELS]
    return min(fits, key=lambda fit: float(np.median(fit.error_N)))


def _fit_model(views: Sequence[View], model: Model) -> Fit:
    errors: list[Points] = []
    for index, view in enumerate(views):
        matrix_33, shift_2 = solve([*views[:index], *views[index + 1 :]], model)
        errors.append(error_of(view, matrix_33, shift_2))
    matrix_33, shift_2 = solve(views, model)
    return Fit(model=model, matrix_33=matrix_33, shift_2=shift_2, errors=tuple(errors))


def error_of(view: View, matrix_33: Points, shift_2: Points) -> Points:
    """Return the distance in visible pixels of every point (N) from where the map puts it."""
    found_N2 = project(matrix_33, shift_2, view.infrared_N2, view.pixels_per_metre_N)
    return np.linalg.norm(found_N2 - view.visible_N2, axis=1)


def solve(views: Sequence[View], model: Model) -> tuple[Points, Points]:
    """Return the map of least robust squares, started from OpenCV's fit without a shift."""
    visible_N2 = np.concatenate([view.visible_N2 for view in views])
    infrared_N2 = np.concatenate([view.infrared_N2 for view in views])
    scale_N = np.concatenate([view.pixels_per_metre_N for view in views])
    start_P = _start(infrared_N2, visible_N2, model)
    # SciPy ships no types: imported by name, as in deploy.tracking.assignment.
    least_squares: Any = importlib.import_module("scipy.optimize").least_squares
    unit = float(np.median(scale_N))

    def residual(value_P: Points) -> Points:
        matrix_33, shift_2 = _unpack(value_P, model)
        return (project(matrix_33, shift_2, infrared_N2, scale_N / unit) - visible_N2).ravel()

    first_P = np.append(start_P, [0.0, 0.0])
    size_P = np.maximum(np.abs(first_P), 1e-4)
    solution: Any = least_squares(residual, first_P, x_scale=size_P, loss="soft_l1", f_scale=OUTLIER_PX)
    matrix_33, shift_2 = _unpack(np.asarray(solution.x, np.float64), model)
    return matrix_33, shift_2 / unit


def _start(infrared_N2: Points, visible_N2: Points, model: Model) -> Points:
    if model == "affine":
        found: Any = cv2.estimateAffine2D(infrared_N2, visible_N2)[0]
        start = None if found is None else np.asarray(found, np.float64).ravel()
    else:
        found = cv2.findHomography(infrared_N2, visible_N2, cv2.RANSAC, 8.0)[0]
        start = None if found is None else (np.asarray(found, np.float64) / found[2, 2]).ravel()[:8]
    if start is None:
        raise BadInput("expected corners that one map can join, got none; do both cameras look the same way?")
    return start


def _unpack(value_P: Points, model: Model) -> tuple[Points, Points]:
    head, shift_2 = value_P[:-2], value_P[-2:]
    tail = [0.0, 0.0, 1.0] if model == "affine" else [1.0]
    return np.append(head, tail).reshape(3, 3), shift_2
