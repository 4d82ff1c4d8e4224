"""SYSU-MM01 as it is distributed, and every tree in the same layout.

    cam1/0001/0001.jpg ... cam6/0533/0020.jpg        exp/{train,val,test}_id.txt        exp/rand_perm_cam.mat

Cameras 1, 2, 4, 5 are visible, 3 and 6 infrared. Torch-free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engines.errors import BadInput
from train.datasets.images import SPLITS, ImageRecord, Split
from train.datasets.listing import list_tree
from train.datasets.mat_file import Cell, read_cell
from train.datasets.split_files import check_disjoint, read_identities

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from train.datasets.listing import Listed

CAMERAS = (1, 2, 3, 4, 5, 6)
INFRARED_CAMERAS = (3, 6)
VISIBLE_CAMERAS = (1, 2, 4, 5)


def sysu_image(path: Path, identity: int, camera: int) -> ImageRecord:
    """Label an image of this layout: the camera gives the modality."""
    modality = "infrared" if camera in INFRARED_CAMERAS else "visible"
    return ImageRecord(path=path, identity=identity, camera=camera, modality=modality)


@dataclass(frozen=True)
class SysuDataset:
    """A tree that was checked: camera folders and split files are there. Images are listed when first asked for."""

    folder: Path
    identities: dict[Split, tuple[int, ...]]
    name = "sysu"
    trial = 1

    def images(self, identities: Iterable[int], cameras: Sequence[int] = CAMERAS) -> list[ImageRecord]:
        """List the images camera by camera, identity ascending, file name ascending."""
        wanted = sorted(set(identities))
        return [record for camera in cameras for identity in wanted for record in self._images(camera, identity)]

    def split(self, *splits: Split, cameras: Sequence[int] = CAMERAS) -> list[ImageRecord]:
        """List the images of the named splits in the order of `images`."""
        return self.images((identity for split in splits for identity in self.identities[split]), cameras)

    @cached_property
    def permutations(self) -> dict[tuple[int, int], NDArray[np.int64]]:
        """Map (camera, identity) to the 10 x n_images permutation of 1..n_images that draws the gallery."""
        return read_permutations(self.folder / "exp" / "rand_perm_cam.mat")

    @cached_property
    def _tree(self) -> dict[str, Listed]:
        return list_tree(self.folder, {f"cam{camera}": 2 for camera in CAMERAS})

    @cached_property
    def _made(self) -> dict[tuple[int, int], list[ImageRecord]]:
        return {}

    def _images(self, camera: int, identity: int) -> list[ImageRecord]:
        """Return what a camera has of an identity, file name ascending; 34,000 paths take 0.2 s, so made once."""
        if (camera, identity) not in self._made:
            place = f"cam{camera}/{identity:04d}"  # absent from the tree: not every identity was seen by every camera
            folder, files = self.folder / place, self._tree[place].files if place in self._tree else ()
            names = (name for name in files if name[-4:].lower() == ".jpg" and name[:-4].isdigit())
            self._made[camera, identity] = [sysu_image(folder / name, identity, camera) for name in names]
        return self._made[camera, identity]


def open_sysu(folder: Path) -> SysuDataset:
    """Check a tree and read its identity lists; what is missing is named."""
    if not folder.is_dir():
        raise BadInput(f"expected the SYSU-MM01 folder, got {folder}, which does not exist; name it with --data")
    missing = [f"cam{camera}" for camera in CAMERAS if not (folder / f"cam{camera}").is_dir()]
    missing += [f"exp/{split}_id.txt" for split in SPLITS if not (folder / "exp" / f"{split}_id.txt").is_file()]
    if missing:
        raise BadInput(
            f"{folder}: expected the layout of SYSU-MM01, missing: {', '.join(missing)}; see docs/training.md"
        )
    identities: dict[Split, tuple[int, ...]] = {
        split: read_identities(folder / "exp" / f"{split}_id.txt") for split in SPLITS
    }
    check_disjoint({f"{folder / 'exp' / split}_id.txt": members for split, members in identities.items()})
    return SysuDataset(folder=folder, identities=identities)


def read_permutations(path: Path) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Read rand_perm_cam.mat: cell (6, 1) of cells (identities, 1) of uint8 (10, n_images)."""
    if not path.is_file():
        raise BadInput(f"expected the official gallery draw {path}, which is missing; see docs/training.md")
    found: dict[tuple[int, int], NDArray[np.int64]] = {}
    try:
        for camera, cell in enumerate(read_cell(path, "rand_perm_cam").items, 1):
            for identity, rows in enumerate(cell.items if isinstance(cell, Cell) else (cell,), 1):
                if isinstance(rows, Cell) or not (np.sort(rows, axis=1) == np.arange(1, rows.shape[1] + 1)).all():
                    raise ValueError(f"no permutations for camera {camera}, identity {identity}")
                if rows.size:
                    found[camera, identity] = rows
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected rand_perm_cam.mat of SYSU-MM01, got an unreadable file ({error})") from error
    return found
