from __future__ import annotations

import pytest

from deploy.run_cameras import parser
from deploy.systemd.unit import SHIPPED, command, filled, quoted
from engines.errors import BadInput
from tests.unit_reading import settings_of, words_of

ODD = [
    "/srv/two words/x",
    "/srv/100%/x",
    "/srv/%n",
    '/srv/a"b',
    "/srv/a'b",
    "/srv/a\\b",
    "/srv/$HOME",
    "/srv/;",
    "/srv/é",
]


@pytest.mark.parametrize("path", ["/opt/crosslight/.venv/bin/python", *ODD])
def test_a_path_comes_out_of_systemds_quoting_as_it_went_in(path: str) -> None:
    assert words_of(f"{quoted(path)} {quoted('--site')} {quoted(path)}") == [path, "--site", path]


def test_a_plain_path_stays_readable() -> None:
    assert quoted("/opt/crosslight/deploy/run_cameras.py") == "/opt/crosslight/deploy/run_cameras.py"


def test_a_line_break_cannot_begin_a_setting_of_its_own() -> None:
    with pytest.raises(BadInput, match="control characters"):
        quoted("/srv/x\nUser=root")


@pytest.mark.parametrize("path", ['/srv/a"b/python', "/srv/a'b/python", "/srv/a\\b/python"])
def test_a_program_that_systemd_would_refuse_is_refused_before(path: str) -> None:
    with pytest.raises(BadInput, match="without quotes and backslashes"):
        command(path, "x")


def test_a_setting_stands_where_it_stood_with_a_line_for_each_value() -> None:
    unit = "[Service]\n# who\nUser=a\nX=1\nX=2\n[Install]\nY=3\n"
    assert filled(unit, {"User": ["b"], "X": ["5", "6", "7"], "Y": []}) == (
        "[Service]\n# who\nUser=b\nX=5\nX=6\nX=7\n[Install]\n"
    )


def test_a_setting_that_the_unit_lacks_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="Group"):
        filled("[Service]\nUser=a\n", {"Group": ["b"]})


def test_the_shipped_unit_starts_a_command_that_exists() -> None:
    service = settings_of(SHIPPED.read_text())
    assert service["Type"] == ["notify"]
    assert int(service["WatchdogSec"][0]) >= 10
    (start,) = service["ExecStart"]
    assert start.startswith(":")  # no variables
    python, script, *flags = words_of(start[1:])
    assert python == "/opt/crosslight/.venv/bin/python"
    assert (SHIPPED.parents[2] / script.removeprefix("/opt/crosslight/")).is_file()
    assert parser().parse_args(flags).patient is True


def test_the_unit_hides_neither_cameras_nor_gpu_nor_forbids_machine_code() -> None:
    service = settings_of(SHIPPED.read_text())
    hiding = {
        "PrivateDevices",
        "DevicePolicy",
        "DeviceAllow",
        "ProtectClock",
        "MemoryDenyWriteExecute",
        "PrivateNetwork",
    }
    assert not hiding & set(service)


def test_bad_input_is_not_tried_again() -> None:
    from engines.errors import BAD_INPUT_EXIT

    assert settings_of(SHIPPED.read_text())["RestartPreventExitStatus"] == [str(BAD_INPUT_EXIT)]
