from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.cameras.device_nodes import Device
from deploy.diagnosis import checks, run
from deploy.diagnosis.checks import (
    Finding,
    check_cameras,
    check_clock,
    check_disk,
    check_engine,
    check_gallery,
    check_opencv,
    check_packages,
    check_python,
)
from deploy.doctor import main
from deploy.gallery import Tracklet, open_gallery
from deploy.sources.v4l2 import FrameSize, PixelFormat
from engines.manifest import load_manifest
from engines.model_id import model_id

if TYPE_CHECKING:
    pass


def camera(number: int, name: str = "C920", **more: object) -> Device:
    fields: dict[str, object] = {
        "number": number,
        "path": Path(f"/dev/video{number}"),
        "name": name,
        "role": "camera",
        "bus": f"usb-0000:00:14.0-{number + 1}",
        "formats": (PixelFormat(fourcc="Y16", name="16 bit", sizes=(FrameSize(width_px=160, height_px=120, fps=9),)),),
    }
    return Device(**(fields | more))  # type: ignore[arg-type]


def only(findings: list[Finding], state: str) -> list[str]:
    return [finding.text for finding in findings if finding.state == state]


def test_an_old_python_is_a_problem() -> None:
    assert check_python((3, 8, 10))[0].state == "problem"
    assert check_python((3, 12, 1))[0].state == "ok"


def test_two_opencvs_are_a_problem_with_the_line_that_mends_it() -> None:
    versions: dict[str, str] = dict.fromkeys((*checks.PACKAGES, "openvino", "opencv-contrib-python"), "1.0")
    finding = next(item for item in check_packages(lambda name: versions.get(name)) if item.state == "problem")
    assert finding.text == "opencv-python and opencv-contrib-python are both installed and overwrite each other"
    assert finding.advice == "pip uninstall -y opencv-python opencv-contrib-python && pip install opencv-python"


def test_a_missing_package_is_a_problem() -> None:
    versions: dict[str, str] = {str(name): "1.0" for name in (*checks.PACKAGES, "openvino") if name != "scipy"}
    assert only(check_packages(lambda name: versions.get(name)), "problem") == ["scipy is missing"]


@pytest.mark.parametrize(("runtimes", "problems"), [(["openvino"], 0), (["pycuda"], 0), ([], 1)])
def test_one_runtime_is_enough(runtimes: list[str], problems: int) -> None:
    """A Jetson has TensorRT and pycuda, and needs neither OpenVINO nor ONNX Runtime."""
    installed = {*checks.PACKAGES, *runtimes}
    told = only(check_packages(lambda name: "1.0" if name in installed else None), "problem")
    assert told == ["nothing that runs an engine is installed"] * problems


def test_opencv_is_read_off_its_build() -> None:
    jetson = "  Video I/O:\n    FFMPEG:   YES\n    GStreamer:   YES (1.20.3)\n"
    assert [item.state for item in check_opencv(jetson, {"DISPLAY": ":0"})] == ["ok"]
    bare = check_opencv("FFMPEG:  NO\nGStreamer:  NO", {})
    assert [item.state for item in bare] == ["problem", "note", "note"]


def test_cameras_are_listed_with_formats_and_metadata_nodes_are_told() -> None:
    nodes = [camera(0, by_id=Path("/dev/v4l/by-id/usb-C920")), camera(1, role="metadata"), camera(2, "PureThermal")]
    findings = check_cameras(lambda: nodes)
    assert only(findings, "ok")[0].startswith('0 /dev/video0 "C920" ')
    assert "Y16 160x120@9" in only(findings, "ok")[1]
    assert only(findings, "note") == [
        "1: metadata, not cameras",
        "2 cameras share the USB controller usb-0000:00:14.0",
    ]


def test_a_camera_that_may_not_be_used_is_a_problem() -> None:
    finding = check_cameras(lambda: [camera(0, permission=False)])[0]
    assert (finding.state, "group video" in finding.advice) == ("problem", True)


@pytest.mark.parametrize(("answer", "state"), [("yes\n", "ok"), ("no\n", "note"), ("", "note")])
def test_the_clock(answer: str, state: str) -> None:
    assert check_clock(lambda: answer, 1.8e9)[0].state == state


def test_a_clock_that_was_never_set_is_a_problem() -> None:
    assert check_clock(lambda: "yes", 1000.0)[0].state == "problem"


def test_a_disk_that_is_nearly_full_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_disk([tmp_path / "not" / "there"])[0].state == "ok"
    monkeypatch.setattr(checks, "LEAST_FREE_GB", 1e9)
    assert check_disk([tmp_path])[0].state == "problem"


def test_an_engine_is_checked_file_by_file(engine_folder: Path, tmp_path: Path) -> None:
    import shutil

    assert check_engine(engine_folder)[0].state == "ok"
    assert check_engine(None)[0].state == "note"
    broken = tmp_path / "engine"
    shutil.copytree(engine_folder, broken)
    file = broken / load_manifest(broken).graphs[0].file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    finding = check_engine(broken)[0]
    assert (finding.state, file.name in finding.text) == ("problem", True)


def test_a_gallery_is_read_whole(engine_folder: Path, tmp_path: Path) -> None:
    manifest = load_manifest(engine_folder)
    where = str(tmp_path / "g.db")
    assert check_gallery(where, engine_folder)[0].state == "note"
    gallery = open_gallery(where, model_id(manifest), manifest.embedding_dim)
    mean_D = np.eye(1, manifest.embedding_dim, dtype=np.float32)[0]
    gallery.enrol(
        Tracklet(
            identity=gallery.new_identity(), camera="a", track=1, modality="visible", first_s=0.0, last_s=1.0,
            mean_D=mean_D, prototype_PD=mean_D[None],
        )
    )  # fmt: skip
    gallery.close()
    assert only(check_gallery(where, engine_folder), "ok") == [f"{where}: 1 people, 1 tracklets"]
    other = open_gallery(str(tmp_path / "o.db"), "another model", 4)
    other.close()
    assert check_gallery(str(tmp_path / "o.db"), engine_folder)[0].state == "problem"
    assert check_gallery("memory", engine_folder) == []


def test_the_script_prints_every_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) in (0, 1)
    out = capsys.readouterr().out
    for subject in ("python", "packages", "opencv", "camera", "runtime", "gpu", "engine", "disk", "clock"):
        assert f" {subject} " in out


def test_the_exit_code_tells_of_problems(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def faint() -> list[Finding]:
        raise RuntimeError("no bus")

    monkeypatch.setattr(run, "check_cameras", faint)
    assert main(["--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    problems = [finding for finding in findings if finding["state"] == "problem"]
    assert [finding["text"] for finding in problems] == ["the check itself failed: no bus"]
