"""One thread per camera, and what its consumer hears."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.camera import Camera
from deploy.device_nodes import explain_refusal, list_nodes
from deploy.sources import make_source
from engines.errors import BadInput
from tests.camera_fakes import ScriptedSource, blank

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.frames import Frame
    from deploy.sources import Source


def drain(camera: Camera) -> list[Frame]:
    found: list[Frame] = []
    while not camera.ended:
        frame = camera.take(5.0)
        if frame is not None:
            found.append(frame)
    return found


def open_camera(source: Source, **options: float) -> Camera:
    return Camera(source, name="visible", modality="visible", **options)  # type: ignore[arg-type]


def test_a_recording_gives_every_frame_in_order_with_its_time() -> None:
    with open_camera(ScriptedSource(images=25, fps=10.0)) as camera:
        frames = drain(camera)
    assert [frame.index for frame in frames] == list(range(25))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 10 for i in range(25)])
    assert camera.dropped == 0
    assert not camera.failure


def test_one_thread_opens_and_closes_the_source() -> None:
    source = ScriptedSource()
    with open_camera(source):
        pass
    assert source.opened_by == source.closed_by == "camera visible"


def test_a_live_camera_keeps_the_newest_frame_and_counts_the_rest() -> None:
    paused, resume = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        if number == 5:
            paused.set()
            resume.wait()

    with open_camera(ScriptedSource(images=5, live=True, before_grab=hold)) as camera:
        paused.wait(5)
        frame = camera.take(1.0)
        assert frame is not None
        assert (frame.index, camera.dropped) == (4, 4)
        assert camera.take(0.0) is None
        resume.set()
        assert drain(camera) == []
    assert "stopped delivering" in camera.failure


def test_a_refused_source_is_raised_where_the_camera_is_opened() -> None:
    with pytest.raises(BadInput, match="no such camera"), open_camera(ScriptedSource(refusal="no such camera")):
        pass


def test_a_stream_without_frames_is_refused() -> None:
    with pytest.raises(BadInput, match="expected pictures, got an empty stream"), open_camera(ScriptedSource(images=0)):
        pass


def test_a_driver_that_does_not_answer_is_refused_in_time() -> None:
    release = threading.Event()

    def hang(number: int) -> None:
        release.wait()

    source = ScriptedSource(before_grab=hang)
    with pytest.raises(BadInput, match=r"within 0\.01 s"), open_camera(source, open_timeout_s=0.01):
        pass
    release.set()


def test_a_folder_of_images_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("c.jpg", 30)):
        cv2.imwrite(str(tmp_path / name), blank(value))
    (tmp_path / "notes.txt").write_text("no image")
    with open_camera(make_source(str(tmp_path), "--rgb")) as camera:
        assert [round(float(frame.image_HWC.mean())) for frame in drain(camera)] == [10, 20, 30]


def test_frames_are_rgb(tmp_path: Path) -> None:
    image_BGR = np.zeros((8, 8, 3), np.uint8)
    image_BGR[..., 2] = 200
    cv2.imwrite(str(tmp_path / "red.png"), image_BGR)
    with open_camera(make_source(str(tmp_path), "--rgb")) as camera:
        assert drain(camera)[0].image_HWC[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "found none"),
        (b"not an image", "cannot be decoded"),
    ],
)
def test_a_folder_without_usable_images_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(BadInput, match=message), open_camera(make_source(str(tmp_path), "--rgb")):
        pass


def test_sixteen_bit_images_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8), np.uint16))
    with pytest.raises(BadInput, match="8 bits"), open_camera(make_source(str(tmp_path), "--ir")):
        pass


def test_a_missing_file_is_refused_before_anything_opens() -> None:
    with pytest.raises(BadInput, match=r"--ir: .* no such file"):
        make_source("nowhere.mp4", "--ir")


def test_an_address_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(BadInput, match="rtsp:// address") as refusal:
        make_source("rtsp://admin:secret@10.0.0.5/live", "--rgb")
    assert "secret" not in str(refusal.value)


@pytest.fixture
def nodes(tmp_path: Path) -> tuple[Path, Path]:
    sysfs, dev = tmp_path / "sys", tmp_path / "dev"
    dev.mkdir()
    for number, name, position in ((0, "C920", 0), (1, "C920", 1), (2, "PureThermal", 0)):
        folder = sysfs / f"video{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "index").write_text(f"{position}\n")
        (dev / f"video{number}").touch()
    return sysfs, dev


def test_the_metadata_node_of_a_camera_is_explained(nodes: tuple[Path, Path]) -> None:
    sysfs, dev = nodes
    reason = explain_refusal("1", "--ir", sysfs=sysfs, dev=dev)
    assert "infrared camera '1' is not a camera" in reason
    assert 'metadata node of "C920" (/dev/video0)' in reason
    assert reason.endswith("try --ir 2")


def test_a_missing_device_is_explained_with_those_that_are_there(nodes: tuple[Path, Path]) -> None:
    sysfs, dev = nodes
    reason = explain_refusal("7", "--rgb", sysfs=sysfs, dev=dev)
    assert "visible camera '7' is not there" in reason
    assert '0 "C920", 2 "PureThermal"' in reason


def test_a_capture_node_is_accepted(nodes: tuple[Path, Path]) -> None:
    sysfs, dev = nodes
    assert explain_refusal("2", "--ir", sysfs=sysfs, dev=dev) == ""
    assert [node.number for node in list_nodes(sysfs) if node.is_camera] == [0, 2]
