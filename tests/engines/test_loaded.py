"""What every loaded model keeps, whatever runs it: checks, shapes, warm-up and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines.errors import BadInput
from engines.loaded import LoadedModel, chunks
from engines.manifest import Graph, Manifest

if TYPE_CHECKING:
    from engines.manifest import Modality

MANIFEST = Manifest(
    method="m",
    height_px=4,
    width_px=2,
    embedding_dim=3,
    graphs=(Graph(file="x.onnx", sha256="", modality="visible", precision="fp32", form="onnx"),),
)


class Means:
    """A Run whose vectors are the mean of each colour."""

    def __init__(self, dim: int = 3, fails: bool = False) -> None:
        self.batches: list[int] = []
        self.closed = 0
        self._dim, self._fails = dim, fails

    def __call__(self, image_BHWC: np.ndarray) -> np.ndarray:
        self.batches.append(len(image_BHWC))
        if self._fails:
            raise RuntimeError("no such operator")
        return image_BHWC.mean((1, 2), dtype=np.float32)[:, : self._dim]

    def close(self) -> None:
        self.closed += 1


def model_of(visible: Any, infrared: Any) -> LoadedModel:
    runs: dict[Modality, Any] = {"visible": visible, "infrared": infrared}
    return LoadedModel("test fp32", MANIFEST, runs)


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 4, 2, 3), dtype=np.uint8)


def test_each_modality_is_warmed_up_with_one_image() -> None:
    visible, infrared = Means(), Means()
    model_of(visible, infrared)
    assert (visible.batches, infrared.batches) == ([1], [1])


def test_a_run_gets_the_whole_batch_and_no_empty_one() -> None:
    """So that it can copy one chunk in while another computes."""
    visible, infrared = Means(), Means()
    model = model_of(visible, infrared)
    image_BHWC = pixels(70)
    np.testing.assert_array_equal(model.embed(image_BHWC, "visible"), image_BHWC.mean((1, 2), dtype=np.float32))
    assert model.embed(image_BHWC[:0], "infrared").shape == (0, 3)
    assert (visible.batches, infrared.batches) == ([1, 70], [1])


def test_a_graph_of_another_model_is_refused_and_closed() -> None:
    visible, infrared = Means(), Means(dim=1)
    with pytest.raises(BadInput) as caught:
        model_of(visible, infrared)
    assert str(caught.value) == (
        "expected vectors of shape (1, 3) from test fp32, as its manifest says, got (1, 1); the graph is another "
        "model's: rebuild with deploy/build_engine.py"
    )
    assert (visible.closed, infrared.closed) == (1, 1)


def test_a_failed_warm_up_closes_what_was_loaded() -> None:
    visible, infrared = Means(), Means(fails=True)
    with pytest.raises(RuntimeError, match="no such operator"):
        model_of(visible, infrared)
    assert (visible.closed, infrared.closed) == (1, 1)


def test_a_shared_run_is_closed_once_and_a_closed_model_says_so() -> None:
    shared = Means()
    model = model_of(shared, shared)
    with model:
        pass
    model.close()
    assert shared.closed == 1
    with pytest.raises(RuntimeError, match=r"^test fp32 is closed; open the engine again$"):
        model.embed(pixels(1), "visible")


@pytest.mark.parametrize(
    ("count", "largest", "expected"),
    [(1, 8, [(0, 1)]), (8, 8, [(0, 8)]), (9, 8, [(0, 8), (8, 9)]), (0, 8, []), (3, 1, [(0, 1), (1, 2), (2, 3)])],
)
def test_chunks_cover_a_batch_once(count: int, largest: int, expected: list[tuple[int, int]]) -> None:
    assert [(rows.start, rows.stop) for rows in chunks(count, largest)] == expected
