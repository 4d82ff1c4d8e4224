"""Choose a wheel for every requirement of another machine: pip chooses, and its answer is checked for the device.

pip judges markers (`; python_version < "3.11"`) by the Python that it runs in, not by --python-version: what only the
device needs is missing in its answer, and what only this machine needs is in it. Both are put right here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from deploy.bundle.needs import parse_requirement
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.bundle.needs import Needs
    from deploy.bundle.target import Target

ROUNDS = 5  # a dependency that only the device has may itself have one
NO_NETWORK = ("NewConnectionError", "Failed to establish", "name resolution", "timed out", "ProxyError", "SSLError")
NO_PIP = "No module named pip"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One wheel, not fetched yet."""

    name: str  # canonical: lower case, dashes
    version: str
    file: str
    sha256: str  # "" where the source does not say
    needs: tuple[str, ...]
    installed: bool = True  # False: only what installs and builds the others needs it


def resolve(needs: Needs, target: Target, folder: Path | None) -> list[Choice]:
    """Return a wheel of every package that the device needs, by name; folder replaces the package index."""
    asked, missing = [*needs.requirements, *needs.tools], [""]
    for _ in range(ROUNDS):
        chosen = {choice.name: choice for choice in _ask_pip(asked, needs.pins, target, folder)}
        installed, unmet = _closure(needs.requirements, chosen, target)
        carried, unmet_tools = _closure(needs.tools, chosen, target)
        if not (missing := unmet + unmet_tools):
            names = sorted(installed | carried)
            return [dataclasses.replace(chosen[name], installed=name in installed) for name in names]
        asked += missing
    raise BadInput(
        f"expected wheels that agree for {target}, got {missing[0]} unmet; pin it in deploy/bundle/constraints.txt"
    )


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pip(arguments: Sequence[str], folder: Path | None) -> subprocess.CompletedProcess[str]:
    """Run this Python's pip; with a folder, nothing else is a source."""
    # --isolated: pip's own settings name an index and folders, which the folder is to replace.
    source = [] if folder is None else ["--isolated", "--no-index", "--find-links", str(folder.resolve())]
    command = [sys.executable, "-m", "pip", *arguments, "--no-input", "--disable-pip-version-check", *source]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )
    if NO_PIP in done.stderr:
        raise BadInput(f"expected pip in {sys.executable}, got none; run: {sys.executable} -m ensurepip")
    return done


def platform_options(target: Target) -> list[str]:
    """Return what makes pip look for the device's wheels."""
    options = ["--only-binary", ":all:", "--implementation", "cp", "--python-version", target.python]
    return options + [word for tag in target.wheel_platforms() for word in ("--platform", tag)]


def refusal(done: subprocess.CompletedProcess[str], target: Target) -> BadInput:
    """Return pip's failure as one line that names the package."""
    text = done.stderr
    if any(word in text for word in NO_NETWORK):
        return BadInput(
            "expected a package index that answers, got no connection; check the network and pip's settings, or name a "
            "folder of wheels with --wheels-from"
        )
    if "No space left on device" in text:
        return BadInput("expected room for the wheels, got a full disk; free some, or name another folder with --cache")
    if missing := re.search(r"No matching distribution found for (.+)", text):
        return BadInput(
            f"expected a wheel of {missing[1].strip()} for {target}, found none; choose another --python or "
            "--glibc, or pin a version that has one in deploy/bundle/constraints.txt"
        )
    found: list[str] = re.findall(r"(?:ERROR: |conflict is caused by:\n\s*)(.+)", text)
    # "ERROR: Exception:" stands above a traceback, whose last line says what it was.
    told = [line for line in found if line != "Exception:"] or text.strip().splitlines()[-1:] or ["nothing"]
    return BadInput(f"expected pip to find wheels for {target}, got: {'; '.join(told[:2])}")


def _ask_pip(asked: Sequence[str], pins: Sequence[str], target: Target, folder: Path | None) -> list[Choice]:
    with tempfile.TemporaryDirectory() as name:
        held = Path(name) / "constraints.txt"
        held.write_text("\n".join(pins), encoding="utf-8")
        options = ["--dry-run", "--ignore-installed", "--target", name, "--report", "-", "--quiet", "--retries", "2"]
        options += ["--constraint", str(held), *platform_options(target)]
        done = pip(["install", *options, *asked], folder)
    if done.returncode:
        raise refusal(done, target)
    report: dict[str, Any] = json.loads(done.stdout)
    found: list[Choice] = []
    for item in report["install"]:
        metadata: dict[str, Any] = item["metadata"]
        source: dict[str, Any] = item["download_info"]
        found.append(
            Choice(
                name=canonical(metadata["name"]),
                version=metadata["version"],
                file=_file_of(source["url"]),
                sha256=source.get("archive_info", {}).get("hashes", {}).get("sha256", ""),
                needs=tuple(metadata.get("requires_dist") or ()),
            )
        )
    return found


def _file_of(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _closure(roots: Iterable[str], chosen: dict[str, Choice], target: Target) -> tuple[set[str], list[str]]:
    """Follow requirements from roots as the device judges them; return the names reached, and what is not met."""
    reached: set[tuple[str, str]] = set()  # name and extra
    unmet: list[str] = []
    waiting = [(text, "") for text in roots]
    while waiting:
        text, extra = waiting.pop()
        requirement = parse_requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate(target.markers(extra)):
            continue
        requirement.marker = None
        choice = chosen.get(canonical(requirement.name))
        if choice is None or not requirement.specifier.contains(choice.version, prereleases=True):
            unmet.append(str(requirement))
            continue
        for name in ("", *requirement.extras):
            if (choice.name, name) not in reached:
                reached.add((choice.name, name))
                waiting += [(need, name) for need in choice.needs]
    return {name for name, _ in reached}, unmet
