"""README and Makefile say what is true: commands parse, files exist, methods are named."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from train.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"python ((?:train|deploy|tests)/[\w/]+\.py[^`\n#]*)", README)))


def test_readme_has_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command_names_a_script_and_its_flags(command: str) -> None:
    script, *arguments = command.split()
    done = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for argument in arguments:
        flag = argument.strip("[]").split("=")[0]
        assert not flag.startswith("--") or flag in done.stdout, f"{script} has no {flag}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{target}:|^{target} ", makefile, re.MULTILINE), target


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w/.-]+)\)", README))))
def test_links_lead_to_files(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_named(name: str) -> None:
    assert name in README
