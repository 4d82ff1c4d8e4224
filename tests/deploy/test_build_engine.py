"""build_engine from its command line: what it leaves behind, and one line with exit code 2 for what cannot be built."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from calib.ranges import RANGE_METHODS
from calib.samples import held_out_images
from deploy.build_engine import main
from deploy.building import build
from deploy.building.build import find_checkpoint, swap
from deploy.building.request import BuildRequest, PlanOptions, request_of
from engines.errors import BAD_INPUT_EXIT, BadInput
from engines.manifest import PRECISIONS, load_manifest, sha256_of
from engines.plan_target import BatchProfile
from tests.exit_code import exit_code
from train.datasets.sysu import open_sysu

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_folder(engine_of: Callable[[str], Path]) -> Path:
    """A run of one stream: the fastest to export."""
    return engine_of("mcja").parent / "run"


def complaint(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run, expect exit code 2 and return the last line of stderr."""
    assert exit_code(main, argv) == BAD_INPUT_EXIT
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.strip().splitlines()[-1]


def test_the_manifest_tells_how_the_engine_came_to_be(engine_folder: Path, session_tree: Path) -> None:
    manifest = load_manifest(engine_folder)
    assert manifest.dataset == {"name": "sysu", "folder": str(session_tree), "train_on": ["train"]}
    assert manifest.recipe["backbone"] == "resnet_small"
    assert {"torch", "onnx", "openvino", "onnxruntime"} <= set(manifest.tools)
    calibration = manifest.calibration
    assert calibration["images"] == 48
    assert calibration["source"] == "48 images of 6 train identities of sysu, seed 0"
    assert set(calibration["tables"]) == {"visible.calibration.json", "infrared.calibration.json"}
    assert set(calibration["compared"]) == set(RANGE_METHODS)
    listed = json.loads((engine_folder / calibration["list"]["file"]).read_text())
    assert sha256_of(engine_folder / calibration["list"]["file"]) == calibration["list"]["sha256"]
    assert len(listed["images"]) == 48
    assert {row["identity"] for row in listed["images"]} <= set(open_sysu(session_tree).identities["train"])
    for precision in ("fp16", "int8"):
        assert all(reason for nodes in calibration["fp32_nodes"][precision].values() for reason in nodes.values())
    assert manifest.reference["sha256"] == sha256_of(engine_folder / manifest.reference["file"])
    parity = manifest.parity
    assert (parity["reference"], parity["split"]) == ("torch fp32", "val")
    for engine in (f"{runtime} {precision}" for runtime in ("openvino", "onnxruntime") for precision in PRECISIONS):
        assert parity[engine]["images"] == 48
        assert 0.5 < parity[engine]["worst_cosine"] <= 1.0 + 1e-9
        assert parity[engine]["map_difference"] is not None


def test_the_matching_threshold_is_that_of_the_engine_that_runs(engine_folder: Path) -> None:
    matching = load_manifest(engine_folder).matching
    assert -1 < matching["threshold"] < 1
    assert matching["false_match_rate"] <= 0.01
    assert 0 <= matching["true_match_rate"] <= 1
    assert matching["pairs"] == 4 * 2 * 3 * 4  # 4 people in 2 infrared cameras against 3 others in 4 visible ones
    assert matching["source"] == "openvino int8, 4 people of val, visible against infrared"


def test_too_much_drift_stops_the_build_and_leaves_nothing(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from calib import drift

    strict = drift.Limits(worst_cosine=2.0, mean_cosine=0, rank1_agreement=0, max_similarity_error=9)
    monkeypatch.setitem(drift.LIMITS, "fp32", strict)
    out = tmp_path / "engine"
    argv = [str(run_folder), "--out", str(out), "--parity-images", "12", "--max-map-drop", "100"]
    line = complaint(capsys, *argv, "--precision", "fp32")
    assert line == (
        "build_engine: fp32 is too far from PyTorch: openvino fp32: worst cosine 1.0000 is under 2.0; "
        "onnxruntime fp32: worst cosine 1.0000 is under 2.0; calibrate on more images (--calibration-images), leave "
        "the precision out, or take it with --accept-drift"
    )
    assert list(tmp_path.iterdir()) == []


def test_accepted_drift_replaces_an_older_engine_whole(
    run_folder: Path, engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from calib import drift

    strict = drift.Limits(worst_cosine=2.0, mean_cosine=0, rank1_agreement=0, max_similarity_error=9)
    monkeypatch.setitem(drift.LIMITS, "fp32", strict)
    out = shutil.copytree(engine_folder, tmp_path / "engine")
    argv = [str(run_folder), "--precision", "fp32", "--out", str(out), "--parity-images", "12", "--backend", "openvino"]
    assert main([*argv, "--accept-drift"]) == 0
    assert {graph.precision for graph in load_manifest(out).graphs} == {"fp32"}
    assert not list(out.glob("*.int8.*"))
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nowhere"], "expected a checkpoint or a run folder, got nowhere; python train/train_model.py makes one"),
        (
            ["--backend", "torch"],
            "--backend: expected auto, tensorrt, tensorrt-rtx, openvino or onnxruntime, got 'torch'",
        ),
        (["--calibration-images", "0"], "expected at least 2 for --calibration-images, got 0"),
        (["--parity-images", "1"], "expected at least 2 for --parity-images, got 1"),
        (["--min-cosine", "2"], "--min-cosine: expected a share from 0 to 1, got 2.0"),
        (["--max-map-drop", "-1"], "--max-map-drop: expected 0 or more points of mAP, got -1.0"),
        (["--dataset", "market"], "--dataset: expected sysu, regdb or llcm, got 'market'"),
        (["--workspace-mb", "0"], "--workspace-mb: expected a positive number of megabytes, got 0"),
        (["--dla", "-1"], "--dla: expected the number of an accelerator, 0 or more, got -1"),
        (["--batch", "8", "1", "32"], "--batch: expected sizes 1 <= MIN <= USUAL <= MAX, got 8/1/32"),
        (["--out", "."], "expected a new folder or an engine to replace for --out, got ., which is neither"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    argv: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint(capsys, *argv) == f"build_engine: {expected}"


def test_a_missing_builder_is_named_before_any_work(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engines.tensorrt_sdk import sdk_installed

    if sdk_installed("tensorrt"):
        pytest.skip("TensorRT is installed")
    assert complaint(capsys, str(run_folder), "--backend", "tensorrt") == (
        "build_engine: expected tensorrt to be installed, got none: comes with JetPack, or pip install -e .[tensorrt]"
    )


def test_a_missing_data_set_is_named(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(capsys, str(run_folder), "--data", "nowhere") == (
        "build_engine: expected the SYSU-MM01 folder, got nowhere, which does not exist; name it with --data"
    )


def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"no checkpoint")
    line = complaint(capsys, str(path))
    assert line.startswith(f"build_engine: {path}: expected a checkpoint, got ")


def test_without_a_run_it_takes_the_demos_or_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "checkpoint.pt").touch()
    monkeypatch.setattr(build, "DEMO_RUN", tmp_path / "demo")
    assert find_checkpoint(None, [tmp_path / "runs"]) == tmp_path / "demo" / "checkpoint.pt"
    monkeypatch.setattr(build, "DEMO_RUN", tmp_path / "none")
    with pytest.raises(BadInput) as caught:
        find_checkpoint(None, [tmp_path / "runs"])
    assert str(caught.value) == (
        "expected a MODEL or a run in runs/, found none; train one with "
        "`python train/train_model.py mcja --data FOLDER`, or run `make demo`"
    )


def test_the_newest_run_is_taken(tmp_path: Path) -> None:
    import os

    for age, name in enumerate(("new", "old")):
        path = tmp_path / name / "checkpoint.pt"
        path.parent.mkdir()
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert find_checkpoint(None, [tmp_path]) == tmp_path / "new" / "checkpoint.pt"
    assert find_checkpoint(tmp_path / "old") == tmp_path / "old" / "checkpoint.pt"


def test_the_epoch_that_a_run_chose_is_built(tmp_path: Path) -> None:
    for name in ("checkpoint.pt", "best.pt"):
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / name).touch()
    assert find_checkpoint(tmp_path / "run") == find_checkpoint(None, [tmp_path]) == tmp_path / "run" / "best.pt"


@pytest.mark.parametrize(
    ("trained_on", "split"), [(["train"], "val"), (["train", "val"], "test")], ids=["val held out", "val trained on"]
)
def test_only_people_that_the_model_never_saw_judge_it(session_tree: Path, trained_on: list[str], split: Any) -> None:
    dataset = open_sysu(session_tree)
    found, records = held_out_images(dataset, trained_on, 24)
    assert found == split
    assert {record.identity for record in records} <= set(dataset.identities[split])
    assert len(records) == 24


def test_nobody_held_out_is_refused(session_tree: Path) -> None:
    with pytest.raises(BadInput, match=r"expected held-out people in exp/val_id\.txt or exp/test_id\.txt"):
        held_out_images(open_sysu(session_tree), ["train", "val", "test"], 24)


def test_a_swap_replaces_the_folder_and_leaves_no_remains(tmp_path: Path) -> None:
    work, out = tmp_path / ".engine.x", tmp_path / "engine"
    for folder in (work, out):
        folder.mkdir()
        (folder / "from").write_text(folder.name)
    swap(work, out)
    assert (out / "from").read_text() == ".engine.x"
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]


def test_a_request_has_the_defaults_of_the_command_line() -> None:
    from deploy.build_engine import parser

    assert request_of(parser().parse_args([])) == BuildRequest()


def test_every_option_reaches_the_request() -> None:
    from deploy.build_engine import parser

    argv = "m --data d --dataset regdb --calibration-data c --calibration-images 9 --precision int8 --backend openvino "
    argv += "--opset17 --implicit-int8 --parity-images 8 --max-map-drop 1 --min-cosine 0.8 --min-rank1-agreement 0.7 "
    argv += "--accept-drift --false-match-rate 0.2 --batch 1 2 4 --capability SM86 --workspace-mb 7 --hardware same-sm "
    argv += "--version-compatible --dla 1 --out nowhere"
    request = request_of(parser().parse_args(argv.split()))
    assert request == BuildRequest(
        model=Path("m"), data=Path("d"), dataset="regdb", calibration_data=Path("c"), calibration_images=9,
        precisions=("int8",), backend="openvino", opset17=True, implicit_int8=True, parity_images=8, max_map_drop=1.0,
        min_cosine=0.8, min_rank1_agreement=0.7, accept_drift=True, false_match_rate=0.2, out=Path("nowhere"),
        plans=PlanOptions(
            batch=BatchProfile(smallest=1, usual=2, largest=4), capabilities=("SM86",), workspace_mb=7,
            hardware="same-sm", version_compatible=True, dla=1,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("share", ["0", "1", "-0.1"])
def test_an_impossible_false_match_rate_is_refused(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--false-match-rate", share]) == 2
    assert "--false-match-rate: expected a share between 0 and 1, got" in capsys.readouterr().err


def test_help_answers_without_loading_a_runtime(tmp_path: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['build_engine', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'deploy' / 'build_engine.py')!r}, run_name='__main__')\n"
        "finally:\n"
        "    loaded = {'torch', 'onnx', 'openvino', 'onnxruntime', 'numpy'} & set(sys.modules)\n"
        "    assert not loaded, loaded\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max-map-drop" in done.stdout


def test_the_set_of_flags_is_pinned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new flag is a decision, not an accident."""
    import re

    from deploy.build_engine import parser

    with pytest.raises(SystemExit):
        parser().parse_args(["--help"])
    assert set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out)) == {
        "--help", "--version", "--data", "--dataset", "--calibration-data", "--calibration-images", "--precision",
        "--backend", "--opset17", "--implicit-int8", "--out", "--estimate", "--parity-images", "--max-map-drop",
        "--min-cosine",
        "--min-rank1-agreement", "--accept-drift", "--false-match-rate", "--batch", "--capability", "--workspace-mb",
        "--hardware", "--version-compatible", "--dla",
        "--record-crops",  # of run_cameras.py, which makes what --calibration-data reads
    }  # fmt: skip
