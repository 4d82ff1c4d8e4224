"""The reference of an engine folder: written at build time, checked against the tree where it is read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deploy.parity.reference import REFERENCE_NAME, load_reference, write_reference
from engines.errors import BadInput
from engines.manifest import Graph, Manifest, load_manifest
from train.datasets.images import ImageRecord

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("cam1/0007/0001.jpg", "cam3/0007/0001.jpg", "cam3/0009/0002.jpg")
FEATURES = np.eye(3, 4, dtype=np.float32)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three files that stand for images: a reference looks at their bytes alone."""
    folder = tmp_path / "tree"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def engine(tmp_path: Path, tree: Path) -> Path:
    graph = Graph(file="model.fp32.onnx", sha256="0", modality="visible", precision="fp32", form="onnx")
    folder = tmp_path / "engine"
    manifest = Manifest(
        method="baseline", height_px=8, width_px=4, embedding_dim=4, graphs=(graph,), dataset={"folder": str(tree)}
    )
    manifest.save(folder)
    return folder


def records(tree: Path) -> list[ImageRecord]:
    return [
        ImageRecord(path=tree / NAMES[0], identity=7, camera=1, modality="visible"),
        ImageRecord(path=tree / NAMES[1], identity=7, camera=3, modality="infrared"),
        ImageRecord(path=tree / NAMES[2], identity=9, camera=3, modality="infrared"),
    ]


def note(engine: Path, digest: str) -> None:
    manifest = load_manifest(engine)
    dataclasses.replace(manifest, reference={"file": REFERENCE_NAME, "sha256": digest}).save(engine)


def test_a_reference_comes_back_as_it_was_written(engine: Path, tree: Path) -> None:
    note(engine, write_reference(engine, tree, records(tree), FEATURES, split="val"))
    reference = load_reference(engine)
    assert reference.records == tuple(records(tree))
    np.testing.assert_array_equal(reference.feature_ND, FEATURES)
    assert (reference.dataset, reference.split, reference.name(2)) == ("sysu", "val", NAMES[2])
    assert reference.first(2).records == reference.records[:2]


def test_the_same_reference_has_the_same_bytes(engine: Path, tree: Path) -> None:
    """So that a build that is repeated gives the same folder."""
    first = write_reference(engine, tree, records(tree), FEATURES)
    assert write_reference(engine, tree, records(tree), FEATURES) == first


def test_the_tree_may_lie_elsewhere(engine: Path, tree: Path, tmp_path: Path) -> None:
    write_reference(engine, tree, records(tree), FEATURES, dataset=None)
    moved = tree.rename(tmp_path / "moved")
    reference = load_reference(engine, moved)
    assert reference.records[0].path == moved / NAMES[0]
    assert reference.dataset is None
    with pytest.raises(BadInput, match=r"expected the folder with the held-out images, got .*tree, which does not"):
        load_reference(engine)


def test_no_pixel_is_kept(engine: Path, tree: Path) -> None:
    (tree / NAMES[0]).write_bytes(b"a person's face" * 1000)
    write_reference(engine, tree, records(tree), FEATURES)
    assert b"face" not in (engine / REFERENCE_NAME).read_bytes()
    assert (engine / REFERENCE_NAME).stat().st_size < 10_000


def test_images_that_are_missing_or_changed_are_named(engine: Path, tree: Path) -> None:
    write_reference(engine, tree, records(tree), FEATURES)
    (tree / NAMES[0]).write_text("another picture")
    (tree / NAMES[2]).unlink()
    with pytest.raises(BadInput) as caught:
        load_reference(engine)
    assert str(caught.value) == (
        f"{tree}: expected the 3 images of the reference, got 1 missing ({NAMES[2]}) and 1 with other bytes "
        f"({NAMES[0]}); name the tree of the build with --data"
    )


def test_a_changed_byte_of_the_reference_is_refused(engine: Path, tree: Path) -> None:
    note(engine, write_reference(engine, tree, records(tree), FEATURES))
    write_reference(engine, tree, records(tree), -FEATURES)
    with pytest.raises(BadInput, match="the file was changed or damaged"):
        load_reference(engine)


def test_a_folder_without_a_reference_says_what_to_do(engine: Path) -> None:
    with pytest.raises(BadInput, match=r"expected reference\.npz, which is missing; rebuild the engine"):
        load_reference(engine)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"path": np.array(["../secret", *NAMES[1:]])}, "expected paths inside the data set"),
        ({"path": np.array(["/etc/passwd", *NAMES[1:]])}, "expected paths inside the data set"),
        ({"identity": np.array([7, 7])}, "expected float32 embeddings of 3 images"),
        ({"feature_ND": FEATURES[:, :2]}, "expected float32 embeddings of 3 images"),
        ({"size_px": np.array([16, 8])}, "it belongs to another model"),
        ({"format": np.array(2)}, "expected format 1, got 2"),
        ({"path": np.array(list(NAMES), object)}, "expected a reference, got an unreadable file"),  # a pickle
        (None, "expected a reference, got an unreadable file"),
    ],
)
def test_a_damaged_reference_is_one_line(
    change: dict[str, np.ndarray] | None, expected: str, engine: Path, tree: Path
) -> None:
    write_reference(engine, tree, records(tree), FEATURES)
    path = engine / REFERENCE_NAME
    if change is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        with np.load(path) as file:
            arrays: dict[str, Any] = {**file, **change}
        np.savez(path, **arrays)
    with pytest.raises(BadInput) as caught:
        load_reference(engine)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (FEATURES[:2], r"expected reference embeddings of shape \(3, 4\), one or more, got \(2, 4\)"),
        (FEATURES * np.nan, "expected finite reference embeddings"),
    ],
)
def test_what_is_no_reference_is_not_written(features: np.ndarray, expected: str, engine: Path, tree: Path) -> None:
    with pytest.raises(BadInput, match=expected):
        write_reference(engine, tree, records(tree), features)
    assert not (engine / REFERENCE_NAME).exists()


def test_images_outside_the_tree_are_not_written(engine: Path, tree: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"expected the images of the reference in .*, got .*; name their tree"):
        write_reference(engine, tmp_path / "elsewhere", records(tree), FEATURES)


def test_one_image_cannot_be_compared(engine: Path, tree: Path) -> None:
    write_reference(engine, tree, records(tree), FEATURES)
    with pytest.raises(BadInput, match="expected at least 2 images to compare, got 1"):
        load_reference(engine).first(1)
