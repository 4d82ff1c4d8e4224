"""A tree in the SYSU-MM01 layout, small enough to write in milliseconds: identities are stripe patterns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy.io import savemat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_tree(
    folder: Path, *, train: int = 6, val: int = 2, test: int = 4, images: int = 3, size: tuple[int, int] = (32, 16)
) -> Path:
    """Write identities 1.. in all six cameras with the same number of images, and official-looking split files."""
    total = train + val + test
    rng = np.random.default_rng(0)
    height, width = size
    for identity in range(1, total + 1):
        # Stripes of the identity's own period and phase; infrared inverts them and drops the colour.
        rows = np.sin(np.arange(height) * (0.4 + 0.25 * identity) + identity)
        for camera in range(1, 7):
            target = folder / f"cam{camera}" / f"{identity:04d}"
            target.mkdir(parents=True)
            for index in range(images):
                gray = 128 + 90 * rows[:, None] * (-1 if camera in (3, 6) else 1) + rng.normal(0, 12, (height, width))
                tint = np.ones(3) if camera in (3, 6) else rng.uniform(0.7, 1.0, 3)
                pixels = np.clip(gray[:, :, None] * tint, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(target / f"{index + 1:04d}.jpg", quality=90)
    identities = list(range(1, total + 1))
    write_splits(
        folder,
        {"train": identities[:train], "val": identities[train : train + val], "test": identities[train + val :]},
        {(camera, identity): images for camera in range(1, 7) for identity in identities},
    )
    return folder


def write_splits(folder: Path, splits: Mapping[str, list[int]], counts: Mapping[tuple[int, int], int]) -> None:
    """Write exp/*.txt and a rand_perm_cam.mat for these image counts."""
    exp = folder / "exp"
    exp.mkdir(parents=True, exist_ok=True)
    for name, identities in splits.items():
        (exp / f"{name}_id.txt").write_text(",".join(map(str, identities)) + "\n")
    rng = np.random.default_rng(1)
    cameras = np.empty((6, 1), object)
    for camera in range(1, 7):
        cell = np.empty((max(identity for _, identity in counts), 1), object)
        for identity in range(1, len(cell) + 1):
            count = counts.get((camera, identity), 0)
            rows = [rng.permutation(count) + 1 for _ in range(10)]
            cell[identity - 1, 0] = np.array(rows, np.uint8).reshape(10, count)
        cameras[camera - 1, 0] = cell
    savemat(exp / "rand_perm_cam.mat", {"rand_perm_cam": cameras})


def write_blank_tree(folder: Path, counts: Mapping[tuple[int, int], int]) -> None:
    """Give each (camera, identity) so many images, all one empty file: hard links take a tenth of the time of files."""
    folder.mkdir(parents=True)
    blank = folder / "blank"
    blank.touch()
    for (camera, identity), images in counts.items():
        place = folder / f"cam{camera}" / f"{identity:04d}"
        place.mkdir(parents=True)
        for index in range(1, images + 1):
            os.link(blank, f"{place}/{index:04d}.jpg")


def settle(folder: Path) -> Path:
    """Date every folder an hour back: what changed just now is listed again at every start."""
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        then = place.stat().st_mtime - 3600
        os.utime(place, (then, then))
    return folder
