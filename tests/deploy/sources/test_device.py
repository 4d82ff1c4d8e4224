"""What is asked of OpenCV and of the driver for a device, and what is made of their answers. No test has a camera."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from deploy.settings.site_plan import CameraSite
from deploy.sources import SourceError, v4l2
from deploy.sources.device import DeviceSource
from deploy.sources.opencv_capture import fourcc, letters
from tests.deploy.cameras.test_device_nodes import FLAGS, NODES, Driver, machine

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.cameras.device_nodes import Machine
    from deploy.sources.pixels import Decoded

NAMES = {
    cv2.CAP_PROP_FOURCC: "format", cv2.CAP_PROP_FRAME_WIDTH: "width", cv2.CAP_PROP_FRAME_HEIGHT: "height",
    cv2.CAP_PROP_FPS: "fps", cv2.CAP_PROP_BUFFERSIZE: "buffers", cv2.CAP_PROP_CONVERT_RGB: "convert",
}  # fmt: skip


class FakeCapture:
    """Stands for OpenCV's V4L2 backend: it takes the formats in `formats`, and starts anew at each change of them."""

    def __init__(self, *, opens: bool = True, grabs: bool = True, formats: tuple[str, ...] = ("MJPG", "YUYV", "Y16")):
        self.opens, self.grabs, self.formats = opens, grabs, formats
        self.values: dict[int, float] = {cv2.CAP_PROP_FOURCC: fourcc("YUYV"), cv2.CAP_PROP_CONVERT_RGB: 1}
        self.values |= {cv2.CAP_PROP_FRAME_WIDTH: 640, cv2.CAP_PROP_FRAME_HEIGHT: 480, cv2.CAP_PROP_FPS: 30}
        self.settings: list[str] = []
        self.opened: tuple[str, int] | None = None
        self.released = False
        self.grabbed = 0

    def __call__(self, path: str, backend: int) -> FakeCapture:
        self.opened = (path, backend)
        return self

    def isOpened(self) -> bool:
        return self.opens

    def set(self, propId: int, value: float, /) -> bool:
        self.settings.append(NAMES[propId])
        if propId == cv2.CAP_PROP_FOURCC and letters(value) not in self.formats:
            return False
        if propId != cv2.CAP_PROP_CONVERT_RGB:
            self.values[cv2.CAP_PROP_CONVERT_RGB] = 1  # a new start forgets that raw pictures were asked for
        self.values[propId] = value
        return True

    def get(self, propId: int, /) -> float:
        return self.values.get(propId, 0.0)

    def grab(self) -> bool:
        self.grabbed += 1
        return self.grabs

    def retrieve(self) -> tuple[bool, Decoded]:
        width, height = (int(self.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not self.get(cv2.CAP_PROP_CONVERT_RGB):
            return True, np.full((1, 2 * width * height), 0x12, np.uint8)
        return True, np.full((height, width, 3), (0, 0, 200), np.uint8)

    def release(self) -> None:
        self.released = True


SIZES = {"MJPG": [(640, 480, [30])], "Y16": [(160, 120, [9])]}


@pytest.fixture
def usual(tmp_path: Path) -> Machine:
    return machine(tmp_path, Driver(FLAGS, SIZES), NODES)


def device(there: Machine, capture: FakeCapture, **settings: Any) -> DeviceSource:
    chosen = CameraSite(name="door", **{"uri": "2", "modality": "visible", **settings})
    return DeviceSource(chosen, machine=there, open_capture=capture)


def test_a_device_is_opened_by_its_node_with_its_backend(usual: Machine) -> None:
    for uri in ("2", str(usual.dev / "video2"), str(usual.dev / "v4l/by-id/usb-PureThermal-video-index0")):
        capture = FakeCapture()
        device(usual, capture, uri=uri).open()
        assert capture.opened == (str(usual.dev / "video2"), cv2.CAP_V4L2)


def test_without_wishes_the_driver_chooses_and_one_buffer_waits(usual: Machine) -> None:
    capture = FakeCapture()
    source = device(usual, capture)
    source.open()
    assert capture.settings == ["buffers"]
    assert (source.live, source.fps) == (True, 30.0)
    assert source.grab()
    pixels = source.retrieve()
    assert pixels is not None
    assert pixels[0, 0].tolist() == [200, 0, 0]


def test_the_sites_wishes_reach_the_device_raw_pictures_last(usual: Machine) -> None:
    capture = FakeCapture()
    wishes = {"format": "Y16", "size_px": (160, 120), "fps": 9.0, "modality": "infrared"}
    source = device(usual, capture, **wishes)
    source.open()
    assert capture.settings == ["format", "width", "height", "fps", "buffers", "convert"]
    assert capture.values[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc("Y", "1", "6", " ")
    assert source.grab()
    pixels = source.retrieve()
    assert pixels is not None
    assert (pixels.dtype, pixels.shape, int(pixels[0, 0])) == (np.uint16, (120, 160), 0x1212)


@pytest.mark.parametrize(("band", "raw"), [("lwir", True), ("nir", False), (None, False)])
def test_a_long_wave_camera_gives_y16_where_it_can(usual: Machine, band: str | None, raw: bool) -> None:
    capture = FakeCapture()
    device(usual, capture, band=band, modality="infrared").open()
    assert ("convert" in capture.settings) == raw


def test_a_long_wave_camera_without_y16_gives_what_it_has(tmp_path: Path) -> None:
    capture = FakeCapture()
    there = machine(tmp_path, Driver(FLAGS, {"MJPG": [(640, 480, [30])]}), NODES)
    device(there, capture, band="lwir", modality="infrared").open()
    assert capture.settings == ["buffers"]


def test_a_format_that_the_device_does_not_take_is_refused_with_those_it_has(usual: Machine) -> None:
    capture = FakeCapture(formats=("YUYV",))
    with pytest.raises(SourceError, match="expected the format Y16, got YUYV; it offers MJPG, Y16") as refusal:
        device(usual, capture, format="Y16", modality="infrared").open()
    assert refusal.value.kind == "unsupported"
    assert capture.released


def test_the_picture_that_was_waited_for_at_the_opening_is_not_lost(usual: Machine) -> None:
    capture = FakeCapture()
    source = device(usual, capture)
    source.open()
    assert capture.grabbed == 1
    assert source.grab()
    assert capture.grabbed == 1
    assert source.grab()
    assert capture.grabbed == 2


def test_the_drivers_stamp_is_told(usual: Machine) -> None:
    capture = FakeCapture()
    source = device(usual, capture)
    assert source.stamp_s() is None
    source.open()
    assert source.stamp_s() is None
    capture.values[cv2.CAP_PROP_POS_MSEC] = 12345.0
    assert source.stamp_s() == 12.345


@pytest.mark.parametrize(
    ("number", "kind", "message"),
    [
        (errno.EBUSY, "busy", "another program holds it"),
        (errno.EACCES, "permission", "add the user to the group video"),
        (errno.ENODEV, "not-found", "unplugged"),
        (errno.EIO, "connection", "Input/output error"),
    ],
)
def test_a_device_that_does_not_open_gives_the_drivers_reason(
    tmp_path: Path, number: int, kind: str, message: str
) -> None:
    there = machine(tmp_path, Driver(FLAGS, refuses={v4l2.REQBUFS: number}), NODES)
    capture = FakeCapture(opens=False)
    with pytest.raises(SourceError, match=f"camera 'door' 2: .*cannot be opened.*{message}") as refusal:
        device(there, capture).open()
    assert (refusal.value.kind, refusal.value.permanent) == (kind, False)
    assert capture.released


def test_a_full_usb_bus_is_not_a_full_disk(tmp_path: Path) -> None:
    there = machine(tmp_path, Driver(FLAGS, refuses={v4l2.STREAMON: errno.ENOSPC}), NODES)
    capture = FakeCapture(grabs=False)
    with pytest.raises(SourceError, match=r"USB bus usb-0000:00:14\.0-1 has no bandwidth left") as refusal:
        device(there, capture).open()
    assert (refusal.value.kind, refusal.value.permanent) == ("bandwidth", False)
    assert "Not a disk problem: set format: MJPG" in str(refusal.value)
    assert capture.released


def test_a_metadata_node_is_refused_before_it_is_opened(usual: Machine) -> None:
    capture = FakeCapture()
    with pytest.raises(SourceError, match=r"camera 'door' 1: is not a camera: .* try 2") as refusal:
        device(usual, capture, uri="1").open()
    assert (refusal.value.kind, refusal.value.permanent) == ("metadata-node", True)
    assert capture.opened is None


def test_a_device_that_was_unplugged_may_come_back(usual: Machine) -> None:
    with pytest.raises(SourceError) as refusal:
        device(usual, FakeCapture(), uri="7").open()
    assert (refusal.value.kind, refusal.value.permanent) == ("not-found", False)
