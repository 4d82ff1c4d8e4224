"""The script as a user meets it: flags, refusals, and a whole run with a stand-in engine."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

import deploy.assembly.model_parts
from deploy.alignment.alignment import Alignment
from deploy.assembly.model_parts import choose_thresholds, newest_engine
from deploy.run_cameras import main, parser
from deploy.settings.options import Options, options_of
from engines.errors import BadInput
from engines.model_id import model_id
from tests.camera_fakes import MANIFEST, ColourBackend
from tests.deploy.thresholds.test_thresholds import thresholds as calibrated

if TYPE_CHECKING:
    from engines.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]


def write_video(path: Path, frames: int, *, person: int = 200, fps: float = 10.0) -> Path:
    """A wall, and from frame 15 on an upright figure that walks through it."""
    rng = np.random.default_rng(7)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (320, 180))
    for index in range(frames):
        image_HWC = np.full((180, 320, 3), 90, np.uint8) + rng.integers(0, 4, (180, 320, 1), np.uint8)
        if index >= 15:
            left = 20 + 4 * (index - 15) % 240
            image_HWC[50:140, left : left + 30] = person
        writer.write(image_HWC)
    writer.release()
    return path


@pytest.fixture
def videos(tmp_path: Path) -> tuple[str, str]:
    return str(write_video(tmp_path / "v.mp4", 60)), str(write_video(tmp_path / "i.mp4", 60))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ColourBackend:
    backend = ColourBackend()
    monkeypatch.setattr(deploy.assembly.model_parts, "open_engine", lambda folder, **options: backend)
    return backend


def test_the_flags_are_these() -> None:
    """A new flag is a decision."""
    assert set(vars(parser().parse_args(["--rgb", "0", "--ir", "1"]))) == {
        "rgb", "ir", "site", "ir_invert", "max_frames", "patient", "dry_run", "engine", "backend", "precision",
        "detector", "auto_build", "threshold", "thresholds", "embed_every", "most_crops", "gallery", "keep_days",
        "sightings", "every_box", "record_crops", "save", "show", "web", "listen", "token", "mqtt", "webhook",
    }  # fmt: skip


def test_a_whole_run(videos: tuple[str, str], engine: ColourBackend, tmp_path: Path) -> None:
    sightings, video = tmp_path / "out" / "s.jsonl", tmp_path / "out" / "o.mp4"
    flags = ["--rgb", videos[0], "--ir", videos[1], "--engine", str(tmp_path), "--threshold", "0.6"]
    assert main([*flags, "--sightings", str(sightings), "--save", str(video), "--every-box"]) == 0
    records = [json.loads(line) for line in sightings.read_text().splitlines()]
    assert records[0]["event"] == "run"
    assert records[-1]["event"] == "end"
    tracks = [record for record in records if record["event"] == "track"]
    assert {record["camera"]: record["identity"] for record in tracks} == {"visible": 1, "infrared": 1}
    capture = cv2.VideoCapture(str(video))
    assert capture.read()[0]
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 60
    capture.release()


def test_the_crops_of_a_run_calibrate_the_next_engine(
    videos: tuple[str, str], engine: ColourBackend, tmp_path: Path
) -> None:
    from calib.crops_folder import calibration_from_folder

    crops = tmp_path / "crops"
    flags = ["--rgb", videos[0], "--ir", videos[1], "--engine", str(tmp_path), "--sightings", str(tmp_path / "s.jsonl")]
    assert main([*flags, "--record-crops", str(crops)]) == 0
    chosen = calibration_from_folder(crops)
    embedded = {
        modality: sum(count for name, count in engine.batches if name == modality) for modality, _ in engine.batches
    }
    found = Counter(record.modality for record in chosen.records)
    assert found == embedded
    assert len({record.identity for record in chosen.records}) == 2  # one walker, a track in each camera


def test_auto_build_hands_the_engine_a_way_to_build_its_plan(
    videos: tuple[str, str], engine: ColourBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.assembly import model_parts
    from deploy.building import plans

    asked: list[tuple[bool, object]] = []
    opened = model_parts.open_engine

    def remember(*args: object, auto_build: bool, rebuild: object, **options: object) -> object:
        asked.append((auto_build, rebuild))
        return opened(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model_parts, "open_engine", remember)
    flags = ["--rgb", videos[0], "--ir", videos[1], "--engine", str(tmp_path), "--sightings", str(tmp_path / "s.jsonl")]
    assert main(flags) == main([*flags, "--auto-build"]) == 0
    assert asked == [(False, plans.rebuild), (True, plans.rebuild)]


def test_a_folder_that_cannot_hold_crops_is_one_line_before_a_camera_opens(
    engine: ColourBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    flags = [
        "--rgb",
        "93",
        "--ir",
        "94",
        "--engine",
        str(tmp_path),
        "--record-crops",
        str(tmp_path / "file"),
    ]
    assert "--record-crops: expected a folder" in refusal(flags, capsys)


def refusal(flags: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(flags) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_missing_engine_says_how_to_build_one(
    videos: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(deploy.assembly.model_parts, "BUILT", tmp_path / "none")
    monkeypatch.setattr(deploy.assembly.model_parts, "DEMO_ENGINE", tmp_path / "none")
    line = refusal(["--rgb", videos[0], "--ir", videos[1]], capsys)
    assert "deploy/build_engine.py" in line


def test_a_missing_camera_is_one_line(
    engine: ColourBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(["--rgb", "93", "--ir", "94", "--engine", str(tmp_path)], capsys)
    assert "camera 'visible' 93: is not there" in line
    assert not (Path.cwd() / "sightings.jsonl").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rgb", "0", "--ir", "0"], "expected two cameras"),
        (["--rgb", "0", "--ir", "1", "--embed-every", "0"], "--embed-every"),
        (["--rgb", "0", "--ir", "1", "--max-frames", "0"], "--max-frames"),
        (["--rgb", "0", "--ir", "1", "--threshold", "60"], "--threshold"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refusal(flags, capsys)


def test_a_file_that_is_no_video_is_one_line(
    videos: tuple[str, str], engine: ColourBackend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.mp4").write_text("no video")
    assert main(["--rgb", videos[0], "--ir", str(tmp_path / "no.mp4"), "--engine", str(tmp_path)]) == 2
    assert "expected a video that OpenCV can decode" in capfd.readouterr().err


def options(*flags: str) -> Options:
    return options_of(parser().parse_args(["--rgb", "0", *flags]))


def test_thresholds_come_from_the_command_line_then_a_file_then_the_engine_then_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    measured = dataclasses.replace(MANIFEST, matching={"threshold": 0.5, "same_modality_threshold": 0.7})
    file = tmp_path / "t.json"
    dataclasses.replace(calibrated(), model=model_id(MANIFEST)).save(file)

    def least(manifest: Manifest, *flags: str) -> float:
        found = choose_thresholds(options(*flags), manifest)[0]
        assert found is not None
        return found.least("together", 1)

    assert least(measured) == 0.5
    assert least(measured, "--thresholds", str(file)) == calibrated().least("together", 1) != 0.5
    assert least(measured, "--threshold", "0.4") == 0.4
    assert not caplog.records
    assert choose_thresholds(options(), MANIFEST)[0] is None
    assert ["reporting similarities only" in record.message for record in caplog.records] == [True]


def test_an_engine_without_the_modality_of_a_camera_is_refused(
    videos: tuple[str, str], engine: ColourBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.manifest = dataclasses.replace(MANIFEST, graphs=MANIFEST.graphs[:1])
    line = refusal(["--rgb", videos[0], "--ir", f"back={videos[1]}", "--engine", "people"], capsys)
    assert "expected an engine for infrared and visible pictures, got none for infrared (cameras back)" in line


def test_an_alignment_made_for_pictures_of_another_size_is_refused(
    videos: tuple[str, str], engine: ColourBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Alignment(
        visible_px=(320, 180), infrared_px=(160, 120), matrix=(2.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 1.0),
        shift=(0.0, 0.0), residual_px=1.0, residual_p95_px=2.0, views=4, points=16, model="", created="",
    )  # fmt: skip
    made.save(tmp_path / "pair.json")
    (tmp_path / "site.yaml").write_text(
        f"cameras:\n  a: {{uri: {videos[0]}, modality: visible, place: door}}\n"
        f"  b: {{uri: {videos[1]}, modality: infrared, place: door}}\n"
        f"pairs: [{{visible: a, infrared: b, alignment: {tmp_path / 'pair.json'}}}]\n"
    )
    line = refusal(["--site", str(tmp_path / "site.yaml"), "--engine", "people"], capsys)
    assert "alignment of a and b: expected pictures of 160x120 from b, got 320x180; set the camera back" in line


def test_a_dry_run_looks_and_starts_nothing(
    videos: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["--rgb", videos[0], "--ir", videos[1], "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"visible (visible, {videos[0]}): 320x180x3 uint8, 30 frames, 10.0 fps, fine"
    assert set(tmp_path.iterdir()) - before == {tmp_path / "dry-run.png"}
    assert cv2.imread(str(tmp_path / "dry-run.png")) is not None
    assert (tmp_path / "dry-run.png").stat().st_mode & 0o777 == 0o600


def test_a_dry_run_tells_of_a_camera_that_gives_nothing(
    videos: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--rgb", videos[0], "--ir", "93", "--dry-run"]) == 1
    assert "infrared (infrared, 93): no picture; " in capsys.readouterr().out


def test_the_newest_engine_is_taken_and_else_the_demos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name, age in (("old", 100), ("new", 200), ("unfinished", 300), (".new.being-built", 400)):
        (tmp_path / name).mkdir()
        if name != "unfinished":
            (tmp_path / name / "manifest.json").touch()
            os.utime(tmp_path / name / "manifest.json", (age, age))
    assert newest_engine(tmp_path).name == "new"
    monkeypatch.setattr(deploy.assembly.model_parts, "DEMO_ENGINE", tmp_path / "old")
    assert newest_engine(tmp_path / "nowhere").name == "old"
    monkeypatch.setattr(deploy.assembly.model_parts, "DEMO_ENGINE", tmp_path / "none")
    with pytest.raises(BadInput, match=r"build_engine\.py"):
        newest_engine(tmp_path / "nowhere")


def test_help_loads_no_camera_library() -> None:
    code = "import sys; from deploy.run_cameras import parser; parser(); "
    code += "print({'cv2', 'numpy', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
