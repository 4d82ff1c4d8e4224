"""A run that is told to end, and recordings that were not finished."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import deploy.installation
from deploy.camera import Camera
from deploy.run_cameras import main
from deploy.sources import make_source
from tests.camera_fakes import ColourBackend

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import sys
import deploy.installation
from deploy.run_cameras import main
from tests.camera_fakes import ColourBackend
deploy.installation.open_engine = lambda folder, **options: ColourBackend()
raise SystemExit(main(sys.argv[1:]))
"""


def write_video(path: Path, frames: int, code: str = "mp4v") -> Path:
    rng = np.random.default_rng(3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10.0, (160, 120))
    for index in range(frames):
        image_HWC = np.full((120, 160, 3), 90, np.uint8) + rng.integers(0, 4, (120, 160, 1), np.uint8)
        if index >= 10:
            left = 10 + 3 * index % 110
            image_HWC[20:100, left : left + 28] = 200
        writer.write(image_HWC)
    writer.release()
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_leaves_a_playable_video_and_complete_records(tmp_path: Path, number: signal.Signals) -> None:
    source = str(write_video(tmp_path / "long.mp4", 1000))
    flags = ["--rgb", source, "--ir", source, "--engine", ".", "--threshold", "0.6"]
    flags += ["--sightings", "/dev/stdout", "--save", str(tmp_path / "o.mp4")]
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *flags], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]  # it is at work
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    records = [json.loads(line) for line in "".join([*lines, rest]).splitlines()]
    assert records[-1]["event"] == "end"
    assert records[-1]["reason"] == "stopped"
    assert records[-1]["frames"]["visible"] < 1000
    assert sum(record["event"] == "track" for record in records) == sum(records[-1]["tracks"].values())
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    assert count == records[-1]["moments"]


def test_a_recording_without_its_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy.installation, "open_engine", lambda folder, **options: ColourBackend())
    whole = write_video(tmp_path / "whole.mp4", 30)
    content = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    flags = ["--rgb", str(whole), "--ir", str(tmp_path / "cut.mp4"), "--engine", "."]
    assert main([*flags, "--sightings", str(tmp_path / "s.jsonl")]) == 2
    assert "is cut off" in capsys.readouterr().err


def test_a_recording_that_breaks_off_is_used_up_to_there(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", 40, "MJPG")
    content = whole.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    frames = []
    with Camera(make_source(str(tmp_path / "cut.avi"), "--rgb"), name="visible", modality="visible") as camera:
        while not camera.ended:
            frame = camera.take(5.0)
            if frame is not None:
                frames.append(frame.index)
    assert frames == list(range(len(frames)))
    assert 10 < len(frames) < 30
