"""Which /dev/video* nodes are cameras, and why one that was asked for is not.

A USB camera makes two nodes, the second of which carries metadata only: `--rgb 0 --ir 1` often names one camera.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/class/video4linux")


@dataclass(frozen=True, kw_only=True)
class Node:
    number: int
    name: str
    position: int  # the node's place in its device; 0 is the one that captures

    @property
    def is_camera(self) -> bool:
        return self.position == 0


def list_nodes(sysfs: Path = SYSFS) -> list[Node]:
    """Return the video nodes of this machine in the order of their numbers."""
    nodes: list[Node] = []
    for folder in sysfs.glob("video*"):
        number = folder.name.removeprefix("video")
        if number.isdigit():
            name, position = _read(folder / "name"), _read(folder / "index")
            nodes.append(Node(number=int(number), name=name, position=int(position) if position.isdigit() else 0))
    return sorted(nodes, key=lambda node: node.number)


def explain_refusal(device: str, flag: str, *, sysfs: Path = SYSFS, dev: Path = Path("/dev")) -> str:
    """Return why device is no usable camera, with what to do; empty where nothing speaks against it."""
    if not sys.platform.startswith("linux"):
        return ""
    path = dev / f"video{device}" if device.isdigit() else Path(device)
    nodes = list_nodes(sysfs)
    cameras = [node for node in nodes if node.is_camera]
    listing = ", ".join(f'{node.number} "{node.name}"' for node in cameras) or "none"
    role = {"--rgb": "visible camera", "--ir": "infrared camera"}.get(flag, "camera")
    if not path.exists():
        advice = f"give one of them with {flag}" if cameras else "connect one, or give a video file"
        return f"{role} {device!r} is not there: no {path}; cameras here: {listing}; {advice}"
    number = re.fullmatch(r"video(\d+)", path.resolve().name)
    node = next((node for node in nodes if number and node.number == int(number[1])), None)
    if node is not None and not node.is_camera:
        owner = next((c for c in reversed(cameras) if c.name == node.name and c.number < node.number), None)
        of = f' of "{node.name}"' + (f" (/dev/video{owner.number})" if owner else "")
        others = [c for c in cameras if c is not owner] or cameras
        hint = f"; try {flag} {others[0].number}" if others else ""
        return f"{role} {device!r} is not a camera: {path} is the metadata node{of}; cameras here: {listing}{hint}"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{role} {device!r}: permission denied on {path}; add the user to the group video and log in again"
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
