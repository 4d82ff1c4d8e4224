"""What the installer looks at before it writes anything. The tests run as root: account.may counts mode bits itself."""

from __future__ import annotations

import grp
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import deploy.systemd.plan
from deploy.systemd.account import ENTER, READ, WRITE, Account, find_account, may
from deploy.systemd.plan import Request, Service, plan_service
from deploy.systemd.secrets_file import make_secrets, read_secrets
from engines.errors import BadInput
from tests.camera_fakes import MANIFEST
from tests.unit_reading import settings_of, words_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[3]
NOBODY = Account("nobody", 65534, frozenset({65534}))
SITE = """
cameras:
  door-rgb: {uri: "rtsp://user:${DOOR_PASSWORD}@10.0.0.5/main", modality: visible, place: door}
  door-ir: {uri: /dev/video2, modality: infrared, place: door}
"""


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., Service]:
    """Plan a service for a site file with these lines more, run by root."""
    engine = tmp_path / "engine"
    engine.mkdir()
    MANIFEST.save(engine)

    def make(lines: str = "", *, user: str = "root", secrets: str = "DOOR_PASSWORD=x\n", site: str = SITE) -> Service:
        (tmp_path / "secrets").write_text(secrets)
        (tmp_path / "secrets").chmod(0o600)
        (tmp_path / "site.yaml").write_text(site + f"engine: {engine}\n" + lines)
        return plan_service(
            Request(
                clone=ROOT,
                python=Path(sys.executable),
                site=tmp_path / "site.yaml",
                user=user,
                secrets=tmp_path / "secrets",
            )
        )

    return make


def test_a_site_that_is_complete_meets_no_obstacle(plan: Callable[..., Service], tmp_path: Path) -> None:
    service = plan(f"gallery: {tmp_path}/gallery.db\n")
    assert service.obstacles == ()
    settings = settings_of(service.unit)
    assert settings["User"] == ["root"]
    assert [words_of(line) for line in settings["ReadWritePaths"]] == [["/var/lib/crosslight"], [str(tmp_path)]]
    assert words_of(settings["ExecStart"][0][1:]) == [
        sys.executable, f"{ROOT}/deploy/run_cameras.py", "--site", f"{tmp_path}/site.yaml", "--patient",
    ]  # fmt: skip
    here = {group.gr_name for group in grp.getgrall()}
    assert settings.get("SupplementaryGroups", [""])[0].split() == [
        name for name in ("video", "render") if name in here
    ]


def test_tmp_is_shared_where_something_of_ours_lies_there(plan: Callable[..., Service]) -> None:
    assert settings_of(plan().unit)["PrivateTmp"] == ["no"]  # pytest's folder


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("gallery: /nowhere/gallery.db\n", "sudo install -d -m 0750 -o root /nowhere"),
        ("gallery: qdrant:/nowhere/people\n", "gallery: expected the folder /nowhere"),
        ("sightings: /nowhere/out.jsonl\n", "sightings: expected the folder /nowhere"),
        ("record_crops: /nowhere/crops\n", "record_crops: expected the folder /nowhere"),
        ("detector: /nowhere/people.onnx\n", "detector: expected /nowhere/people.onnx, got nothing there"),
        ("pairs: [{visible: door-rgb, infrared: door-ir, alignment: a.json}]\n", "alignment: expected"),
        ("listen: 0.0.0.0:8080\n", "write it as CROSSLIGHT_TOKEN=... into"),
    ],
)
def test_what_is_missing_is_told_with_the_cure(plan: Callable[..., Service], lines: str, expected: str) -> None:
    (obstacle,) = plan(lines).obstacles
    assert expected in obstacle
    assert "\n" not in obstacle


def test_a_token_in_the_secrets_or_in_the_site_is_enough(plan: Callable[..., Service]) -> None:
    listen = "listen: 0.0.0.0:8080\n"
    assert plan(listen, secrets="DOOR_PASSWORD=x\nCROSSLIGHT_TOKEN=abcdefghijklmnop\n").obstacles == ()
    assert plan(listen + "token: abcdefghijklmnop\n").obstacles == ()


def test_a_path_with_dots_in_it_becomes_one_that_systemd_takes(plan: Callable[..., Service], tmp_path: Path) -> None:
    settings = settings_of(plan("gallery: engine/../gallery.db\n").unit)
    assert words_of(settings["ReadWritePaths"][1]) == [str(tmp_path)]


def test_a_variable_that_the_secrets_lack_is_named(plan: Callable[..., Service]) -> None:
    (obstacle,) = plan(secrets="").obstacles
    assert "expected DOOR_PASSWORD in" in obstacle


def test_a_wrong_site_file_is_refused_as_in_a_run(plan: Callable[..., Service]) -> None:
    with pytest.raises(BadInput, match="unknown key 'galery'; did you mean 'gallery'"):
        plan("galery: x.db\n")
    with pytest.raises(BadInput, match="got both"):
        plan("web: 8080\nlisten: 127.0.0.1:8080\n")


def test_a_user_that_is_not_there_can_be_made(plan: Callable[..., Service]) -> None:
    (obstacle,) = plan(user="crosslight-nobody-has").obstacles
    assert "sudo useradd --system" in obstacle


@pytest.mark.parametrize(
    ("uri", "expected"), [("csi://0", "no"), ("gst:nvarguscamerasrc ! appsink", "no"), ("/dev/video0", "yes")]
)
def test_a_csi_camera_gets_at_its_daemons_socket_in_tmp(
    plan: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    monkeypatch.setattr(deploy.systemd.plan, "TEMPORARY", ())
    service = plan(site=f"cameras:\n  door: {{uri: '{uri}', modality: visible}}\n")
    assert settings_of(service.unit)["PrivateTmp"] == [expected]


def test_things_in_a_home_can_be_read(tmp_path: Path) -> None:
    home, python = Path("/home/pi/crosslight"), Path(sys.executable)
    request = Request(clone=home, python=python, site=tmp_path / "none.yaml", user="root", secrets=tmp_path / "none")
    assert settings_of(plan_service(request).unit)["ProtectHome"] == ["read-only"]


@pytest.fixture
def passable(tmp_path: Path) -> Iterator[Path]:
    """tmp_path, to which others find a way: pytest closes the two folders above it."""
    closed = {place: place.stat().st_mode for place in (tmp_path, tmp_path.parent, tmp_path.parent.parent)}
    for place, mode in closed.items():
        place.chmod(mode | 0o111)
    yield tmp_path
    for place, mode in closed.items():
        place.chmod(mode)


def test_mode_bits_on_the_way_count(passable: Path) -> None:
    folder = passable / "closed" / "engine"
    folder.mkdir(parents=True)
    link = passable / "link"
    link.symlink_to(folder)
    assert may(NOBODY, folder, READ | ENTER)
    assert not may(NOBODY, folder, WRITE)
    folder.parent.chmod(0o700)
    assert not may(NOBODY, folder, READ)
    assert not may(NOBODY, link, READ)
    assert may(Account("owner", os.getuid(), frozenset()), folder, READ | WRITE)


def test_a_group_opens_what_is_closed_to_others(passable: Path) -> None:
    file = passable / "file"
    file.write_text("x")
    file.chmod(0o640)
    member = Account("member", 65533, frozenset({file.stat().st_gid}))
    assert may(member, file, READ)
    assert not may(member, file, WRITE)
    assert not may(NOBODY, file, READ)


def test_a_user_by_name() -> None:
    root = find_account("root", frozenset({44}))
    assert root is not None
    assert (root.uid, 44 in root.groups) == (0, True)
    assert find_account("crosslight-nobody-has") is None


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "etc" / "secrets"
    assert make_secrets(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_secrets(path) == {}  # every line of the template is a comment
    path.write_text('A=1\n# B=2\n; C=3\n D = "two words" \nbroken\n')
    assert read_secrets(path) == {"A": "1", "D": "two words"}
    assert not make_secrets(path)
    assert "A=1" in path.read_text()
    path.chmod(0o640)
    with pytest.raises(BadInput, match=r"expected mode 0600, got 0640"):
        read_secrets(path)
