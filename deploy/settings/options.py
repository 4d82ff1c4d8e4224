"""What run_cameras is asked to do, from its command line and its site file, checked before anything is opened."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.settings.site_file import SiteFile, read_site
from deploy.settings.site_plan import NAME, CameraSite
from engines.errors import BadInput

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from deploy.settings.site_plan import PairSite, Transit
    from engines.manifest import Modality

NAMED = re.compile(rf"({NAME.pattern})=(.+)")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Everything a run needs to know. Times in seconds but where a name says otherwise."""

    cameras: tuple[CameraSite, ...]
    pairs: tuple[PairSite, ...] = ()
    transits: tuple[Transit, ...] = ()
    patient: bool = False
    max_frames: int | None = None
    engine: Path | None = None
    backend: str = "auto"
    precision: str | None = None
    auto_build: bool = False
    detector: Path | None = None
    threshold: float | None = None
    thresholds: Path | None = None
    embed_every: int = 10
    most_crops: int = 8
    gallery: str = "memory"
    keep_days: float = 7.0
    sightings: Path = Path("sightings.jsonl")
    every_box: bool = False
    record_crops: Path | None = None
    save: Path | None = None
    show: bool = False
    web: int | None = None
    listen: str | None = None
    token: str | None = field(default=None, repr=False)
    mqtt: str | None = field(default=None, repr=False)
    webhook: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _least("--embed-every", "frame", self.embed_every)
        _least("--most-crops", "crop", self.most_crops)
        if self.max_frames is not None:
            _least("--max-frames", "frame", self.max_frames)
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise BadInput(f"--threshold: expected a cosine from -1 to 1, got {self.threshold}")
        if self.threshold is not None and self.thresholds is not None:
            raise BadInput("expected --threshold (one cosine) or --thresholds (a calibrated file), got both")
        if self.web is not None and not 0 <= self.web < 65536:
            raise BadInput(f"--web: expected a port from 0 (any free one) to 65535, got {self.web}")
        if self.keep_days <= 0:
            raise BadInput(f"--keep-days: expected a number of days above 0, got {self.keep_days:g}")
        _check_cameras(self.cameras)
        for pair in self.pairs:
            _check_pair(pair, {camera.name: camera.modality for camera in self.cameras})


def options_of(args: argparse.Namespace) -> Options:
    """Merge a command line into its site file: what was typed wins. A flag that was not typed is None."""
    typed = {name: value for name, value in vars(args).items() if value is not None}
    file = read_site(typed.pop("site")) if "site" in typed else SiteFile()
    cameras = cameras_of(typed.pop("rgb", ()), typed.pop("ir", ()), invert=typed.pop("ir_invert", None))
    if cameras and file.cameras:
        raise BadInput("expected the cameras from --site or from --rgb and --ir, got both; remove one of them")
    known = {item.name for item in dataclasses.fields(Options)}
    values = {**file.settings, **{name: value for name, value in typed.items() if name in known}}
    return Options(cameras=cameras or file.cameras, pairs=file.pairs, transits=file.transits, **values)


def cameras_of(rgb: Sequence[str], ir: Sequence[str], *, invert: bool | None = None) -> tuple[CameraSite, ...]:
    """Return the cameras of --rgb and --ir in their order; the first of each share a place, and so on.

    Each is a source, or NAME=SOURCE.
    """
    cameras: list[CameraSite] = []
    modalities: tuple[tuple[Modality, Sequence[str]], ...] = (("visible", rgb), ("infrared", ir))
    for modality, texts in modalities:
        for number, text in enumerate(texts, start=1):
            default = modality if len(texts) == 1 else f"{modality}-{number}"
            name, uri = default, text
            named = NAMED.fullmatch(text)
            if named and not _is_there(text):
                name, uri = named[1], named[2]
            camera = CameraSite(name=name, uri=uri, modality=modality, place=f"place {number}")
            if modality == "infrared" and invert is not None:
                thermal = dataclasses.replace(camera.thermal, invert_for_detector=invert)
                camera = dataclasses.replace(camera, thermal=thermal, band="lwir" if invert else camera.band)
            cameras.append(camera)
    return tuple(cameras)


def _is_there(text: str) -> bool:
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # longer than a path can be, or not one at all
        return False


def _check_cameras(cameras: Sequence[CameraSite]) -> None:
    if not cameras:
        raise BadInput("expected cameras, got none; give --rgb SOURCE and --ir SOURCE, or --site FILE")
    names = [camera.name for camera in cameras]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"camera {twice!r} is named twice; every camera needs a name of its own")
    sources: dict[str, str] = {}
    for camera in cameras:
        first = sources.setdefault(camera.uri, camera.name)
        shared = camera.uri.isdigit() or camera.uri.startswith("/dev/")
        if first != camera.name and shared:
            raise BadInput(
                f"cameras {first!r} and {camera.name!r}: expected two cameras, got device {camera.uri} twice"
            )


def _check_pair(pair: PairSite, known: dict[str, Modality]) -> None:
    words: dict[Modality | None, str] = {"visible": "a visible", "infrared": "an infrared", None: "no"}
    sides: tuple[tuple[str, Modality], ...] = ((pair.visible, "visible"), (pair.infrared, "infrared"))
    for name, modality in sides:
        if known.get(name) != modality:
            raise BadInput(
                f"pair {pair.visible} - {pair.infrared}: expected {words[modality]} camera, got {name!r}, which is "
                f"{words[known.get(name)]} camera of this site"
            )


def _least(flag: str, what: str, value: int) -> None:
    if value < 1:
        raise BadInput(f"{flag}: expected at least 1 {what}, got {value}")


def secret(text: str | None, variable: str) -> str | None:
    """Return a secret from an option, or from the environment, where it does not show in the list of processes."""
    return text or os.environ.get(variable)
