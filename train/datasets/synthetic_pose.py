"""A walking skeleton: joints from body proportions and a moment of the walk cycle, seen from a direction.

Lengths are in statures (the person is 1 high). x points to the person's left, y up, z where the person faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = dict[str, NDArray[np.float64]]

SIDES = (("left", 1.0, 0.0), ("right", -1.0, pi))  # name, sign of x, phase of the leg


@dataclass(frozen=True, kw_only=True)
class Body:
    """Proportions in statures; radii are of the clothed body."""

    shoulder: float  # half width
    waist: float
    hip: float
    depth: float  # half depth of the chest
    belly: float  # half depth at the waist
    hip_height: float
    shoulder_height: float
    head: float  # half height of the head
    arm: float  # radius of the upper arm
    thigh: float  # radius


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A moment of a walk. Drawn per image, never per identity."""

    yaw: float  # 0 faces the camera, pi / 2 walks to the right of the screen
    phase: float  # of the walk cycle, 0 to 2 pi
    stride: float  # swing of the thigh, radians
    arm_swing: float
    elbow: float
    spread: float  # how far the arms stand off, radians
    lean: float
    pitch: float  # how far the camera looks down, radians


def draw_pose(rng: np.random.Generator, pitch: float, pose_range: float) -> Pose:
    """Draw any direction and any moment; pose_range 1 is everyday walking, 0 a person who stands still."""
    stride = rng.uniform(0.1, 0.52) if rng.random() > 0.15 else rng.uniform(0.0, 0.08)
    return Pose(
        yaw=rng.uniform(-pi, pi),
        phase=rng.uniform(0, 2 * pi),
        stride=stride * pose_range,
        arm_swing=stride * rng.uniform(0.5, 1.3) * pose_range,
        elbow=rng.uniform(0.1, 0.7) * pose_range,
        spread=rng.uniform(0.06, 0.20),
        lean=rng.normal(0.03, 0.03) * pose_range,
        pitch=pitch + rng.normal(0, 0.04),
    )


def joints(body: Body, pose: Pose) -> Points:
    """Place the joints in the person's own axes; the lower foot stands on y = 0."""
    points: Points = {}
    lean_z = sin(pose.lean)
    points["pelvis"] = np.array((0.0, body.hip_height, 0.0))
    points["neck"] = np.array((0.0, body.shoulder_height + 0.025, lean_z * 0.35))
    points["crown"] = np.array((0.0, 1.0, lean_z * 0.45 + 0.012))
    points["chin"] = np.array((0.0, 1.0 - 2 * body.head, lean_z * 0.42 + 0.012))
    for side, sign, offset in SIDES:
        phase = pose.phase + offset
        swing = pose.stride * sin(phase)
        knee = 0.06 + pose.stride * 1.6 * max(0.0, cos(phase))  # the leg bends while it swings forward
        points[f"hip_{side}"] = np.array((sign * body.hip * 0.52, body.hip_height - 0.005, 0.0))
        thigh = body.hip_height * 0.47
        points[f"knee_{side}"] = points[f"hip_{side}"] + thigh * _direction(swing, sign * 0.02)
        points[f"ankle_{side}"] = points[f"knee_{side}"] + thigh * 0.98 * _direction(swing - knee, -sign * 0.01)
        toe_angle = swing - knee * 0.8 + pi / 2 - 0.12
        points[f"toe_{side}"] = points[f"ankle_{side}"] + 0.105 * _direction(toe_angle, sign * 0.12) - (0, 0.012, 0)
        points[f"heel_{side}"] = points[f"ankle_{side}"] - 0.02 * _direction(toe_angle, 0.0) - (0, 0.012, 0)
        back = -pose.arm_swing * sin(phase)
        shoulder = np.array((sign * (body.shoulder - body.arm * 0.75), body.shoulder_height - 0.038, lean_z * 0.3))
        points[f"shoulder_{side}"] = shoulder
        points[f"elbow_{side}"] = shoulder + 0.160 * _direction(back, sign * pose.spread)
        fore = _direction(back + pose.elbow, sign * (pose.spread * 0.4))
        points[f"wrist_{side}"] = points[f"elbow_{side}"] + 0.135 * fore
        points[f"hand_{side}"] = points[f"wrist_{side}"] + 0.055 * fore
        points[f"below_{side}"] = points[f"hand_{side}"] - (0, 0.1, 0)  # where a bag hangs
    points["knees"] = (points["knee_left"] + points["knee_right"]) / 2
    ground = min(points[f"{part}_{side}"][1] for part in ("heel", "toe") for side, _, _ in SIDES) - 0.018
    for point in points.values():
        point[1] -= ground
    return points


def _direction(forward: float, outward: float) -> NDArray[np.float64]:
    """Point down, turned forward and outward."""
    return np.array((sin(outward), -cos(forward) * cos(outward), sin(forward) * cos(outward)))


def project(point: NDArray[np.float64], pose: Pose) -> tuple[float, float, float]:
    """Return (right, down, nearness) in statures as the camera sees a point; down is 0 at the person's feet."""
    right = point[0] * cos(pose.yaw) + point[2] * sin(pose.yaw)
    near = -point[0] * sin(pose.yaw) + point[2] * cos(pose.yaw)
    return float(right), float(-point[1] * cos(pose.pitch) + near * sin(pose.pitch)), float(near)
