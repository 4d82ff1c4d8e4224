"""A run that is told to end, is killed, or has a camera that hangs; recordings that were not finished."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

import deploy.assembly.model_parts
from deploy.cameras.camera import Camera
from deploy.gallery import open_gallery
from deploy.run_cameras import main
from deploy.settings.site_plan import CameraSite
from deploy.sources import make_source
from tests.camera_fakes import ColourBackend

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0  # a test that is right never waits so long
END_S = 10.0  # promised are 5; a machine that runs other tests beside may take longer
RUN = """
import sys
import deploy.assembly.model_parts
from deploy.run_cameras import main
from tests.camera_fakes import ColourBackend
deploy.assembly.model_parts.open_engine = lambda folder, **options: ColourBackend()
"""
GO = "raise SystemExit(main(sys.argv[1:]))"
HANGING_CAMERA = """
import time
from deploy.sources.synthetic import SyntheticSource
grab, grabs = SyntheticSource.grab, []
def hang(self):
    if self._modality == "infrared":
        grabs.append(1)
        if len(grabs) > 3:
            time.sleep(1000)
    return grab(self)
SyntheticSource.grab = hang
"""
HANGING_ENGINE = """
import time
ColourBackend.embed = lambda self, image_BHWC, modality: (print("hangs", file=sys.stderr, flush=True), time.sleep(1000))
"""
LIVE = "synthetic:people=2&seed=1&size=320x180&fps=10&live=1&seconds=60"


@dataclass
class Started:
    """A run in a process of its own."""

    process: subprocess.Popen[str]
    sightings: Path
    sent_s: float = 0.0
    errors: list[str] = field(default_factory=list)

    def records(self) -> list[dict[str, Any]]:
        """Return the whole lines so far."""
        if not self.sightings.exists():
            return []
        return [json.loads(line) for line in self.sightings.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def wait_for(self, count: int, *events: str) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while sum(record["event"] in events for record in self.records()) < count:
            assert self.process.poll() is None, self.process.stderr and self.process.stderr.read()
            assert time.monotonic() < until_s
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        self.sent_s = time.monotonic()
        self.process.send_signal(number)

    def end(self) -> tuple[int, float, str]:
        """Return the exit code, how long the end took, and what was written on stderr."""
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, time.monotonic() - self.sent_s, errors


@contextmanager
def started(command: Sequence[str], sightings: Path) -> Generator[Started]:
    process = subprocess.Popen(
        [sys.executable, *command, "--sightings", str(sightings)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Started(process, sightings)
    finally:
        process.kill()
        process.communicate()


def write_video(path: Path, frames: int, code: str = "mp4v", greys: Sequence[int] = (200,)) -> Path:
    """A wall through which somebody walks for 40 frames of 80; one grey after another."""
    rng = np.random.default_rng(3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 10.0, (160, 120))
    for index in range(frames):
        image_HWC = np.full((120, 160, 3), 90, np.uint8) + rng.integers(0, 4, (120, 160, 1), np.uint8)
        turn, step = divmod(index - 10, 80)
        if index >= 10 and step < 40:
            left = 10 + 2 * step
            image_HWC[20:100, left : left + 28] = greys[turn % len(greys)] + rng.integers(-20, 20, (80, 28, 1))
        writer.write(image_HWC)
    writer.release()
    return path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_leaves_a_playable_video_and_complete_records(tmp_path: Path, number: signal.Signals) -> None:
    source = str(write_video(tmp_path / "long.mp4", 3000))
    flags = ["--rgb", source, "--ir", source, "--engine", ".", "--threshold", "0.6", "--save", str(tmp_path / "o.mp4")]
    with started(["-c", RUN + GO, *flags], tmp_path / "s.jsonl") as run:
        run.wait_for(3, "sighting")
        run.send(number)
        code, seconds, errors = run.end()
        records = run.records()
    assert code == 0, errors
    assert seconds < END_S
    assert "stopped after" in errors
    assert (records[0]["event"], records[-1]["event"], records[-1]["reason"]) == ("run", "end", "stopped")
    assert 0 < records[-1]["frames"]["visible"] < 3000
    assert sum(record["event"] == "track" for record in records) == sum(records[-1]["tracks"].values())
    capture = cv2.VideoCapture(str(tmp_path / "o.mp4"))
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    assert count == records[-1]["moments"]


def test_the_real_script_ends_with_everything_written(tmp_path: Path, engine_folder: Path) -> None:
    """Live cameras, an engine, a gallery, crops and the page: all of it is told to stop."""
    where = tmp_path / "people.db"
    flags = ["--rgb", LIVE, "--ir", LIVE, "--engine", str(engine_folder), "--threshold", "0.2", "--web", "0"]
    flags += ["--gallery", str(where), "--record-crops", str(tmp_path / "crops")]
    with started(["deploy/run_cameras.py", *flags], tmp_path / "s.jsonl") as run:
        run.wait_for(6, "sighting")
        run.send(signal.SIGTERM)
        code, seconds, errors = run.end()
        records = run.records()
    assert code == 0, errors
    assert seconds < END_S
    assert "stopped after" in errors
    assert "Traceback" not in errors
    assert (records[0]["event"], records[-1]["event"]) == ("run", "end")
    assert (tmp_path / "s.jsonl").read_text().endswith("}\n")
    ended = [record for record in records if record["event"] == "track"]
    assert len(ended) == sum(records[-1]["tracks"].values()) > 0
    gallery = open_gallery(str(where), None, None)  # type: ignore[arg-type]
    assert gallery.check() == []
    kept = {person.identity for person in gallery.people()}
    assert {record["identity"] for record in ended} - {None} == kept != set()
    gallery.close()


def test_a_camera_that_hangs_for_ever_holds_up_neither_the_others_nor_the_end(tmp_path: Path) -> None:
    flags = ["--rgb", LIVE, "--ir", LIVE, "--engine", ".", "--threshold", "0.6"]
    with started(["-c", RUN + HANGING_CAMERA + GO, *flags], tmp_path / "s.jsonl") as run:
        run.wait_for(3, "camera")  # running, running, silent
        before = max(record["time_s"] for record in run.records() if record["event"] == "camera")
        seen = sum(record["event"] == "sighting" for record in run.records())
        run.wait_for(seen + 2, "sighting", "track")
        run.send(signal.SIGTERM)
        code, seconds, errors = run.end()
        records = run.records()
    assert code == 0, errors
    assert seconds < END_S
    silent = [record for record in records if record["event"] == "camera" and record["state"] == "silent"]
    assert [record["camera"] for record in silent] == ["infrared"]
    assert before < 10
    assert "the driver does not answer; left behind" in errors
    assert records[-1]["frames"]["infrared"] <= 3 < records[-1]["frames"]["visible"]
    assert (records[-1]["event"], records[-1]["reason"]) == ("end", "stopped")


def test_a_second_signal_ends_what_cannot_wait(tmp_path: Path) -> None:
    """The engine hangs, so nobody looks at the first one."""
    source = str(write_video(tmp_path / "long.mp4", 300))
    flags = ["--rgb", source, "--ir", source, "--engine", "."]
    with started(["-c", RUN + HANGING_ENGINE + GO, *flags], tmp_path / "s.jsonl") as run:
        assert run.process.stderr is not None
        assert any("hangs" in line for line in run.process.stderr)
        run.send(signal.SIGTERM)
        time.sleep(0.5)
        assert run.process.poll() is None
        run.send(signal.SIGTERM)
        code, seconds, errors = run.end()
        records = run.records()
    assert (code, "interrupted" in errors) == (130, True)
    assert seconds < END_S
    assert (records[-1]["event"], records[-1]["reason"]) == ("end", "failed")


def test_who_was_known_before_a_kill_is_known_after_it_and_no_number_is_used_twice(tmp_path: Path) -> None:
    where = tmp_path / "people.db"
    first = str(write_video(tmp_path / "first.mp4", 4000, greys=(200, 50)))
    flags = ["--rgb", first, "--ir", first, "--engine", ".", "--threshold", "0.6", "--gallery", str(where)]
    with started(["-c", RUN + GO, *flags], tmp_path / "s.jsonl") as run:
        run.wait_for(4, "track")
        run.send(signal.SIGKILL)
        code, _, _ = run.end()
        killed = run.records()
    assert code == -signal.SIGKILL
    assert killed[-1]["event"] != "end"
    before = {(r["camera"], r["track"]): r["identity"] for r in killed if r["event"] == "track"}
    assert len(set(before.values())) == 2
    given = {record["identity"] for record in killed if record.get("identity")}

    again = str(write_video(tmp_path / "again.mp4", 300, greys=(200, 50, 140)))
    flags = ["--rgb", again, "--ir", again, "--engine", ".", "--threshold", "0.6", "--gallery", str(where)]
    with started(["-c", RUN + GO, *flags], tmp_path / "s2.jsonl") as run:
        code, _, errors = run.end()
        records = run.records()
    assert code == 0, errors
    after = {(r["camera"], r["track"]): r["identity"] for r in records if r["event"] == "track"}
    for camera in ("visible", "infrared"):
        assert [after[camera, track] for track in (1, 2)] == [before[camera, track] for track in (1, 2)]
        assert after[camera, 3] not in given
        assert after[camera, 3] > max(given)


def test_a_recording_without_its_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deploy.assembly.model_parts, "open_engine", lambda folder, **options: ColourBackend())
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
    site = CameraSite(name="visible", uri=str(tmp_path / "cut.avi"), modality="visible")
    frames: list[int] = []
    with Camera(site, make_source(site)) as camera:
        while not camera.ended:
            frame = camera.take(5.0)
            if frame is not None:
                frames.append(frame.index)
    assert frames == list(range(len(frames)))
    assert 10 < len(frames) < 30
