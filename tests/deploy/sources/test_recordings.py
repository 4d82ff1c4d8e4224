"""Video files, folders and images: every frame, 16 bits where there are 16, at the pace that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from deploy.settings.site_plan import CameraSite
from deploy.sources import SourceError, make_source
from deploy.sources.pixels import from_y16, to_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.sources import Source

SIZE = (48, 64)  # height, width


def site(uri: object, **settings: Any) -> CameraSite:
    return CameraSite(name="yard", uri=str(uri), **{"modality": "visible", **settings})


def write_video(path: Path, levels: Sequence[int], code: str = "MJPG", fps: float = 10.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, SIZE[::-1])
    for level in levels:
        writer.write(np.full((*SIZE, 3), level, np.uint8))
    writer.release()
    return path


def radiometric(count: int) -> list[NDArray[np.uint16]]:
    """14-bit pictures as a thermal camera's: around 30 000, with fine differences in the low bits."""
    rng = np.random.default_rng(11)
    return [np.asarray(30000 + rng.integers(0, 4000, SIZE), np.uint16) for _ in range(count)]


def write_radiometric(path: Path, pictures: Sequence[NDArray[np.uint16]]) -> Path:
    settings = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 9.0, SIZE[::-1], settings)
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def levels(source: Source, most: int = 100) -> list[int]:
    """The mean brightness of each picture, to tens."""
    found: list[int] = []
    while len(found) < most and source.grab():
        pixels = source.retrieve()
        assert pixels is not None
        found.append(round(float(pixels.mean()), -1).__int__())
    return found


def opened(uri: object, **settings: Any) -> Source:
    source = make_source(site(uri, **settings))
    source.open()
    return source


def test_every_frame_of_a_video_comes_once_and_in_order(tmp_path: Path) -> None:
    source = opened(write_video(tmp_path / "a.avi", [10, 50, 90, 130]))
    assert (source.live, source.fps) == (False, 10.0)
    assert levels(source) == [10, 50, 90, 130]
    assert not source.grab()
    source.close()
    source.open()  # a closed source may be opened again
    assert levels(source) == [10, 50, 90, 130]


def test_pictures_are_decoded_only_when_taken(tmp_path: Path) -> None:
    source = opened(write_video(tmp_path / "a.avi", [10, 50, 90]))
    assert source.grab()
    assert source.grab()
    pixels = source.retrieve()
    assert pixels is not None
    assert round(float(pixels.mean()), -1) == 50
    assert (pixels.dtype, pixels.shape) == (np.uint8, (*SIZE, 3))


def test_a_video_is_rgb(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, SIZE[::-1])
    writer.write(np.full((*SIZE, 3), (0, 0, 200), np.uint8))  # OpenCV's red
    writer.release()
    source = opened(tmp_path / "a.avi")
    assert source.grab()
    pixels = source.retrieve()
    assert pixels is not None
    assert [round(float(value), -1) for value in pixels[20, 20]] == [200, 0, 0]


def test_sixteen_bits_of_an_ffv1_file_come_unchanged(tmp_path: Path) -> None:
    pictures = radiometric(3)
    source = opened(write_radiometric(tmp_path / "t.mkv", pictures), modality="infrared")
    assert source.fps == 9.0
    for picture in pictures:
        assert source.grab()
        pixels = source.retrieve()
        assert pixels is not None
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, picture)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
def test_sixteen_bits_of_a_folder_come_unchanged(tmp_path: Path, suffix: str) -> None:
    pictures = radiometric(2)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(tmp_path / f"{index}{suffix}"), picture)
    source = opened(tmp_path, modality="infrared")
    for picture in pictures:
        assert source.grab()
        pixels = source.retrieve()
        assert pixels is not None
        np.testing.assert_array_equal(pixels, picture)


def test_the_pages_of_one_tiff_are_a_recording(tmp_path: Path) -> None:
    pictures = radiometric(4)
    cv2.imwritemulti(str(tmp_path / "t.tiff"), pictures)
    source = opened(tmp_path / "t.tiff", modality="infrared", fps=9.0)
    assert source.fps == 9.0
    for picture in pictures:
        assert source.grab()
        pixels = source.retrieve()
        assert pixels is not None
        np.testing.assert_array_equal(pixels, picture)
    assert not source.grab()


def test_a_folder_is_read_in_the_order_of_names_at_the_sites_rate(tmp_path: Path) -> None:
    for name, value in (("b.png", 20), ("a.png", 10), ("c.JPG", 30)):
        cv2.imwrite(str(tmp_path / name), np.full((*SIZE, 3), value, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    assert levels(opened(tmp_path)) == [10, 20, 30]
    assert opened(tmp_path).fps == 10.0
    assert opened(tmp_path, fps=4.0).fps == 4.0


def test_grey_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full(SIZE, 60, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((*SIZE, 4), (0, 0, 200, 128), np.uint8))
    source = opened(tmp_path)
    assert source.grab()
    grey = source.retrieve()
    assert grey is not None
    assert grey[0, 0].tolist() == [60, 60, 60]
    assert source.grab()
    red = source.retrieve()
    assert red is not None
    assert red[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("kind", ["video", "folder", "image"])
def test_loop_begins_again_at_the_end(tmp_path: Path, kind: str) -> None:
    if kind == "video":
        uri = write_video(tmp_path / "a.avi", [10, 50, 90])
    else:
        for name, value in (("a.png", 10), ("b.png", 50), ("c.png", 90)):
            cv2.imwrite(str(tmp_path / name), np.full((*SIZE, 3), value, np.uint8))
        uri = tmp_path if kind == "folder" else tmp_path / "b.png"
    expected = [50] * 7 if kind == "image" else [10, 50, 90, 10, 50, 90, 10]
    assert levels(opened(uri, loop=True), most=7) == expected


def test_a_folder_emptied_while_it_loops_ends(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((*SIZE, 3), 10, np.uint8))
    source = opened(tmp_path, loop=True)
    assert source.grab()
    (tmp_path / "a.png").unlink()
    assert not source.grab()


class FakeTime:
    """A clock that only sleeping and what `work` costs moves on."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds


def paced(path: Path, time: FakeTime, *, start_s: float | None = None, loop: bool = False) -> Source:
    chosen = site(path, realtime=True, loop=loop)
    source = make_source(chosen, clock=time.clock, sleep=time.sleep, start_s=start_s)
    source.open()
    return source


def test_in_real_time_each_frame_waits_until_it_is_due(tmp_path: Path) -> None:
    time = FakeTime()
    source = paced(write_video(tmp_path / "a.avi", [10, 50, 90, 130]), time)
    stamps: list[float] = []
    for _ in range(4):
        assert source.grab()
        stamps.append(time.now_s)
    assert stamps == pytest.approx([100.0, 100.1, 100.2, 100.3])


def test_what_nobody_took_in_time_has_passed(tmp_path: Path) -> None:
    time = FakeTime()
    source = paced(write_video(tmp_path / "a.avi", [10, 50, 90, 130, 170, 210]), time)
    assert levels(source, most=1) == [10]
    time.now_s += 0.35  # frames 1 and 2 were due at 0.1 and 0.2; frame 3, due at 0.3, is the newest
    assert levels(source, most=1) == [130]
    assert time.slept_s == []
    assert levels(source, most=1) == [170]
    assert time.slept_s == pytest.approx([0.05])


def test_recordings_of_one_start_stay_together_however_late_one_opens(tmp_path: Path) -> None:
    path, time = write_video(tmp_path / "a.avi", [10, 50, 90, 130, 170, 210]), FakeTime()
    first = paced(path, time, start_s=100.0)
    assert levels(first, most=1) == [10]
    time.now_s += 0.25  # opening the second took a while
    second = paced(path, time, start_s=100.0)
    assert (levels(first, most=1), levels(second, most=1)) == ([90], [90])
    assert first.stamp_s() == second.stamp_s() == pytest.approx(100.2)  # type: ignore[attr-defined]


def test_a_recording_that_opens_seconds_late_begins_where_it_should_be(tmp_path: Path) -> None:
    time = FakeTime()
    time.now_s = 103.05
    source = paced(write_video(tmp_path / "a.avi", [10] * 30 + [200] + [90] * 9), time, start_s=100.0)
    assert levels(source, most=2) == [200, 90]  # frames 30, due at 3.0 s, and 31


def test_decoding_slower_than_the_recording_still_gives_pictures(tmp_path: Path) -> None:
    path, time = write_video(tmp_path / "a.avi", [10] * 40), FakeTime()
    source = paced(path, time)

    def slow() -> float:
        time.now_s += 0.2
        return time.now_s

    source._clock = slow  # type: ignore[attr-defined]
    assert source.grab()
    assert source.grab()


def test_the_end_of_a_recording_in_real_time_is_not_a_lost_camera(tmp_path: Path) -> None:
    source = paced(write_video(tmp_path / "a.avi", [10, 50]), FakeTime())
    assert [source.grab(), source.grab()] == [True, True]
    with pytest.raises(SourceError, match=r"camera 'yard' .*: the recording is over") as end:
        source.grab()
    assert (end.value.kind, end.value.permanent) == ("ended", True)


def test_a_loop_in_real_time_goes_on_in_step(tmp_path: Path) -> None:
    time = FakeTime()
    source = paced(write_video(tmp_path / "a.avi", [10, 50]), time, loop=True)
    assert levels(source, most=5) == [10, 50, 10, 50, 10]
    assert time.now_s == pytest.approx(100.4)


@pytest.mark.parametrize("form", ["row of bytes", "picture", "padded rows"])
def test_y16_buffers_become_pictures_in_every_form_that_opencv_gives(form: str) -> None:
    picture = radiometric(1)[0]
    raw = {
        "row of bytes": picture.astype("<u2").view(np.uint8).reshape(1, -1),
        "picture": picture,
        "padded rows": np.pad(picture, ((0, 0), (0, 3))).astype("<u2").view(np.uint8).reshape(1, -1),
    }[form]
    np.testing.assert_array_equal(from_y16(raw, (64, 48), site("0", modality="infrared")), picture)


def test_a_y16_buffer_that_is_cut_off_is_refused() -> None:
    with pytest.raises(SourceError, match="expected 6144 bytes of Y16, 64 x 48, got 5760") as refusal:
        from_y16(np.zeros((1, 5760), np.uint8), (64, 48), site("0", modality="infrared"))
    assert (refusal.value.kind, refusal.value.permanent) == ("codec", False)


@pytest.mark.parametrize(
    ("image", "modality"),
    [
        (np.zeros(SIZE, np.uint16), "visible"),
        (np.zeros((*SIZE, 3), np.uint16), "infrared"),
        (np.zeros(SIZE, np.float32), "infrared"),
    ],
    ids=["16 bits of a visible camera", "16-bit colour", "floats"],
)
def test_other_depths_are_refused(image: NDArray[Any], modality: str) -> None:
    with pytest.raises(SourceError, match="expected 8 bits a pixel, or 16-bit grey of an infrared camera"):
        to_pixels(image, site("0", modality=modality))
