"""The page that sets runs side by side; every difference is to the first of them. Torch-free.

Shapes: R runs, V valid probes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from train.rank_lists import probe_precision, rank_list, rank_list_html
from train.reports.figures import cmc_figure, course_figure, score_courses
from train.reports.page import Tile, heading, note, page, panels, section, table
from train.reports.runs import NONE, data_title, percent, setting, spread
from train.reports.sections import warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.datasets.images import Dataset
    from train.protocol import Protocol, Scores
    from train.reports.runs import Evaluated, Run

COMMON_LOSS = "identity"  # every method has it; where one has not, the sums of all terms are drawn


def comparison_page(
    evaluated: Sequence[Evaluated], dataset: Dataset, protocols: Sequence[Protocol], left_out: Sequence[str]
) -> str:
    """Put the page together."""
    runs = [item.run for item in evaluated]
    tiles = [Tile(percent(item.scores[0].rank1), f"rank-1 of {item.run.label}") for item in evaluated]
    title = data_title(dataset)
    lead = (
        f"{', '.join(f'{run.label} ({run.title})' for run in runs)} on {title}. "
        f"The accuracies here are {protocols[0].title}; every difference is to {runs[0].label}."
    )
    sections = [
        _runs(runs),
        _accuracy(evaluated, protocols, left_out),
        section(
            "CMC curves",
            "How often the person is among the first k identities of the ranked gallery, run by run; the higher curve "
            "is the better run.",
            panels(
                {
                    protocol.title: cmc_figure(
                        {item.run.label: item.scores[index].cmc_R.tolist() for item in evaluated}
                    )
                    for index, protocol in enumerate(protocols)
                },
                wide=True,
            ),
        ),
        _training(runs),
        _recipes(runs),
        _disagreement(evaluated, protocols[0]),
    ]
    warned = [line for run in runs for line in warnings(run, dataset)]
    return page(f"{len(runs)} runs on {title}", lead, tiles, sections, warned)


def _runs(runs: Sequence[Run]) -> str:
    rows = [
        [
            run.label, run.title, f"{run.epoch} of {run.recipe.epochs}", run.selection, f"{run.parameters / 1e6:.2f} M",
            f"{run.recipe.height_px} × {run.recipe.width_px}", str(run.embedding_dim), run.commit, run.date,
        ]
        for run in runs
    ]  # fmt: skip
    return section(
        "The runs",
        "What was trained; parameters include the layers that only training uses.",
        table(
            ["run", "method", "epochs", "selected by", "parameters", "input, pixels", "embedding", "commit", "date"],
            rows,
        ),
    )


def _accuracy(evaluated: Sequence[Evaluated], protocols: Sequence[Protocol], left_out: Sequence[str]) -> str:
    parts: list[str] = []
    for index, protocol in enumerate(protocols):
        first = evaluated[0].scores[index]
        rows = [
            [item.run.label, *_figures(item.scores[index]), *_changes(item.scores[index], first, item is evaluated[0])]
            for item in evaluated
        ]
        head = ["run", "rank-1", "mAP", "mINP", "rank-1 change", "mAP change", "rank-1 higher in"]
        parts += [heading(protocol.title), table(head, rows)]
    return section(
        "Accuracy",
        "In percent, mean ± standard deviation over the trials. A change is in percentage points, trial by trial "
        "against the first run on the same galleries; its spread is that of the draw of galleries alone, and another "
        "seed of training may move a run by more.",
        *parts,
        *(note(reason) for reason in left_out),
    )


def _figures(scores: Scores) -> list[str]:
    trials = len(scores.trials)
    return [
        spread(scores.rank1, scores.rank1_spread, trials),
        spread(scores.mean_ap, scores.mean_ap_spread, trials),
        spread(scores.mean_inp, scores.mean_inp_spread, trials),
    ]


def _changes(scores: Scores, first: Scores, is_first: bool) -> list[str]:
    """Changes of rank-1 and mAP over the trials, and in how many of them rank-1 is higher."""
    if is_first:
        return [NONE] * 3
    pairs = list(zip(scores.trials, first.trials, strict=True))
    rank1 = [after.rank1 - before.rank1 for after, before in pairs]
    mean_ap = [after.mean_ap - before.mean_ap for after, before in pairs]
    won = sum(change > 0 for change in rank1)
    return [*(_signed(changes) for changes in (rank1, mean_ap)), f"{won} of {len(pairs)} trials"]


def _signed(changes: Sequence[float]) -> str:
    mean = f"{100 * np.mean(changes):+.2f}"
    return f"{mean} ± {100 * np.std(changes):.2f}" if len(changes) > 1 else mean


def _training(runs: Sequence[Run]) -> str:
    shared = all(run.course(COMMON_LOSS) for run in runs)
    name = COMMON_LOSS if shared else "total"
    charts = {
        f"Loss: {name}" if shared else "Total loss": course_figure(
            {run.label: run.course(name) for run in runs}, f"{name} loss"
        ),
        "Learning rate": course_figure(
            {run.label: {row["epoch"]: row["lr"] for row in run.rows} for run in runs}, "learning rate", log=True
        ),
        "Speed": course_figure(
            {run.label: {row["epoch"]: row["images_per_s"] for row in run.rows} for run in runs},
            "images / s",
            zero=True,
        ),
    }
    for split in ("validation", "test"):
        scores = {run.label: score_courses(run.rows, split) for run in runs}
        for name in ("rank-1", "mAP"):
            courses = {label: found[name] for label, found in scores.items() if name in found}
            if courses:
                charts[f"{name} on the {split} identities"] = course_figure(courses, f"{split} {name}, %", zero=True)
    words = (
        "The course over the epochs, run by run. Losses of different methods differ in size: compare where they level "
        "out and not how low they are."
    )
    if not any(score_courses(run.rows, "validation") for run in runs):
        words += " None of the runs was scored on validation identities (--evaluate-every)."
    return section("Training", words, panels(charts))


def _recipes(runs: Sequence[Run]) -> str:
    recipes = [dataclasses.asdict(run.recipe) for run in runs]
    names = dict.fromkeys(name for recipe in recipes for name in recipe)
    rows = [
        [name, *(setting(recipe.get(name)) for recipe in recipes)]
        for name in names
        if any(recipe.get(name) != recipes[0].get(name) for recipe in recipes)
    ]
    return section(
        "Recipe differences",
        f"The settings in which the runs differ; {NONE} is a setting that the method does not have.",
        table(["setting", *(run.label for run in runs)], rows, slim=True)
        if rows
        else note("The recipes are the same."),
    )


def _disagreement(evaluated: Sequence[Evaluated], protocol: Protocol) -> str:
    """Who gains and loses, and the rank lists of the two probes on which the runs differ most."""
    trial, first = protocol.trials[0], evaluated[0]
    precision_RV: NDArray[np.float64] = np.stack([probe_precision(trial, item.features)[1] for item in evaluated])
    probes = probe_precision(trial, first.features)[0]
    change_RV = precision_RV - precision_RV[0]
    rows = [
        [
            item.run.label,
            percent(float((change_V > 1e-9).mean())),
            percent(float((change_V < -1e-9).mean())),
            f"{100 * change_V.mean():+.2f}",
        ]
        for item, change_V in zip(evaluated[1:], change_RV[1:], strict=True)
    ]
    parts = [table(["run", "probes that gain AP", "probes that lose AP", "mean change of AP, points"], rows)]
    for words, place in (("largest gain", change_RV.argmax()), ("largest loss", change_RV.argmin())):
        run, probe = divmod(int(place), change_RV.shape[1])
        if abs(change_RV[run, probe]) < 1e-9:
            parts.append(note(f"There is no {words}: no probe differs in that direction."))
            continue
        parts.append(
            heading(
                f"The {words}: {evaluated[run].run.label} {100 * change_RV[run, probe]:+.0f} points of AP "
                f"against {first.run.label}"
            )
        )
        parts += [
            rank_list_html(rank_list(trial, item.features, int(probes[probe]), item.run.label)) for item in evaluated
        ]
    return section(
        "Where the runs differ most",
        f"Average precision (AP) probe by probe, in the first trial of {protocol.title}: the same probe in every run, "
        "then its ten most similar gallery images; a green, solid frame is the same person, a red, dashed one another.",
        *parts,
    )
