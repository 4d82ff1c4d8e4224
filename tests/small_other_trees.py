"""Trees in the layouts of RegDB and LLCM, small enough to write in milliseconds: stripe patterns, or empty files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.small_tree import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SIZE = (32, 16)


def write_regdb(
    folder: Path, *, identities: int = 12, images: int = 3, trials: Sequence[int] = (1, 2), blank: bool = False
) -> Path:
    """Write identities 1.. and each trial's four lists; the halves differ from trial to trial."""
    names: dict[tuple[str, int], list[str]] = {}
    for top in ("Visible", "Thermal"):
        for identity in range(1, identities + 1):
            place = folder / top / str(identity)
            place.mkdir(parents=True)
            letter = top[0].lower()
            found = [f"female_front_{letter}_{100 * identity + index:05d}_{identity}.bmp" for index in range(images)]
            names[top, identity] = found
            for index, name in enumerate(found):
                _write(place / name, identity, index, infrared=top == "Thermal", blank=blank)
    (folder / "idx").mkdir()
    for trial in trials:
        order = (np.random.default_rng(trial).permutation(identities) + 1).tolist()
        halves = {"train": sorted(order[: identities // 2]), "test": sorted(order[identities // 2 :])}
        for part, half in halves.items():
            for top in ("Visible", "Thermal"):
                lines = [
                    f"{top}/{identity}/{name} {label}\n"
                    for label, identity in enumerate(half)
                    for name in names[top, identity]
                ]
                (folder / "idx" / f"{part}_{top.lower()}_{trial}.txt").write_text("".join(lines))
    return folder


def write_llcm(
    folder: Path, *, train: int = 6, test: int = 4, cameras: Sequence[int] = (1, 2, 3), images: int = 2,
    blank: bool = False,
) -> Path:  # fmt: skip
    """Write train identities 1.. and test identities after them; camera 3 has no near-infrared test image."""
    (folder / "idx").mkdir(parents=True)
    for kind in ("vis", "nir"):
        lines = []
        for identity in range(1, train + 1):
            for camera in cameras:
                for index in range(images):
                    place = folder / kind / f"{identity:04d}"
                    name = _llcm_name(identity, camera, index, kind)
                    _write(place / name, identity, index, infrared=kind == "nir", blank=blank)
                    lines.append(f"{kind}/{identity:04d}/{name} {identity - 1}\n")
        (folder / f"idx/train_{kind}.txt").write_text("".join(lines))
        for camera in cameras:
            (folder / f"test_{kind}/cam{camera}").mkdir(parents=True)
            for identity in range(train + 1, train + test + 1) if (kind, camera) != ("nir", 3) else ():
                for index in range(images):
                    place = folder / f"test_{kind}/cam{camera}/{identity:04d}"
                    name = _llcm_name(identity, camera, index, kind)
                    _write(place / name, identity, index, infrared=kind == "nir", blank=blank)
    (folder / "idx/test_id.txt").write_text(",".join(map(str, range(train + 1, train + test + 1))) + "\n")
    return folder


def _llcm_name(identity: int, camera: int, index: int, kind: str) -> str:
    return f"{identity:04d}_c{camera:02d}_s{100000 + index}_f{1000 * index + 7:04d}_{kind}.jpg"


def _write(path: Path, identity: int, index: int, *, infrared: bool, blank: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if blank:
        # A hard link to one empty file takes a tenth of the time of a file of its own.
        source = path.parents[2] / "blank"
        source.touch()
        os.link(source, path)
        return
    height, width = SIZE
    rows = np.sin(np.arange(height) * (0.4 + 0.25 * identity) + identity)
    gray = 128 + 90 * rows[:, None] * (-1 if infrared else 1)
    noise = np.random.default_rng((identity, index)).normal(0, 12, (height, width))
    tint = np.ones(3) if infrared else np.array([1.0, 0.9, 0.8])
    pixels = np.clip((gray + noise)[:, :, None] * tint, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)


WRITERS: dict[str, Callable[[Path], Path]] = {"sysu": write_tree, "regdb": write_regdb, "llcm": write_llcm}
