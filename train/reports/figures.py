"""Figures of a report as SVG text: CMC curves, the course of training, histograms of similarity, the map.

Drawn with matplotlib's object interface: no global state, no display. One panel is one SVG, so that panels stack on a
narrow screen; the page sets captions, so that the text keeps its size.

Shapes: N images, S bins.
"""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from train.reports.page import CARD, COLOURS, DIM, INK, themed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from train.reports.statistics import Histogram

STYLES = ("-", "--", "-", ":")  # thin broken ones lie over thick whole ones, so that curves that agree stay two
MARKERS = ("o", "s", "^", "D", "v", "P")
PANEL = (4.4, 2.7)  # inches; drawn smaller than a telephone's width its letters would be too small to read
HISTOGRAM_BARS = 50
HISTOGRAM_NAMES = ("same person", "different people", "equal error")  # in the order of the series' colours


def cmc_figure(curves: Mapping[str, Sequence[float]], ranks: int = 20) -> str:
    """CMC curves; values are shares, shown in percent."""

    def draw(axes: Axes) -> None:
        lowest = 100.0
        for index, curve in enumerate(curves.values()):
            shown = [100 * value for value in curve[:ranks]]
            lowest = min(lowest, *shown)
            marker = MARKERS[index % len(MARKERS)]
            axes.plot(range(1, len(shown) + 1), shown, marker=marker, **_series(index))
        axes.set_xticks([rank for rank in (1, 5, 10, 15, 20) if rank <= ranks])
        axes.set_xlabel("rank k")
        axes.set_ylabel("true identity among the first k, %")
        # Curves near the top are told apart only when the axis does not begin at zero.
        axes.set_ylim(0 if lowest < 60 else 10 * np.floor(lowest / 10) - 10, 101)

    return legend(list(curves)) + _figure(draw, "CMC curves", size=(4.8, 3.3), integers=False)


def course_figure(
    courses: Mapping[str, Mapping[int, float]], ylabel: str, *, log: bool = False, zero: bool = False
) -> str:
    """One or more quantities over the epochs, {name: {epoch: value}}; a single name needs no legend."""

    def draw(axes: Axes) -> None:
        for index, course in enumerate(courses.values()):
            marker = MARKERS[index % len(MARKERS)] if len(course) <= 15 else None
            axes.plot(list(course), list(course.values()), marker=marker, **_series(index))
        axes.set_xlabel("epoch")
        axes.set_ylabel(ylabel)
        if log:
            axes.set_yscale("log")
        else:
            axes.ticklabel_format(axis="y", useOffset=False)
        if zero:
            axes.set_ylim(bottom=0)

    drawn = _figure(draw, f"{ylabel} over the epochs")
    return (legend(list(courses)) if len(courses) > 1 else "") + drawn


def training_figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Caption and figure of every quantity of metrics.jsonl: their sizes differ too much for one scale.

    A loss term that begins in a later phase has a curve that begins there.
    """
    figures: dict[str, str] = {}
    names = list(dict.fromkeys(name for row in rows for name in row["losses"]))
    if len(names) > 1:
        figures["Total loss"] = course_figure({"loss": {row["epoch"]: row["loss"] for row in rows}}, "total loss")
    for name in names:
        course = {row["epoch"]: row["losses"][name] for row in rows if name in row["losses"]}
        figures[f"Loss: {name}"] = course_figure({name: course}, name)
    rates = {row["epoch"]: row["lr"] for row in rows}
    figures["Learning rate"] = course_figure({"lr": rates}, "learning rate", log=min(rates.values()) > 0)
    speed = {row["epoch"]: row["images_per_s"] for row in rows}
    figures["Speed"] = course_figure({"speed": speed}, "images / s", zero=True)
    for split in ("validation", "test"):
        if scores := score_courses(rows, split):
            figures[f"Scores on the {split} identities"] = course_figure(scores, f"{split}, %", zero=True)
    return figures


def score_courses(rows: Sequence[Mapping[str, Any]], split: str) -> dict[str, dict[int, float]]:
    """The scores on "validation" or "test" in percent, {name: {epoch: value}}; empty where the run measured none."""
    labels = {"rank1": "rank-1", "mean_ap": "mAP"}
    found = {
        label: {row["epoch"]: 100 * row[split][name] for row in rows if row.get(split)}
        for name, label in labels.items()
    }
    return {label: course for label, course in found.items() if course}


def histogram_figure(histogram: Histogram) -> str:
    """Similarities of pairs of one person and of two, each as shares of its own pairs; the equal-error line."""

    def draw(axes: Axes) -> None:
        low, high = histogram.range()
        edges = np.linspace(low, high, HISTOGRAM_BARS + 1)
        for counts_S, index in (
            (histogram.different_S, 1),
            (histogram.same_S, 0),
        ):
            share_S = 100 * histogram.rebinned(counts_S, edges) / max(counts_S.sum(), 1)
            look = _series(index)
            axes.stairs(share_S, edges, fill=True, color=look["color"], alpha=0.30)
            axes.stairs(share_S, edges, color=look["color"], linewidth=1.6, linestyle=look["linestyle"])
        axes.axvline(histogram.equal_error_similarity, color=COLOURS[2], linewidth=1.6)
        axes.set_xlim(low, high)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("cosine similarity")
        axes.set_ylabel("share of the pairs, %")

    return _figure(draw, "histogram of similarities", integers=False)


def map_figure(
    point_N2: NDArray[np.floating],
    identity_N: NDArray[np.integer],
    infrared_N: NDArray[np.bool_],
    text: str,
    *,
    numbered: bool = False,
) -> str:
    """Points of the map: colour is identity, a disc is visible, an open triangle infrared.

    numbered: the legend's numbers stand by the points, for who cannot tell twelve colours apart.
    """

    def draw(axes: Axes) -> None:
        from matplotlib.patheffects import withStroke

        for index, identity in enumerate(np.unique(identity_N)):
            colour = COLOURS[index % len(COLOURS)]
            for chosen_N, look in (
                (~infrared_N, {"marker": "o", "markersize": 4.5, "markerfacecolor": colour, "markeredgewidth": 0}),
                (infrared_N, {"marker": "^", "markersize": 5.5, "markerfacecolor": "none", "markeredgewidth": 1.1}),
            ):
                shown = point_N2[(identity_N == identity) & chosen_N]
                axes.plot(shown[:, 0], shown[:, 1], linestyle="none", markeredgecolor=colour, **look)
                if numbered and len(shown):
                    x, y = shown[((shown - np.median(shown, axis=0)) ** 2).sum(1).argmin()]
                    halo = [withStroke(linewidth=2.5, foreground=CARD)]
                    axes.annotate(
                        str(index + 1), (x, y), (4, 4), textcoords="offset points", fontsize=9, color=INK,
                        path_effects=halo, annotation_clip=False,
                    )  # fmt: skip
        axes.set_xticks([])
        axes.set_yticks([])
        # A square of its own: the map has no units, and both directions mean the same.
        middle_2 = (point_N2.max(0) + point_N2.min(0)) / 2
        reach = 0.54 * float(np.ptp(point_N2, axis=0).max()) or 1.0
        axes.set_xlim(middle_2[0] - reach, middle_2[0] + reach)
        axes.set_ylim(middle_2[1] - reach, middle_2[1] + reach)
        axes.set_aspect("equal")

    return _figure(draw, text, size=(4.8, 4.8), integers=False, boxed=True)


def map_legend(names: Sequence[str]) -> str:
    """What the colours and markers of the map mean."""
    swatches = "".join(
        f'<li><span class="swatch" style="background:{themed(colour)}"></span>{number} · {html.escape(name)}</li>'
        for number, (name, colour) in enumerate(zip(names, COLOURS, strict=False), start=1)
    )
    return f'<ul class="legend"><li>● visible</li><li>△ infrared</li>{swatches}</ul>'


def legend(names: Sequence[str]) -> str:
    """The curves of a figure by name, in their colours and strokes; text of the page, so that it wraps."""
    keys: list[str] = []
    for index, name in enumerate(names):
        look = _series(index)
        dashes = {"-": "none", "--": "6 3", ":": "2 3"}[look["linestyle"]]
        style = f"stroke:{look['color']};stroke-width:2;stroke-dasharray:{dashes}"
        line = f'<line x1="0" y1="5" x2="26" y2="5" style="{style}"/>'
        keys.append(
            f'<li><svg class="key" width="26" height="10" aria-hidden="true">{line}</svg>{html.escape(name)}</li>'
        )
    return themed(f'<ul class="legend">{"".join(keys)}</ul>')


def _series(index: int) -> dict[str, Any]:
    style = STYLES[index % len(STYLES)]
    whole = style == "-"
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": style,
        "linewidth": 2.2 if whole else 1.5,
        "markersize": 5.0 if whole else 2.8,
        "zorder": 2.0 if whole else 2.1,
    }


def _figure(
    draw: Callable[[Axes], None],
    text: str,
    *,
    size: tuple[float, float] = PANEL,
    integers: bool = True,
    boxed: bool = False,
) -> str:
    """Draw one panel; integers: whole numbers alone on the x axis; boxed: a frame instead of axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    if integers:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not boxed:
        axes.grid(color=DIM, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=DIM, which="both")
    axes.xaxis.label.set_color(DIM)
    axes.yaxis.label.set_color(DIM)
    for side, spine in axes.spines.items():
        spine.set_color(DIM)
        spine.set_visible(boxed or side in {"left", "bottom"})
    buffer = io.StringIO()
    # Without a date the same figures give the same page.
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    return themed(drawn.replace("<svg", f'<svg role="img" aria-label="{html.escape(text, quote=True)}"', 1))
