"""Drift on tables that can be checked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calib.drift import LIMITS, Drift, drift_of, measure_drift, violations
from engines.errors import BadInput
from train.datasets.images import ImageRecord

if TYPE_CHECKING:
    from engines.manifest import Modality


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


INFRARED = [True, True, False, False]


def test_the_same_embeddings_do_not_drift() -> None:
    feature_ND = unit(0, 90, 10, 80)
    drift = measure_drift(feature_ND, feature_ND, INFRARED, [1, 2, 1, 2])
    assert (drift.images, drift.rank1_agreement, drift.max_similarity_error, drift.map_difference) == (4, 1.0, 0.0, 0.0)
    assert drift.worst_cosine == pytest.approx(1.0)
    assert drift.mean_cosine == pytest.approx(1.0)


def test_one_turned_gallery_image_is_seen_in_every_figure() -> None:
    reference, engine = unit(0, 90, 10, 80), unit(0, 90, 100, 80)
    drift = measure_drift(reference, engine, INFRARED, [1, 2, 1, 2])
    assert drift.worst_cosine == pytest.approx(0.0, abs=1e-6)
    assert drift.mean_cosine == pytest.approx(0.75)
    assert drift.rank1_agreement == 0.0  # the first query now finds the second person, the second the turned image
    assert drift.max_similarity_error == pytest.approx(
        math.cos(math.radians(10)) - math.cos(math.radians(100)), abs=1e-6
    )
    assert drift.map_difference is not None
    assert drift.map_difference < -20


def test_with_labels_another_image_of_the_same_person_is_agreement() -> None:
    reference, engine = unit(0, 4, 5, 90), unit(0, 5, 4, 90)
    infrared = [True, False, False, False]
    assert measure_drift(reference, engine, infrared).rank1_agreement == 0.0
    assert measure_drift(reference, engine, infrared, [1, 1, 1, 2]).rank1_agreement == 1.0


@pytest.mark.parametrize(
    ("engine", "infrared", "expected"),
    [
        (unit(0, 1, 2), INFRARED, "expected embeddings of the same images"),
        (unit(0, 1, 2, math.nan), INFRARED, "expected finite embeddings, got NaN or infinity"),
        (unit(0, 1, 2, 3), [True] * 4, "expected images of both modalities, got one"),
    ],
)
def test_what_cannot_be_compared_is_refused(engine: np.ndarray, infrared: list[bool], expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        measure_drift(unit(0, 1, 2, 3), engine, infrared)


def image(identity: int, camera: int, modality: Modality) -> ImageRecord:
    return ImageRecord(path=Path("x"), identity=identity, camera=camera, modality=modality)


# One infrared query of person 1 in camera 3, and the visible gallery. The engine turns the first gallery image away.
GALLERY: dict[str, tuple[ImageRecord, ...]] = {
    # Camera 2 is the query's own place: the turned image and the stranger there do not exist.
    "sysu": (image(1, 2, "visible"), image(1, 1, "visible"), image(2, 2, "visible")),
    "regdb": (image(1, 2, "visible"), image(1, 2, "visible"), image(2, 2, "visible")),
    # Camera 3 is the query's own: there person 1 does not exist, the stranger does.
    "llcm": (image(1, 3, "visible"), image(1, 2, "visible"), image(2, 3, "visible")),
}


@pytest.mark.parametrize(
    ("dataset", "agreement", "difference"),
    [
        ("sysu", 1.0, 0.0),  # all that is left is person 1 in camera 1
        ("regdb", 0.0, 100 * (7 / 12 - 1)),  # 1 1 2 becomes 2 1 1: (1/2 + 2/3) / 2 = 7/12
        ("llcm", 1.0, 0.0),  # of 2 1 the stranger stays first
    ],
)
def test_each_data_set_takes_out_what_its_protocol_takes_out(dataset: str, agreement: float, difference: float) -> None:
    angles = {"sysu": (10, 40, 20), "regdb": (10, 15, 20), "llcm": (10, 30, 20)}[dataset]
    records = [image(1, 3, "infrared"), *GALLERY[dataset]]
    reference, engine = unit(0, *angles), unit(0, 80, *((40, 20) if dataset == "regdb" else angles[1:]))
    found = drift_of(records, reference, engine, dataset=dataset)
    assert found.rank1_agreement == agreement
    assert found.map_difference == pytest.approx(difference)


def test_the_order_of_the_images_does_not_matter() -> None:
    records = [GALLERY["llcm"][0], image(1, 3, "infrared"), *GALLERY["llcm"][1:]]
    reference, engine = unit(10, 0, 30, 20), unit(80, 0, 15, 20)
    found = drift_of(records, reference, engine, dataset="llcm")
    assert found.map_difference == pytest.approx(50.0)  # person 1 of camera 2 rises from the second place to the first
    assert found.rank1_agreement == 0.0


def test_without_a_name_the_data_set_is_sysu() -> None:
    records = [image(1, 3, "infrared"), *GALLERY["sysu"]]
    reference, engine = unit(0, 10, 40, 20), unit(0, 80, 40, 20)
    assert drift_of(records, reference, engine) == drift_of(records, reference, engine, dataset="sysu")
    with pytest.raises(BadInput, match="expected a data set out of sysu, regdb, llcm, got 'market'"):
        drift_of(records, reference, engine, dataset="market")


def test_violations_name_figure_and_limit() -> None:
    drift = Drift(
        images=9,
        worst_cosine=0.5,
        mean_cosine=0.99,
        rank1_agreement=0.7,
        max_similarity_error=0.2,
        map_difference=-1.25,
    )
    assert violations(drift, LIMITS["int8"], 0.5) == [
        "worst cosine 0.5000 is under 0.9",
        "rank1 agreement 0.7000 is under 0.75",
        "similarity error 0.2000 is over 0.15",
        "mAP falls by 1.25 points, more than 0.5",
    ]
    assert len(violations(drift, LIMITS["int8"], 2.0)) == 3
    gain = Drift(images=9, worst_cosine=1, mean_cosine=1, rank1_agreement=1, max_similarity_error=0, map_difference=3.0)
    assert violations(gain, LIMITS["fp32"], 0.0) == []
