"""Which /dev/video* nodes are cameras, what they can do, and why one that was asked for is not.

A USB camera makes two nodes, the second of which carries metadata only: `--rgb 0 --ir 1` often names one camera. What a
node is, it says itself (VIDIOC_QUERYCAP); where it cannot be asked, its place in its device tells.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.sources import v4l2

if TYPE_CHECKING:
    from deploy.sources.source import FailureKind
    from deploy.sources.v4l2 import Ioctl, PixelFormat, Role


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where nodes are looked for; tests bring their own."""

    sysfs: Path = Path("/sys/class/video4linux")
    dev: Path = Path("/dev")
    ioctl: Ioctl = v4l2.system_ioctl

    def may_use(self, path: Path) -> bool:
        return os.access(path, os.R_OK | os.W_OK)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A video node. name, bus and driver as the driver gives them; formats are empty where it was not asked."""

    number: int
    path: Path
    name: str
    role: Role
    bus: str = ""
    driver: str = ""
    by_id: Path | None = None  # the name that stays when cameras are plugged in another order
    formats: tuple[PixelFormat, ...] = ()
    permission: bool = True

    @property
    def is_camera(self) -> bool:
        return self.role == "camera"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    kind: FailureKind
    reason: str


THIS_MACHINE = Machine()


def describe_devices(machine: Machine = THIS_MACHINE, *, formats: bool = True) -> list[Device]:
    """Return the video nodes in the order of their numbers, with what they deliver where formats are asked for."""
    numbers = (folder.name.removeprefix("video") for folder in machine.sysfs.glob("video*"))
    names = _names_by_id(machine)
    return [_describe(machine, number, names, formats) for number in sorted(int(n) for n in numbers if n.isdigit())]


def device_path(uri: str, dev: Path = THIS_MACHINE.dev) -> Path:
    """Return the node that a device's URI names; links such as /dev/v4l/by-id/... are followed."""
    try:
        return dev / f"video{uri}" if uri.isdigit() else Path(uri).resolve()
    except (OSError, RuntimeError):  # links that lead to each other
        return Path(uri)


def explain_refusal(camera: str, uri: str, machine: Machine = THIS_MACHINE) -> Refusal | None:
    """Return why a device is no usable camera, with what to do; None where nothing speaks against it."""
    if not sys.platform.startswith("linux"):
        return None
    path = device_path(uri, machine.dev)
    devices = describe_devices(machine, formats=False)
    cameras = [device for device in devices if device.is_camera]
    listing = "cameras here: " + (", ".join(f'{device.number} "{device.name}"' for device in cameras) or "none")
    if not _is_there(path):
        advice = "give one of them" if cameras else "connect one, or give a video file"
        named = path if uri.isdigit() else Path(uri)
        return _refuse(camera, uri, "not-found", f"is not there: no {named}; {listing}; {advice}")
    if not machine.may_use(path):
        reason = f"permission denied on {path}; add the user to the group video and log in again"
        return _refuse(camera, uri, "permission", reason)
    number = re.fullmatch(r"video(\d+)", path.name)
    device = next((device for device in devices if number and device.number == int(number[1])), None)
    if device is None:
        return None if number else _refuse(camera, uri, "unsupported", f"{path} is no video device; {listing}")
    if device.is_camera:
        return None
    owner = next((c for c in reversed(cameras) if c.name == device.name and c.number < device.number), None)
    of = f' of "{device.name}"' + (f" ({owner.path})" if owner else "")
    others = [other for other in cameras if other is not owner] or cameras
    hint = f"; try {others[0].number}" if others else ""
    what = "the metadata node" if device.role == "metadata" else "a node that gives no pictures"
    kind: FailureKind = "metadata-node" if device.role == "metadata" else "unsupported"
    return _refuse(camera, uri, kind, f"is not a camera: {path} is {what}{of}; {listing}{hint}")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than a path can be
        return False


def _refuse(camera: str, uri: str, kind: FailureKind, reason: str) -> Refusal:
    return Refusal(kind=kind, reason=f"camera {camera!r} {uri}: {reason}")


def _describe(machine: Machine, number: int, names: dict[Path, Path], with_formats: bool) -> Device:
    folder, path = machine.sysfs / f"video{number}", machine.dev / f"video{number}"
    name, place = _read(folder / "name"), _read(folder / "index")
    guess: Role = "camera" if place in ("", "0") else "metadata"
    device = Device(
        number=number,
        path=path,
        name=name,
        role=guess,
        by_id=names.get(path.resolve()),
        permission=machine.may_use(path),
    )
    try:
        with v4l2.opened(path) as descriptor:
            said = v4l2.query(descriptor, machine.ioctl)
            offered = (
                v4l2.formats(descriptor, said.buffer_type, machine.ioctl)
                if with_formats and said.role == "camera"
                else ()
            )
    except OSError:  # no permission, gone, or no V4L2: what sysfs says is all there is
        return device
    return Device(
        number=number,
        path=path,
        name=name or said.card,
        role=said.role,
        bus=said.bus,
        driver=said.driver,
        by_id=device.by_id,
        formats=offered,
        permission=device.permission,
    )


def _names_by_id(machine: Machine) -> dict[Path, Path]:
    folder = machine.dev / "v4l" / "by-id"
    # A camera has one link a node; of several for one node the first by name is taken.
    return {link.resolve(): link for link in sorted(folder.glob("*"), reverse=True)}


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
