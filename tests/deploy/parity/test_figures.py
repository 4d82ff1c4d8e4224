"""What two sets of embeddings say of each other, on tables that can be checked by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from deploy.parity.figures import bootstrap, difference, search, top_overlap
from deploy.parity.reference import Reference
from train.datasets.sysu import sysu_image


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def reference(people: list[tuple[int, int]], feature_ND: np.ndarray, dataset: str | None = "sysu") -> Reference:
    """Images of (identity, camera): cameras 3 and 6 are infrared."""
    records = tuple(
        sysu_image(path=Path(f"/tree/cam{camera}/{number}.jpg"), identity=identity, camera=camera)
        for number, (identity, camera) in enumerate(people)
    )
    return Reference(records=records, feature_ND=feature_ND, folder=Path("/tree"), dataset=dataset, split="val")


PEOPLE = [(1, 6), (2, 6), (1, 1), (2, 1)]


def test_each_modality_has_its_own_angles_and_names_its_worst_image() -> None:
    known = reference(PEOPLE, unit(0, 90, 10, 80))
    found = difference(known, known.feature_ND, unit(0, 90, 10, 140))
    visible, infrared = found.modalities
    assert (visible.images, visible.worst_image) == (2, "cam1/3.jpg")
    assert visible.worst_cosine == pytest.approx(0.5, abs=1e-6)
    assert visible.mean_cosine == pytest.approx(0.75, abs=1e-6)
    assert infrared.worst_cosine == pytest.approx(1.0)
    assert found.drift.worst_cosine == pytest.approx(0.5, abs=1e-6)
    assert found.drift.mean_cosine == pytest.approx(0.875, abs=1e-6)


def test_the_search_says_how_far_the_true_match_moved() -> None:
    """The second query's match is first with PyTorch and second with the engine; the first query's stays."""
    known = reference(PEOPLE, unit(0, 90, 10, 80))
    found = search(known, unit(0, 45, 44, 80))
    assert found is not None
    assert found.moves_V.tolist() == [0, 1]
    assert (found.queries, found.reference_map, found.reference_rank1) == (2, 100.0, 100.0)
    assert found.map_difference.value == pytest.approx(-25.0)  # average precision 1 and 1/2 instead of 1 and 1
    assert found.rank1_difference.value == pytest.approx(-50.0)
    assert found.map_difference.low == pytest.approx(-50.0)  # both draws of two queries may be the second
    assert found.map_difference.high == 0.0


def test_a_gallery_image_of_the_same_place_does_not_exist() -> None:
    """Cameras 2 and 3 stand side by side: the query of camera 3 does not see its person in camera 2."""
    known = reference([(1, 3), (1, 2), (1, 1), (2, 1)], unit(0, 1, 20, 30))
    engine = unit(0, 1, 20, 10)  # now the stranger comes before the true match that counts
    found = search(known, engine)
    assert found is not None
    assert found.moves_V.tolist() == [1]
    assert top_overlap(known, engine, 1) == 0.0


def test_without_names_there_is_no_search() -> None:
    known = reference(PEOPLE, unit(0, 90, 10, 80), dataset=None)
    assert search(known, known.feature_ND) is None
    assert difference(known, known.feature_ND, known.feature_ND).drift.map_difference is None


def test_the_overlap_counts_what_both_lists_have() -> None:
    """Five gallery images; the query's nearest two are 10 and 20 degrees away, then 10 and 30."""
    people = [(1, 6), *[(identity, 1) for identity in range(1, 6)]]
    known = reference(people, unit(0, 10, 20, 30, 40, 50))
    assert top_overlap(known, unit(0, 10, 60, 30, 40, 50), 2) == 0.5
    assert top_overlap(known, known.feature_ND, 2) == 1.0
    assert top_overlap(known, unit(0, 50, 40, 30, 20, 10), 9) == 1.0  # no more than there are


def test_the_interval_is_that_of_a_binomial_share() -> None:
    """100 queries, of which 20 lose a point: the share's standard error is sqrt(0.2 * 0.8 / 100) = 0.04."""
    found = bootstrap(np.array([-1.0] * 20 + [0.0] * 80), seed=1)
    assert found.value == pytest.approx(-0.2)
    assert found.low == pytest.approx(-0.2 - 1.96 * 0.04, abs=0.015)
    assert found.high == pytest.approx(-0.2 + 1.96 * 0.04, abs=0.015)


def test_the_interval_is_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap(values, seed=3) == bootstrap(values, seed=3)
    assert bootstrap(values, seed=3) != bootstrap(values, seed=4)


def test_equal_embeddings_have_no_interval() -> None:
    known = reference(PEOPLE, unit(0, 90, 10, 80))
    found = search(known, known.feature_ND)
    assert found is not None
    assert str(found.map_difference) == "+0.00 [+0.00, +0.00]"
    assert math.isclose(top_overlap(known, known.feature_ND), 1.0)
