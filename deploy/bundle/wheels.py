"""Fetch the chosen wheels, and read in them what a bundle must know: size, licence, the C library they ask for."""

from __future__ import annotations

import dataclasses
import email.parser
import re
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.bundle.resolve import canonical, pip, platform_options, refusal, resolve
from deploy.detection.download import download
from engines.errors import BadInput
from engines.manifest import sha256_of
from engines.progress import progress

if TYPE_CHECKING:
    from email.message import Message

    from deploy.bundle.needs import Needs, SourceArchive
    from deploy.bundle.resolve import Choice
    from deploy.bundle.target import Target


@dataclass(frozen=True, kw_only=True)
class Package:
    """One file of the folder wheels."""

    name: str
    version: str
    path: Path
    sha256: str
    size_bytes: int
    unpacked_bytes: int | None  # None: built on the device
    installed: bool = True  # False: carried for pip and for building
    licence: str
    glibc: str  # the oldest that it runs with; "" where it has no machine code, or is built on the device


def fetch_packages(needs: Needs, target: Target, cache: Path, folder: Path | None) -> list[Package]:
    """Return every package that the device needs, fetched into cache or found there; folder replaces the network."""
    choices = resolve(needs, target, folder)
    kept = cache / f"{target.platform}-py{target.python}"
    kept.mkdir(parents=True, exist_ok=True)
    wheels = [
        dataclasses.replace(wheel_at(_fetch(choice, target, kept, folder)), installed=choice.installed)
        for choice in progress(choices, unit="wheels", label=f"wheels for {target.platform}")
    ]
    sources = [_source_at(_fetch_source(source, cache, folder), source) for source in needs.sources]
    packages = sorted([*wheels, *sources], key=lambda package: package.name)
    for package in packages:
        if strong_copyleft(package.licence):
            raise BadInput(
                f"{package.path.name}: expected a licence that lets closed systems carry it, got {package.licence!r}; "
                "take another package"
            )
    return packages


def wheel_at(path: Path) -> Package:
    """Read a wheel."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            (inside,) = [item for item in members if re.fullmatch(r"[^/]+\.dist-info/METADATA", item.filename)]
            metadata = email.parser.Parser().parsestr(archive.read(inside).decode("utf-8"))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: expected a wheel, got {error}; delete it, and it is fetched again") from error
    return Package(
        name=canonical(metadata["Name"]),
        version=metadata["Version"],
        path=path,
        sha256=sha256_of(path),
        size_bytes=path.stat().st_size,
        unpacked_bytes=sum(item.file_size for item in members),
        licence=licence_of(metadata),
        glibc=glibc_of(path.name),
    )


def licence_of(metadata: Message) -> str:
    """Return what the metadata says in one line: the expression, else the classifiers, else the first line of text."""
    if expression := metadata["License-Expression"]:
        return expression
    prefix = "License :: OSI Approved :: "
    classifiers = [text.removeprefix(prefix) for text in metadata.get_all("Classifier", []) if text.startswith(prefix)]
    if classifiers:
        return " OR ".join(classifiers)
    return ((metadata["License"] or "").strip().splitlines() or ["not stated"])[0]


def strong_copyleft(licence: str) -> bool:
    """Say whether every choice that a licence offers is GPL or AGPL; GCC's exception and the LGPL do not count."""

    def strong(text: str) -> bool:
        plain = re.sub(r"GPL-[\w.-]+ WITH GCC-exception[\w.-]*", "", text)
        return bool(re.search(r"\bA?GPL|GNU (Affero )?General Public", plain))

    return all(strong(choice) for choice in re.split(r"\bOR\b", licence))


def glibc_of(wheel_name: str) -> str:
    """Return the oldest glibc that a wheel's platform tags name."""
    minors = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", wheel_name)]
    minors += [17] * ("manylinux2014" in wheel_name)
    return f"2.{min(minors)}" if minors else ""


def _fetch(choice: Choice, target: Target, kept: Path, folder: Path | None) -> Path:
    path = kept / choice.file
    if path.is_file() and sha256_of(path) == choice.sha256:
        return path
    with tempfile.TemporaryDirectory(dir=kept, prefix=".fetching.") as name:
        fetched = Path(name) / choice.file
        if folder is not None:
            shutil.copyfile(folder / choice.file, fetched)
        else:
            _download(choice, target, fetched)
        return fetched.replace(path)


def _download(choice: Choice, target: Target, fetched: Path) -> None:
    options = ["--no-deps", "--quiet", "--retries", "2", "--dest", str(fetched.parent), *platform_options(target)]
    done = pip(["download", *options, f"{choice.name}=={choice.version}"], None)
    if done.returncode or not fetched.is_file():
        raise refusal(done, target)
    if choice.sha256 and sha256_of(fetched) != choice.sha256:
        raise BadInput(
            f"{choice.file}: expected SHA-256 {choice.sha256}, got another; it changed on its way, try again"
        )


def _fetch_source(source: SourceArchive, cache: Path, folder: Path | None) -> Path:
    """Return the source archive, checked: pip would have to run its build here to download it."""
    place = cache if folder is None else folder
    path = place / source.file
    if folder is None:
        download([source.url], path, source.sha256)
    elif not path.is_file():
        raise BadInput(f"expected {source.file} in {folder}, found none; fetch it from {source.url}")
    elif sha256_of(path) != source.sha256:
        raise BadInput(f"{path}: expected SHA-256 {source.sha256}, got another; fetch it from {source.url}")
    return path


def _source_at(path: Path, source: SourceArchive) -> Package:
    return Package(
        name=source.name,
        version=source.version,
        path=path,
        sha256=source.sha256,
        size_bytes=path.stat().st_size,
        unpacked_bytes=None,
        licence=source.licence,
        glibc="",
    )
