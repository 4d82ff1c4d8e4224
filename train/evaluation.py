"""Embed a dataset with a trained method or an engine, and score held-out identities.

Shapes: B batch, H height, W width, C channel, N images, D embedding.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines.manifest import MODALITIES
from engines.preprocess import resize_crop
from engines.progress import progress
from train.datasets.images import SPLITS, read_image
from train.metrics import Metrics, evaluate
from train.protocol import EXCLUSIONS, Trial, by_direction, cosine, identities, key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.datasets.images import Dataset, ImageRecord, Split
    from train.method import Method

    Features = dict[str, NDArray[np.float32]]

BATCH = 64
# Threads that read ahead: Pillow works outside the interpreter's lock. 851 images of demo/data through
# runs/mcja-long on two cores: 1.18 s instead of 1.35 s.
DECODERS = min(8, os.cpu_count() or 1)
# The channel of a visible image that fills all three; "rgb" is the image as it is.
SPECTRA = {"rgb": None, "red": 0, "green": 1, "blue": 2}


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


def flip_average(embed: Embed) -> Embed:
    """Average the unit vectors of an image and of its mirror, to unit length again."""

    def both(image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        mirrored_BHWC = np.ascontiguousarray(image_BHWC[:, :, ::-1])
        sum_BD = embed(image_BHWC, modality) + embed(mirrored_BHWC, modality)
        return sum_BD / np.maximum(np.linalg.norm(sum_BD, axis=1, keepdims=True), 1e-12)

    return both


def embed_images(
    embed: Embed, records: Iterable[ImageRecord], height_px: int, width_px: int, *, flip: bool = False
) -> Features:
    """Embed every image once; a damaged file is refused by name, because leaving it out would change the score."""
    network = flip_average(embed) if flip else embed
    features: Features = {}
    for modality, chunk, image_BHWC in _batches(records, height_px, width_px):
        features.update(zip(map(key, chunk), network(image_BHWC, modality), strict=True))
    return features


def embed_spectra(
    embed: Embed, records: Iterable[ImageRecord], height_px: int, width_px: int, *, flip: bool = False
) -> dict[str, Features]:
    """Embed every visible image four times: as it is, and with its red, green and blue in all three channels.

    An infrared image has one spectrum: its vector stands in all four. "rgb" is what embed_images returns.
    """
    network = flip_average(embed) if flip else embed
    spectra: dict[str, Features] = {name: {} for name in SPECTRA}
    for modality, chunk, image_BHWC in _batches(records, height_px, width_px):
        feature_BD = network(image_BHWC, modality)
        for name, channel in SPECTRA.items():
            if channel is not None and modality == "visible":
                one_BHW1 = image_BHWC[..., channel : channel + 1]
                feature_BD = network(np.repeat(one_BHW1, 3, axis=3), modality)
            spectra[name].update(zip(map(key, chunk), feature_BD, strict=True))
    return spectra


def _batches(
    records: Iterable[ImageRecord], height_px: int, width_px: int
) -> Iterator[tuple[Modality, list[ImageRecord], NDArray[np.uint8]]]:
    """Decode and resize each image once, in batches of one modality; threads read the next while one is embedded."""
    unique = list({key(record): record for record in records}.values())
    chunks: list[tuple[Modality, list[ImageRecord]]] = []
    for modality in MODALITIES:
        kept = [record for record in unique if record.modality == modality]
        for start in range(0, len(kept), BATCH):
            chunks.append((modality, kept[start : start + BATCH]))

    def pixels(record: ImageRecord) -> NDArray[np.uint8]:
        return resize_crop(read_image(record.path), height_px, width_px)

    with ThreadPoolExecutor(DECODERS) as pool:
        ahead: list[list[Future[NDArray[np.uint8]]]] = []
        for index, (modality, chunk) in enumerate(progress(chunks, unit="batches", label="embed")):
            for _, later in chunks[index + len(ahead) : index + 2]:
                ahead.append([pool.submit(pixels, record) for record in later])
            yield modality, chunk, np.stack([image.result() for image in ahead.pop(0)])


def score_identities(method: Method, dataset: Dataset, wanted: Sequence[int]) -> Metrics:
    """Score held-out identities: all infrared images against all visible ones."""
    chosen, recipe = set(wanted), method.recipe
    splits: list[Split] = [split for split in SPLITS if chosen & set(dataset.identities[split])]
    records = [record for record in dataset.split(*splits) if record.identity in chosen]
    features = embed_images(method_embedder(method), records, recipe.height_px, recipe.width_px)
    query, gallery = by_direction(records, "infrared-to-visible")
    return score_records(features, query, gallery, dataset.name)


def score_records(
    features: Features, query: Sequence[ImageRecord], gallery: Sequence[ImageRecord], dataset: str = "sysu"
) -> Metrics:
    """Score one set of queries against one gallery of the named dataset."""
    trial = Trial(query=tuple(query), gallery=tuple(gallery), exclusion=EXCLUSIONS[dataset])
    return evaluate(
        cosine(features, trial), identities(trial.query), identities(trial.gallery), excluded_QG=trial.excluded()
    )
