"""Write a bundle: the same files give the same bytes, and a broken attempt leaves nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.manifest import sha256_of
from engines.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.bundle.contents import Entry

SUMS = "SHA256SUMS"
SPARE_BYTES = 64 << 20
# Most bytes are wheels, which are compressed already: level 6 saves 1 MB of 160 more than level 1.
GZIP_LEVEL = 1


def sums_of(entries: Iterable[Entry]) -> str:
    """Return a line of hash and name for each entry, as sha256sum writes and reads them."""
    return "".join(f"{_sha256(entry.data)}  {entry.name}\n" for entry in sorted(entries, key=_name))


def write_archive(target: Path, folder: str, entries: Sequence[Entry], time_s: int) -> None:
    """Write entries below folder into the .tar.gz target, in order of their names, all of one date and owner."""
    _refuse_small_disk(target, sum(entry.size_bytes for entry in entries))
    try:
        with (
            atomic_path(target) as temporary,
            temporary.open("wb") as file,
            # No name and no time of packing in the header: both would tell two runs apart.
            gzip.GzipFile(filename="", mode="wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=time_s) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
        ):
            for entry in progress(sorted(entries, key=_name), unit="files", label="packing"):
                _add(archive, folder, entry, time_s)
    except OSError as error:
        raise BadInput(f"could not write {target}: {error}; free some disk or name another file with --out") from error


def _add(archive: tarfile.TarFile, folder: str, entry: Entry, time_s: int) -> None:
    member = tarfile.TarInfo(f"{folder}/{entry.name}")
    member.size = entry.size_bytes
    member.mode = 0o755 if entry.executable else 0o644
    member.mtime = time_s
    member.uname = member.gname = "root"
    with io.BytesIO(entry.data) if isinstance(entry.data, bytes) else entry.data.open("rb") as data:
        archive.addfile(member, data)


def _refuse_small_disk(target: Path, needed_bytes: int) -> None:
    place = next(path for path in target.absolute().parents if path.is_dir())
    free_mb, needed_mb = shutil.disk_usage(place).free / 1e6, (needed_bytes + SPARE_BYTES) / 1e6
    if free_mb < needed_mb:
        raise BadInput(
            f"expected {needed_mb:.0f} MB free in {place}, got {free_mb:.0f} MB; free some disk or name another "
            "file with --out"
        )


def _sha256(data: Path | bytes) -> str:
    return hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else sha256_of(data)


def _name(entry: Entry) -> str:
    return entry.name
