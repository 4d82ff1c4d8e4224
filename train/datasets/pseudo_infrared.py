"""Turn a visible clip into something that looks like near infrared. It is a look-alike, not physics.

What a camera saw in three channels cannot tell how the cloth reflects at 850 nm. The mapping below breaks the two
short cuts that a grey copy leaves open - the brightness order of the colours, and pixel-exact alignment:

1. Channels are mixed with red first (0.9 R + 0.5 G - 0.4 B): skin and leaves turn bright, blue dyes turn dark.
2. Saturated colours are lifted towards 0.6, for most dyes are transparent to infrared; the stronger the dye, the more.
3. The tone curve differs from region to region (8 x 8 smooth random mixtures of gamma 0.7 and 1.4), as under a lamp.
4. The picture moves by 6 px and 4 px, grows by 2 %, loses sharpness, and gets the noise of a sensor in the dark.

Shapes: H height, W width, C channel (blue, green, red).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.progress import progress
from train.datasets.synthetic_stream_files import open_video_writer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

MIX = (-0.4, 0.5, 0.9)  # blue, green, red
LIFT = 0.6  # what a fully saturated dye tends to
SHIFT_PX = (6.0, 4.0)
ZOOM = 1.02
BLUR_PX = 0.9
NOISE = 5.0  # standard deviation in 8-bit levels
GAMMA = (0.7, 1.4)


class PseudoInfrared:
    """The mapping for one camera: size and random tone regions are fixed, the noise goes on."""

    def __init__(self, height: int, width: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        coarse = self.rng.random((8, 8)).astype(np.float32)
        self.weight_HW = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
        level_S = np.arange(256, dtype=np.float32) / 255
        self.curves = [255 * level_S ** np.float32(gamma) for gamma in GAMMA]
        self.grain_HW = self.rng.standard_normal((height + 64, width + 64), np.float32) * np.float32(NOISE)
        self.warp = np.array([[ZOOM, 0, SHIFT_PX[0]], [0, ZOOM, SHIFT_PX[1]]], np.float32)

    def __call__(self, frame_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Map a frame; the result has three equal channels."""
        height, width = frame_HWC.shape[:2]
        colour_HWC = frame_HWC.astype(np.float32) / 255
        mixed_HW = np.clip(cv2.transform(colour_HWC, np.array([MIX])), 0, 1)
        blue_HW, green_HW, red_HW = cv2.split(colour_HWC)  # three times as fast as a maximum over the last axis
        highest_HW = cv2.max(cv2.max(blue_HW, green_HW), red_HW)
        lowest_HW = cv2.min(cv2.min(blue_HW, green_HW), red_HW)
        saturation_HW = (highest_HW - lowest_HW) / (highest_HW + 0.15)  # 0.15: the hue of near black is noise
        lifted_HW = mixed_HW + saturation_HW * (LIFT - mixed_HW)
        level_HW = (np.clip(lifted_HW, 0, 1) * 255).astype(np.uint8)
        bright_HW, dark_HW = (cv2.LUT(level_HW, curve_S) for curve_S in self.curves)
        toned_HW = bright_HW + self.weight_HW * (dark_HW - bright_HW)
        moved_HW = cv2.warpAffine(toned_HW, self.warp, (width, height), borderMode=cv2.BORDER_REPLICATE)
        soft_HW = cv2.GaussianBlur(moved_HW, (0, 0), BLUR_PX)
        y, x = self.rng.integers(0, 64, 2)
        noisy_HW = soft_HW + self.grain_HW[y : y + height, x : x + width]
        return np.repeat(np.clip(noisy_HW, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def render_video(source: Path, target: Path, *, seed: int) -> int:
    """Map a clip to a clip with the same frames and rate; returns the number of frames."""
    if not source.is_file():
        raise BadInput(f"expected a video file, got {source}, which does not exist")
    capture = cv2.VideoCapture(str(source))
    try:
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        fps = capture.get(cv2.CAP_PROP_FPS)
        if not capture.isOpened() or min(width, height) < 1 or not 0 < fps < 1000:
            raise BadInput(f"{source}: expected a video that OpenCV can read, got something else; convert it to MP4")
        expected = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        frames = 0
        with atomic_path(target) as temporary:
            writer = open_video_writer(temporary, fps, width, height)
            mapping = PseudoInfrared(height, width, seed)
            try:
                for frame_HWC in progress(_frames(capture), total=expected, unit="frames", label="render"):
                    writer.write(mapping(frame_HWC))
                    frames += 1
            finally:
                writer.release()
            if frames == 0:
                raise BadInput(f"{source}: not one frame could be decoded; convert it to MP4 (H.264 or MPEG-4)")
        return frames
    finally:
        capture.release()


def _frames(capture: cv2.VideoCapture) -> Iterator[NDArray[np.uint8]]:
    while True:
        more, frame_HWC = capture.read()
        if not more:
            return
        yield np.asarray(frame_HWC, np.uint8)
