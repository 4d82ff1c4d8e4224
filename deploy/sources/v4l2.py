"""What a V4L2 node says of itself, asked by ioctl: what it is, its formats, why it does not stream.

Request numbers and layouts are those of linux/videodev2.h on 64-bit machines (printed by a C program on x86-64; the
header gives aarch64 the same). An ioctl is passed in, so that no test needs a camera.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    Ioctl = Callable[[int, int, bytearray], object]  # fills the buffer; raises OSError

QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
REQBUFS, QBUF, STREAMON = 0xC0145608, 0xC058560F, 0x40045612
CAPTURE, CAPTURE_PLANES, META, HAS_DEVICE_FLAGS = 0x1, 0x1000, 0x00800000, 0x80000000
MEMORY_TO_MEMORY = 0x8000 | 0x4000  # codecs and scalers
TYPE_CAPTURE, TYPE_CAPTURE_PLANES, MEMORY_MMAP = 1, 9, 1
DISCRETE = 1
MOST_ENTRIES = 64  # a driver that never says "no more" must not hang the doctor

Role = Literal["camera", "metadata", "other"]


@dataclass(frozen=True, kw_only=True)
class Capability:
    driver: str
    card: str
    bus: str
    flags: int  # of this node where the driver tells nodes apart, of the whole device otherwise

    @property
    def role(self) -> Role:
        if self.flags & (CAPTURE | CAPTURE_PLANES) and not self.flags & MEMORY_TO_MEMORY:
            return "camera"
        return "metadata" if self.flags & META else "other"

    @property
    def buffer_type(self) -> int:
        return TYPE_CAPTURE if self.flags & CAPTURE else TYPE_CAPTURE_PLANES


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    width_px: int
    height_px: int
    fps: float  # the highest; 0 where the driver does not say

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px}" + (f"@{self.fps:g}" if self.fps else "")


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    fourcc: str  # blanks at the end taken off
    name: str
    sizes: tuple[FrameSize, ...]


@contextmanager
def opened(path: Path) -> Generator[int]:
    """Open a node without taking it from a program that streams."""
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def system_ioctl(descriptor: int, request: int, buffer: bytearray) -> object:
    import fcntl  # not on Windows

    return fcntl.ioctl(descriptor, request, buffer, True)


def query(descriptor: int, ioctl: Ioctl = system_ioctl) -> Capability:
    """Return what the node is; raise OSError where it is no V4L2 node."""
    buffer = bytearray(104)
    ioctl(descriptor, QUERYCAP, buffer)
    driver, card, bus, _, device, node = struct.unpack_from("=16s32s32sIII", buffer)
    return Capability(
        driver=_text(driver), card=_text(card), bus=_text(bus), flags=node if device & HAS_DEVICE_FLAGS else device
    )


def formats(descriptor: int, buffer_type: int, ioctl: Ioctl = system_ioctl) -> tuple[PixelFormat, ...]:
    """Return what the node can deliver; empty where it does not say."""
    found: list[PixelFormat] = []
    for index in range(MOST_ENTRIES):
        buffer = bytearray(64)
        struct.pack_into("=II", buffer, 0, index, buffer_type)
        if not _asked(ioctl, descriptor, ENUM_FMT, buffer):
            break
        code, name = bytes(buffer[44:48]), _text(bytes(buffer[12:44]))
        sizes = tuple(_sizes(descriptor, code, ioctl))
        found.append(PixelFormat(fourcc=code.decode("latin-1").rstrip(), name=name, sizes=sizes))
    return tuple(found)


def why_not_streaming(path: Path, ioctl: Ioctl = system_ioctl) -> int:
    """Return the errno with which the node refuses to stream; 0 where it would.

    OpenCV keeps it to itself (its log has it at debug level only). The same calls in the same order, in the format
    that OpenCV left set: EBUSY comes from REQBUFS, ENOSPC (a full USB bus) from STREAMON. Closing ends the stream.
    """
    try:
        with opened(path) as descriptor:
            kind = query(descriptor, ioctl).buffer_type
            ioctl(descriptor, REQBUFS, bytearray(struct.pack("=IIIII", 1, kind, MEMORY_MMAP, 0, 0)))
            if kind == TYPE_CAPTURE:  # a buffer of planes needs a table of addresses; STREAMON does without
                queued = bytearray(88)
                struct.pack_into("=II", queued, 0, 0, kind)
                struct.pack_into("=I", queued, 60, MEMORY_MMAP)
                ioctl(descriptor, QBUF, queued)
            ioctl(descriptor, STREAMON, bytearray(struct.pack("=i", kind)))
    except OSError as error:
        return error.errno or 0
    return 0


def _sizes(descriptor: int, code: bytes, ioctl: Ioctl) -> Iterator[FrameSize]:
    for index in range(MOST_ENTRIES):
        buffer = bytearray(44)
        struct.pack_into("=I4s", buffer, 0, index, code)
        if not _asked(ioctl, descriptor, ENUM_FRAMESIZES, buffer):
            return
        kind, *limits = struct.unpack_from("=I6I", buffer, 8)
        # Stepwise: least, most and step of the width, then of the height. The largest stands for all.
        width, height = (limits[0], limits[1]) if kind == DISCRETE else (limits[1], limits[4])
        yield FrameSize(width_px=width, height_px=height, fps=_fastest(descriptor, code, width, height, ioctl))
        if kind != DISCRETE:
            return


def _fastest(descriptor: int, code: bytes, width: int, height: int, ioctl: Ioctl) -> float:
    best = 0.0
    for index in range(MOST_ENTRIES):
        buffer = bytearray(52)
        struct.pack_into("=I4sII", buffer, 0, index, code, width, height)
        if not _asked(ioctl, descriptor, ENUM_FRAMEINTERVALS, buffer):
            break
        kind, seconds, parts = struct.unpack_from("=III", buffer, 16)  # stepwise: the shortest comes first
        best = max(best, parts / seconds if seconds else 0.0)
        if kind != DISCRETE:
            break
    return round(best, 2)


def _asked(ioctl: Ioctl, descriptor: int, request: int, buffer: bytearray) -> bool:
    try:
        ioctl(descriptor, request, buffer)
    except OSError:
        return False
    return True


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "replace").strip()
