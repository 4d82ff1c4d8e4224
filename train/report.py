"""Pictures of a trained model: CMC curves, the course of training, rank lists of best, median and worst probes.

Shapes: R ranks, Q probes, G gallery, D embedding.
"""

from __future__ import annotations

import html
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from train.datasets.images import read_image
from train.metrics import location_of
from train.protocol import gallery_images, key, probe_images
from train.report_page import picture

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord
    from train.datasets.sysu import SysuDataset

INK = "#7d8793"  # legible on the page's light and on its dark ground
COLOURS = ("#8a94a0", "#e07b0b", "#0b84e0", "#1a9f5c")
STYLES = ("-", "-", "--", "-")  # curves that lie on each other stay two
SHOWN = 10  # gallery images of a rank list


@dataclass(frozen=True)
class RankList:
    """One probe and the head of its ranked gallery."""

    label: str
    probe: ImageRecord
    average_precision: float
    ranked: tuple[ImageRecord, ...]
    similarity: tuple[float, ...]


def rank_lists(dataset: SysuDataset, features: Mapping[str, NDArray[np.float32]], each: int = 2) -> list[RankList]:
    """Return the probes with the best, middle and worst average precision in trial 0 of all-search, single-shot."""
    probes, gallery = probe_images(dataset), gallery_images(dataset, "all", 1, 0)
    probe_QD = np.stack([features[key(record)] for record in probes])
    gallery_GD = np.stack([features[key(record)] for record in gallery])
    gallery_place = location_of(np.array([record.camera for record in gallery]))
    lists: list[RankList] = []
    for probe, similarity_G in zip(probes, probe_QD @ gallery_GD.T, strict=True):
        order = np.argsort(-similarity_G, kind="stable")
        order = order[gallery_place[order] != location_of(np.array([probe.camera]))]
        hits = np.flatnonzero([gallery[item].identity == probe.identity for item in order])
        if not len(hits):
            continue
        head = order[:SHOWN]
        lists.append(
            RankList(
                label="",
                probe=probe,
                average_precision=float(np.mean((np.arange(len(hits)) + 1) / (hits + 1))),
                ranked=tuple(gallery[item] for item in head),
                similarity=tuple(float(similarity_G[item]) for item in head),
            )
        )
    lists.sort(key=lambda ranked: -ranked.average_precision)
    middle = len(lists) // 2
    # Spread the picks of a group so that they do not show one identity twice.
    chosen = [
        ("best", _distinct(lists, each)),
        ("median", _distinct(lists[middle:], each)),
        ("worst", _distinct(lists[::-1], each)),
    ]
    return [
        RankList(label, item.probe, item.average_precision, item.ranked, item.similarity)
        for label, items in chosen
        for item in items
    ]


def _distinct(lists: Sequence[RankList], count: int) -> list[RankList]:
    seen: dict[int, RankList] = {}
    for ranked in lists:
        seen.setdefault(ranked.probe.identity, ranked)
        if len(seen) == count:
            break
    return list(seen.values())


def rank_list_html(ranked: RankList) -> str:
    """One row of pictures: the probe, then its gallery framed in green (same identity) and red."""
    probe = ranked.probe
    cells = [
        f'<figure class="probe">{picture(read_image(probe.path), f"probe, camera {probe.camera}", height_px=128)}'
        f"{html.escape(ranked.label)} · camera {probe.camera}<br>AP {100 * ranked.average_precision:.0f} %</figure>"
    ]
    for place, (record, similarity) in enumerate(zip(ranked.ranked, ranked.similarity, strict=True), start=1):
        right = record.identity == probe.identity
        text = f"rank {place}, camera {record.camera}, {'same' if right else 'another'} person"
        cells.append(
            f'<figure class="{"right" if right else "wrong"}">{picture(read_image(record.path), text, height_px=128)}'
            f"{place} · {similarity:.2f}<br>camera {record.camera}</figure>"
        )
    return f'<div class="scroll"><div class="ranks">{"".join(cells)}</div></div>'


def cmc_figure(curves: Mapping[str, Sequence[float]], ranks: int = 20) -> str:
    """CMC curves as SVG; values are shares, shown in percent."""

    def draw(axes: Axes) -> None:
        for (name, curve), colour, style in zip(curves.items(), COLOURS, STYLES, strict=False):
            shown = [100 * value for value in curve[:ranks]]
            axes.plot(range(1, len(shown) + 1), shown, style, color=colour, marker="o", markersize=3, label=name)
        axes.set_xlabel("rank k")
        axes.set_ylabel("true identity among the first k, %")
        axes.set_ylim(0, 101)
        axes.legend(frameon=False, labelcolor=INK, loc="lower right")

    return _figure([draw])


def training_figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """The loss terms over the epochs as SVG, side by side: their sizes differ too much for one scale."""

    def panel(name: str, colour: str) -> Callable[[Axes], None]:
        def draw(axes: Axes) -> None:
            axes.plot([int(row["epoch"]) for row in rows], [float(row["losses"][name]) for row in rows], color=colour)
            axes.set_xlabel("epoch")
            axes.set_ylabel(f"{name} loss")
            axes.ticklabel_format(axis="y", useOffset=False)

        return draw

    return _figure([panel(name, colour) for name, colour in zip(rows[0]["losses"], COLOURS[1:], strict=False)])


def _figure(panels: Sequence[Callable[[Axes], None]]) -> str:
    from matplotlib.figure import Figure  # the object interface: no global state, no display
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5.6 * len(panels), 3.4))
    for index, draw in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        draw(axes)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=INK, alpha=0.25, linewidth=0.6)
        axes.tick_params(colors=INK)
        axes.xaxis.label.set_color(INK)
        axes.yaxis.label.set_color(INK)
        for side, spine in axes.spines.items():
            spine.set_color(INK)
            spine.set_visible(side in {"left", "bottom"})
    figure.tight_layout()
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True)
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
