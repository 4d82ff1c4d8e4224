from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.loop.service import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(1.0)
        yield channel


def received(channel: socket.socket) -> list[str]:
    channel.setblocking(False)
    found: list[str] = []
    while True:
        try:
            found.append(channel.recv(1000).decode())
        except BlockingIOError:
            return found


def test_systemd_hears_ready_alive_and_stopping(systemd: socket.socket, tmp_path: Path) -> None:
    now_s = 0.0
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(lambda: now_s, environ)
    notifier.ready("2 cameras")
    for now_s in range(40):  # noqa: B007
        notifier.alive("2 cameras")
    notifier.stopping()
    assert received(systemd) == [
        "READY=1\nSTATUS=2 cameras",
        "WATCHDOG=1\nSTATUS=2 cameras",
        "WATCHDOG=1",  # every 15 of 30 seconds
        "WATCHDOG=1",
        "STOPPING=1",
    ]


def test_an_abstract_socket_is_understood() -> None:
    name = f"crosslight-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name)
        channel.settimeout(1.0)
        Notifier(lambda: 0.0, {"NOTIFY_SOCKET": "@" + name}).ready("ok")
        assert channel.recv(100) == b"READY=1\nSTATUS=ok"


def test_the_watchdog_of_another_process_is_left_alone(systemd: socket.socket, tmp_path: Path) -> None:
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}
    Notifier(lambda: 0.0, environ).alive()
    assert received(systemd) == []


def test_a_systemd_that_is_gone_costs_one_line(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    notifier = Notifier(lambda: 0.0, {"NOTIFY_SOCKET": str(tmp_path / "none")})
    notifier.ready("a")
    notifier.stopping()
    assert len(caplog.records) == 1
