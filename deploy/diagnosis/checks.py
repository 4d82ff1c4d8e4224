"""What is on this device, what is missing, and what to do about it: one function a subject.

Every check is given what it looks at, so that tests need no other machine; none changes anything.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from deploy.cameras.device_nodes import describe_devices
from deploy.gallery import open_gallery
from deploy.sources.gstreamer import gi_has_gstreamer
from engines.choose_plan import device_here, graphs_of
from engines.errors import BadInput, first_line
from engines.manifest import PRECISIONS, load_manifest, verified_path
from engines.model_id import model_id
from engines.plan_target import FLAVOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from deploy.cameras.device_nodes import Device
    from deploy.sources.v4l2 import PixelFormat

State = Literal["ok", "note", "problem"]
LEAST_PYTHON = (3, 10)
LEAST_FREE_GB = 2.0
PACKAGES = (
    "numpy",
    "opencv-python",
    "pillow",
    "scipy",
    "pyyaml",
    "paho-mqtt",
    "prometheus-client",
)
RUNTIMES = ("openvino", "onnxruntime", "pycuda")  # pycuda: what TensorRT runs through; one of them is enough
# All of them install the same folder, cv2: whoever came last wins, and removing one breaks the other.
OPENCVS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
WRITERS = ("mp4v", "avc1", "MJPG")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: problem means that something will not work."""

    subject: str
    state: State
    text: str
    advice: str = ""


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> list[Finding]:
    text = f"Python {'.'.join(map(str, version))} on {platform.machine()}, {platform.system()} {platform.release()}"
    if version < LEAST_PYTHON:
        return [Finding(subject="python", state="problem", text=text, advice="install Python 3.10 or newer")]
    return [Finding(subject="python", state="ok", text=text)]


def check_packages(installed: Callable[[str], str | None] | None = None) -> list[Finding]:
    """Look for what is missing, and for two packages that fill one folder."""
    version = installed or _version
    found = [f"{name} {number}" for name in (*PACKAGES, *RUNTIMES) if (number := version(name))]
    missing = [name for name in PACKAGES if not version(name) and name != "opencv-python"]
    findings = [Finding(subject="packages", state="ok", text=", ".join(found))]
    for name in missing:
        findings.append(
            Finding(subject="packages", state="problem", text=f"{name} is missing", advice=f"pip install {name}")
        )
    if not any(map(version, RUNTIMES)):
        advice = "pip install openvino onnxruntime on a CPU, pycuda where TensorRT is"
        findings.append(
            Finding(subject="packages", state="problem", text="nothing that runs an engine is installed", advice=advice)
        )
    doubles = [name for name in OPENCVS if version(name)]
    if len(doubles) > 1:
        advice = f"pip uninstall -y {' '.join(doubles)} && pip install opencv-python"
        text = f"{' and '.join(doubles)} are both installed and overwrite each other"
        findings.append(Finding(subject="packages", state="problem", text=text, advice=advice))
    return findings


def check_opencv(build: str | None = None, environ: Mapping[str, str] = os.environ) -> list[Finding]:
    """Say what pictures OpenCV can get, decode, write and show."""
    information = cv2.getBuildInformation() if build is None else build
    gstreamer = bool(re.search(r"GStreamer:\s+YES", information))
    ffmpeg = bool(re.search(r"FFMPEG:\s+YES", information))
    display = bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    writers = [code for code in WRITERS if _writes(code)]
    findings = [
        Finding(
            subject="opencv",
            state="ok" if ffmpeg else "problem",
            text=f"OpenCV {cv2.__version__}, FFmpeg {'yes' if ffmpeg else 'no'}, GStreamer "
            f"{'yes' if gstreamer else 'no'}, writes {', '.join(writers) or 'no video'}",
            advice="" if ffmpeg else "network cameras and videos need FFmpeg: pip install opencv-python",
        )
    ]
    if not gstreamer:
        gi = gi_has_gstreamer()
        findings.append(
            Finding(
                subject="opencv",
                state="note",
                text="csi:// and gst: need GStreamer; "
                + ("python3-gi is here and is used" if gi else "neither this OpenCV nor python3-gi has it"),
                advice="" if gi else "on a Jetson: JetPack's OpenCV, or apt install python3-gi",
            )
        )
    if not display:
        text = "no display (DISPLAY and WAYLAND_DISPLAY are empty): --show is left out"
        findings.append(Finding(subject="display", state="note", text=text, advice="use --web"))
    return findings


def check_cameras(devices: Callable[[], list[Device]] = describe_devices) -> list[Finding]:
    """List cameras with their formats, and the nodes that are none."""
    found = devices()
    cameras = [device for device in found if device.is_camera]
    findings: list[Finding] = []
    for device in cameras:
        formats = ", ".join(_format(item) for item in device.formats) or "formats unknown"
        by_id = f", {device.by_id}" if device.by_id else ""
        findings.append(
            Finding(
                subject="camera",
                state="ok" if device.permission else "problem",
                text=f'{device.number} {device.path} "{device.name}" {formats}{by_id}',
                advice="" if device.permission else "permission denied: add the user to the group video, log in again",
            )
        )
    others = [str(device.number) for device in found if not device.is_camera]
    if others:
        findings.append(Finding(subject="camera", state="note", text=f"{', '.join(others)}: metadata, not cameras"))
    if not cameras:
        findings.append(Finding(subject="camera", state="note", text="no camera is connected to this machine"))
    buses = [device.bus for device in cameras if device.bus.startswith("usb")]
    # usb-0000:00:14.0-3 and usb-0000:00:14.0-4.1 hang on one controller.
    controllers = [bus.rpartition("-")[0] for bus in buses]
    shared = sorted({name for name in controllers if controllers.count(name) > 1})
    for name in shared:
        text = f"{controllers.count(name)} cameras share the USB controller {name}"
        findings.append(
            Finding(
                subject="camera", state="note", text=text, advice="if one does not start: MJPG, or another controller"
            )
        )
    return findings


def check_runtimes() -> list[Finding]:
    """Say which runtimes can run an engine here, and on which GPU."""
    findings: list[Finding] = []
    for name in ("openvino", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda"):
        found = importlib.util.find_spec(name) is not None
        if name == "onnxruntime" and found:
            runtime: Any = importlib.import_module(name)
            providers = ", ".join(runtime.get_available_providers())
            findings.append(
                Finding(subject="runtime", state="ok", text=f"onnxruntime {runtime.__version__}: {providers}")
            )
        elif found:
            findings.append(Finding(subject="runtime", state="ok", text=f"{name} {_version_of_module(name)}"))
    here = [device for flavour in FLAVOURS if (device := device_here(flavour)) is not None]
    for device in here:
        findings.append(Finding(subject="gpu", state="ok", text=str(device)))
    if not here:
        findings.append(
            Finding(subject="gpu", state="note", text="no GPU that TensorRT could use: engines run on the CPU")
        )
    return findings


def check_engine(folder: Path | None) -> list[Finding]:
    """Check the files of an engine folder, and whether this device can run it."""
    if folder is None:
        text = "no engine in engines/built"
        return [Finding(subject="engine", state="note", text=text, advice="build one: python deploy/build_engine.py")]
    try:
        manifest = load_manifest(folder)
        for graph in manifest.graphs:
            verified_path(folder, graph)
    except BadInput as error:
        return [Finding(subject="engine", state="problem", text=first_line(error))]
    modalities = sorted({graph.modality for graph in manifest.graphs})
    text = f"{folder}: {manifest.method}, model {model_id(manifest)}, {' and '.join(modalities)}, {manifest.created}"
    findings = [Finding(subject="engine", state="ok", text=text)]
    if not manifest.matching:
        advice = "run deploy/calibrate_threshold.py"
        findings.append(Finding(subject="engine", state="note", text="no threshold: similarities only", advice=advice))
    for flavour in FLAVOURS:
        device = device_here(flavour)
        if device is None:
            continue
        fits = [p for p in PRECISIONS if graphs_of(manifest, p, (flavour,), device) is not None]
        command = f"python deploy/build_engine.py {folder} --backend {flavour}"
        findings.append(
            Finding(
                subject="engine",
                state="ok" if fits else "note",
                text=f"plans for {device}: {', '.join(fits) or 'none'}",
                advice="" if fits else command,
            )
        )
    return findings


def check_disk(places: Iterable[Path]) -> list[Finding]:
    """Look whether what a run writes has room."""
    findings: list[Finding] = []
    for place in places:
        folder = next((path for path in (place, *place.resolve().parents) if path.is_dir()), Path.cwd())
        free_gb = shutil.disk_usage(folder).free / 1e9
        writable = os.access(folder, os.W_OK)
        text = f"{folder.resolve()}: {free_gb:.1f} GB free" + ("" if writable else ", not writable")
        bad = not writable or free_gb < LEAST_FREE_GB
        advice = "free some space, or name another folder" if bad else ""
        findings.append(Finding(subject="disk", state="problem" if bad else "ok", text=text, advice=advice))
    return findings


def check_clock(ask: Callable[[], str] | None = None, now_s: float | None = None) -> list[Finding]:
    """Look whether the clock is set and kept: sightings are only as good as their time."""
    if (time.time() if now_s is None else now_s) < 1_700_000_000:
        text = "the clock is years behind: no battery, and not set yet"
        return [Finding(subject="clock", state="problem", text=text, advice="connect a time server, or set it by hand")]
    answer = (ask or _ask_timedatectl)().strip()
    if answer == "yes":
        return [Finding(subject="clock", state="ok", text="kept by a time server")]
    if answer == "no":
        advice = "timedatectl set-ntp true"
        return [Finding(subject="clock", state="note", text="not kept by a time server", advice=advice)]
    return [Finding(subject="clock", state="note", text="whether a time server keeps it cannot be told here")]


def check_gallery(where: str | None, folder: Path | None) -> list[Finding]:
    """Read everything that a gallery holds."""
    if where is None or where == "memory":
        return []
    if folder is None:
        return [Finding(subject="gallery", state="note", text=f"{where}: not read; it takes the engine (--engine)")]
    if "://" not in where and not Path(where.removeprefix("qdrant:")).exists():
        return [Finding(subject="gallery", state="note", text=f"{where}: is not there yet; a run makes it")]
    try:
        manifest = load_manifest(folder)
        gallery = open_gallery(where, model_id(manifest), manifest.embedding_dim)
    except BadInput as error:
        return [Finding(subject="gallery", state="problem", text=first_line(error))]
    try:
        wrong = gallery.check()
        text = f"{where}: {gallery.count_people()} people, {len(gallery)} tracklets"
    finally:
        gallery.close()
    findings = [Finding(subject="gallery", state="ok" if not wrong else "problem", text=text)]
    return findings + [Finding(subject="gallery", state="problem", text=line) for line in wrong]


def _format(item: PixelFormat) -> str:
    """Return a format with its largest size."""
    largest = max(item.sizes, key=lambda size: size.width_px * size.height_px, default=None)
    return item.fourcc if largest is None else f"{item.fourcc} {largest}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version_of_module(name: str) -> str:
    names = {"tensorrt_rtx": "tensorrt-rtx-cu13-bindings"}
    return _version(names.get(name, name)) or "installed"


def _writes(code: str) -> bool:
    suffix = ".avi" if code == "MJPG" else ".mp4"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 10.0, (64, 64))
        opened = writer.isOpened()
        if opened:
            writer.write(np.zeros((64, 64, 3), np.uint8))
        writer.release()
        return bool(opened)


def _ask_timedatectl() -> str:
    if shutil.which("timedatectl") is None:
        return ""
    try:
        answer = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True, text=True, timeout=5, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout
