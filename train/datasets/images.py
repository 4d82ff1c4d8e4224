"""What every dataset is made of: image files with labels, in splits of disjoint identities. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from PIL import Image

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Modality

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image file and its labels; camera numbers are the dataset's own."""

    path: Path
    identity: int
    camera: int
    modality: Modality


class Dataset(Protocol):
    """A tree on disk that was checked; the identities of its splits are disjoint."""

    @property
    def name(self) -> str: ...

    @property
    def folder(self) -> Path: ...

    @property
    def trial(self) -> int:
        """Which of the dataset's divisions into splits; 1 where there is one only."""
        ...

    @property
    def identities(self) -> Mapping[Split, tuple[int, ...]]: ...

    def split(self, *splits: Split) -> list[ImageRecord]:
        """List the images of the named splits, in an order that depends on the file names alone."""
        ...


@dataclass(frozen=True, kw_only=True)
class ListedDataset:
    """A tree without a validation split that was checked: every image that its lists name is there.

    A fixed fifth of the training identities is "val" and the others are "train".
    """

    name: str
    folder: Path
    identities: dict[Split, tuple[int, ...]]
    records: tuple[ImageRecord, ...] = field(repr=False)
    trial: int = 1

    def split(self, *splits: Split) -> list[ImageRecord]:
        """List the images of the named splits: visible ones first, then by camera, identity and file name."""
        return of_identities(self.records, (identity for split in splits for identity in self.identities[split]))


def in_order(records: Iterable[ImageRecord]) -> tuple[ImageRecord, ...]:
    """Sort by modality, visible first, then camera, identity and file name."""
    return tuple(
        sorted(records, key=lambda item: (item.modality != "visible", item.camera, item.identity, item.path.name))
    )


def of_identities(records: Iterable[ImageRecord], identities: Iterable[int]) -> list[ImageRecord]:
    """Keep the images of these identities, in their order."""
    wanted = set(identities)
    return [record for record in records if record.identity in wanted]


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image to RGB uint8 (H, W, 3); a damaged file is refused by name."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # damaged bytes make a decoder raise anything
        raise BadInput(f"{path}: expected an image, got a damaged file ({error}); restore or remove it") from error
