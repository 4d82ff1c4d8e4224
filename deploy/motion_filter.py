"""The Kalman filter of a track: box centre, aspect and height with their velocities.

State and noise as in DeepSORT and ByteTrack: deviations grow with the box's height (1/20 for places, 1/160 for
velocities), so that near and far people are treated alike. One step is one frame of the camera.

Shapes: 4 measurement (centre x, centre y, width / height, height), 8 state (the same and its velocity).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

PLACE_WEIGHT = 1 / 20
SPEED_WEIGHT = 1 / 160


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """Mean and covariance of a track's state."""

    mean_8: Float
    covariance_88: Float

    @property
    def box_4(self) -> Float:
        """Left, top, width, height in pixels."""
        x, y, aspect, height = self.mean_8[:4].tolist()
        width = aspect * height
        return np.array([x - width / 2, y - height / 2, width, height])


def measure(box_4: Float) -> Float:
    left, top, width, height = box_4.tolist()
    return np.array([left + width / 2, top + height / 2, width / max(height, 1e-6), height])


def start(box_4: Float) -> Motion:
    """Return the state after the first sight of a box: at rest, with a wide velocity."""
    seen_4 = measure(box_4)
    deviation_8 = np.concatenate([2 * _place(seen_4[3], 1e-2), 10 * _speed(seen_4[3])])
    return Motion(mean_8=np.concatenate([seen_4, np.zeros(4)]), covariance_88=np.diag(deviation_8**2))


def predict(motion: Motion, steps: int, *, hold_size: bool = False) -> Motion:
    """Return the state some frames later; hold_size stops growth, which runs away while nobody sees the track."""
    mean_8 = motion.mean_8.copy()
    if hold_size:
        mean_8[6:] = 0
    height = max(float(mean_8[3]), 1.0)
    move_88 = np.eye(8)
    move_88[:4, 4:] = np.eye(4) * steps
    noise_8 = np.concatenate([_place(height, 1e-2), _speed(height)])
    covariance_88 = move_88 @ motion.covariance_88 @ move_88.T + steps * np.diag(noise_8**2)
    return Motion(mean_8=move_88 @ mean_8, covariance_88=covariance_88)


def correct(motion: Motion, box_4: Float) -> Motion:
    """Return the state after a box was seen where predict() put it."""
    seen_4 = measure(box_4)
    noise_44 = np.diag(_place(max(float(motion.mean_8[3]), 1.0), 1e-1) ** 2)
    innovation_44 = motion.covariance_88[:4, :4] + noise_44
    gain_84 = np.linalg.solve(innovation_44, motion.covariance_88[:4]).T
    return Motion(
        mean_8=motion.mean_8 + gain_84 @ (seen_4 - motion.mean_8[:4]),
        covariance_88=motion.covariance_88 - gain_84 @ innovation_44 @ gain_84.T,
    )


def _place(height: float, aspect: float) -> Float:
    return np.array([PLACE_WEIGHT * height, PLACE_WEIGHT * height, aspect, PLACE_WEIGHT * height])


def _speed(height: float) -> Float:
    return np.array([SPEED_WEIGHT * height, SPEED_WEIGHT * height, 1e-5, SPEED_WEIGHT * height])
