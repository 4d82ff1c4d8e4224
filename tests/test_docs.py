"""README, CONTRIBUTING and docs say what is true: every command parses, links lead somewhere, methods are named."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from deploy.loop.metrics import Metrics
from deploy.settings.options import Options
from deploy.settings.site_file import read_site
from tests.record_material import run_state
from train.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")
SCRIPT = re.compile(r"(?:^|[\s/])((?:train|deploy|tests)/[\w/]+\.py)$")
END_OF_A_COMMAND = {"|", ">", ">>", "&&", ";", "&", "2>&1", "<"}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parts_of(page: Path) -> tuple[list[str], str]:
    """Return the lines of a page's blocks of commands, continued ones joined, and the text without any block."""
    commands, prose, fence = "", "", None
    for line in page.read_text(encoding="utf-8").splitlines(keepends=True):
        mark = re.match(r" *```(\w*)", line)
        if mark and fence is None:
            fence = mark[1]
        elif mark:
            fence = None
        elif fence is None:
            prose += line
        elif fence in ("", "bash", "sh", "console"):
            commands += line
    return commands.replace("\\\n", " ").splitlines(), prose


def lines_of(page: Path) -> list[str]:
    """Return what a reader may type: lines of blocks, and inline code."""
    commands, prose = parts_of(page)
    return [line.strip().removeprefix("$ ") for line in [*commands, *re.findall(r"`([^`]+)`", prose)]]


def command_of(line: str) -> tuple[str, list[str]] | None:
    """Return the script and its arguments where a line runs one of ours; a bare name of a script is no command."""
    if not re.search(r"(?:python3?|torchrun)\b.*\b(?:train|deploy|tests)/[\w/]+\.py", line):
        return None
    words = [word for word in shlex.split(line, comments=True) if word not in ("...", "…")]
    for place, word in enumerate(words):
        if SCRIPT.search(word):
            rest = words[place + 1 :]
            end = next((i for i, argument in enumerate(rest) if argument in END_OF_A_COMMAND), len(rest))
            return SCRIPT.findall(word)[0], rest[:end]
    return None


COMMANDS = sorted(
    {
        (named(page), script, tuple(arguments))
        for page in PAGES
        for line in lines_of(page)
        for script, arguments in [command_of(line) or ("", [])]
        if script
    }
)


@cache
def help_of(script: str) -> str:
    done = subprocess.run([sys.executable, str(ROOT / script), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) >= 60
    assert len({script for _, script, _ in COMMANDS}) >= 15


@pytest.mark.parametrize(("page", "script", "arguments"), COMMANDS)
def test_command_parses(page: str, script: str, arguments: tuple[str, ...]) -> None:
    """With the script's own parser; a benchmark or a tool has each flag in its help."""
    assert (ROOT / script).is_file(), f"{page}: no {script}"
    if script.startswith("tests/"):
        wanted = [word.split("=")[0] for word in arguments if word.startswith("--")]
        assert not [flag for flag in wanted if flag not in help_of(script)], f"{page}: {script}"
        return
    parser = importlib.import_module(script.removesuffix(".py").replace("/", ".")).parser()
    said, code = io.StringIO(), None
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser.parse_args(list(arguments))
    except SystemExit as end:
        code = end.code
    assert not code, f"{page}: {script} {' '.join(arguments)}: {said.getvalue().strip()}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    typed = [line.split("#")[0].split() for line in lines_of(page) if line.startswith("make ")]
    targets = {words[1] for words in typed if len(words) > 1}
    assert not [name for name in targets if not re.search(rf"^{re.escape(name)}( [\w-]+)*:", makefile, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", parts_of(page)[1]):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{named(page)} links to {target}"
        if anchor:
            assert anchor in anchors_of(file), f"{named(page)} links to {target}"


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that a forge makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == ROOT / "docs"], ids=named)
def test_every_page_is_linked_from_the_readme(page: Path) -> None:
    assert page.name == "README.md" or f"(docs/{page.name})" in README


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_named(name: str) -> None:
    assert name in README


def test_the_site_file_of_the_cameras_page_loads(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "cameras.md").read_text(encoding="utf-8")
    (tmp_path / "site.yaml").write_text(re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    file = read_site(tmp_path / "site.yaml", {"DOOR_PASSWORD": "x"})
    options = Options(cameras=file.cameras, pairs=file.pairs, transits=file.transits, **file.settings)
    assert len(options.cameras) >= 2


def test_the_service_page_names_every_metric() -> None:
    page = (ROOT / "docs" / "service.md").read_text(encoding="utf-8").split("## Metrics")[1].split("\n## ")[0]
    told = set(re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in page.splitlines() if line[:2] == "| ")))
    metrics = Metrics(run_state, lambda: 3.0, live=True)
    metrics.stage("detect", 0.004)
    given = re.findall(r"^# TYPE crosslight_(\w+)", metrics.text().decode(), re.MULTILINE)
    assert told == {name for name in given if not name.endswith("_created")}
