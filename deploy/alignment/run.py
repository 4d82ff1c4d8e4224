"""What align_cameras does: collect views of the board, fit, write the map and its picture.

Shapes: H height, W width, C channel (3, RGB), N points.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deploy.alignment.alignment import Alignment
from deploy.alignment.fit import LEAST_POINTS, View, fit_views
from deploy.alignment.markers import MarkerFinder, make_view
from deploy.alignment.picture import draw_alignment
from deploy.cameras.camera import Camera
from deploy.cameras.pairing import moments
from deploy.drawing.pictures import write_png
from deploy.loop.stopping import stop_on_signals
from deploy.settings.site_plan import CameraSite
from deploy.sources import make_source
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

INFRARED_NAMES = ("infrared", "thermal", "ir")
LEAST_MARKERS = 3  # in a view of a camera; a still picture gives what it has
LEAST_GAP_S = 1.0
LEAST_MOVE = 0.04  # of the picture's width, between two views of a camera


@dataclass(frozen=True, kw_only=True)
class AlignOptions:
    """The command line of align_cameras."""

    views: Path | None
    rgb: str | None
    ir: str | None
    views_wanted: int
    save_views: Path | None
    marker_mm: float
    dictionary: str
    out: Path
    picture: Path | None

    def __post_init__(self) -> None:
        cameras = self.rgb is not None and self.ir is not None
        if (self.views is None) == (not cameras) or (self.views is not None and (self.rgb or self.ir)):
            raise BadInput("expected a folder of views, or --rgb and --ir; give one of the two")
        if self.marker_mm <= 0:
            raise BadInput(f"--marker-mm: expected a length above 0, got {self.marker_mm:g}")
        if self.views_wanted < 1:
            raise BadInput(f"--views-wanted: expected at least 1, got {self.views_wanted}")


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures of one moment."""

    name: str
    visible_HWC: Pixels
    infrared_HWC: Pixels
    time_s: float | None = None  # of a stream, which has more of them


def align(options: AlignOptions) -> int:
    """Collect, fit, write."""
    finder = MarkerFinder(options.dictionary)
    with ExitStack() as stack:
        pairs = read_pairs(options.views) if options.views is not None else watch(options, stack)
        views, kept = collect(pairs, finder, options)
    fit = fit_views(views)
    alignment = Alignment(
        visible_px=(kept[0].visible_HWC.shape[1], kept[0].visible_HWC.shape[0]),
        infrared_px=(kept[0].infrared_HWC.shape[1], kept[0].infrared_HWC.shape[0]),
        matrix=tuple(fit.matrix_33.ravel().tolist()),
        shift=(float(fit.shift_2[0]), float(fit.shift_2[1])),
        residual_px=round(float(np.median(fit.error_N)), 3),
        residual_p95_px=round(float(np.quantile(fit.error_N, 0.95)), 3),
        views=len(views),
        points=len(fit.error_N),
        model=fit.model,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )
    picture = options.picture or options.out.with_suffix(".png")
    write_png(picture, draw_alignment(views, [pair.visible_HWC for pair in kept], fit))
    alignment.save(options.out)
    sys.stdout.write(
        f"{alignment.views} views, {alignment.points} corners; a view left out of the fit is off by a median of "
        f"{alignment.residual_px:.1f} px, 95 % below {alignment.residual_p95_px:.1f} px ({alignment.model})\n"
        f"{options.out}; {picture}\n"
    )
    return 0


def collect(pairs: Iterator[Pair], finder: MarkerFinder, options: AlignOptions) -> tuple[list[View], list[Pair]]:
    """Return the views with markers in both pictures; of a stream only those where the board had moved."""
    views: list[View] = []
    kept: list[Pair] = []
    last_s = float("-inf")
    for pair in pairs:
        if kept and pair.visible_HWC.shape != kept[0].visible_HWC.shape:
            raise BadInput(f"{pair.name}: expected pictures of one size, got two; use one resolution of each camera")
        stream = pair.time_s is not None
        if pair.time_s is not None and pair.time_s - last_s < LEAST_GAP_S:
            continue
        visible, infrared = finder.find(pair.visible_HWC), finder.find(pair.infrared_HWC)
        view = make_view(pair.name, visible, infrared, options.marker_mm / 1000)
        if stream and (view is None or len(view.visible_N2) < 4 * LEAST_MARKERS or not _is_new(view, views, pair)):
            continue
        if view is None:
            sys.stderr.write(f"{pair.name}: left out, {len(visible)} and {len(infrared)} markers, none in both\n")
            continue
        last_s = pair.time_s or 0.0
        views.append(view)
        kept.append(pair)
        if stream:
            sys.stderr.write(f"view {len(views)} of {options.views_wanted}: {len(view.visible_N2) // 4} markers\n")
            _keep(pair, options.save_views)
        if stream and len(views) >= options.views_wanted:
            break
    if not views:
        raise BadInput(
            f"expected views in which both cameras see markers of {options.dictionary}, got none (at least "
            f"{LEAST_POINTS // 4} markers in all are needed); is the board warm, and is this its --dictionary?"
        )
    return views, kept


def read_pairs(folder: Path) -> Iterator[Pair]:
    """Yield the views of a folder in the order of their names."""
    if not folder.is_dir():
        raise BadInput(f"expected a folder of views, got {str(folder)!r}: no such folder")
    found = {path.stem.rpartition("_")[0]: path for path in sorted(folder.glob("*_visible.*"))}
    names = sorted(found, key=lambda name: (len(name), name))
    if not names:
        raise BadInput(
            f"{folder}: expected pictures named NAME_visible.png and NAME_infrared.png, found none; "
            "--save-views makes them"
        )
    for name in names:
        other = next((path for kind in INFRARED_NAMES for path in sorted(folder.glob(f"{name}_{kind}.*"))), None)
        if other is None:
            raise BadInput(f"{folder}: expected {name}_infrared.png beside {found[name].name}, found none; add it")
        yield Pair(name, _read(found[name]), _read(other))


def watch(options: AlignOptions, stack: ExitStack) -> Iterator[Pair]:
    """Yield the pairs of pictures of two cameras until a signal comes."""
    stop = stack.enter_context(stop_on_signals())
    arrival, origin_s = threading.Condition(), time.monotonic()
    assert options.rgb is not None
    assert options.ir is not None
    sites = (
        CameraSite(name="visible", uri=options.rgb, modality="visible", place="pair"),
        CameraSite(name="infrared", uri=options.ir, modality="infrared", place="pair"),
    )
    cameras = [Camera(site, make_source(site), arrival=arrival, origin_s=origin_s) for site in sites]
    for camera in cameras:
        stack.enter_context(camera)
    sys.stderr.write("show the board to both cameras, hold it still for a second, move it; Ctrl-C ends\n")
    for moment in moments(cameras, stopped=stop.is_set):
        frames = {frame.modality: frame for frame in moment.frames}
        if len(frames) == 2:
            yield Pair(
                f"{moment.time_s:.1f} s", frames["visible"].image_HWC, frames["infrared"].image_HWC, moment.time_s
            )


def _is_new(view: View, views: list[View], pair: Pair) -> bool:
    middle_2 = view.infrared_N2.mean(0)
    reach_px = LEAST_MOVE * pair.infrared_HWC.shape[1]
    return all(float(np.linalg.norm(middle_2 - other.infrared_N2.mean(0))) > reach_px for other in views)


def _keep(pair: Pair, folder: Path | None) -> None:
    if folder is not None:
        for kind, image_HWC in (("visible", pair.visible_HWC), ("infrared", pair.infrared_HWC)):
            write_png(folder / f"{pair.name.removesuffix(' s')}_{kind}.png", image_HWC)


def _read(path: Path) -> Pixels:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadInput(f"{path}: expected a picture, got a file that cannot be decoded; remove it")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
