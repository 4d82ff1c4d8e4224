"""What evaluate_model.py can score: a checkpoint, a run folder, an engine folder, raw pixels.

Shapes: B batch, H height, W width, C channel, P grey pixels, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.errors import BadInput
from engines.manifest import MANIFEST_NAME
from train.datasets.open import TITLES
from train.datasets.regdb import TRIALS
from train.run_folder import checkpoint_path

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from contextlib import ExitStack

    from numpy.typing import NDArray

    from engines.manifest import Modality
    from train.evaluation import Embed

PIXELS = "pixels"  # nearest neighbour on the resized image itself: the floor that a method must leave behind
PIXELS_HEIGHT, PIXELS_WIDTH = 96, 48
SELECTED = {
    "val": "selected on the validation identities",
    "test": "SELECTED ON THE TEST SET: not comparable with honest figures",
}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network that is ready to embed, and where it comes from."""

    name: str
    embed: Embed
    size: tuple[int, int]  # height, width
    dataset: Mapping[str, Any] = field(default_factory=dict[str, Any])  # what it was trained on
    metrics: Mapping[str, Any] = field(default_factory=dict[str, Any])  # how its epoch was chosen

    def described(self, dataset: str) -> str:
        """Name the model with what a reader must know of it beside figures on this dataset."""
        parts = [self.name]
        chosen = self.metrics.get("selected_by")
        if chosen in SELECTED:
            parts.append(f"epoch {self.metrics.get('epoch')}, {SELECTED[chosen]}")
        trained = self.dataset.get("name")
        if trained is not None and trained != dataset:
            parts.append(f"trained on {TITLES.get(trained, trained)}")
        return ", ".join(parts)


def open_model(path: Path, args: argparse.Namespace, stack: ExitStack) -> Model:
    """Open what path names; an engine stays open until stack is left."""
    if str(path) == PIXELS:
        return Model(name="raw pixels", embed=embed_pixels, size=(PIXELS_HEIGHT, PIXELS_WIDTH))
    if (path / MANIFEST_NAME).is_file():
        from engines.open import open_engine

        engine = stack.enter_context(open_engine(path, backend=args.backend, precision=args.precision))
        manifest = engine.manifest
        return Model(
            name=f"{manifest.method} ({engine.name})",
            embed=engine.embed,
            size=(manifest.height_px, manifest.width_px),
            dataset=manifest.dataset,
            metrics=manifest.metrics,
        )

    from train.checkpoint import build_method, load_checkpoint
    from train.evaluation import method_embedder

    checkpoint = load_checkpoint(checkpoint_path(path), args.method)
    method = build_method(checkpoint)
    return Model(
        name=f"{checkpoint.method_name} (pytorch fp32)",
        embed=method_embedder(method),
        size=(method.recipe.height_px, method.recipe.width_px),
        dataset=checkpoint.dataset,
        metrics=checkpoint.metrics,
    )


def trial_of(model: Model, dataset: str, asked: int | None) -> int:
    """Choose the RegDB split to score on; the one that the model was trained on, because any other leaks.

    Identities of another split's test list were seen in training, and the scores look abnormally high.
    """
    if dataset != "regdb":
        if asked is not None:
            raise BadInput(f"--trial: expected it with --dataset regdb only, got it with {dataset}; leave it out")
        return 1
    if asked is not None and asked not in TRIALS:
        raise BadInput(f"--trial: expected a RegDB split from {TRIALS[0]} to {TRIALS[-1]}, got {asked}")
    trained = model.dataset.get("trial") if model.dataset.get("name") == "regdb" else None
    if trained is not None and asked is not None and asked != trained:
        raise BadInput(
            f"--trial {asked}: expected split {trained}, on which this model was trained; people of another split's "
            f"test list were seen in training, and its score would be abnormally high; leave --trial out"
        )
    return int(trained or asked or 1)


def embed_pixels(image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
    """Flatten grey pixels, centred, to unit vectors."""
    gray_BP = image_BHWC.mean(axis=3).reshape(len(image_BHWC), -1).astype(np.float32)
    gray_BP -= gray_BP.mean(axis=1, keepdims=True)
    return gray_BP / np.maximum(np.linalg.norm(gray_BP, axis=1, keepdims=True), 1e-12)
