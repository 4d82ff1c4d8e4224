"""An estimate as text for a person who chooses a board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.building.jetson_modules import MODULES
from deploy.building.roofline import ESTIMATED

if TYPE_CHECKING:
    from deploy.building.roofline import Bound, Estimate, GraphEstimate, LayerShare

COLUMNS = 100


def estimate_text(found: Estimate) -> str:
    """Return tables of at most 100 columns, the notice first."""
    lines = [
        *found.notice,
        "An image is one crop of a person. One frame in 10 of a track is embedded (--embed-every), so a",
        "camera needs (people in view) x (frames a second) / 10 of them; its detector comes on top.",
        "",
        f"model: {found.model}",
    ]
    for graph in found.graphs:
        lines += [
            f"{graph.name}: {graph.gflop_per_image:.2f} GFLOP an image, {100 * graph.int8_share:.0f} % of it in INT8 "
            "where the engine is INT8",
            "",
            *_bounds(graph),
            "",
            *_expensive_layers(graph),
            "",
        ]
    return "\n".join([*lines, *_memory(found), "", *_modules()]) + "\n"


def _bounds(graph: GraphEstimate) -> list[str]:
    batches = sorted({row.batch for row in graph.bounds})
    lines = [
        f"{'':50}{'images/s at most, batch':>{9 * len(batches)}}{'whole':>9}  limited",
        f"{'module':21}{'precision':10}{'peak':>12}{'GB/s':>7}"
        + "".join(f"{batch:>9}" for batch in batches)
        + f"{'graph':>9}  by",
    ]
    for module in MODULES:
        for precision in ESTIMATED:
            rows = [row for row in graph.bounds if (row.module, row.precision) == (module.name, precision)]
            if module.unsupported or not rows:
                continue
            rows.sort(key=lambda row: row.batch)
            peak = f"{module.int8_tops:g} TOPS" if precision == "int8" else f"{module.fp16_tflops:g} TFLOPS"
            lines.append(
                f"{module.name:21}{precision:10}{peak:>12}{module.gb_per_s:7g}"
                + "".join(f"{row.images_per_s:9.0f}" for row in rows)
                + f"{rows[-1].whole_graph_images_per_s:9.0f}  {_limit(rows[-1])}"
            )
    return [
        *lines,
        *_wrap(
            "",
            f"The columns by batch add up the layers' own bounds; whole graph (batch {batches[-1]}) is looser: the "
            "work and traffic of all layers overlap. Limited by: what most of the time at batch "
            f"{batches[-1]} waits for. Launching kernels, copies and decoding are not counted. INT8 can be slower "
            "than FP16 on a board where layers do not fuse: measure both there.",
        ),
    ]


def _limit(row: Bound) -> str:
    share = row.compute_share if row.bottleneck == "compute" else 1.0 - row.compute_share
    return f"{row.bottleneck} {100 * share:.0f} %"


def _expensive_layers(graph: GraphEstimate) -> list[str]:
    """List the three longest layers at the largest batch, once for all modules where they are the same three."""
    last = max(row.batch for row in graph.bounds)
    considered = [row for row in graph.bounds if row.batch == last and row.supported]
    groups: dict[tuple[str, ...], list[Bound]] = {}
    for row in considered:
        groups.setdefault(tuple(layer.name for layer in row.most_expensive), []).append(row)
    lines = [f"Most expensive layers at batch {last}, part of the time:"]
    for rows in groups.values():
        lines += _wrap("  ", _where(rows, considered))
        for place, layer in enumerate(rows[0].most_expensive):
            lines.append(f"    {_shares([row.most_expensive[place] for row in rows]):>7}  {layer.kind}, {layer.place}")
    return lines


def _where(rows: list[Bound], considered: list[Bound]) -> str:
    """Name the modules of each precision, shortly where they are most of them."""
    parts: dict[str, list[str]] = {}
    for precision in ESTIMATED:
        inside = [row.module for row in rows if row.precision == precision]
        outside = [row.module for row in considered if row.precision == precision and row.module not in inside]
        if inside:
            most = "every module" + (f" but {', '.join(outside)}" if outside else "")
            text = most if len(inside) > len(outside) else ", ".join(inside)
            parts.setdefault(text, []).append(precision)
    return "; ".join(f"{' and '.join(precisions)} on {text}" for text, precisions in parts.items())


def _shares(layers: list[LayerShare]) -> str:
    low, high = (f"{100 * function(layer.share for layer in layers):.0f}" for function in (min, max))
    return f"{low} %" if low == high else f"{low}-{high} %"


def _memory(found: Estimate) -> list[str]:
    """Say what the model takes, and on which modules that is much."""
    lines = ["Memory for weights and activations of all graphs at least, beside the system, CUDA and TensorRT:"]
    for precision in ESTIMATED:
        cells = [
            f"batch {row.batch}: {(row.weights_bytes + row.activations_bytes) / 1e6:.0f} MB"
            for row in found.memory
            if row.precision == precision
        ]
        lines.append(f"  {precision:6}{', '.join(cells)}")
    tight = sorted(
        {
            f"{row.module} ({row.precision}, batch {row.batch}: {100 * row.memory_share:.0f} %)"
            for graph in found.graphs
            for row in graph.bounds
            if row.memory_share is not None and row.memory_share > 0.5
        }
    )
    if tight:
        return [*lines, *_wrap("  ", "More than half of the memory on: " + ", ".join(tight))]
    return [*lines, "  That is under half of the memory of every module whose size is known."]


def _modules() -> list[str]:
    lines = [f"{'module':21}{'advertised':>16}{'SM':>6}{'memory':>8}{'DLA':>5}  TensorRT (JetPack)"]
    for module in MODULES:
        if module.unsupported:
            continue
        first, last = module.releases[0], module.releases[-1]
        releases = f"{first.tensorrt} ({first.name})"
        if last != first:
            releases += f" to {last.tensorrt} ({last.name})"
        memory = "" if module.memory_gb is None else f"{module.memory_gb} GB"
        lines.append(
            f"{module.name:21}{module.advertised:>16}{module.compute_capability:>6}{memory:>8}"
            f"{module.dla_cores or '':>5}  {releases}"
        )
    lines += [
        "JetPack 5 comes with Python 3.8 and TensorRT's bindings for it; this software needs Python 3.10.",
        "The Orin NX's super mode has no row: its rates are not known here.",
    ]
    reasons = {module.unsupported for module in MODULES if module.unsupported}
    for reason in sorted(reasons):
        names = " and ".join(module.name for module in MODULES if module.unsupported == reason)
        lines += _wrap("", f"Not supported: {names}: {reason}.")
    return lines


def _wrap(indent: str, text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=indent)
