"""Embedding for evaluation: each image once, mirrors, spectra; and scores of held-out identities."""

from __future__ import annotations

import dataclasses
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from engines.errors import BadInput
from tests.small_other_trees import write_llcm, write_regdb
from tests.small_tree import write_tree
from train.datasets.open import open_dataset
from train.evaluation import (
    embed_images,
    embed_spectra,
    flip_average,
    method_embedder,
    score_identities,
)
from train.methods import load
from train.protocol import key

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.images import Dataset, ImageRecord

HEIGHT, WIDTH = 32, 16


class Recorder:
    """A random linear network that remembers its batches."""

    def __init__(self) -> None:
        self.weight_PD = np.random.default_rng(3).normal(size=(HEIGHT * WIDTH * 3, 5))
        self.batches: list[tuple[Modality, NDArray[np.uint8]]] = []

    def __call__(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        self.batches.append((modality, image_BHWC))
        shift = 0.0 if modality == "visible" else 1.0
        feature_BD = (image_BHWC.reshape(len(image_BHWC), -1) / 255.0 - 0.5) @ self.weight_PD + shift
        return (feature_BD / np.linalg.norm(feature_BD, axis=1, keepdims=True)).astype(np.float32)

    def images(self, modality: Modality) -> int:
        return sum(len(image_BHWC) for name, image_BHWC in self.batches if name == modality)


def pixels(record: ImageRecord) -> NDArray[np.uint8]:
    """Read as the definition says: RGB, resized by Pillow's bilinear filter."""
    with Image.open(record.path) as image:
        return np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree") / "sysu", train=2, val=2, test=8, images=3, size=(40, 20))


@pytest.fixture(scope="module")
def records(tree: Path) -> list[ImageRecord]:
    """144 images, more than one batch, in no sensible order, and some twice."""
    found = open_dataset("sysu", tree).split("test")
    order = np.random.default_rng(0).permutation(len(found))
    return [found[index] for index in order] + found[:5]


def test_each_image_is_embedded_once_with_its_own_modality(records: list[ImageRecord]) -> None:
    embed, alone = Recorder(), Recorder()
    features = embed_images(embed, records, HEIGHT, WIDTH)
    assert (embed.images("visible"), embed.images("infrared")) == (96, 48)
    assert len(features) == 144
    for record in records[::7]:
        np.testing.assert_allclose(features[key(record)], alone(pixels(record)[None], record.modality)[0], atol=1e-6)


def test_no_image_gives_no_feature() -> None:
    assert embed_images(Recorder(), [], HEIGHT, WIDTH) == {}


def test_a_damaged_image_of_a_later_batch_is_refused_by_name(tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sysu"
    shutil.copytree(tree, folder)
    (folder / "cam5/0012/0003.jpg").write_bytes(b"\xff\xd8 cut short")
    with pytest.raises(BadInput, match=r"cam5/0012/0003\.jpg: expected an image, got a damaged file"):
        embed_images(Recorder(), open_dataset("sysu", folder).split("test"), HEIGHT, WIDTH)


def test_flip_averages_the_unit_vectors_of_image_and_mirror(records: list[ImageRecord]) -> None:
    found, plain, alone = (embed_images(Recorder(), records, HEIGHT, WIDTH, flip=flip) for flip in (True, False, False))
    network = Recorder()
    for record in records[::9]:
        image_HWC = pixels(record)
        first, second = (network(view[None], record.modality)[0] for view in (image_HWC, image_HWC[:, ::-1]))
        mean = (first + second) / 2
        np.testing.assert_allclose(found[key(record)], mean / np.linalg.norm(mean), atol=1e-6)
    assert all(np.array_equal(plain[name], alone[name]) for name in plain)
    assert max(float(np.abs(found[name] - plain[name]).max()) for name in plain) > 0.1


def test_flip_averaging_an_image_that_is_its_own_mirror_changes_nothing() -> None:
    image_BHWC = np.tile(np.arange(HEIGHT, dtype=np.uint8)[None, :, None, None], (2, 1, WIDTH, 3))
    np.testing.assert_allclose(
        flip_average(Recorder())(image_BHWC, "visible"), Recorder()(image_BHWC, "visible"), atol=1e-6
    )


@pytest.mark.parametrize("flip", [False, True])
def test_the_spectra_are_the_image_and_its_channels_replicated_after_the_resize(
    records: list[ImageRecord], flip: bool
) -> None:
    spectra = embed_spectra(Recorder(), records, HEIGHT, WIDTH, flip=flip)
    plain = embed_images(Recorder(), records, HEIGHT, WIDTH, flip=flip)
    assert list(spectra) == ["rgb", "red", "green", "blue"]
    network = flip_average(Recorder()) if flip else Recorder()
    for record in records[::9]:
        name, image_HWC = key(record), pixels(record)
        np.testing.assert_array_equal(spectra["rgb"][name], plain[name])
        for channel, spectrum in enumerate(("red", "green", "blue")):
            expected = plain[name]
            if record.modality == "visible":
                expected = network(np.dstack([image_HWC[..., channel]] * 3)[None], "visible")[0]
            np.testing.assert_allclose(spectra[spectrum][name], expected, atol=1e-6)


def test_infrared_images_have_one_spectrum_and_are_embedded_once(records: list[ImageRecord]) -> None:
    embed = Recorder()
    embed_spectra(embed, records, HEIGHT, WIDTH)
    assert (embed.images("visible"), embed.images("infrared")) == (4 * 96, 48)


def place_of(camera: int) -> int:
    return 2 if camera == 3 else camera


def excluded(name: str, query: ImageRecord, item: ImageRecord) -> bool:
    """What a query does not see, by each dataset's own rule."""
    if name == "sysu":
        return place_of(query.camera) == place_of(item.camera)
    return name == "llcm" and (query.identity, query.camera) == (item.identity, item.camera)


@pytest.mark.parametrize("name", ["sysu", "regdb", "llcm"])
def test_held_out_identities_are_scored_by_the_rule_of_their_dataset(name: str, tree: Path, tmp_path: Path) -> None:
    """All infrared images against all visible ones, CMC over identities, one query at a time."""
    writers = {"sysu": lambda: tree, "regdb": lambda: write_regdb(tmp_path / name, trials=(1,)),
               "llcm": lambda: write_llcm(tmp_path / name, train=10)}  # fmt: skip
    dataset: Dataset = open_dataset(name, writers[name]())
    torch.manual_seed(0)
    changes = {"backbone": "resnet_small", "height_px": HEIGHT, "width_px": WIDTH}
    method = load("mcja")(dataclasses.replace(load("mcja").default_recipe, **changes), 6)
    wanted = dataset.identities["test"]
    found = score_identities(method, dataset, wanted)

    chosen = [record for record in dataset.split("train", "val", "test") if record.identity in set(wanted)]
    features = embed_images(method_embedder(method), chosen, HEIGHT, WIDTH)
    hits: list[bool] = []
    precisions: list[float] = []
    for query in (record for record in chosen if record.modality == "infrared"):
        left = [item for item in chosen if item.modality == "visible" and not excluded(name, query, item)]
        similarity = [float(features[key(query)].astype(float) @ features[key(item)].astype(float)) for item in left]
        order = np.argsort(-np.array(similarity), kind="stable")
        right = [left[index].identity == query.identity for index in order]
        at = [place for place, same in enumerate(right, start=1) if same]
        hits.append(right[0])
        precisions.append(sum(count / place for count, place in enumerate(at, start=1)) / len(at))
    assert found.queries == len(hits)
    assert found.rank1 == pytest.approx(sum(hits) / len(hits))
    assert found.mean_ap == pytest.approx(sum(precisions) / len(precisions))
