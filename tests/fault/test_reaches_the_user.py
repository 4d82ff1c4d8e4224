"""The ten failures of cameras.md 4.2 and bad input, as whoever runs run_cameras meets them: one line and exit code 2,
or a run that goes on and says so.

That each is recognised is tested where it is recognised (test_sources_fail.py, test_sources_device.py,
test_thermal.py, test_doctor.py); here, that it gets through.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

import deploy.assembly.installation
import deploy.assembly.model_parts
import deploy.cameras.reconnect
import deploy.diagnosis.checks
from deploy.gallery import open_gallery
from deploy.run_cameras import main
from deploy.sources import SourceError, make_source
from deploy.sources.gstreamer import gi_has_gstreamer, opencv_has_gstreamer
from tests.camera_fakes import ColourBackend
from tests.camera_runs import PeopleSource
from tests.source_servers import Account, RtspCamera

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.settings.site_plan import CameraSite
    from deploy.sources import Source
    from deploy.sources.source import FailureKind

SHORT = "synthetic:people=1&size=160x120&seconds=1"
LIVE = SHORT + "&live=1&fps=30"
BOTH = ("--rgb", LIVE, "--ir", LIVE)
SECRET = "hunter2"


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ColourBackend:
    """An engine of no cost, waits of milliseconds, and a folder of our own to run in."""
    backend = ColourBackend()
    monkeypatch.setattr(deploy.assembly.model_parts, "open_engine", lambda folder, **options: backend)
    monkeypatch.setattr(deploy.cameras.reconnect, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(deploy.cameras.reconnect, "MOST_WAIT_S", 0.05)
    monkeypatch.chdir(tmp_path)
    return backend


class Refusing(PeopleSource):
    """A live camera that cannot be opened."""

    error = SourceError("", kind="busy")

    def open(self) -> None:
        raise self.error


@pytest.fixture
def infrared_refuses(monkeypatch: pytest.MonkeyPatch) -> Callable[[SourceError], None]:
    """Make every infrared camera refuse; the others are what they are."""

    def refuse(error: SourceError) -> None:
        def make(site: CameraSite, **options: Any) -> Source:
            if site.modality == "infrared":
                source = Refusing(live=True)
                source.error = error
                return source
            return make_source(site, **options)

        monkeypatch.setattr(deploy.assembly.installation, "make_source", make)

    return refuse


def run(*flags: str, cameras: tuple[str, ...] = ("--rgb", SHORT, "--ir", SHORT)) -> int:
    return main([*cameras, "--engine", ".", *flags])


def refusal(capsys: pytest.CaptureFixture[str], *flags: str, cameras: tuple[str, ...] | None = None) -> str:
    """Return the one line on stderr of a run that is refused."""
    code = run(*flags) if cameras is None else run(*flags, cameras=cameras)
    written = capsys.readouterr()
    assert (code, written.out) == (2, "")
    lines = [line for line in written.err.splitlines() if line.startswith("run_cameras: ")]
    assert len(lines) == 1
    assert "Traceback" not in written.err
    assert not Path("sightings.jsonl").exists() or not records("track")
    return lines[0].removeprefix("run_cameras: ")


def records(event: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in Path("sightings.jsonl").read_text().splitlines()]
    return [record for record in found if record["event"] == event]


def states(camera: str) -> list[tuple[str, str]]:
    return [(record["state"], record["reason"]) for record in records("camera") if record["camera"] == camera]


METADATA = "camera 'infrared' 1: /dev/video1 is the metadata node of \"C920\" (/dev/video0). Try --ir 2"
BANDWIDTH = "camera 'infrared' 2: USB bus 1 has no bandwidth left. Not a disk problem. Use MJPG"


def test_row_1_a_metadata_node_is_refused_with_the_node_to_try(
    infrared_refuses: Callable[[SourceError], None], capsys: pytest.CaptureFixture[str]
) -> None:
    infrared_refuses(SourceError(METADATA, kind="metadata-node"))
    assert refusal(capsys, cameras=BOTH) == METADATA


def test_row_1_a_patient_run_goes_on_without_it(infrared_refuses: Callable[[SourceError], None]) -> None:
    infrared_refuses(SourceError(METADATA, kind="metadata-node"))
    assert run("--patient", "--max-frames", "5", cameras=BOTH) == 0
    assert states("infrared") == [("failed", METADATA)]
    assert records("end")[0]["frames"] == {"visible": 5, "infrared": 0}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bandwidth", BANDWIDTH),
        ("timeout", "camera 'infrared' rtsp://***@10.0.0.5/live: no answer in 5 s"),
        ("permission", "camera 'infrared' 2: permission denied on /dev/video2: add user to group video"),
    ],
)
def test_rows_1_to_3_what_may_pass_is_tried_again_while_the_other_camera_works(
    infrared_refuses: Callable[[SourceError], None], kind: FailureKind, message: str
) -> None:
    infrared_refuses(SourceError(message, kind=kind))
    assert run("--max-frames", "5", cameras=BOTH) == 0
    assert states("visible")[0] == ("running", "")
    state, reason = states("infrared")[0]
    assert state == "reconnecting"
    assert reason.startswith(f"{message}; retry 1 in ")
    assert records("end")[0]["frames"] == {"visible": 5, "infrared": 0}


def test_row_3_a_wrong_password_is_one_line_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    with RtspCamera(account=Account("joe", "right")) as server:
        line = refusal(capsys, cameras=("--rgb", server.uri(f"joe:{SECRET}")))
    assert "401 unauthorized (wrong user or password); not tried again" in line
    assert "rtsp://***@127.0.0.1" in line


def test_row_3_no_password_is_in_what_a_run_leaves(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with RtspCamera(account=Account("joe", "right")) as server:
        cameras = ("--rgb", LIVE, "--ir", server.uri(f"joe:{SECRET}"))
        assert run("--patient", "--max-frames", "5", cameras=cameras) == 0
    assert [state for state, _ in states("infrared")] == ["failed"]
    written = capsys.readouterr()
    for text in (Path("sightings.jsonl").read_text(), caplog.text, written.err, written.out):
        assert SECRET not in text


@pytest.mark.skipif(opencv_has_gstreamer() or gi_has_gstreamer(), reason="GStreamer is here")
def test_row_4_a_csi_camera_without_gstreamer_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, cameras=("--rgb", "csi://0"))
    assert f"needs OpenCV with GStreamer; this opencv-python {cv2.__version__} has none" in line


def test_row_5_no_display_is_told_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run("--show") == 0
    assert [record.levelname for record in caplog.records if "no display here" in record.message] == ["WARNING"]
    assert records("end")[0]["frames"] == {"visible": 10, "infrared": 10}


def test_row_6_an_engine_that_this_machine_cannot_run_is_one_line(
    engine_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from engines.open import open_engine

    monkeypatch.setattr(deploy.assembly.model_parts, "open_engine", open_engine)
    line = refusal(capsys, "--engine", str(engine_folder), "--backend", "tensorrt")
    assert line.startswith("backend 'tensorrt' needs ") or "expected a plan for this device" in line
    assert "installed backends: openvino" in line or "build one here with `python deploy/build_engine.py" in line


def test_row_7_a_palette_is_told_once_and_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder of false-colour pictures for a camera that is said to be thermal."""
    folder = tmp_path / "thermal"
    folder.mkdir()
    grey_HW = np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))
    for number in range(30):
        cv2.imwrite(str(folder / f"{number:03}.png"), cv2.applyColorMap(np.roll(grey_HW, number), cv2.COLORMAP_INFERNO))
    assert run("--ir-invert", cameras=("--rgb", SHORT, "--ir", str(folder))) == 0
    told = [record.message for record in caplog.records if "palette" in record.message]
    assert len(told) == 1
    assert told[0].startswith("infrared camera: gives 8 bits in false colours")
    assert records("end")[0]["frames"]["infrared"] == 30


def test_row_9_without_a_threshold_it_is_said_that_nobody_is_named(caplog: pytest.LogCaptureFixture) -> None:
    assert run() == 0
    told = [record.message for record in caplog.records if "threshold not calibrated" in record.message]
    assert len(told) == 1
    assert "reporting similarities only, no identities; run deploy/calibrate_threshold.py" in told[0]
    assert records("run")[0]["threshold"] is None
    assert {record["identity"] for record in records("track")} <= {None}


def test_row_10_doctor_names_both_opencvs_and_the_line_that_mends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from deploy.doctor import main as doctor

    def version(name: str) -> str:
        return "5.0.0.93"

    monkeypatch.setattr(deploy.diagnosis.checks, "_version", version)
    assert doctor([]) == 1
    out = capsys.readouterr().out
    assert "are both installed and overwrite each other" in out
    assert "&& pip install opencv-python" in out


SITE = "cameras:\n  door: {uri: 'synthetic:', modality: visible}\n  gate: {uri: 'synthetic:', modality: infrared}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SITE + "pairs:\n  - {visible: dor, infrared: gate, alignment: a.json}\n", "dor"),
        (SITE.replace("modality: visible", "modalty: visible"), "did you mean 'modality'"),
        (SITE + "galery: people.db\n", "did you mean 'gallery'"),
        (SITE + "transits:\n  - {places: [door, yard], least_s: 5}\n", "yard"),
    ],
    ids=["unknown camera", "typo in a camera", "typo in a setting", "unknown place"],
)
def test_a_site_file_with_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, expected: str
) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    assert expected in refusal(capsys, cameras=("--site", str(path)))


def test_a_gallery_of_another_model_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "people.db"
    open_gallery(str(path), "another", 4).close()
    content = path.read_bytes()
    line = refusal(capsys, "--gallery", str(path))
    assert "got a gallery of model another" in line
    assert path.read_bytes() == content


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refusal(capsys, "--web", str(port))
    assert f"127.0.0.1:{port}: the port is in use" in line


def test_a_page_for_others_without_a_token_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CROSSLIGHT_TOKEN", raising=False)
    line = refusal(capsys, "--listen", "0.0.0.0:0")
    assert "token" in line


def test_an_unknown_kind_of_address_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean rtsp://?" in refusal(capsys, cameras=("--rgb", "rtsq://10.0.0.5/live"))


def test_a_refusal_leaves_a_gallery_free_for_the_next_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was opened before the refusal is closed again."""
    path = tmp_path / "people.db"
    assert "token" in refusal(capsys, "--gallery", str(path), "--listen", "0.0.0.0:0")
    assert run("--gallery", str(path)) == 0
