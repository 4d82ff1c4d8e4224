"""Every method on every runtime in every precision, against the PyTorch program that was exported with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from calib.drift import drift_of
from deploy.building import embed_records
from engines.open import RUNTIMES
from tests.parity.tolerances import TOLERANCES
from train.datasets.sysu import open_sysu
from train.methods import METHODS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from engines.manifest import Precision
    from train.datasets.images import ImageRecord

    Reference = Callable[[str], tuple[list[ImageRecord], NDArray[np.float32]]]

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("method", METHODS)
def test_engine_agrees_with_pytorch(
    method: str, backend: str, precision: Precision, engine_of: Callable[[str], Path], reference_of: Reference
) -> None:
    if RUNTIMES[backend].missing():
        pytest.skip(f"needs {backend}")
    records, reference = reference_of(method)
    drift = drift_of(records, reference, embed_records(engine_of(method), records, backend, precision))
    limit = TOLERANCES[precision]
    assert drift.worst_cosine >= limit.worst_cosine, drift
    assert drift.rank1_agreement >= limit.rank1_agreement, drift
    assert drift.max_similarity_error <= limit.max_similarity_error, drift


@pytest.mark.parametrize("method", METHODS)
def test_exported_program_equals_the_method_itself(
    method: str, engine_of: Callable[[str], Path], reference_of: Reference
) -> None:
    from train.checkpoint import load_method
    from train.evaluation import embed_images, method_embedder
    from train.protocol import key

    records, exported = reference_of(method)
    network = load_method(engine_of(method).parent / "run" / "checkpoint.pt")
    features = embed_images(method_embedder(network), records, network.recipe.height_px, network.recipe.width_px)
    own = np.stack([features[key(record)] for record in records])
    # The same operators on the same machine; only their fusion may differ.
    np.testing.assert_allclose(exported, own, atol=1e-5)
    spread = float((own @ own.T).mean())
    assert spread < 0.97, f"embeddings are all alike (mean cosine {spread:.3f}): parity could not fail"


def test_a_wrong_range_is_seen(engine_of: Callable[[str], Path], session_tree: Path, tmp_path: Path) -> None:
    """The INT8 limit can fail: one range ten times too small breaks it."""
    import onnx

    from calib.quantize import quantize
    from calib.samples import pixel_batches
    from calib.table import load_table
    from engines.onnxruntime_backend import load

    folder = engine_of("baseline")
    table = load_table(folder / "visible.calibration.json")
    model = onnx.load(str(folder / "visible.fp32.onnx"))
    name = sorted(table.amax, key=lambda tensor: -table.amax[tensor])[1]
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(quantize(model, {**table.amax, name: table.amax[name] / 10}).SerializeToString())
    records = [record for record in open_sysu(session_tree).split("val") if record.modality == "visible"][:8]
    (image_BHWC,) = pixel_batches(records, 64, 32, 8)
    good, bad = (load(path, threads=1)(image_BHWC) for path in (folder / "visible.fp32.onnx", broken))
    assert (good * bad).sum(1).min() < TOLERANCES["int8"].worst_cosine
