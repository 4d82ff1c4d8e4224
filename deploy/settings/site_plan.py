"""What a site is: its cameras, how they see, which of them see the same ground, and where the rest goes.

Plain values, as a command line or a site file (`deploy.settings.site_file`) gives them, checked one by one here;
nothing is opened. Times are seconds but where a name says otherwise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from engines.errors import BadInput
from engines.manifest import Modality

Band = Literal["visible", "nir", "lwir"]
BANDS: tuple[Band, ...] = get_args(Band)
Polarity = Literal["white-hot", "black-hot"]
POLARITIES: tuple[Polarity, ...] = get_args(Polarity)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True, kw_only=True)
class ThermalSettings:
    """How a long-wave camera's pictures become 8 bits. Polarity: whether warm things are bright."""

    polarity: Polarity = "white-hot"  # of the camera
    trained_polarity: Polarity = "white-hot"  # of the pictures that the network was trained on
    invert_for_detector: bool = True  # a detector of visible people finds 3.5 boxes an image instead of 1.6
    agc_percent: tuple[float, float] = (0.5, 99.5)  # of the pixels, which become black and white
    agc_settle_s: float = 1.5  # time constant of the range: a hot spot that enters must not dim everybody
    telemetry_rows: int = 0  # rows at the bottom that are no picture (Lepton: 2 or 4, Boson: 2)
    freeze_s: float = 2.0  # a flat-field correction repeats pictures for up to this long; longer is a frozen camera

    def __post_init__(self) -> None:
        low, high = self.agc_percent
        if not 0 <= low < high <= 100:
            raise BadInput(
                f"thermal agc_percent: expected two percentages, the lower one first, got {low:g} and {high:g}"
            )
        if self.polarity not in POLARITIES or self.trained_polarity not in POLARITIES:
            raise BadInput(f"thermal polarity: expected one of {', '.join(POLARITIES)}, got {self.polarity!r}")


@dataclass(frozen=True, kw_only=True)
class CameraSite:
    """One camera. `uri` may hold a password: print it through `deploy.cameras.redact.redact` only."""

    name: str
    uri: str = field(repr=False)
    modality: Modality
    band: Band | None = None  # None: visible, or for infrared what the pictures look like
    format: str | None = None  # FOURCC such as MJPG or Y16; None: the driver's choice, Y16 for lwir where offered
    size_px: tuple[int, int] | None = None  # width, height to ask the device for
    fps: float | None = None  # to ask the device for; of a folder: its rate
    realtime: bool | None = (
        None  # recordings: at the speed of life (a live camera's stand-in); None: where another camera is live
    )
    loop: bool = False  # recordings: begin again at the end
    offset_s: float = 0.0  # how late this camera's stamps are: taken off
    tolerance_s: float = 0.05  # frames of two cameras this near in time are of one moment
    place: str = ""  # cameras of one place see the same ground at the same time; "": alone
    detections: Path | None = None  # boxes of one's own instead of the detector
    thermal: ThermalSettings = field(default_factory=ThermalSettings)
    least_height_px: int | None = None  # people smaller than this are not embedded; None: 48, and 24 for lwir

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise BadInput(f"camera name: expected letters, digits, - and _, a letter first, got {self.name!r}")
        if "\0" in self.uri:
            raise BadInput(f"camera {self.name}: expected a source without a zero byte, got {self.uri!r}")
        if self.band is not None and self.band not in BANDS:
            raise BadInput(f"camera {self.name}: expected a band out of {', '.join(BANDS)}, got {self.band!r}")
        if self.modality == "visible" and self.band not in (None, "visible"):
            raise BadInput(
                f"camera {self.name}: a visible camera cannot have the band {self.band}; set modality: infrared"
            )
        if self.tolerance_s < 0:
            raise BadInput(f"camera {self.name}: expected a tolerance of 0 or more, got {self.tolerance_s:g} s")

    @property
    def ground(self) -> str:
        """The place, or the camera's own where it is alone."""
        return self.place or f"camera {self.name}"


@dataclass(frozen=True, kw_only=True)
class PairSite:
    """A visible and an infrared camera side by side, and the map between their pictures (`align_cameras.py`)."""

    visible: str
    infrared: str
    alignment: Path


@dataclass(frozen=True, kw_only=True)
class Transit:
    """How long a person takes from one place to another, both ways; shorter and longer are impossible."""

    places: tuple[str, str]
    least_s: float = 0.0
    most_s: float | None = None

    def __post_init__(self) -> None:
        if self.least_s < 0 or (self.most_s is not None and self.most_s < self.least_s):
            raise BadInput(
                f"transit {' - '.join(self.places)}: expected 0 <= least_s <= most_s, got {self.least_s:g} and "
                f"{self.most_s}"
            )
