"""Rank lists: a probe and the head of its ranked gallery, as pictures.

Shapes: Q probes, V valid probes, G gallery, D embedding.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from train.datasets.images import read_image
from train.metrics import evaluate
from train.protocol import cosine, identities
from train.reports.page import picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.protocol import Protocol, Trial

SHOWN = 10  # gallery images of a rank list
HEIGHT_PX = 128


@dataclass(frozen=True, kw_only=True)
class RankList:
    """One probe and the head of its ranked gallery."""

    label: str
    probe: ImageRecord
    average_precision: float
    ranked: tuple[ImageRecord, ...]
    similarity: tuple[float, ...]


def rank_lists(protocol: Protocol, features: Mapping[str, NDArray[np.float32]], each: int = 2) -> list[RankList]:
    """Return the probes with the best, middle and worst average precision in the protocol's first trial."""
    trial = protocol.trials[0]
    probes, precision_V = probe_precision(trial, features)
    order = np.argsort(-precision_V, kind="stable")
    # Spread the picks of a group so that they do not show one identity twice.
    chosen = [
        ("best", _distinct(trial, probes[order], each)),
        ("median", _distinct(trial, probes[order[len(order) // 2 :]], each)),
        ("worst", _distinct(trial, probes[order[::-1]], each)),
    ]
    return [rank_list(trial, features, query, label) for label, queries in chosen for query in queries]


def probe_precision(
    trial: Trial, features: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the valid probes' positions among the trial's queries (V,) and their average precision (V,)."""
    found = evaluate(
        cosine(features, trial),
        identities(trial.query),
        identities(trial.gallery),
        excluded_QG=trial.excluded(),
    )
    return np.flatnonzero(found.valid_Q), found.average_precision_V


def rank_list(trial: Trial, features: Mapping[str, NDArray[np.float32]], query: int, label: str) -> RankList:
    """Rank the gallery for one of the trial's queries."""
    alone = type(trial)(query=(trial.query[query],), gallery=trial.gallery, exclusion=trial.exclusion)
    similarity_G = cosine(features, alone)[0]
    excluded_QG = alone.excluded()
    order = np.argsort(-similarity_G, kind="stable")
    if excluded_QG is not None:
        order = order[~excluded_QG[0][order]]
    head = order[:SHOWN]
    return RankList(
        label=label,
        probe=trial.query[query],
        average_precision=float(probe_precision(alone, features)[1][0]),
        ranked=tuple(trial.gallery[item] for item in head),
        similarity=tuple(float(similarity_G[item]) for item in head),
    )


def _distinct(trial: Trial, queries: Sequence[int] | NDArray[np.int64], count: int) -> list[int]:
    seen: dict[int, int] = {}
    for query in queries:
        seen.setdefault(trial.query[query].identity, int(query))
        if len(seen) == count:
            break
    return list(seen.values())


def rank_list_html(ranked: RankList) -> str:
    """One row of pictures: the probe, then its gallery framed in green (same identity) and red, dashed."""
    probe = ranked.probe
    image = picture(read_image(probe.path), f"probe, {probe.modality}, camera {probe.camera}", height_px=HEIGHT_PX)
    cells = [
        f'<figure class="probe">{image}'
        f"{html.escape(ranked.label)} · camera {probe.camera}<br>AP {100 * ranked.average_precision:.0f} %</figure>"
    ]
    for place, (record, similarity) in enumerate(zip(ranked.ranked, ranked.similarity, strict=True), start=1):
        right = record.identity == probe.identity
        text = f"rank {place}, camera {record.camera}, {'same' if right else 'another'} person"
        image = picture(read_image(record.path), text, height_px=HEIGHT_PX)
        cells.append(
            f'<figure class="{"right" if right else "wrong"}">{image}'
            f"{place} · {similarity:.2f}<br>camera {record.camera}</figure>"
        )
    return f'<div class="scroll"><div class="ranks">{"".join(cells)}</div></div>'
