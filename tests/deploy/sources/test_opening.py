"""Which source a URI stands for, and what is refused before anything opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deploy.settings.site_plan import CameraSite
from deploy.sources import SourceError, make_source
from deploy.sources.device import DeviceSource
from deploy.sources.pacing import PacedSource
from deploy.sources.recording import ImagesSource, VideoSource
from deploy.sources.stream import StreamSource
from deploy.sources.synthetic import SyntheticSource

if TYPE_CHECKING:
    from pathlib import Path


def site(uri: str, **settings: Any) -> CameraSite:
    return CameraSite(name="gate", uri=uri, **{"modality": "visible", **settings})


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("0", DeviceSource),
        ("/dev/video2", DeviceSource),
        ("/dev/v4l/by-id/usb-PureThermal-video-index0", DeviceSource),
        ("rtsp://10.0.0.5/live", StreamSource),
        ("rtsps://10.0.0.5/live", StreamSource),
        ("http://10.0.0.5/video", StreamSource),
        ("https://10.0.0.5/video", StreamSource),
        ("RTSP://10.0.0.5/live", StreamSource),
    ],
)
def test_a_uri_names_its_source(uri: str, kind: type) -> None:
    source = make_source(site(uri))
    assert type(source) is kind
    assert source.live


def test_files_and_folders_are_recordings(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.png", "with space.avi"):
        (tmp_path / name).touch()
    assert type(make_source(site(str(tmp_path / "a.mp4")))) is VideoSource
    assert type(make_source(site(str(tmp_path / "b.png")))) is ImagesSource
    assert type(make_source(site(str(tmp_path)))) is ImagesSource
    assert type(make_source(site((tmp_path / "with space.avi").as_uri()))) is VideoSource
    assert not make_source(site(str(tmp_path))).live


def test_a_recording_in_real_time_is_live(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    source = make_source(site(str(tmp_path / "a.mp4"), realtime=True))
    assert (type(source), source.live) == (PacedSource, True)
    assert type(make_source(site("0", realtime=True))) is DeviceSource  # a device is live by itself


def test_the_text_behind_synthetic_goes_to_its_source() -> None:
    source = make_source(site("synthetic:people=3&seed=1", modality="infrared"))
    assert isinstance(source, SyntheticSource)
    assert (source.options.people, source.options.seed, source.live) == (3, 1, False)


@pytest.mark.parametrize(
    ("uri", "kind", "message"),
    [
        ("nowhere.mp4", "not-found", r"camera 'gate' nowhere.mp4: expected a device .* there is no such file"),
        ("rstp://u:hunter2@h/x", "unsupported", r"rstp://\*\*\*@h/x: .* did you mean rtsp://\?"),
        ("ftp://u:hunter2@h/x", "unsupported", "got a ftp:// address"),
        ("rtsp://u:hunter2 x@h/x", "unsupported", r"rtsp://\*\*\*: .* write a blank as %20"),
        ("rtsp://u:hunter2@/x", "unsupported", "no host that can be read"),
        ("rtsp://u:hunter2@h:99999/x", "unsupported", "no host that can be read"),
        ("csi://front", "unsupported", "expected csi:// and a sensor's number"),
        ("gst:", "unsupported", "expected gst: and a pipeline"),
        ("x" * 300, "permission", "name too long"),
    ],
)
def test_what_can_be_known_at_once_is_refused_at_once(uri: str, kind: str, message: str) -> None:
    with pytest.raises(SourceError, match=f"(?i){message}") as refusal:
        make_source(site(uri))
    assert (refusal.value.kind, refusal.value.permanent) == (kind, kind != "permission")
    assert "hunter2" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
