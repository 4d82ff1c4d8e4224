"""A small synthetic site through the public commands: it runs, it can be scored, and it runs the same way twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deploy.calibrate_threshold import main as calibrate
from deploy.run_cameras import main as run_cameras
from deploy.score_sightings import main as score_sightings
from train.datasets.synthetic_site import SiteShape, plan_site
from train.datasets.synthetic_site_files import write_site

if TYPE_CHECKING:
    from pathlib import Path

OF_THE_CLOCK = {"started", "seconds", "stage_ms"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    shape = SiteShape(cameras=3, identities=3, unknowns=1, minutes=0.8, width_px=320, height_px=180)
    write_site(folder, plan_site(shape, seed=0))
    return folder


def records(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in OF_THE_CLOCK} for line in lines]


def test_the_same_clips_twice_give_the_same_sightings_and_can_be_scored(
    site: Path, engine_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / name for name in ("first.jsonl", "second.jsonl")]
    for file in files:
        flags = ["--engine", str(engine_folder), "--threshold", "0.9", "--sightings", str(file), "--every-box"]
        assert run_cameras(["--site", str(site / "site.yaml"), *flags]) == 0
    first, second = (records(file) for file in files)
    assert first == second
    cameras = {line["camera"] for line in first if line["event"] == "track"}
    assert len(cameras) >= 3
    capsys.readouterr()
    assert score_sightings([str(files[0]), str(site / "truth.json"), "--json"]) == 0
    json.loads(capsys.readouterr().out)


def test_a_calibration_on_site_runs_the_cameras_and_keeps_what_it_saw(
    site: Path, engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out, evidence = tmp_path / "t.json", tmp_path / "e.npz"
    flags = ["--site", str(site / "site.yaml"), "--engine", str(engine_folder), "--out", str(out)]
    code = calibrate([*flags, "--save-evidence", str(evidence), "--false-match-rate", "0.2"])
    assert code in (0, 1)  # whether half a minute is enough is the evidence's to say
    told = capsys.readouterr()
    assert "visible" in told.out
    assert out.exists() == (code == 0)
    assert evidence.is_file()
    assert not (tmp_path / "sightings.jsonl").exists()
    # What was kept gives the same answer again, without cameras.
    assert (
        calibrate(["--evidence", str(evidence), "--out", str(tmp_path / "u.json"), "--false-match-rate", "0.2"]) == code
    )
    assert capsys.readouterr().out == told.out
