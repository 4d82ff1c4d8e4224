"""The demonstration in its quick size: every stage of the road, as its public commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.demo.road import FULL, OUTPUTS, clear, demo_steps
from engines.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]


def test_quick_demo_leaves_an_engine_matches_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    command = [sys.executable, str(ROOT / "deploy/run_demo.py"), "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {entry.name for entry in out.iterdir()} == set(OUTPUTS)
    records = [json.loads(line) for line in (out / "sightings.jsonl").read_text().splitlines()]
    assert (records[0]["event"], records[-1]["event"]) == ("run", "end")
    assert records[-1]["frames"]["visible"] == records[-1]["frames"]["infrared"] > 100
    assert {record["modality"] for record in records if record["event"] == "track"} == {"visible", "infrared"}
    manifest = json.loads((out / "engine/manifest.json").read_text())
    assert {graph["precision"] for graph in manifest["graphs"]} == {"fp32", "fp16", "int8"}
    page = (out / "report.html").read_text()
    assert page.count("<img") > 30
    assert "<svg" in page
    for foreign in ('src="http', 'href="http', "<script", ">nan", "url(http"):
        assert foreign not in page, foreign


def test_every_step_is_a_script_of_ours_that_knows_its_flags() -> None:
    for step in demo_steps(Path("demo"), FULL):
        script = ROOT / step.arguments[0]
        assert script.is_file()
        known = subprocess.run(
            [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
        ).stdout
        for argument in step.arguments:
            assert not argument.startswith("--") or argument in known, f"{script.name} has no {argument}"


def test_the_demo_removes_its_own_output_only(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "run").mkdir()
    clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(BadInput, match=r"found thesis\.tex; choose another --out"):
        clear(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "mine"
