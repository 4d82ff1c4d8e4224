"""The licences of what is installed: none that we may not use, and none that nobody has read."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.project.licences import copyleft_notices, refusals, stated, unread_notices
from tests.project.packages import closure, installed, requirements

if TYPE_CHECKING:
    from importlib.metadata import Distribution


def pretend(site: Path, name: str, *lines: str, notice: str = "") -> dict[str, Distribution]:
    """Install a package that is nothing but its metadata, and return what is installed there."""
    folder = site / f"{name.replace('-', '_')}-1.0.dist-info"
    (folder / "licenses").mkdir(parents=True)
    (folder / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *lines]) + "\n"
    )
    (folder / "licenses" / "LICENSE").write_text(notice)
    (folder / "RECORD").write_text(f"{folder.name}/METADATA,,\n{folder.name}/licenses/LICENSE,,\n")
    return installed([site])


def test_everything_installed_here_may_be_used() -> None:
    packages = installed()
    assert len(packages) > 20
    assert not refusals(packages)


@pytest.mark.parametrize(
    "lines",
    [
        ["License-Expression: GPL-3.0-or-later"],
        ["License-Expression: MIT AND AGPL-3.0-only"],
        ["License-Expression: LGPL-2.1-only"],
        ["License: GNU Affero General Public License v3"],
        ["License: GPLv2"],
        ["Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)"],
        ["License: MIT", "Classifier: License :: OSI Approved :: GNU General Public License v2 (GPLv2)"],
        ["License-Expression: MIT OR GPL-2.0-only"],  # until somebody writes down which one we take
        ["License: Proprietary"],
        ["License: a licence of their own"],
        ["License: see LICENSE.txt ((", "Classifier: Topic :: Software Development"],
        [],
    ],
    ids=" ".join,
)
def test_copyleft_proprietary_and_unknown_licences_are_refused(lines: list[str], tmp_path: Path) -> None:
    refused = refusals(pretend(tmp_path, "borrowed", *lines))
    assert len(refused) == 1
    assert refused[0].startswith("borrowed 1.0: expected ")


@pytest.mark.parametrize(
    "lines",
    [
        ["License-Expression: MIT"],
        ["License-Expression: Apache-2.0 WITH LLVM-exception AND BSD-3-Clause"],
        ["License-Expression: Apache-2.0 OR BSD-2-Clause"],
        ["License-Expression: MPL-2.0"],
        ["License: MPL-2.0 AND MIT"],
        ["License: BSD 3-Clause License", "Classifier: License :: OSI Approved :: BSD License"],
        ["Classifier: License :: OSI Approved :: Apache Software License"],
        ["License: Ours", "        All rights reserved.", "Classifier: License :: OSI Approved :: BSD License"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_permissive_licences_and_the_mpl_are_allowed(lines: list[str], tmp_path: Path) -> None:
    assert not refusals(pretend(tmp_path, "borrowed", *lines))


def test_the_option_that_we_take_belongs_to_one_package(tmp_path: Path) -> None:
    line = "License-Expression: EPL-2.0 OR BSD-3-Clause"
    assert not refusals(pretend(tmp_path / "one", "paho-mqtt", line))
    assert len(refusals(pretend(tmp_path / "other", "borrowed", line))) == 1
    assert len(refusals(pretend(tmp_path / "third", "paho-mqtt", "License-Expression: EPL-2.0"))) == 1


def test_only_nvidia_may_be_proprietary(tmp_path: Path) -> None:
    assert not refusals(pretend(tmp_path / "one", "nvidia-cublas-cu13", "License: NVIDIA Proprietary Software"))
    assert len(refusals(pretend(tmp_path / "other", "nvidiaware", "License: Proprietary"))) == 1


def test_a_statement_is_spelled_as_spdx(tmp_path: Path) -> None:
    packages = pretend(
        tmp_path, "borrowed", "License: Apache 2.0", "Classifier: License :: OSI Approved :: Apache Software License"
    )
    assert stated(packages["borrowed"]) == "Apache-2.0"


def test_what_a_device_carries_under_copyleft_is_written_down() -> None:
    """What the wheels of a device bring with them is in their notices, not in their metadata."""
    device, _ = closure(requirements(["cpu"]), installed())
    assert "opencv-python" in copyleft_notices(device), "nothing was read"
    assert not unread_notices(device)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("You may use it under the GNU General\n    Public License", True),
        ("SPDX: LGPL-2.1-or-later", True),
        ("under AGPLv3", True),
        ("Permission is hereby granted, free of charge", False),
    ],
)
def test_a_notice_is_searched_for_copyleft(text: str, found: bool, tmp_path: Path) -> None:
    packages = pretend(tmp_path, "borrowed", notice=text)
    assert bool(copyleft_notices(packages)) is found
    assert bool(unread_notices(packages)) is found


def test_ffmpeg_in_opencv_was_built_without_its_gpl_parts() -> None:
    """FFmpeg is LGPL or GPL by how it was configured; the library itself says which."""
    site = Path(sysconfig.get_path("platlib"))
    names = ("libavcodec-*", "libavformat-*", "libavutil-*")
    libraries = [path for name in names for path in site.glob(f"opencv_python*.libs/{name}")]
    if not libraries:
        pytest.skip("needs an opencv-python wheel with FFmpeg in it")
    for path in libraries:
        content = path.read_bytes()
        assert b" license: LGPL version 2.1 or later" in content, path.name
        assert b"--enable-gpl" not in content, path.name
