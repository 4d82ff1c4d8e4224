"""A loaded model as a Backend: checks, order and warm-up, the same for every runtime.

A runtime's own file offers `load(path, options) -> Run`: one graph as a function from pixels to vectors.
Shapes: B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import numpy as np

from engines.backend import check_batch
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from engines.manifest import Graph, Manifest, Modality

MAX_BATCH = 32  # activations of ResNet-50 at 384x128 take 293 MB at 32 images; larger batches are no faster

# latency: one caller waits for a small batch. throughput: many images a call, and the whole machine for them.
Hint = Literal["latency", "throughput"]
HINTS: tuple[Hint, ...] = get_args(Hint)


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """What a runtime is told beside the file's path."""

    graph: Graph
    manifest: Manifest
    threads: int | None = None  # None: all cores
    hint: Hint = "latency"
    bf16: bool = False  # float layers in bf16; OpenVINO alone can


class Run(Protocol):
    """One graph in one runtime. Takes any number of checked images but none, from any thread; chunks them itself.

    The vectors are the caller's to keep.
    """

    def __call__(self, image_BHWC: NDArray[np.uint8]) -> NDArray[np.float32]: ...

    def close(self) -> None:
        """Free what it holds; harmless when repeated."""
        ...


def chunks(count: int, largest: int) -> Iterator[slice]:
    """Cut count images into runs of at most largest."""
    return (slice(start, min(start + largest, count)) for start in range(0, count, largest))


class LoadedModel:
    """Backend over one Run a modality; both modalities may share one."""

    def __init__(self, name: str, manifest: Manifest, runs: Mapping[Modality, Run]) -> None:
        self._name, self._manifest, self._runs = name, manifest, dict(runs)
        # The first batch allocates and packs weights (OpenVINO, ResNet-50: 0.13 s against 0.07 s later, and a plan of
        # TensorRT-RTX compiles): at load, not in the first camera frame.
        blank_BHWC = np.zeros((1, manifest.height_px, manifest.width_px, 3), np.uint8)
        try:
            for modality in runs:
                self.embed(blank_BHWC, modality)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        return self._name

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
        """Embed uint8 RGB pixels (B, H, W, 3) into unit vectors (B, D); any B, 0 included, from any thread."""
        check_batch(image_BHWC, modality, self._manifest)
        if not self._runs:
            raise RuntimeError(f"{self._name} is closed; open the engine again")
        expected = (len(image_BHWC), self._manifest.embedding_dim)
        if not len(image_BHWC):
            return np.empty(expected, np.float32)
        feature_BD = self._runs[modality](image_BHWC)
        if feature_BD.shape != expected:
            raise BadInput(
                f"expected vectors of shape {expected} from {self._name}, as its manifest says, got "
                f"{feature_BD.shape}; the graph is another model's: rebuild with deploy/build_engine.py"
            )
        return feature_BD

    def close(self) -> None:
        """Free what the runtime holds; harmless when repeated."""
        runs, self._runs = self._runs, {}
        for run in {id(run): run for run in runs.values()}.values():
            run.close()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()
