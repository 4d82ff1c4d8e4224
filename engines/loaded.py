"""A loaded model as a Backend: checks, chunks and warm-up, the same for every runtime.

A runtime's own file offers `load(...) -> Run`: one graph as a function from pixels to vectors.
Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engines.backend import check_batch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from engines.manifest import Manifest, Modality

MAX_BATCH = 32  # activations of ResNet-50 at 384x128 take 293 MB at 32 images; larger batches are no faster


class Run(Protocol):
    """One graph in one runtime. Takes 1..MAX_BATCH checked images."""

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]: ...

    def close(self) -> None: ...


class LoadedModel:
    """Backend over one Run a modality; both modalities may share one."""

    def __init__(self, name: str, manifest: Manifest, runs: Mapping[Modality, Run]) -> None:
        self._name, self._manifest, self._runs = name, manifest, dict(runs)
        self._lock = Lock()  # an OpenVINO request and a TensorRT context hold one batch at a time
        # The first batch allocates and packs weights (OpenVINO, ResNet-50: 0.13 s against 0.07 s later, and a plan of
        # TensorRT-RTX compiles): at load, not in the first camera frame.
        blank_BHWC = np.zeros((1, manifest.height_px, manifest.width_px, 3), np.uint8)
        for modality in self._runs:
            self.embed(blank_BHWC, modality)

    @property
    def name(self) -> str:
        return self._name

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        """Embed uint8 RGB pixels (B, H, W, 3) into unit vectors (B, D); any B, 0 included."""
        check_batch(image_BHWC, modality, self._manifest)
        feature_BD = np.empty((len(image_BHWC), self._manifest.embedding_dim), np.float32)
        with self._lock:
            for start in range(0, len(image_BHWC), MAX_BATCH):
                chunk_BHWC = np.ascontiguousarray(image_BHWC[start : start + MAX_BATCH])
                feature_BD[start : start + MAX_BATCH] = self._runs[modality](chunk_BHWC)
        return feature_BD

    def close(self) -> None:
        """Free what the runtime holds; harmless when repeated."""
        for run in {id(run): run for run in self._runs.values()}.values():
            run.close()
        self._runs.clear()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
