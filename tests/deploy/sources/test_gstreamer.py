"""Pipelines: their text everywhere; running them where python3-gi and GStreamer are, which no pip package brings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from deploy.settings.site_plan import CameraSite
from deploy.sources import SourceError, make_source
from deploy.sources.address import parse_address
from deploy.sources.gstreamer import (
    DECODER_PLUGIN,
    csi_pipeline,
    gi_has_gstreamer,
    has_nvdec,
    nvdec_pipeline,
    opencv_has_gstreamer,
    quoted,
    user_pipeline,
)

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.sources import Source

SINK = "appsink name=pictures drop=true max-buffers=1 sync=false"
needs_gst = pytest.mark.skipif(
    not (gi_has_gstreamer() or opencv_has_gstreamer()), reason="needs GStreamer: no python3-gi with Gst and GstApp here"
)


def site(uri: str, **settings: Any) -> CameraSite:
    return CameraSite(name="gate", uri=uri, **{"modality": "visible", **settings})


def opened(uri: str, **settings: Any) -> Source:
    source = make_source(site(uri, **settings))
    source.open()
    return source


def test_a_csi_sensor_is_scaled_and_converted_on_the_device() -> None:
    assert csi_pipeline(site("csi://1", size_px=(1280, 720), fps=15.0)) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720,framerate=15/1 ! "
        f"nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! {SINK}"
    )
    assert "width=1920,height=1080,framerate=30/1" in csi_pipeline(site("csi://0"))


def test_a_pipeline_of_ones_own_gets_an_end_where_it_has_none() -> None:
    assert user_pipeline(site("gst:v4l2src")) == f"v4l2src ! videoconvert ! video/x-raw,format=BGR ! {SINK}"
    assert "format=GRAY16_LE" in user_pipeline(site("gst:v4l2src", format="Y16", modality="infrared"))
    assert user_pipeline(site("gst:v4l2src ! appsink")) == "v4l2src ! appsink"


def test_the_hardware_decoder_is_used_for_what_it_decodes() -> None:
    address = parse_address(site('rtsp://joe:a"b\\c%20d@10.0.0.5/live?x=1'))
    assert nvdec_pipeline(address, "H265") == (
        'rtspsrc location="rtsp://10.0.0.5:554/live?x=1" user-id="joe" user-pw="a\\"b\\\\c d" protocols=tcp '
        "latency=200 drop-on-latency=true ! rtph265depay ! h265parse ! nvv4l2decoder ! "
        f"nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR ! {SINK}"
    )
    pipeline = nvdec_pipeline(address, "H264")
    assert pipeline is not None
    assert "enable-max-performance" not in pipeline
    assert nvdec_pipeline(address, "JPEG") is None


def test_the_hardware_decoder_is_where_its_plugin_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.sources.gstreamer.opencv_has_gstreamer", lambda: True)
    assert not has_nvdec((tmp_path,))
    (tmp_path / DECODER_PLUGIN).parent.mkdir()
    (tmp_path / DECODER_PLUGIN).touch()
    assert has_nvdec((tmp_path / "elsewhere", tmp_path))
    monkeypatch.setattr("deploy.sources.gstreamer.opencv_has_gstreamer", lambda: False)
    monkeypatch.setattr("deploy.sources.gstreamer.gi_has_gstreamer", lambda: False)
    assert not has_nvdec((tmp_path,))


@needs_gst
def test_a_pipeline_gives_rgb_of_an_odd_width() -> None:
    source = opened("gst:videotestsrc is-live=true pattern=red ! video/x-raw,width=97,height=50,framerate=30/1")
    assert (source.live, source.fps) == (True, 30.0)
    for _ in range(3):
        assert source.grab()
    pixels = source.retrieve()
    source.close()
    assert pixels is not None
    assert pixels.shape == (50, 97, 3)
    assert pixels.reshape(-1, 3).min(0).tolist() == pixels.reshape(-1, 3).max(0).tolist() == [255, 0, 0]


@needs_gst
@pytest.mark.parametrize("form", ["RGB", "BGR", "RGBx", "BGRA", "RGBA", "BGRx"])
def test_every_order_of_colours_becomes_rgb(form: str) -> None:
    caps = f"video/x-raw,format={form},width=33,height=10,framerate=30/1"
    source = opened(f"gst:videotestsrc is-live=true pattern=blue ! {caps} ! appsink")
    assert source.grab()
    pixels = source.retrieve()
    source.close()
    assert pixels is not None
    assert pixels[5, 32].tolist() == [0, 0, 255]


@needs_gst
def test_sixteen_bits_of_a_pipeline_stay() -> None:
    caps = "video/x-raw,format=GRAY16_LE,width=33,height=10,framerate=30/1"
    source = opened(f"gst:videotestsrc is-live=true pattern=white ! {caps}", modality="infrared", format="Y16")
    assert source.grab()
    pixels = source.retrieve()
    source.close()
    assert pixels is not None
    # White of video is 235 of 255.
    assert (pixels.dtype, pixels.shape, int(pixels.min())) == (np.uint16, (10, 33), 235 * 257)


@needs_gst
@pytest.mark.parametrize(
    ("pipeline", "kind", "message"),
    [
        ("nosuchelement ! appsink", "unsupported", 'no element "nosuchelement"'),
        ("videotestsrc ! fakesink", "unsupported", "fakesink"),
        ("filesrc location=/nowhere.mp4 ! decodebin ! videoconvert", "not-found", "Resource not found"),
        ("filesrc location=/etc/passwd ! jpegdec ! videoconvert", "codec", "GStreamer"),
    ],
)
def test_a_pipeline_that_does_not_run_gives_its_reason(pipeline: str, kind: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as refusal:
        opened(f"gst:{pipeline}")
    assert refusal.value.kind == kind


@needs_gst
def test_a_pipeline_that_ends_is_a_lost_camera() -> None:
    source = opened("gst:videotestsrc num-buffers=5 is-live=true ! video/x-raw,framerate=50/1,width=32,height=16")
    with pytest.raises(SourceError, match="the pipeline has ended") as loss:
        assert all(source.grab() for _ in range(100))
    source.close()
    assert (loss.value.kind, loss.value.permanent) == ("connection", False)


@needs_gst
def test_quoted_values_reach_the_element_as_they_were() -> None:
    from deploy.sources.gi_capture import load_gst

    gst = load_gst()
    if gst is None:
        pytest.skip("needs python3-gi: OpenCV does not show the elements of a pipeline")
    for text in ('a"b\\c d', "x!y", "p@ss/w:rd%é", "'single'"):
        assert gst.parse_launch(f"filesrc location={quoted(text)}").get_property("location") == text


def test_opencv_is_asked_first_where_it_has_gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    class Refusing:
        def __init__(self, pipeline: str, backend: int) -> None:
            seen.append((pipeline, backend))

        def isOpened(self) -> bool:
            return False

        def release(self) -> None: ...

    monkeypatch.setattr("deploy.sources.gstreamer.opencv_has_gstreamer", lambda: True)
    monkeypatch.setattr("cv2.VideoCapture", Refusing)
    with pytest.raises(SourceError, match="GStreamer did not start the pipeline 'nvarguscamerasrc") as refusal:
        opened("csi://0")
    assert refusal.value.kind == "connection"
    assert seen == [(csi_pipeline(site("csi://0")), cv2.CAP_GSTREAMER)]
