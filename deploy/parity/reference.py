"""The reference of an engine folder: what PyTorch FP32 gave for held-out images, and which images these were.

Written where the engine is built, read where it runs, without PyTorch. No pixel is kept, for neither data sets nor the
people of a site may be passed on: an image is named by its path in the tree and recognised by its SHA-256.

Shapes: N images, D embedding.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from engines.atomic import atomic_path
from engines.errors import BadInput
from engines.manifest import MODALITIES, load_manifest, sha256_of
from engines.npz_file import read_arrays
from train.datasets.images import ImageRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from engines.manifest import Manifest, Modality

REFERENCE_NAME = "reference.npz"
FORMAT = 1
_ARRAYS = ("path", "sha256", "identity", "camera", "modality", "feature_ND", "size_px", "dataset", "split", "format")
_REBUILD = "rebuild the engine with deploy/build_engine.py"
_SHOWN = 3  # paths in a message


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Unit vectors of PyTorch FP32, in the order of records; the paths of these lie in the tree that was checked."""

    records: tuple[ImageRecord, ...]
    feature_ND: NDArray[np.float32]
    folder: Path  # the tree
    dataset: str | None  # whose protocol says who is removed for a query; None: the identities are no labels
    split: str

    def first(self, count: int | None) -> Reference:
        """Keep the first images: they are as balanced over modalities, cameras and people as all of them."""
        if count is not None and count < 2:
            raise BadInput(f"expected at least 2 images to compare, got {count}")
        return dataclasses.replace(self, records=self.records[:count], feature_ND=self.feature_ND[:count])

    def name(self, index: int) -> str:
        """Name an image by its path in the tree."""
        return self.records[index].path.relative_to(self.folder).as_posix()


def write_reference(
    folder: Path,
    data: Path,
    records: Sequence[ImageRecord],
    reference_ND: NDArray[np.float32],
    *,
    dataset: str | None = "sysu",
    split: str = "",
) -> str:
    """Write reference.npz into an engine folder and return its SHA-256, for the manifest.

    records lie in the tree data. dataset is None where nobody named the people.
    """
    manifest = load_manifest(folder)
    expected = (len(records), manifest.embedding_dim)
    if reference_ND.shape != expected or not len(records):
        raise BadInput(f"expected reference embeddings of shape {expected}, one or more, got {reference_ND.shape}")
    if not np.isfinite(reference_ND).all():
        raise BadInput("expected finite reference embeddings, got NaN or infinity; the model is broken")
    outside = [record.path for record in records if not record.path.is_relative_to(data)]
    if outside:
        raise BadInput(f"expected the images of the reference in {data}, got {outside[0]}; name their tree with --data")
    arrays: dict[str, Any] = {
        "path": np.array([record.path.relative_to(data).as_posix() for record in records]),
        "sha256": np.array([sha256_of(record.path) for record in records]),
        "identity": np.array([record.identity for record in records], np.int64),
        "camera": np.array([record.camera for record in records], np.int64),
        "modality": np.array([record.modality for record in records]),
        "feature_ND": reference_ND.astype(np.float32),
        "size_px": np.array([manifest.height_px, manifest.width_px], np.int64),
        "dataset": np.array(dataset or ""),
        "split": np.array(split),
        "format": np.array(FORMAT, np.int64),
    }
    with atomic_path(folder / REFERENCE_NAME) as temporary:
        np.savez(temporary, **arrays)
    return sha256_of(folder / REFERENCE_NAME)


def load_reference(folder: Path, data: Path | None = None) -> Reference:
    """Read a folder's reference and find its images in data, or in the tree that the manifest remembers.

    An image that is missing or has other bytes is refused: it would be taken for a fault of the engine.
    """
    manifest = load_manifest(folder)
    path = folder / REFERENCE_NAME
    if not path.is_file():
        raise BadInput(f"{folder}: expected {REFERENCE_NAME}, which is missing; {_REBUILD}")
    recorded = manifest.reference.get("sha256")
    found = sha256_of(path)
    if recorded is not None and found != recorded:
        raise BadInput(
            f"{path}: SHA-256 is {found[:12]}..., the manifest says {recorded[:12]}...; the file was changed or "
            f"damaged: copy the folder again or {_REBUILD}"
        )
    arrays = _read(path, manifest)
    tree = _tree(data, manifest)
    relative = [str(name) for name in arrays["path"]]
    _check_images(tree, relative, [str(digest) for digest in arrays["sha256"]])
    records = tuple(
        ImageRecord(path=tree / name, identity=int(identity), camera=int(camera), modality=cast("Modality", str(kind)))
        for name, identity, camera, kind in zip(
            relative, arrays["identity"], arrays["camera"], arrays["modality"], strict=True
        )
    )
    return Reference(
        records=records,
        feature_ND=arrays["feature_ND"],
        folder=tree,
        dataset=str(arrays["dataset"]) or None,
        split=str(arrays["split"]),
    )


def _read(path: Path, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Read the arrays and check all that is relied on; pickled objects are never loaded."""
    try:
        stored = read_arrays(path)
        arrays = {name: stored[name] for name in _ARRAYS}
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path}: expected a reference, got an unreadable file ({error}); {_REBUILD}") from error
    if arrays["format"].tolist() != FORMAT:
        raise BadInput(f"{path}: expected format {FORMAT}, got {arrays['format'].tolist()}; {_REBUILD}")
    feature_ND, count = arrays["feature_ND"], len(np.atleast_1d(arrays["path"]))
    if arrays["size_px"].tolist() != [manifest.height_px, manifest.width_px]:
        raise BadInput(
            f"{path}: expected a reference at {manifest.height_px} x {manifest.width_px} pixels, got "
            f"{arrays['size_px'].tolist()}; it belongs to another model: {_REBUILD}"
        )
    whole = all(arrays[name].shape == (count,) for name in _ARRAYS[:5])
    if not whole or not count or feature_ND.shape != (count, manifest.embedding_dim) or feature_ND.dtype != np.float32:
        raise BadInput(f"{path}: expected float32 embeddings of {count} images, got {feature_ND.shape}; {_REBUILD}")
    names = [PurePosixPath(str(name)) for name in arrays["path"]]
    if any(name.is_absolute() or ".." in name.parts for name in names) or set(arrays["modality"]) - set(MODALITIES):
        raise BadInput(f"{path}: expected paths inside the data set and known modalities, got others; {_REBUILD}")
    return arrays


def _tree(data: Path | None, manifest: Manifest) -> Path:
    remembered = manifest.dataset.get("folder")
    if data is None and not isinstance(remembered, str):
        raise BadInput("the manifest remembers no data set; name the tree with the held-out images with --data")
    tree = (data or Path(str(remembered))).expanduser().absolute()
    if not tree.is_dir():
        raise BadInput(f"expected the folder with the held-out images, got {tree}, which does not exist; use --data")
    return tree


def _check_images(tree: Path, relative: Sequence[str], digests: Sequence[str]) -> None:
    missing = [name for name in relative if not (tree / name).is_file()]
    absent = set(missing)
    differing = [
        name
        for name, digest in zip(relative, digests, strict=True)
        if name not in absent and sha256_of(tree / name) != digest
    ]
    parts = [
        f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
        for names, what in ((missing, "missing"), (differing, "with other bytes"))
        if names
    ]
    if parts:
        raise BadInput(
            f"{tree}: expected the {len(relative)} images of the reference, got {' and '.join(parts)}; name the tree "
            "of the build with --data"
        )
