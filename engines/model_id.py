"""What makes two engines the same model: embeddings, thresholds and galleries are good for one model only."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.manifest import Manifest


def model_id(manifest: Manifest) -> str:
    """Return 16 hexadecimal digits that every precision, runtime and later plan of one trained model share.

    Of the FP32 ONNX files, which no rebuild for another device changes; of all files where there is none.
    """
    graphs = [graph for graph in manifest.graphs if graph.precision == "fp32" and graph.form == "onnx"]
    lines = sorted(f"{graph.modality} {graph.sha256}" for graph in graphs or manifest.graphs)
    text = "\n".join([manifest.method, f"{manifest.height_px}x{manifest.width_px}", *lines])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
