"""What the video nodes of a machine are, over a made-up sysfs and the answers of a made-up driver."""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.cameras.device_nodes import Machine, describe_devices, device_path, explain_refusal
from deploy.sources import v4l2
from deploy.sources.v4l2 import FrameSize, why_not_streaming

# Flags as linux/videodev2.h has them, written down anew.
VIDEO_CAPTURE, VIDEO_M2M, META_CAPTURE, STREAMING, DEVICE_CAPS = 0x1, 0x8000, 0x800000, 0x4000000, 0x80000000


@dataclass
class Driver:
    """Answers ioctl as a driver would; a node is known by the file that stands for it."""

    flags: dict[str, int]  # node name -> device_caps
    sizes: dict[str, list[tuple[int, int, list[int]]]] = field(default_factory=dict)  # fourcc -> width, height, rates
    stepwise: bool = False
    refuses: dict[int, int] = field(default_factory=dict)  # request -> errno
    requests: list[int] = field(default_factory=list)

    def __call__(self, descriptor: int, request: int, buffer: bytearray) -> int:
        node = Path(f"/proc/self/fd/{descriptor}").readlink().name
        self.requests.append(request)
        if request in self.refuses:
            raise OSError(self.refuses[request], os.strerror(self.refuses[request]))
        if node not in self.flags:
            raise OSError(errno.ENOTTY, "not a video device")
        if request == v4l2.QUERYCAP:
            everything = VIDEO_CAPTURE | META_CAPTURE | STREAMING | DEVICE_CAPS
            names = b"uvcvideo", b"C920: HD Webcam", b"usb-0000:00:14.0-1"
            struct.pack_into("=16s32s32sIII", buffer, 0, *names, 0x060500, everything, self.flags[node])
        elif request == v4l2.ENUM_FMT:
            self._format(buffer)
        elif request == v4l2.ENUM_FRAMESIZES:
            self._size(buffer)
        elif request == v4l2.ENUM_FRAMEINTERVALS:
            self._interval(buffer)
        return 0

    def _format(self, buffer: bytearray) -> None:
        index, kind = struct.unpack_from("=II", buffer)
        if index >= len(self.sizes) or kind != 1:
            raise OSError(errno.EINVAL, "no more")
        code = list(self.sizes)[index]
        struct.pack_into("=32s4s", buffer, 12, f"{code} pictures".encode(), code.ljust(4).encode())

    def _size(self, buffer: bytearray) -> None:
        index, code = struct.unpack_from("=I4s", buffer)
        offered = self.sizes[code.decode().rstrip()]
        if index >= len(offered):
            raise OSError(errno.EINVAL, "no more")
        width, height, _ = offered[index]
        if self.stepwise:
            struct.pack_into("=I6I", buffer, 8, 3, 16, width, 8, 16, height, 8)
        else:
            struct.pack_into("=III", buffer, 8, 1, width, height)

    def _interval(self, buffer: bytearray) -> None:
        index, code, width, height = struct.unpack_from("=I4sII", buffer)
        rates = next(r for w, h, r in self.sizes[code.decode().rstrip()] if (w, h) == (width, height))
        if index >= len(rates):
            raise OSError(errno.EINVAL, "no more")
        struct.pack_into("=III", buffer, 16, 1, 1, rates[index])


def machine(tmp_path: Path, driver: Driver, nodes: tuple[tuple[int, str, int], ...]) -> Machine:
    """Nodes of number, name and place in the device, as Linux lists them."""
    sysfs, dev = tmp_path / "sys", tmp_path / "dev"
    (dev / "v4l" / "by-id").mkdir(parents=True)
    sysfs.mkdir()
    for number, name, place in nodes:
        folder = sysfs / f"video{number}"
        folder.mkdir()
        (folder / "name").write_text(f"{name}\n")
        (folder / "index").write_text(f"{place}\n")
        (dev / f"video{number}").touch()
        link = dev / "v4l" / "by-id" / f"usb-{name}-video-index{place}"
        link.symlink_to(f"../../video{number}")
    return Machine(sysfs=sysfs, dev=dev, ioctl=driver)


NODES = ((0, "C920", 0), (1, "C920", 1), (2, "PureThermal", 0), (10, "codec", 0))
FLAGS = {"video0": VIDEO_CAPTURE, "video1": META_CAPTURE, "video2": VIDEO_CAPTURE, "video10": VIDEO_CAPTURE | VIDEO_M2M}


@pytest.fixture
def usual(tmp_path: Path) -> Machine:
    sizes = {"MJPG": [(1920, 1080, [30, 15]), (640, 480, [30])], "Y16": [(160, 120, [9])]}
    return machine(tmp_path, Driver(FLAGS, sizes), NODES)


def test_nodes_are_told_apart_by_what_they_say(usual: Machine) -> None:
    found = describe_devices(usual)
    assert [(d.number, d.role) for d in found] == [(0, "camera"), (1, "metadata"), (2, "camera"), (10, "other")]
    assert [d.number for d in found if d.is_camera] == [0, 2]
    assert (found[0].name, found[0].bus, found[0].driver) == ("C920", "usb-0000:00:14.0-1", "uvcvideo")


def test_the_node_and_not_its_place_decides(tmp_path: Path) -> None:
    # A stereo camera: the second node of the device is a camera too.
    both = machine(tmp_path, Driver({"video0": VIDEO_CAPTURE, "video1": VIDEO_CAPTURE}), NODES[:2])
    assert [d.is_camera for d in describe_devices(both)] == [True, True]
    assert explain_refusal("ir", "1", both) is None


def test_where_a_node_cannot_be_asked_its_place_tells(tmp_path: Path) -> None:
    silent = machine(tmp_path, Driver({}), NODES)
    assert [(d.number, d.role) for d in describe_devices(silent)] == [
        (0, "camera"), (1, "metadata"), (2, "camera"), (10, "camera"),
    ]  # fmt: skip


def test_formats_sizes_and_rates_are_listed(usual: Machine) -> None:
    camera = describe_devices(usual)[0]
    assert [form.fourcc for form in camera.formats] == ["MJPG", "Y16"]
    assert camera.formats[0].name == "MJPG pictures"
    assert camera.formats[0].sizes == (
        FrameSize(width_px=1920, height_px=1080, fps=30.0), FrameSize(width_px=640, height_px=480, fps=30.0),
    )  # fmt: skip
    assert str(camera.formats[1].sizes[0]) == "160x120@9"


def test_formats_are_not_asked_for_where_they_are_not_wanted(usual: Machine) -> None:
    assert all(device.formats == () for device in describe_devices(usual, formats=False))


def test_a_range_of_sizes_stands_as_its_largest(tmp_path: Path) -> None:
    driver = Driver({"video0": VIDEO_CAPTURE}, {"YUYV": [(1280, 720, [30])]}, stepwise=True)
    camera = describe_devices(machine(tmp_path, driver, NODES[:1]))[0]
    assert camera.formats[0].sizes == (FrameSize(width_px=1280, height_px=720, fps=30.0),)


def test_a_driver_without_end_does_not_hang_the_listing(tmp_path: Path) -> None:
    class Endless(Driver):
        def _format(self, buffer: bytearray) -> None:
            struct.pack_into("=32s4s", buffer, 12, b"again", b"YUYV")

    endless = Endless({"video0": VIDEO_CAPTURE}, {"YUYV": []})
    assert len(describe_devices(machine(tmp_path, endless, NODES[:1]))[0].formats) == 64


def test_names_by_id_are_resolved_and_listed(usual: Machine) -> None:
    found = describe_devices(usual)[2]
    assert found.by_id == usual.dev / "v4l" / "by-id" / "usb-PureThermal-video-index0"
    assert device_path(str(found.by_id)) == usual.dev / "video2"
    assert device_path("2", usual.dev) == usual.dev / "video2"
    assert explain_refusal("ir", str(found.by_id), usual) is None


def test_the_metadata_node_of_a_camera_is_explained(usual: Machine) -> None:
    refusal = explain_refusal("door-ir", "1", usual)
    assert refusal is not None
    assert refusal.kind == "metadata-node"
    assert refusal.reason == (
        f"camera 'door-ir' 1: is not a camera: {usual.dev}/video1 is the metadata node of \"C920\" "
        f'({usual.dev}/video0); cameras here: 0 "C920", 2 "PureThermal"; try 2'
    )


def test_a_metadata_node_named_by_id_is_explained_too(usual: Machine) -> None:
    refusal = explain_refusal("ir", str(usual.dev / "v4l/by-id/usb-C920-video-index1"), usual)
    assert refusal is not None
    assert refusal.kind == "metadata-node"


def test_a_codec_is_no_camera(usual: Machine) -> None:
    refusal = explain_refusal("ir", "10", usual)
    assert refusal is not None
    assert (refusal.kind, "gives no pictures" in refusal.reason) == ("unsupported", True)


@pytest.mark.parametrize("uri", ["7", "/dev/v4l/by-id/usb-gone-video-index0"])
def test_a_missing_device_is_explained_with_those_that_are_there(usual: Machine, uri: str) -> None:
    refusal = explain_refusal("front", uri, usual)
    assert refusal is not None
    assert refusal.kind == "not-found"
    assert 'cameras here: 0 "C920", 2 "PureThermal"; give one of them' in refusal.reason


def test_a_machine_without_cameras_says_so(tmp_path: Path) -> None:
    refusal = explain_refusal("front", "0", machine(tmp_path, Driver({}), ()))
    assert refusal is not None
    assert "cameras here: none; connect one" in refusal.reason


def test_a_file_that_is_no_node_is_refused(usual: Machine) -> None:
    refusal = explain_refusal("front", "/dev/null", usual)
    assert refusal is not None
    assert (refusal.kind, "/dev/null is no video device" in refusal.reason) == ("unsupported", True)


def test_missing_permission_comes_before_everything_else(usual: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Machine, "may_use", lambda self, path: False)
    refusal = explain_refusal("ir", "2", usual)
    assert refusal is not None
    assert refusal.kind == "permission"
    assert f"permission denied on {usual.dev}/video2; add the user to the group video" in refusal.reason
    assert not any(device.permission for device in describe_devices(usual))


def test_a_camera_is_accepted(usual: Machine) -> None:
    assert explain_refusal("ir", "2", usual) is None


@pytest.mark.parametrize(
    ("request_number", "number"),
    [(v4l2.REQBUFS, errno.EBUSY), (v4l2.STREAMON, errno.ENOSPC), (v4l2.QUERYCAP, errno.ENODEV)],
)
def test_the_reason_for_not_streaming_is_the_drivers(tmp_path: Path, request_number: int, number: int) -> None:
    driver = Driver({"video0": VIDEO_CAPTURE}, refuses={request_number: number})
    there = machine(tmp_path, driver, NODES[:1])
    assert why_not_streaming(there.dev / "video0", driver) == number


def test_a_node_that_would_stream_has_no_reason(tmp_path: Path) -> None:
    driver = Driver({"video0": VIDEO_CAPTURE})
    there = machine(tmp_path, driver, NODES[:1])
    assert why_not_streaming(there.dev / "video0", driver) == 0
    assert driver.requests == [v4l2.QUERYCAP, v4l2.REQBUFS, v4l2.QBUF, v4l2.STREAMON]
    assert why_not_streaming(there.dev / "video9", driver) == errno.ENOENT


def test_the_real_ioctl_refuses_what_is_no_camera(tmp_path: Path) -> None:
    plain = tmp_path / "video0"
    plain.touch()
    assert why_not_streaming(plain) == errno.ENOTTY
