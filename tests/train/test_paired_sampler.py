"""AlignGAN's sampler: counts on the real cardinalities, pairing of rows, and independence from history."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engines.errors import BadInput
from tests.shared_material import shared_folder
from train.datasets.images import ImageRecord
from train.datasets.sysu import read_identities, sysu_image
from train.methods.mcja import McjaRecipe
from train.paired_sampler import FEATURE, PIXEL, PairedRecipe
from train.sampler import Parts, epoch_batches, share

PHASES = {"feature": 0, "pixel": 1, "joint": 2}
RECIPE = PairedRecipe(feature_epochs=1, pixel_epochs=1)


def records_of(counts: dict[tuple[int, int], int]) -> list[ImageRecord]:
    return [
        sysu_image(path=Path(f"cam{camera}/{identity:04d}/{index + 1:04d}.jpg"), identity=identity, camera=camera)
        for (camera, identity), count in counts.items()
        for index in range(count)
    ]


def small_set() -> list[ImageRecord]:
    return records_of({(camera, identity): 3 for camera in range(1, 7) for identity in range(1, 21)})


@pytest.fixture(scope="module")
def sysu() -> list[ImageRecord]:
    """The training images of SYSU-MM01: 22,258 visible and 11,909 infrared ones of 395 identities."""
    splits = shared_folder("data/splits")
    counts = json.loads((splits / "sysu_image_counts_per_cam_id.json").read_text())
    wanted = {f"{i:04d}" for name in ("train", "val") for i in read_identities(splits / f"{name}_id.txt")}
    return records_of(
        {
            (int(camera[3:]), int(identity)): count
            for camera, identities in counts.items()
            for identity, count in identities.items()
            if identity in wanted
        }
    )


def identities_of(records: list[ImageRecord], batches: list[Parts], part: int) -> list[int]:
    """The identities of a part, batch after batch, each batch's counted once."""
    return [identity for parts in batches for identity in dict.fromkeys(records[i].identity for i in parts[part])]


@pytest.mark.parametrize(("part", "batches", "identities"), [(PIXEL, 98, 392), (FEATURE, 21, 378)])
def test_a_pass_over_sysu_has_the_public_codes_number_of_batches(
    part: int, batches: int, identities: int, sysu: list[ImageRecord]
) -> None:
    """spec/aligngan.md 1.4: 98 and 21 batches a pass; an identity comes once in a pass, and again only in the next."""
    recipe = dataclasses.replace(RECIPE, iterations_per_epoch=batches)
    joint = PHASES["joint"]
    passes = [identities_of(sysu, epoch_batches(sysu, recipe, epoch), part) for epoch in (joint, joint + 1)]
    assert [len(found) for found in passes] == [len(set(found)) for found in passes] == [identities] * 2
    assert passes[0] != passes[1]
    longer = epoch_batches(sysu, dataclasses.replace(recipe, iterations_per_epoch=batches + 1), joint)
    assert len(longer) == batches + 1


@pytest.mark.parametrize(("phase", "sizes"), [("feature", (72, 0)), ("pixel", (0, 32)), ("joint", (144, 32))])
def test_a_phase_has_the_parts_that_it_needs(phase: str, sizes: tuple[int, int]) -> None:
    batches = epoch_batches(small_set(), RECIPE, PHASES[phase])
    assert len(batches) == 100
    assert {tuple(len(part) for part in parts) for parts in batches} == {sizes}


def test_row_i_shows_one_identity_in_both_modalities_and_identities_stand_in_blocks() -> None:
    records = small_set()
    for parts in epoch_batches(records, RECIPE, PHASES["joint"]):
        for part in parts:
            rows = [records[index] for index in part]
            modalities = (["visible"] * 4 + ["infrared"] * 4) * (len(rows) // 8)
            assert [row.modality for row in rows] == modalities
            visible, infrared = (
                [row.identity for row in rows if row.modality == name] for name in ("visible", "infrared")
            )
            assert visible == infrared
            assert len(set(visible)) == len(rows) // 8
            halves = [share((part,), rank, 2)[0] for rank in (0, 1)]
            shown = [{records[index].identity for index in half} for half in halves]
            assert not shown[0] & shown[1]


def test_the_first_phase_is_infrared_alone() -> None:
    records = small_set()
    for feature, _pixel in epoch_batches(records, RECIPE, PHASES["feature"]):
        assert {records[index].modality for index in feature} == {"infrared"}
        assert set(Counter(records[index].identity for index in feature).values()) == {4}


def test_batches_depend_on_seed_and_number_alone_and_passes_run_through_epochs() -> None:
    records, recipe = small_set(), dataclasses.replace(RECIPE, iterations_per_epoch=6)
    fourth = epoch_batches(records, recipe, 4)
    epoch_batches(records, recipe, 9)
    assert epoch_batches(records, recipe, 4) == fourth
    assert epoch_batches(records, recipe, 5) != fourth
    assert epoch_batches(records, dataclasses.replace(recipe, seed=1), 4) != fourth
    half = dataclasses.replace(recipe, iterations_per_epoch=3)
    assert epoch_batches(records, half, 8) + epoch_batches(records, half, 9) == fourth


def test_images_repeat_only_where_an_identity_has_too_few() -> None:
    counts = {(camera, identity): 5 for camera in (1, 3) for identity in range(1, 21)} | {(3, 7): 2}
    records = records_of(counts)
    repeated: set[tuple[int, str]] = set()
    for parts in epoch_batches(records, RECIPE, PHASES["joint"]):
        for part in parts:
            drawn = Counter(part)
            repeated |= {(records[index].identity, records[index].modality) for index, n in drawn.items() if n > 1}
    assert repeated == {(7, "infrared")}


def test_every_image_is_drawn_in_the_long_run() -> None:
    records = small_set()
    drawn = {index for parts in epoch_batches(records, RECIPE, PHASES["joint"]) for part in parts for index in part}
    assert drawn == set(range(len(records)))


def test_an_identity_without_both_modalities_is_left_out() -> None:
    records = records_of(
        {(camera, identity): 4 for camera in (1, 3) for identity in range(1, 20)} | {(1, 20): 4, (3, 21): 4}
    )
    batches = epoch_batches(records, RECIPE, PHASES["joint"])
    shown = {records[index].identity for parts in batches for part in parts for index in part}
    assert shown == set(range(1, 20))


def test_parts_are_drawn_independently() -> None:
    records = small_set()
    recipe = dataclasses.replace(RECIPE, identities_per_batch=4)
    same = [feature == pixel for feature, pixel in epoch_batches(records, recipe, PHASES["joint"])]
    assert np.mean(same) < 0.05


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (McjaRecipe(sampler="paired"), "paired draws batches for aligngan alone"),
        (dataclasses.replace(RECIPE, identities_per_batch=21), "at least 21 identities"),
        (dataclasses.replace(RECIPE, pixel_identities=21), "lower --set pixel_identities"),
    ],
)
def test_impossible_batches_are_refused(recipe: PairedRecipe, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        epoch_batches(small_set(), recipe, PHASES["joint"])
