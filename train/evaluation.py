"""Embed a dataset with a trained method or an engine, and score it.

Shapes: B batch, H height, W width, C channel, N images, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines.manifest import MODALITIES
from engines.preprocess import resize_crop
from engines.progress import progress
from train.datasets.images import read_image
from train.datasets.sysu import INFRARED_CAMERAS, VISIBLE_CAMERAS
from train.metrics import Metrics, evaluate
from train.protocol import GALLERY_CAMERAS, key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.images import ImageRecord
    from train.datasets.sysu import SysuDataset
    from train.method import Method
    from train.protocol import Search

BATCH = 64


class Embed(Protocol):
    """Pixels of one modality to unit vectors, as engines.backend.Backend.embed."""

    def __call__(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]: ...


def method_embedder(method: Method) -> Embed:
    """Wrap a method as it ships: pixels in, unit vectors out, on the device where it lies."""
    import torch

    from train.export import PixelsToEmbedding

    device = next(method.parameters()).device
    graphs = {modality: PixelsToEmbedding(method, modality).to(device) for modality in MODALITIES}

    def embed(image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        training = method.training
        method.eval()
        with torch.inference_mode():
            feature_BD = graphs[modality](torch.from_numpy(image_BHWC).to(device))
        method.train(training)
        return feature_BD.cpu().numpy()

    return embed


def embed_images(
    embed: Embed, records: Iterable[ImageRecord], height_px: int, width_px: int
) -> dict[str, NDArray[np.float32]]:
    """Embed every image once; a damaged file is refused by name, because leaving it out would change the score."""
    unique = list({key(record): record for record in records}.values())
    features: dict[str, NDArray[np.float32]] = {}
    chunks: list[tuple[Modality, list[ImageRecord]]] = []
    for modality in MODALITIES:
        kept = [record for record in unique if record.modality == modality]
        for start in range(0, len(kept), BATCH):
            chunks.append((modality, kept[start : start + BATCH]))
    for modality, chunk in progress(chunks, unit="batches", label="embed"):
        image_BHWC = np.stack([resize_crop(read_image(record.path), height_px, width_px) for record in chunk])
        features.update(zip([key(record) for record in chunk], embed(image_BHWC, modality), strict=True))
    return features


def test_images(dataset: SysuDataset, searches: Sequence[Search]) -> list[ImageRecord]:
    """List what the searches need: every probe and every image of the gallery cameras."""
    cameras = {camera for search in searches for camera in GALLERY_CAMERAS[search]} | set(INFRARED_CAMERAS)
    return dataset.split("test", cameras=sorted(cameras))


def score_identities(method: Method, dataset: SysuDataset, identities: Sequence[int]) -> Metrics:
    """Score held-out identities: all infrared images against all visible ones."""
    recipe = method.recipe
    probes, gallery = dataset.images(identities, INFRARED_CAMERAS), dataset.images(identities, VISIBLE_CAMERAS)
    features = embed_images(method_embedder(method), [*probes, *gallery], recipe.height_px, recipe.width_px)
    return score_records(features, probes, gallery)


def score_records(
    features: dict[str, NDArray[np.float32]],
    probes: Sequence[ImageRecord],
    gallery: Sequence[ImageRecord],
) -> Metrics:
    """Score one set of probes against one gallery."""
    query_QD = np.stack([features[key(record)] for record in probes]).astype(np.float64)
    gallery_GD = np.stack([features[key(record)] for record in gallery]).astype(np.float64)
    return evaluate(
        query_QD @ gallery_GD.T,
        [record.identity for record in probes],
        [record.camera for record in probes],
        [record.identity for record in gallery],
        [record.camera for record in gallery],
    )
