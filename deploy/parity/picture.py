"""A parity report as one picture: angles and moved matches of every engine, and the signal along the layers.

Drawn with matplotlib's object interface: no global state, no display. Colours stand for the precision and are told
apart by colour-blind eyes (Okabe and Ito); every row also has its name.

Shapes: N images, V queries, S bins.
"""

from __future__ import annotations

from collections import Counter
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deploy.parity.layers import AUDIBLE_DB, CEILING_DB
from engines.atomic import atomic_path
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.parity.compare import EngineFigures
    from deploy.parity.layers import Layer
    from deploy.parity.report import Report
    from engines.manifest import Precision

COLOURS: dict[Precision, str] = {"fp32": "#0072b2", "fp16": "#009e73", "int8": "#d55e00"}
# Colour and marker of the files, first of each precision in the precision's own colour.
FILE_LOOKS: dict[Precision, tuple[tuple[str, str], ...]] = {
    "fp32": (("#0072b2", "o"),),
    "fp16": (("#009e73", "^"), ("#56b4e9", "v")),
    "int8": (("#d55e00", "o"), ("#0072b2", "s"), ("#cc79a7", "D"), ("#e69f00", "P")),
}
INK, DIM, GRID = "#1c2430", "#5d6875", "#d9dee5"
WORST = 20  # layers with a bar
WIDTH_IN, ROW_IN, LINE_IN, BAR_IN = 13.0, 1.2, 3.6, 0.27
DPI = 110
ANGLE_EDGES = np.linspace(-10.0, 0.5, 85)  # log10 of 1 - cosine: from what FP32 leaves to beyond a right angle
MOVE_EDGES = (-(10**9), -9, -3, -1, 0, 1, 2, 4, 10, 10**9)
MOVE_NAMES = ("10+\nup", "4-9\nup", "2-3\nup", "1\nup", "same", "1\ndown", "2-3\ndown", "4-9\ndown", "10+\ndown")


def check_picture(path: Path) -> None:
    """Refuse what could not be drawn, before any work."""
    if find_spec("matplotlib") is None:
        raise BadInput(
            "--picture needs matplotlib, which is not installed: pip install matplotlib, or leave it out; "
            "--json has the same figures"
        )
    if path.suffix.lower() != ".png":
        raise BadInput(f"--picture: expected a file name that ends in .png, got {path.name}")


def write_picture(report: Report, path: Path) -> None:
    """Draw the report as a PNG file."""
    from matplotlib.figure import Figure

    looks = _looks(report.layers.layers)
    worst = report.layers.worst(WORST)
    heights = [ROW_IN * len(report.comparison.engines) + 0.9]
    if looks:
        heights += [LINE_IN, BAR_IN * len(worst) + 1.0]
    # Its annotations are partly unknown to the type checker; nothing of it leaves this file.
    figure: Any = Figure(figsize=(WIDTH_IN, sum(heights) + 0.6), facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.1, w_pad=0.08)
    _title(figure, report)
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_engines(parts[0], report)
    if looks:
        _draw_lines(parts[1], report, looks)
        _draw_bars(parts[2], worst, looks)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def angle_counts(cosine_N: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the images by the logarithm of 1 - cosine; what lies outside the edges counts in the last bins."""
    angle_N = np.log10(np.maximum(1.0 - cosine_N, 1e-12))
    return np.histogram(np.clip(angle_N, ANGLE_EDGES[0], ANGLE_EDGES[-1]), ANGLE_EDGES)[0]


def move_counts(moves_V: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count the queries by how far the true match moved: up is nearer to the front."""
    return np.histogram(moves_V, MOVE_EDGES)[0]


def _looks(layers: Sequence[Layer]) -> dict[str, tuple[str, str]]:
    """Give each file a colour and a marker."""
    found: dict[str, tuple[str, str]] = {}
    used: Counter[Precision] = Counter()
    for layer in layers:
        if layer.file not in found:
            choices = FILE_LOOKS[layer.precision]
            found[layer.file] = choices[used[layer.precision] % len(choices)]
            used[layer.precision] += 1
    return found


def _title(figure: Any, report: Report) -> None:
    count = len(report.findings)
    verdict = f"parity FAILED, {count} limit{'s' if count > 1 else ''} broken" if count else "parity holds"
    figure.suptitle(
        f"{report.folder.name} ({report.method}) against PyTorch FP32 on {len(report.reference.records)} held-out "
        f"images: {verdict}",
        fontsize=15,
        color=INK,
        fontweight="bold",
    )


def _draw_engines(part: Any, report: Report) -> None:
    engines = report.comparison.engines
    if not engines:
        part.text(0.5, 0.5, "no engine gave finite embeddings", ha="center", color=INK)
        return
    grid = part.subplots(len(engines), 2, sharex="col", squeeze=False, gridspec_kw={"width_ratios": [1.15, 1.0]})
    for engine, (left, right) in zip(engines, grid, strict=True):
        _draw_angles(left, engine, report.limits[engine.precision].worst_cosine)
        _draw_moves(right, engine)
    left, right = grid[-1]
    left.set_xlabel("1 - cosine with PyTorch, logarithmic; further left is closer. Dashed: limit for the worst image")
    left.set_xticks(range(-10, 1, 2), [f"$10^{{{exponent}}}$" if exponent else "1" for exponent in range(-10, 1, 2)])
    right.set_xlabel("places by which the true match moved in a query's list")
    right.set_xticks(range(len(MOVE_NAMES)), MOVE_NAMES)


def _draw_angles(axes: Any, engine: EngineFigures, limit: float) -> None:
    drift, colour = engine.difference.drift, COLOURS[engine.precision]
    count_S = angle_counts(engine.difference.cosine_N)
    axes.stairs(100.0 * count_S / count_S.sum(), ANGLE_EDGES, fill=True, color=colour)
    axes.axvline(np.log10(1.0 - limit), color=INK, linewidth=1.2, linestyle="--")
    axes.set_ylabel("images, %")
    _style(axes, f"{engine.engine}: cosine {drift.mean_cosine:.5f} in the mean, {drift.worst_cosine:.5f} at worst")


def _draw_moves(axes: Any, engine: EngineFigures) -> None:
    found = engine.search
    if found is None:
        axes.text(0.5, 0.5, "no labels: whose picture is the true match is not known", ha="center", va="center",
                  transform=axes.transAxes, color=DIM)  # fmt: skip
        _style(axes, f"{engine.engine}: rank-1 agreement {100 * engine.difference.drift.rank1_agreement:.1f} %")
        return
    count_S = move_counts(found.moves_V)
    bars = axes.bar(range(len(count_S)), count_S, width=0.72, color=COLOURS[engine.precision])
    axes.bar_label(bars, [str(count) for count in count_S], fontsize=9, color=INK, padding=1)
    axes.set_ylim(0, 1.3 * count_S.max())
    axes.set_ylabel("queries")
    _style(axes, f"mAP {found.map_difference} points, rank-1 {found.rank1_difference}")


def _draw_lines(part: Any, report: Report, looks: Mapping[str, tuple[str, str]]) -> None:
    axes: Any = part.subplots(1, 1)
    for file, (colour, marker) in looks.items():
        shown = [layer for layer in report.layers.layers if layer.file == file and layer.sqnr_db < CEILING_DB]
        # Thin broken ones lie over thick whole ones, so that curves that agree stay two.
        first = colour in {COLOURS[layer.precision] for layer in shown}
        axes.plot(
            [layer.number for layer in shown],
            [layer.sqnr_db for layer in shown],
            color=colour,
            marker=marker,
            markersize=5.5 if first else 3.0,
            linewidth=2.4 if first else 1.2,
            linestyle="-" if first else "--",
            label=file,
        )
    label = f"{AUDIBLE_DB:.0f} dB: falls count from here down"
    axes.axhline(AUDIBLE_DB, color=INK, linewidth=1.2, linestyle="--", label=label)
    axes.set_xlabel("number of the layer in the graph")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("SQNR, dB")
    axes.margins(x=0.01)
    _style(axes, "what each layer keeps of the FP32 signal: signal-to-quantisation-noise ratio, higher is better")
    part.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=10, labelcolor=INK)


def _draw_bars(part: Any, worst: Sequence[Layer], looks: Mapping[str, tuple[str, str]]) -> None:
    axes: Any = part.subplots(1, 1)
    files = {layer.file: f"  ({layer.file})" if len(looks) > 1 else "" for layer in worst}
    names = [f"{layer.layer}, {layer.number}{files[layer.file]}" for layer in worst]
    values = [layer.sqnr_db for layer in worst]
    bars = axes.barh(range(len(worst)), values, height=0.7, color=[looks[layer.file][0] for layer in worst])
    axes.bar_label(bars, [f"{value:.1f}" for value in values], fontsize=9, color=INK, padding=3)
    axes.set_yticks(range(len(worst)), names)
    axes.set_ylim(len(worst) - 0.4, -0.6)  # the worst on top
    axes.set_xlim(min(0.0, *values) * 1.1, max(*values, 1.0) * 1.08)
    axes.set_xlabel("SQNR, dB")
    _style(axes, f"the {len(worst)} layers that keep least, with their numbers", grid="x")


def _style(axes: Any, title: str, *, grid: Literal["x", "y"] = "y") -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.xaxis.label.set(color=DIM, fontsize=10)
    axes.yaxis.label.set(color=DIM, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(DIM)
        spine.set_visible(side in {"left", "bottom"})
