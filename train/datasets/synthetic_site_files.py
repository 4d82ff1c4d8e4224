"""Write a synthetic site: a recording of every camera, the truth of who is where, and the site file for run_cameras.

A camera that is lost leaves what a recorder leaves: one recording up to the loss and, as `NAME-2`, another one from
its return. The site file gives the second one an offset, so that both lie on the clock of the site.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import yaml

from engines.atomic import new_folder
from engines.errors import BadInput
from engines.progress import progress
from train.datasets.synthetic_site import TRANSIT_S
from train.datasets.synthetic_site_view import SiteRenderer
from train.datasets.synthetic_stream_files import open_video_writer

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.synthetic_site import SiteCamera, SitePlan

LEAST_TRANSIT_S = 0.8 * TRANSIT_S  # in the site file: people are inside a view for less than from seat to seat
HEADER = """\
# A synthetic site, written by train/make_site.py; truth.json beside this file says who is where. Run it with
#   python deploy/run_cameras.py --site THIS_FILE --engine DIR --sightings sightings.jsonl --every-box
# and score it with
#   python deploy/score_sightings.py sightings.jsonl truth.json
# NAME-2 is the recording of camera NAME after it was lost for a while: its offset puts it on the same clock.
"""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One file: a camera without a break."""

    name: str
    camera: SiteCamera
    first_frame: int
    frames: int

    def start_s(self, fps: int) -> float:
        return self.first_frame / fps


@dataclass(frozen=True, kw_only=True)
class SiteSummary:
    """What was written."""

    recordings: int
    frames: int
    boxes: int
    visits: int
    people: int


def recordings(plan: SitePlan) -> list[Recording]:
    """List the files: one of each camera, two of one that was lost."""
    found: list[Recording] = []
    for camera in plan.cameras:
        end = plan.shape.frames
        if camera.lost_frames is None:
            found.append(Recording(name=camera.name, camera=camera, first_frame=0, frames=end))
            continue
        lost, back = camera.lost_frames
        found.append(Recording(name=camera.name, camera=camera, first_frame=0, frames=lost))
        found.append(Recording(name=f"{camera.name}-2", camera=camera, first_frame=back, frames=end - back))
    return found


def write_site(target: Path, plan: SitePlan) -> SiteSummary:
    """Write the folder in one piece: the recordings, truth.json and site.yaml."""
    fps = plan.shape.fps
    cameras: dict[str, dict[str, Any]] = {}
    renderers: dict[str, SiteRenderer] = {}
    with new_folder(target) as partial:
        for recording in recordings(plan):
            camera = recording.camera
            renderer = renderers.setdefault(camera.name, SiteRenderer(plan, camera))
            lost = [[frame / fps for frame in camera.lost_frames]] if camera.lost_frames else []
            boxes = _write_recording(partial / file_name(plan, recording), renderer, recording)
            cameras[recording.name] = {
                "modality": camera.modality,
                "place": camera.place,
                "fps": fps,
                "start_s": recording.start_s(fps),
                "frames": recording.frames,
                "gaps_s": lost if recording.first_frame == 0 else [],
                "boxes": boxes,
            }
        truth = _truth(plan, cameras)
        (partial / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
        (partial / "site.yaml").write_text(site_file(plan), encoding="utf-8")
    return SiteSummary(
        recordings=len(cameras),
        frames=sum(camera["frames"] for camera in cameras.values()),
        boxes=sum(len(camera["boxes"]) for camera in cameras.values()),
        visits=len(plan.visits),
        people=plan.shape.identities + plan.shape.unknowns,
    )


def _truth(plan: SitePlan, cameras: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "fps": plan.shape.fps,
        "seconds": plan.shape.seconds,
        "seed": plan.seed,
        "infrared": plan.shape.infrared,
        "unknowns": list(plan.unknowns),
        "visits": [
            {
                "identity": visit.walk.identity,
                "place": visit.place,
                "first_s": round(visit.walk.start_s, 3),
                "last_s": round(visit.walk.end_s, 3),
            }
            for visit in plan.visits
        ],
        "cameras": cameras,
    }


def file_name(plan: SitePlan, recording: Recording) -> str:
    """Name the recording; MPEG-4 cannot hold 16 bits, FFV1 in AVI can."""
    thermal = plan.shape.infrared == "thermal" and recording.camera.modality == "infrared"
    return f"{recording.name}.{'avi' if thermal else 'mp4'}"


def site_file(plan: SitePlan) -> str:
    """Write the site file as text."""
    fps = plan.shape.fps
    cameras: dict[str, dict[str, str | float]] = {}
    for recording in recordings(plan):
        camera = recording.camera
        entry: dict[str, str | float] = {"uri": file_name(plan, recording), "modality": camera.modality}
        if camera.modality == "infrared":
            entry["band"] = "lwir" if plan.shape.infrared == "thermal" else "nir"
        entry["place"] = camera.place
        if recording.first_frame:
            entry["offset_s"] = -recording.start_s(fps)
        cameras[recording.name] = entry
    site: dict[str, Any] = {"cameras": cameras}
    places = list(dict.fromkeys(camera.place for camera in plan.cameras))
    if len(places) == 2:
        # No most_s: the rules compare any two visits, and people come back after minutes.
        site["transits"] = [{"places": places, "least_s": LEAST_TRANSIT_S}]
    return HEADER + yaml.safe_dump(site, sort_keys=False, default_flow_style=None)


def _write_recording(path: Path, renderer: SiteRenderer, recording: Recording) -> list[dict[str, Any]]:
    fps, numbers = renderer.fps, range(recording.first_frame, recording.first_frame + recording.frames)
    size_px = (renderer.width_px, renderer.height_px)
    writer = (
        open_counts_writer(path, fps, *size_px) if path.suffix == ".avi" else open_video_writer(path, fps, *size_px)
    )
    boxes: list[dict[str, Any]] = []
    try:
        for index, number in enumerate(progress(numbers, total=recording.frames, unit="frames", label=recording.name)):
            image, seen = renderer.frame(number)
            writer.write(image)
            boxes += [{"frame": index, "identity": person.identity, "box": list(person.box)} for person in seen]
    finally:
        writer.release()
    return boxes


def open_counts_writer(path: Path, fps: float, width_px: int, height_px: int) -> cv2.VideoWriter:
    """Open a writer of 16-bit grey pictures without loss (FFV1)."""
    settings = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    codec = cv2.VideoWriter.fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, fps, (width_px, height_px), settings)
    if not writer.isOpened():
        raise BadInput(f"{path}: this OpenCV cannot write FFV1 video; install opencv-python from PyPI")
    return writer
