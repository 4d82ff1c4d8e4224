"""The parts of a page about the embeddings themselves: similarities of pairs, and the map. Torch-free.

Shapes: N images, D embedding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from train.protocol import identities, stack
from train.reports.figures import HISTOGRAM_NAMES, histogram_figure, legend, map_figure, map_legend
from train.reports.page import note, panels, section, table
from train.reports.runs import NONE, percent
from train.reports.statistics import histogram, map_points, mixing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from train.datasets.images import Dataset, ImageRecord
    from train.reports.runs import Run
    from train.reports.statistics import Mixing

    Features = Mapping[str, NDArray[np.float32]]


def similarity_section(dataset: Dataset, features: Features) -> str:
    """Histograms of the cosines of pairs within and across the modalities."""
    records = dataset.split("test")
    side = {
        modality: [record for record in records if record.modality == modality] for modality in ("visible", "infrared")
    }
    charts: dict[str, str] = {}
    rows: list[list[str]] = []
    for left, right in (("visible", "visible"), ("infrared", "infrared"), ("visible", "infrared")):
        sides = (side[left], side[right])
        cameras = tuple(np.array([record.camera for record in one]) for one in sides)
        within = left == right
        several = within and len(np.unique(cameras[0])) > 1
        found = histogram(
            stack(features, sides[0]),
            stack(features, sides[1]),
            (identities(sides[0]), identities(sides[1])),
            cameras=(cameras[0], cameras[1]) if several else None,
            once=within,
        )
        name = f"{left}-{right}"
        if found is None:
            rows.append([name, *[NONE] * 6])
            continue
        small = f"equal error {percent(found.equal_error)} at cosine {found.equal_error_similarity:.3f}"
        charts[f"{name}\n{small}"] = histogram_figure(found)
        rows.append(
            [
                name,
                f"{found.same_S.sum():,}",
                f"{found.different_S.sum():,}",
                f"{found.mean(found.same_S):.3f}",
                f"{found.mean(found.different_S):.3f}",
                f"{found.equal_error_similarity:.3f}",
                percent(found.equal_error),
            ]
        )
    return section(
        "Similarities",
        "How similar pairs of test images are, the same person and different people, each kind as shares of its own "
        "pairs; the less the two overlap the better. At the equal-error similarity as many different people are taken "
        "for one as pairs of one person are missed. Pairs within one modality are of two cameras where it has several.",
        legend(HISTOGRAM_NAMES),
        panels(charts),
        table(
            [
                "pairs", "same person", "different people", "mean cosine, same", "mean cosine, different",
                "equal-error similarity", "equal error",
            ],
            rows,
        ),
    )  # fmt: skip


def map_section(run: Run, features: Features, shown: Sequence[ImageRecord], before: Features | str) -> str:
    """The maps before and after training, and the figures to judge them by."""
    identity_N, infrared_N = identities(shown), np.array([record.modality == "infrared" for record in shown])
    moments: dict[str, Features] = {} if isinstance(before, str) else {"Before training": before}
    moments["After training"] = features
    charts: dict[str, str] = {}
    found: dict[str, Mixing] = {}
    for moment, vectors in moments.items():
        feature_ND = stack(vectors, shown)
        found[moment] = mixed = mixing(feature_ND, identity_N, infrared_N)
        small = (
            f"cosine gap {mixed.gap:.3f}; {percent(mixed.other_modality, 0)} of neighbours of the other modality "
            f"({percent(mixed.expected, 0)} if it made no difference)"
        )
        charts[f"{moment}\n{small}"] = map_figure(
            map_points(feature_ND, run.recipe.seed),
            identity_N,
            infrared_N,
            f"map of the embeddings, {moment.lower()}",
            numbered=vectors is features,
        )
    neighbours = next(iter(found.values())).neighbours
    rows = [
        [
            moment,
            f"{mixed.same:.3f}",
            f"{mixed.different:.3f}",
            f"{mixed.gap:.3f}",
            percent(mixed.other_modality),
            percent(mixed.expected),
            percent(mixed.same_person),
        ]
        for moment, mixed in found.items()
    ]
    people = [f"person {identity}" for identity in np.unique(identity_N)]
    return section(
        "Map of the embeddings",
        f"{len(shown)} test images of {len(people)} people by t-SNE, which puts similar images near each other; "
        "distances between far groups and the axes mean nothing. Colour is the person, a disc is visible, an open "
        "triangle infrared: good training joins the discs and triangles of one colour and parts the colours.",
        map_legend(people),
        panels(charts, wide=True),
        note(f"{before}: there is no map before training.") if isinstance(before, str) else "",
        table(
            [
                "network", "same person", "different people", "gap", "other modality", "expected", "same person near",
            ],
            rows,
        ),
        note(
            "Measured on the embeddings and not on the picture. Same person, different people, gap: mean cosine of "
            "pairs of a visible and an infrared image, and the difference. Other modality, same person near: share of "
            f"an image's {neighbours} most similar images that are of the other modality, and of the same person. "
            "Expected: the share of the other modality if modality made no difference. Before training is the network "
            "as the run began, with the weights of its seed"
            + (" and of ImageNet." if run.dataset.get("pretrained") else "; it was given no ImageNet weights.")
        ),
    )  # fmt: skip
