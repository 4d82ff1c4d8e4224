"""What re-ranking is handed: the images of each trial, in its order, and the authors' numbers."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import train.reranking
from engines.errors import BadInput
from tests.small_other_trees import write_regdb
from tests.small_tree import write_tree
from train.datasets.open import open_dataset
from train.protocol import Trial, build_protocol, key, score
from train.rerank import Reranking
from train.reranking import check_reranking, trial_distance

if TYPE_CHECKING:
    from pathlib import Path

    from train.datasets.images import ImageRecord

SPECTRA = ("rgb", "red", "green", "blue")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Remember what is asked of train.rerank and answer that everything is equally far."""
    found: list[dict[str, Any]] = []

    def k_reciprocal(query_QD: np.ndarray, gallery_GD: np.ndarray, **numbers: Any) -> np.ndarray:
        found.append({"query": [query_QD], "gallery": [gallery_GD], "numbers": numbers})
        return np.zeros((len(query_QD), len(gallery_GD)))

    def mser(query: list[np.ndarray], gallery: list[np.ndarray], settings: Reranking) -> np.ndarray:
        found.append({"query": query, "gallery": gallery, "numbers": dataclasses.asdict(settings)})
        return np.zeros((len(query[0]), len(gallery[0])))

    monkeypatch.setattr(train.reranking, "rerank", SimpleNamespace(k_reciprocal=k_reciprocal, mser=mser))
    return found


def vector(record: ImageRecord, spectrum: str) -> np.ndarray:
    return np.array([sum(map(ord, key(record))), SPECTRA.index(spectrum)], np.float32)


def expected(records: tuple[ImageRecord, ...], spectra: tuple[str, ...]) -> list[list[list[float]]]:
    return [[vector(record, spectrum).tolist() for record in records] for spectrum in spectra]


@pytest.mark.parametrize(
    ("dataset", "direction", "query_spectra", "gallery_spectra", "numbers"),
    [
        ("sysu", None, SPECTRA[:1], SPECTRA, {"k1": 40, "k2": 20, "weight": 0.3, "query_only": True}),
        (
            "regdb", "visible-to-infrared", SPECTRA, SPECTRA[:1],
            {"k1": 50, "k2": 10, "weight": 0.2, "query_only": False},
        ),
        (
            "regdb", "infrared-to-visible", SPECTRA[:1], SPECTRA,
            {"k1": 50, "k2": 10, "weight": 0.2, "query_only": False},
        ),
    ],
)  # fmt: skip
def test_each_trial_is_handed_over_with_the_numbers_of_its_dataset(
    calls: list[dict[str, Any]],
    tmp_path: Path,
    dataset: str,
    direction: str | None,
    query_spectra: tuple[str, ...],
    gallery_spectra: tuple[str, ...],
    numbers: dict[str, Any],
) -> None:
    """mcja.md 2.5: the visible side has four versions, whichever side that is."""
    folder = (
        write_tree(tmp_path / "tree", train=1, val=1, test=2, images=1)
        if dataset == "sysu"
        else write_regdb(tmp_path / "tree", identities=4, trials=(1,), blank=True)
    )
    protocol = build_protocol(open_dataset(dataset, folder), direction=direction)
    spectra = {name: {key(item): vector(item, name) for item in protocol.images()} for name in SPECTRA}
    for name in ("mser", "k-reciprocal"):
        score(protocol, spectra["rgb"], distance=trial_distance(name, dataset, spectra))
    assert len(calls) == 2 * len(protocol.trials)
    for call, trial in zip(calls, protocol.trials * 2, strict=True):
        plain = call["numbers"] == {}  # the defaults of k-reciprocal are its paper's
        assert plain or call["numbers"] == numbers
        assert isinstance(trial, Trial)
        for side, records, names in (
            ("query", trial.query, query_spectra),
            ("gallery", trial.gallery, gallery_spectra),
        ):
            handed = [matrix.tolist() for matrix in call[side]]
            assert handed == expected(records, SPECTRA[:1] if plain else names)


def test_mser_is_refused_where_its_authors_give_no_numbers() -> None:
    for name, dataset in (("mser", "sysu"), ("mser", "regdb"), ("k-reciprocal", "llcm")):
        check_reranking(name, dataset)
    with pytest.raises(BadInput, match="got llcm; take --rerank k-reciprocal"):
        check_reranking("mser", "llcm")
