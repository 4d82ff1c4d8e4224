"""The Kalman filter of all tracks of a camera at once: box centre, aspect and height with their velocities.

State and noise as in DeepSORT and ByteTrack: deviations grow with the box's height (1/20 for places, 1/160 for
velocities), so that near and far people are treated alike. One step is one frame of the camera. Their 8 x 8 covariance
is never more than four 2 x 2 blocks, for no noise and no measurement joins two of the four values, so each value is
filtered by itself and all tracks together: 0.05 ms for 50 tracks, against 1.08 ms one by one with matrices.

Shapes: T tracks, 4 value (centre x, centre y, width / height, height), 5 what is known of each: the value, its
velocity, the variance of the value, the covariance of both, the variance of the velocity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Box = NDArray[np.float32]

PLACE_WEIGHT = 1 / 20
SPEED_WEIGHT = 1 / 160
ASPECT_START, ASPECT_SPEED, ASPECT_SEEN = 1e-2, 1e-5, 1e-1  # the aspect's deviations do not depend on the height


def no_motion() -> Float:
    return np.empty((5, 0, 4))


def start(box_T4: Box) -> Float:
    """Return the state after the first sight of boxes (left, top, width, height): at rest, with a wide velocity."""
    state_5T4 = np.zeros((5, len(box_T4), 4))
    seen_T4 = state_5T4[0] = measure(box_T4)
    state_5T4[2] = _deviation(seen_T4[:, 3], 2 * PLACE_WEIGHT, ASPECT_START) ** 2
    state_5T4[4] = _deviation(seen_T4[:, 3], 10 * SPEED_WEIGHT, ASPECT_SPEED) ** 2
    return state_5T4


def predict(state_5T4: Float, steps: int, held: Sequence[int] = ()) -> Float:
    """Return the state some frames later, as that many single steps give it but for noise of a growing height.

    The size of held tracks stays: growth runs away while nobody sees a track.
    """
    value_T4, speed_T4, variance_T4, both_T4, speed_variance_T4 = state_5T4
    if len(held):
        speed_T4 = speed_T4.copy()
        speed_T4[list(held), 2:] = 0
    place_noise_T4 = _deviation(value_T4[:, 3], PLACE_WEIGHT, ASPECT_START) ** 2
    speed_noise_T4 = _deviation(value_T4[:, 3], SPEED_WEIGHT, ASPECT_SPEED) ** 2
    # Noise of a step's speed moves the place in each step behind it: sums of 0 .. steps - 1 and of their squares.
    ones, squares = steps * (steps - 1) / 2, steps * (steps - 1) * (2 * steps - 1) / 6
    return np.stack(
        [
            value_T4 + steps * speed_T4,
            speed_T4,
            variance_T4
            + 2 * steps * both_T4
            + steps**2 * speed_variance_T4
            + steps * place_noise_T4
            + squares * speed_noise_T4,
            both_T4 + steps * speed_variance_T4 + ones * speed_noise_T4,
            speed_variance_T4 + steps * speed_noise_T4,
        ]
    )


def correct(state_5T4: Float, rows: Sequence[int], box_N4: Box) -> None:
    """Take the boxes that were seen of the tracks in rows into their state, in place."""
    value_N4, speed_N4, variance_N4, both_N4, speed_variance_N4 = part_5N4 = state_5T4[:, rows]
    noise_N4 = _deviation(value_N4[:, 3], PLACE_WEIGHT, ASPECT_SEEN) ** 2
    gain_N4, speed_gain_N4 = part_5N4[2:4] / (variance_N4 + noise_N4)
    surprise_N4 = measure(box_N4) - value_N4
    value_N4 += gain_N4 * surprise_N4
    speed_N4 += speed_gain_N4 * surprise_N4
    speed_variance_N4 -= speed_gain_N4 * both_N4
    variance_N4 *= 1 - gain_N4
    both_N4 *= 1 - gain_N4
    state_5T4[:, rows] = part_5N4


def measure(box_T4: Box) -> Float:
    """Return centre x, centre y, width / height and height of boxes."""
    seen_T4 = np.array(box_T4, np.float64)
    size_T2 = seen_T4[:, 2:].copy()
    seen_T4[:, :2] += size_T2 / 2
    seen_T4[:, 2] = size_T2[:, 0] / np.maximum(size_T2[:, 1], 1e-6)
    return seen_T4


def boxes(state_5T4: Float) -> Box:
    """Return left, top, width and height of every track, in pixels."""
    box_T4 = state_5T4[0].copy()
    box_T4[:, 2] *= box_T4[:, 3]
    box_T4[:, :2] -= box_T4[:, 2:] / 2
    return box_T4.astype(np.float32)


def _deviation(height_T: Float, weight: float, aspect: float) -> Float:
    deviation_T4 = np.empty((len(height_T), 4))
    deviation_T4[:] = weight * np.maximum(height_T, 1.0)[:, None]
    deviation_T4[:, 2] = aspect
    return deviation_T4
