"""The six cameras: place, light, colour, and all that separates a drawn person from a detector's crop.

Shapes: H height, W width, C channel (blue, green, red).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from train.datasets.synthetic_figure import Light, Place, draw_figure
from train.datasets.synthetic_material import Sensor, palette
from train.datasets.synthetic_pose import draw_pose
from train.datasets.synthetic_scene import SURFACES, PlaceKind, Scene, paint_scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.synthetic_figure import Figure
    from train.datasets.synthetic_material import InfraredKind
    from train.datasets.synthetic_person import Person
    from train.datasets.synthetic_solid import Solid

    Radiance = NDArray[np.float32]

SUPERSAMPLING = 2  # 4 grey levels on an edge; 3 costs 60 % more time and the blur hides the difference


@dataclass(frozen=True, kw_only=True)
class SceneStyle:
    """How hard the pictures are; what was measured at these numbers is in the module docstring of synthetic."""

    height_px: int = 128  # of an average crop
    width_px: int = 64
    size_spread: float = 0.18  # crops vary by this share
    pose_range: float = 1.0
    misalignment: float = 0.03  # of the box, as a share of the height
    occlusion: float = 0.06  # share of pictures with something in front of the person
    light_spread: float = 0.20  # of brightness from picture to picture, in octaves
    noise: float = 1.0  # multiplies every camera's
    blur_px: float = 0.5  # at 128 px; the mean of a picture's
    jpeg_quality: tuple[int, int] = (55, 92)


@dataclass(frozen=True, kw_only=True)
class CameraStyle:
    """One camera; numbers are of reflected light unless said otherwise."""

    infrared: bool
    place: int  # cameras of one place see the same scene
    kind: PlaceKind
    cast: tuple[float, float, float]  # gain of blue, green, red
    exposure: float
    ambient: float  # share of light without direction
    azimuth: float  # of the main light; 0 is beside the lens, as of an infrared lamp
    person_gain: float  # an infrared lamp lights the near person more than the wall behind
    noise: float  # standard deviation in 8-bit levels
    pitch: float  # radians down


CAMERAS: dict[int, CameraStyle] = {
    1: CameraStyle(infrared=False, place=1, kind="corridor", cast=(0.84, 0.98, 1.10), exposure=1.25, ambient=0.42,
                   azimuth=0.7, person_gain=1.0, noise=3.0, pitch=0.12),
    2: CameraStyle(infrared=False, place=2, kind="room", cast=(1.00, 1.02, 0.96), exposure=1.10, ambient=0.50,
                   azimuth=-0.6, person_gain=1.0, noise=4.0, pitch=0.16),
    3: CameraStyle(infrared=True, place=2, kind="room", cast=(1.0, 1.0, 1.0), exposure=0.80, ambient=0.26,
                   azimuth=0.1, person_gain=2.1, noise=4.0, pitch=0.16),
    4: CameraStyle(infrared=False, place=4, kind="street", cast=(1.10, 1.00, 0.94), exposure=1.45, ambient=0.34,
                   azimuth=1.0, person_gain=1.0, noise=2.5, pitch=0.20),
    5: CameraStyle(infrared=False, place=5, kind="yard", cast=(0.92, 1.00, 1.05), exposure=1.35, ambient=0.30,
                   azimuth=-1.1, person_gain=1.0, noise=2.5, pitch=0.14),
    6: CameraStyle(infrared=True, place=6, kind="passage", cast=(1.0, 1.0, 1.0), exposure=0.62, ambient=0.22,
                   azimuth=-0.2, person_gain=2.8, noise=5.0, pitch=0.18),
}  # fmt: skip


def sensor_of(camera: CameraStyle, infrared: InfraredKind) -> Sensor:
    return infrared if camera.infrared else "visible"


@lru_cache(maxsize=8)
def camera_scene(seed: int, place: int, kind: PlaceKind) -> Scene:
    """Paint the place of a camera, wide enough that two crops rarely show the same piece."""
    return paint_scene(np.random.default_rng((seed, 2, place)), kind, 320, 1920, 0.60)


@lru_cache(maxsize=8)
def _scene_radiance(seed: int, place: int, kind: PlaceKind, sensor: Sensor) -> Radiance:
    scene = camera_scene(seed, place, kind)
    return look(scene.surface_HW, scene.shade_HW, palette(scene.materials, sensor, SURFACES), sensor)


def look(surface_HW: NDArray[np.uint8], shade_HW: NDArray[np.uint8], palette_KC: Radiance, sensor: Sensor) -> Radiance:
    """Return what a sensor receives: reflected light, or for a thermal sensor the squared warmth, hardly shaded."""
    light_HW = np.asarray(shade_HW * np.float32(1 / 255), np.float32)
    if sensor == "thermal":
        light_HW = np.asarray(light_HW * 0.18 + 0.82, np.float32)
        palette_KC = palette_KC**2
    table_KC = np.zeros((256, palette_KC.shape[1]), np.float32)
    table_KC[: len(palette_KC)] = palette_KC
    # A table per channel: NumPy's palette_KC[surface_HW] takes ten times as long.
    channels = [cv2.LUT(surface_HW, table_KC[:, channel]) * light_HW for channel in range(table_KC.shape[1])]
    return np.stack(channels, 2).astype(np.float32, copy=False)


def develop(radiance_HWC: Radiance, camera: CameraStyle, gain: float) -> Radiance:
    """Apply exposure, cast and the tone curve; returns 0 to 255."""
    scaled_HWC = radiance_HWC * (np.asarray(camera.cast, np.float32) * np.float32(camera.exposure * gain))
    # A shoulder instead of a hard clip: 1 maps to 0.86 of white, so that pale clothes in the sun keep their pattern.
    return np.sqrt(1 - np.exp(-1.35 * scaled_HWC)) * np.float32(255)


def figure_radiance(figure: Figure, person: Person, sensor: Sensor, size: tuple[int, int]) -> tuple[Radiance, Radiance]:
    """Reduce a figure to size; returns light multiplied by cover (H, W, C), and cover (H, W, 1)."""
    table_KC = palette(person.materials, sensor, 17)
    light_HWC = look(figure.surface_HW, figure.shade_HW, table_KC, sensor)
    cover_HW = (figure.surface_HW > 0).astype(np.float32)
    target = (size[1], size[0])
    small_HWC = cv2.resize(light_HWC, target, interpolation=cv2.INTER_AREA)
    small_HW = cv2.resize(cover_HW, target, interpolation=cv2.INTER_AREA)
    return np.asarray(small_HWC, np.float32), np.asarray(small_HW, np.float32)[..., None]


def render_crop(
    person: Person, solids: Sequence[Solid], number: int, rng: np.random.Generator, *, seed: int, style: SceneStyle,
    infrared: InfraredKind, hide_person: bool = False,
) -> NDArray[np.uint8]:  # fmt: skip
    """Render what a detector would cut out of one camera's picture; hide_person leaves all but the person."""
    camera = CAMERAS[number]
    sensor = sensor_of(camera, infrared)
    scale = 1 + style.size_spread * rng.uniform(-1, 1)
    height, width = round(style.height_px * scale), round(style.width_px * scale * rng.uniform(0.9, 1.12))
    pose = draw_pose(rng, camera.pitch, style.pose_range)
    jitter = style.misalignment * rng.normal(size=2)
    stature = height * (0.90 - abs(rng.normal(0, style.misalignment)))
    feet = (width * 0.5 + jitter[0] * height * 0.6, height * 0.955 + jitter[1] * height * 0.5)
    azimuth, ambient = camera.azimuth + rng.normal(0, 0.25), camera.ambient + rng.normal(0, 0.06)
    light = Light(azimuth=azimuth, ambient=float(np.clip(ambient, 0.1, 0.9)), folds=rng.uniform(0.15, 0.4))
    picture_HWC = _background(rng, camera, sensor, seed, (height, width), feet)
    if not hide_person:
        place = Place(feet[0] * SUPERSAMPLING, feet[1] * SUPERSAMPLING, stature * SUPERSAMPLING)
        canvas = (height * SUPERSAMPLING, width * SUPERSAMPLING)
        figure = draw_figure(solids, person.body, pose, place, light, canvas)
        light_HWC, cover_HW1 = figure_radiance(figure, person, sensor, (height, width))
        gain = camera.person_gain if sensor == "nir" else 1.0
        picture_HWC = np.asarray(picture_HWC * (1 - cover_HW1) + light_HWC * np.float32(gain), np.float32)
    if rng.random() < style.occlusion:
        _occlude(rng, picture_HWC)
    picture_HWC *= _uneven_light(rng, height, width)
    tone_HWC = develop(picture_HWC, camera, 2 ** rng.normal(0, style.light_spread))
    return degrade(rng, tone_HWC, camera, style)


def _background(
    rng: np.random.Generator,
    camera: CameraStyle,
    sensor: Sensor,
    seed: int,
    size: tuple[int, int],
    feet: tuple[float, float],
) -> Radiance:
    """Cut a window of the place at random; a person further back is smaller, so the window is too."""
    scene_HWC = _scene_radiance(seed, camera.place, camera.kind, sensor)
    nearness = rng.random()
    zoom = (165 + 65 * nearness) / size[0]  # scene pixels of a crop pixel
    bottom = 235 + 83 * nearness
    left = rng.uniform(0, scene_HWC.shape[1] - size[1] * zoom)
    window = np.array([[zoom, 0, left], [0, zoom, bottom - size[0] * zoom]])
    picture_HWC = cv2.warpAffine(
        scene_HWC,
        window,
        (size[1], size[0]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if sensor == "visible":
        shadow_HW = np.ones(size, np.float32)
        at = (int(feet[0] - size[0] * 0.06 * np.sign(camera.azimuth)), int(feet[1]))
        cv2.ellipse(shadow_HW, at, (int(size[0] * 0.15), int(size[0] * 0.028)), 0, 0, 360, 0.55, -1, cv2.LINE_8)
        picture_HWC *= cv2.blur(shadow_HW, (7, 3))[..., None]
    return np.asarray(picture_HWC, np.float32)


def _occlude(rng: np.random.Generator, picture_HWC: Radiance) -> None:
    """Put a post, a counter or the edge of a wall in front, in a tone of the place: the left edge, not the clothes."""
    height, width = picture_HWC.shape[:2]
    tone = picture_HWC[int(rng.integers(height)), 0] * rng.uniform(0.5, 1.1)
    kind = rng.integers(3)
    if kind == 0:
        thick = max(3, int(width * rng.uniform(0.08, 0.2)))
        left = int(rng.integers(0, width - thick))
        round_W = np.cos(np.linspace(-1.2, 1.2, thick, dtype=np.float32))[None, :, None]
        picture_HWC[:, left : left + thick] = tone * round_W
    elif kind == 1:
        picture_HWC[int(height * rng.uniform(0.66, 0.88)) :] = tone
    else:
        thick = int(width * rng.uniform(0.12, 0.32))
        region = slice(0, thick) if rng.random() < 0.5 else slice(width - thick, width)
        picture_HWC[:, region] = tone


def _uneven_light(rng: np.random.Generator, height: int, width: int) -> Radiance:
    across, along = rng.normal(0, 0.12, 2).astype(np.float32)
    row_H11 = np.linspace(-along, along, height, dtype=np.float32)[:, None, None]
    column_1W1 = np.linspace(-across, across, width, dtype=np.float32)[None, :, None]
    return np.maximum(1 + row_H11 + column_1W1, np.float32(0.2))


@lru_cache(maxsize=1)
def _grain() -> Radiance:
    """A pool of unit Gaussian noise; drawing it per picture would cost a third of the whole rendering time."""
    return np.random.default_rng(21).standard_normal((512, 512, 3), np.float32)


def degrade(rng: np.random.Generator, tone_HWC: Radiance, camera: CameraStyle, style: SceneStyle) -> NDArray[np.uint8]:
    """Blur, add sensor noise, and round to 8 bits; an infrared picture is one channel three times."""
    height, width = tone_HWC.shape[:2]
    sigma = style.blur_px * height / 128 * rng.uniform(0.4, 1.6)
    soft_HWC = cv2.GaussianBlur(tone_HWC, (0, 0), sigma) if sigma > 0.35 else tone_HWC
    if rng.random() < 0.25:  # the person or the camera moved during the exposure
        soft_HWC = cv2.blur(soft_HWC, (2 + int(height / 128 * 2 * rng.random()), 1))
    y, x = (int(value) for value in rng.integers(0, 512 - np.array((height, width)).clip(max=511)))
    grain_HWC = _grain()[y : y + height, x : x + width]
    if camera.infrared:
        grain_HWC = grain_HWC[..., :1]
    noisy_HWC = soft_HWC + grain_HWC * np.float32(camera.noise * style.noise)
    return np.clip(noisy_HWC, 0, 255).astype(np.uint8)
