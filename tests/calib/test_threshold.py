"""Tracks of labelled people and what is compared with what, on angles that can be checked by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from calib.directions import score
from calib.prototypes import choose_prototypes, unit_mean
from calib.threshold import labelled_tracks, measure_labelled
from engines.errors import BadInput
from train.datasets.images import ImageRecord
from train.datasets.sysu import sysu_image

if TYPE_CHECKING:
    from calib.directions import Direction
    from engines.manifest import Modality


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


def record(identity: int, camera: int) -> ImageRecord:
    return sysu_image(path=Path("x"), identity=identity, camera=camera)


def image(identity: int, camera: int, modality: Modality) -> ImageRecord:
    return ImageRecord(path=Path("x"), identity=identity, camera=camera, modality=modality)


def test_a_track_is_the_mean_of_a_person_in_a_camera() -> None:
    records = [record(1, 3), record(1, 3), record(1, 1), record(2, 1), record(2, 1)]
    tracks = labelled_tracks(records, unit(-10, 10, 5, 80, 100))
    assert [(t.person, t.camera, t.modality) for t in tracks] == [
        (1, "3", "infrared"), (1, "1", "visible"), (2, "1", "visible")
    ]  # fmt: skip
    assert np.allclose(np.stack([t.mean_D for t in tracks]), unit(0, 5, 90), atol=1e-6)


def test_a_camera_that_sees_both_modalities_gives_a_track_of_each() -> None:
    records = [image(1, 1, "visible"), image(1, 1, "infrared"), image(2, 1, "visible"), image(1, 1, "visible")]
    tracks = labelled_tracks(records, unit(0, 50, 90, 20))
    assert [(t.person, t.modality) for t in tracks] == [(1, "visible"), (1, "infrared"), (2, "visible")]
    assert np.allclose(np.stack([t.mean_D for t in tracks]), unit(10, 50, 90), atol=1e-6)


@pytest.mark.parametrize(
    ("direction", "expected"),
    [
        ("together", [30.0]),  # mean against mean
        ("visible->infrared", [10.0]),  # the infrared track's crop at 20 is nearer than its mean at 40
        ("infrared->visible", [20.0]),  # the visible one's at 20 is nearer than its mean at 10
        ("visible->visible", []),
    ],
)
def test_the_mean_of_a_track_meets_the_nearest_of_a_stored_one(direction: Direction, expected: list[float]) -> None:
    records = [record(1, 1), record(1, 1), record(2, 3), record(2, 3)]
    tracks = labelled_tracks(records, unit(0, 20, 20, 60))
    pairs = score(tracks, direction, np.ones((2, 2), np.bool_))
    assert np.degrees(np.arccos(pairs.similarity_N)) == pytest.approx(expected, abs=0.05)


def test_pairs_in_one_camera_and_of_two_cameras_must_each_keep_the_promise() -> None:
    """Strangers of one camera stand 20 degrees apart, of two cameras 60 and more."""
    records = [record(1, 1), record(2, 1), record(3, 2), record(4, 2), record(1, 3), record(2, 6)]
    found = measure_labelled(records, unit(0, 20, 80, 100, 0, 100))["visible->visible"]
    assert [tail.pairs for tail in found.tails] == [4, 8]  # both ways
    loosest = [math.degrees(math.acos(tail.cosines[0])) for tail in found.tails]
    assert loosest == pytest.approx([20, 80], abs=0.1)
    assert found.least(1.0) == max(tail.least(1.0) for tail in found.tails)


def test_true_matches_are_counted_among_tracks_of_one_person() -> None:
    records = [record(1, 3), record(2, 3), record(1, 1), record(2, 1)]
    found = measure_labelled(records, unit(0, 90, 10, 130))["together"]
    assert found.genuine_pairs == 2
    assert (found.genuine[0], found.genuine[-1]) == pytest.approx(
        (math.cos(math.radians(40)), math.cos(math.radians(10)))
    )
    assert (found.true_match_rate(0.5), found.true_match_rate(0.99)) == (1.0, 0.0)
    middle = (found.genuine[0] + found.genuine[-1]) / 2
    assert found.true_match_rate(middle) == pytest.approx(0.5)


def test_people_are_counted_not_tracks() -> None:
    records = [record(person, camera) for person in range(1, 9) for camera in (1, 3)]
    found = measure_labelled(records, unit(*range(0, 160, 10)))
    tail = found["together"].tails[0]
    assert (tail.people, tail.pairs) == (8, 8 * 7)
    assert tail.effective_pairs <= 8 * 7


def test_one_person_cannot_give_a_threshold() -> None:
    with pytest.raises(BadInput, match="expected held-out people seen in both modalities, at least two, got 1 people"):
        measure_labelled([record(1, 3), record(1, 1)], unit(0, 1))


def test_people_whom_only_one_modality_saw_cannot_give_a_threshold() -> None:
    with pytest.raises(BadInput, match="seen in both modalities, at least two, got 3 people"):
        measure_labelled([record(1, 1), record(2, 1), record(3, 3)], unit(0, 40, 80))


def test_prototypes_are_the_crops_that_differ_most() -> None:
    embedding_ND = unit(10, 12, 50, 11, 30)
    assert np.array_equal(choose_prototypes(embedding_ND, limit=3), embedding_ND[[0, 2, 4]])
    assert np.array_equal(choose_prototypes(embedding_ND[:2]), embedding_ND[:2])


def test_a_blurred_crop_must_differ_more_to_be_a_prototype() -> None:
    embedding_ND = unit(0, 60, -40)
    sharp, blurred = np.ones(3, np.float32), np.array([1, 0.1, 1], np.float32)
    assert np.array_equal(choose_prototypes(embedding_ND, sharp, 2), embedding_ND[[0, 1]])
    assert np.array_equal(choose_prototypes(embedding_ND, blurred, 2), embedding_ND[[0, 2]])


def test_the_mean_leans_to_the_better_crops() -> None:
    assert np.allclose(unit_mean(unit(0, 90)), unit(45)[0], atol=1e-6)
    assert np.allclose(unit_mean(unit(0, 90), np.array([1, 0], np.float32)), unit(0)[0], atol=1e-6)
    assert np.allclose(unit_mean(unit(0, 90), np.zeros(2, np.float32)), unit(45)[0], atol=1e-6)
