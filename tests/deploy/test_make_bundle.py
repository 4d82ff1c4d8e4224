"""The script: refusals in one line, and the real thing, from PyPI to cameras that run without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import make_bundle as script
from deploy.bundle.making import BundleRequest, make_bundle
from deploy.bundle.needs import needs_of, parse_requirement
from deploy.bundle.resolve import canonical
from deploy.bundle.target import Target
from engines.errors import BadInput
from tests.deploy.bundle.small_bundle import HERE, PYTHON, unpacked, write_tree

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "b.zip"], "--out: expected a name that ends in .tar.gz, got 'b.zip'"),
        (["--python", "3.8"], "--python: expected 3.10 or newer as two numbers, such as 3.12, got '3.8'"),
        (["--glibc", "new"], "--glibc: expected 2.17 or newer, such as 2.35, got 'new'"),
        (["--engine", "nowhere"], "expected an engine folder with manifest.json, got nowhere"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(
    options: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "ROOT", write_tree(tmp_path / "tree"))
    assert script.main(["--wheels-from", str(tmp_path), *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"make_bundle: {told}")


def bare(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this machine's settings and without a network."""
    words = ["unshare", "--net", "env", "-i", "PATH=/usr/bin:/bin", "OMP_NUM_THREADS=1", *map(str, command)]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.slow
def test_the_bundle_of_this_machine_installs_and_runs_without_a_network(
    engine_folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Minutes, and 240 MB from PyPI."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or bare("true", folder=tmp_path).returncode:
        pytest.skip("needs root and unshare, to run without a network")
    target = Target(platform=HERE, python=PYTHON)
    request = BundleRequest(target=target, engine=engine_folder, cache=tmp_path / "cache", out=tmp_path / "b.tar.gz")
    try:
        place = unpacked(make_bundle(request, ROOT), tmp_path / "stick")
    except BadInput as error:
        if "expected a package index that answers" not in str(error):
            raise
        pytest.skip("needs a package index")
    pinned = {canonical(parse_requirement(pin).name) for pin in needs_of(ROOT, target).pins}
    listed = {line.split("==")[0] for line in (place / "requirements.txt").read_text().splitlines()}
    assert listed <= pinned  # or next year's bundle of this commit is another one
    prefix = tmp_path / "opt"
    reach = "import socket; socket.create_connection(('pypi.org', 443), 5)"
    assert bare(sys.executable, "-c", reach, folder=tmp_path).returncode  # the network is off
    done = bare("sh", place / "install.sh", "--prefix", prefix, "--python", sys.executable, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "ok      engine" in done.stdout
    python, deploy = prefix / "current/.venv/bin/python", prefix / "current/deploy"
    cameras = ("--rgb", "synthetic:people=2", "--ir", "synthetic:people=2", "--max-frames", "40")
    ran = bare(python, deploy / "run_cameras.py", *cameras, folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "visible 40 frames" in ran.stderr
    assert (tmp_path / "sightings.jsonl").is_file()
