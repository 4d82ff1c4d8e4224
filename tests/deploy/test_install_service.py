"""The installer as root meets it: printed units, refusals, what is written, and the printed command run for real."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import deploy.systemd.install
from deploy.install_service import main
from deploy.systemd.install import install, uninstall
from deploy.systemd.plan import Request, Service, plan_service
from deploy.systemd.unit import MARK
from engines.errors import BadInput
from tests.camera_fakes import MANIFEST
from tests.unit_reading import settings_of, words_of

ROOT = Path(__file__).resolve().parents[2]
CAMERAS = """cameras:
  door-rgb: {uri: "synthetic:people=2&seconds=4", modality: visible, place: door}
  door-ir: {uri: "synthetic:people=2&seconds=4", modality: infrared, place: door}
"""


def write_site(folder: Path, engine: Path, lines: str = "") -> Path:
    site = folder / "site.yaml"
    site.write_text(f"{CAMERAS}engine: '{engine}'\n{lines}")
    return site


def test_the_printed_unit_is_for_this_clone_and_this_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MANIFEST.save(tmp_path)
    site = write_site(tmp_path, tmp_path)
    assert main(["--print", "--user", "root", "--site", str(site)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    settings = settings_of(told.out)
    assert words_of(settings["ExecStart"][0][1:])[:2] == [sys.executable, str(ROOT / "deploy" / "run_cameras.py")]
    assert settings["EnvironmentFile"] == ["-/etc/crosslight/secrets"]


def test_a_relative_site_file_and_a_new_user_print_a_unit_with_what_is_to_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--print", "--user", "crosslight-nobody-has", "--site", "site.yaml"]) == 0
    told = capsys.readouterr()
    assert f"--site {tmp_path}/site.yaml" in told.out
    lines = told.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("install_service: to be done before it can be installed: ") for line in lines)


def test_only_root_installs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for flags in ([], ["--uninstall"]):
        assert main(flags) == 2
        assert capsys.readouterr().err.startswith("install_service: expected root")


def test_a_wrong_site_file_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("cameras: {door: {uri: '0'}}\n")
    assert main(["--print", "--site", str(site)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "expected the key 'modality'" in told.err
    assert len(told.err.splitlines()) == 1


def test_installing_writes_the_unit_and_a_private_file_for_secrets(tmp_path: Path) -> None:
    secrets = tmp_path / "etc" / "secrets"
    told = install(Service(MARK + "User=a\n", ()), secrets, tmp_path)
    unit = tmp_path / "crosslight.service"
    assert unit.read_text() == MARK + "User=a\n"
    assert unit.stat().st_mode & 0o777 == 0o644
    assert secrets.stat().st_mode & 0o777 == 0o600
    commands = [line.strip() for line in told.splitlines() if line.startswith("  ")]
    assert commands == [
        "sudo systemctl daemon-reload",
        "sudo systemctl enable --now crosslight",
        "sudo journalctl -u crosslight -f",
    ]
    secrets.write_text("CROSSLIGHT_TOKEN=kept\n")
    install(Service(MARK + "User=b\n", ()), secrets, tmp_path)  # again: a new version
    assert "User=b" in unit.read_text()
    assert secrets.read_text() == "CROSSLIGHT_TOKEN=kept\n"


def test_an_obstacle_or_somebody_elses_unit_leaves_everything_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no engine \(and 1 more; --print lists them\)"):
        install(Service("x", ("no engine", "no user")), tmp_path / "secrets", tmp_path)
    assert list(tmp_path.iterdir()) == []
    unit = tmp_path / "crosslight.service"
    unit.write_text("[Service]\n")
    for change in (lambda: install(Service("x", ()), tmp_path / "secrets", tmp_path), lambda: uninstall(tmp_path)):
        with pytest.raises(BadInput, match="got another one; move it away"):
            change()
    assert [path.name for path in tmp_path.iterdir()] == ["crosslight.service"]


def test_uninstalling_waits_for_the_service_to_be_disabled(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the service is not installed"):
        uninstall(tmp_path)
    install(Service(MARK, ()), tmp_path / "secrets", tmp_path)
    enabled = tmp_path / "multi-user.target.wants" / "crosslight.service"
    enabled.parent.mkdir()
    enabled.symlink_to(tmp_path / "crosslight.service")
    with pytest.raises(BadInput, match="sudo systemctl disable --now crosslight"):
        uninstall(tmp_path)
    enabled.unlink()
    assert "sudo systemctl daemon-reload" in uninstall(tmp_path)
    assert not (tmp_path / "crosslight.service").exists()
    assert (tmp_path / "secrets").exists()


def test_root_installs_and_uninstalls_by_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    MANIFEST.save(tmp_path)
    site = write_site(tmp_path, tmp_path)
    done: list[str] = []
    monkeypatch.setattr(deploy.systemd.install, "install", lambda service: done.append(service.unit) or "done\n")
    monkeypatch.setattr(deploy.systemd.install, "uninstall", lambda: done.append("uninstall") or "gone\n")
    assert main(["--user", "root", "--site", str(site)]) == 0
    assert main(["--uninstall"]) == 0
    assert capsys.readouterr().out == "done\ngone\n"
    assert done[0].startswith(MARK)  # or it could not be uninstalled
    assert done[1] == "uninstall"


def test_the_printed_command_reads_its_site_and_says_when_it_is_ready(
    tmp_path: Path, engine_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything lies at a path that needs quoting; systemd, where it is here, must find the program there too."""
    odd = tmp_path / """100% n%n "two" 'words' \\ $HOME ;"""
    (odd / "state").mkdir(parents=True)
    (odd / "clone").symlink_to(ROOT)
    plain = tmp_path / "100% n%n two words $HOME ;"  # systemd takes no quotes in a program's path
    plain.symlink_to(sys.prefix)
    site = write_site(odd, engine_folder, "gallery: gallery.db\n")
    python = plain / Path(sys.executable).relative_to(sys.prefix)
    request = Request(clone=odd / "clone", python=python, site=site, user="root", secrets=tmp_path / "secrets")
    service = plan_service(request)
    assert service.obstacles == ()
    settings = settings_of(service.unit)
    assert words_of(settings["ReadWritePaths"][1]) == [str(odd)]
    if shutil.which("systemd-analyze"):
        unit = tmp_path / "crosslight.service"
        unit.write_text(service.unit)
        verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (verified.returncode, verified.stderr) == (0, "")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(1.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        command = words_of(settings["ExecStart"][0].removeprefix(":"))
        run = subprocess.run(command, cwd=odd / "state", capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, run.stderr
        assert systemd.recv(1000).startswith(b"READY=1\nSTATUS=")
    assert (odd / "gallery.db").stat().st_size > 0
    assert '"event": "end"' in (odd / "state" / "sightings.jsonl").read_text()
