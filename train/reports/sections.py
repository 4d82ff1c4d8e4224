"""The page about one run, part by part. Torch-free."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from train.datasets.open import TITLES, describe
from train.rank_lists import rank_list_html, rank_lists
from train.reports.embeddings import map_section, similarity_section
from train.reports.figures import cmc_figure, training_figures
from train.reports.page import Tile, columns, facts, folded, heading, note, page, panels, section, table
from train.reports.runs import NONE, data_title, percent, setting, spread
from train.reports.statistics import camera_scores
from train.run_log import clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from train.datasets.images import Dataset, ImageRecord
    from train.metrics import Metrics
    from train.protocol import Protocol, Scores
    from train.reports.runs import Evaluated, Run

    Features = Mapping[str, NDArray[np.float32]]

FIGURES = ["rank-1", "rank-10", "rank-20", "mAP", "mINP"]


def run_page(
    evaluated: Evaluated,
    dataset: Dataset,
    protocols: Sequence[Protocol],
    left_out: Sequence[str],
    shown: Sequence[ImageRecord],
    before: Features | str,
) -> str:
    """Put the page together; shown are the images of the map, before their vectors as training began, or why not."""
    run, scores = evaluated.run, evaluated.scores
    title = data_title(dataset)
    tiles = [
        Tile(percent(scores[0].rank1), "rank-1"),
        Tile(percent(scores[0].mean_ap), "mAP"),
        Tile(percent(scores[0].mean_inp), "mINP"),
        Tile(f"{run.parameters / 1e6:.1f} M", "parameters"),
        Tile(f"{run.epoch} of {run.recipe.epochs}", "epochs"),
    ]
    lead = (
        f"{run.title} on {title}; commit {run.commit}, {run.date}. {run.path.name}: epoch {run.epoch} of "
        f"{run.recipe.epochs}, {run.selection}. The three accuracies are {protocols[0].title}."
    )
    sections = [
        run_section(run, dataset),
        accuracy_section(evaluated, protocols, left_out),
        section(
            "CMC curves",
            "How often the person is among the first k identities of the ranked gallery; steep and high is good, "
            "and rank 1 is the usual figure.",
            columns(cmc_figure(cmc_curves(protocols, scores)), cmc_table(protocols, scores)),
        ),
        section(
            "Training",
            "The course over the epochs: loss terms fall and level out when the rate does; speed is how many training "
            "images a second the machine took in; validation is rank-1 and mAP on people held out of training.",
            panels(training_figures(run.rows)),
        ),
        section(
            "Rank lists",
            "A probe, then the ten gallery images most similar to it: a green, solid frame is the same person, a red, "
            "dashed one another; the number is the cosine. Best, median and worst probes by average precision (AP) in "
            f"the first trial of {protocols[0].title}.",
            *(rank_list_html(ranked) for ranked in rank_lists(protocols[0], evaluated.features)),
        ),
        similarity_section(dataset, evaluated.features),
        map_section(run, evaluated.features, shown, before),
    ]
    return page(f"{run.label}: {run.title}", lead, tiles, sections, warnings(run, dataset))


def warnings(run: Run, dataset: Dataset) -> list[str]:
    """What a reader has to know before any figure."""
    found: list[str] = []
    if run.metrics.get("selected_by") == "test":
        found.append(
            f"{run.label}: SELECTED ON THE TEST SET. This epoch scored best on the people it is measured with, as in "
            "published codes; the figures are too good by an unknown amount."
        )
    if run.epoch < run.recipe.epochs and run.selection.startswith("last"):
        found.append(f"{run.label}: {run.epoch} of {run.recipe.epochs} epochs are trained; the run is not finished.")
    trained = run.dataset.get("name", dataset.name)
    if trained != dataset.name:
        measured = TITLES[dataset.name]
        found.append(f"{run.label}: trained on {TITLES.get(trained, trained)}, measured on {measured}.")
    return found


def run_section(run: Run, dataset: Dataset) -> str:
    """Where the run comes from, and what its recipe changes."""
    layout = TITLES.get(run.dataset.get("name", ""), "unknown")
    people = " and ".join(run.recipe.train_on)
    where = shlex.join([str(run.path), "--data", str(dataset.folder)])
    judged = run.metrics if "mean_ap" in run.metrics else None
    chosen = "" if judged is None else f" (rank-1 {percent(judged['rank1'])}, mAP {percent(judged['mean_ap'])} on them)"
    split = f", split {run.dataset['trial']}" if "trial" in run.dataset else ""
    rows = [
        ["method", run.title],
        ["trained on", f"{run.dataset.get('folder', 'unknown')}, layout of {layout}{split}, identities of {people}"],
        ["measured on", f"{dataset.folder}: {describe(dataset)}"],
        ["checkpoint", f"{run.path}: epoch {run.epoch} of {run.recipe.epochs}, {run.selection}{chosen}"],
        ["ImageNet weights", str(run.dataset.get("pretrained") or "none")],
        ["commit", run.revision],
        ["date", run.date],
        ["input", f"{run.recipe.height_px} × {run.recipe.width_px} pixels"],
        ["embedding", f"{run.embedding_dim} values"],
        ["parameters", f"{run.parameters:,} with the layers that only training uses"],
        ["training took", clock(sum(row.get("seconds", 0.0) for row in run.rows)) + " (hours:minutes:seconds)"],
        ["to measure again", f"python train/evaluate_model.py {where} --dataset {dataset.name}"],
    ]
    changes = [[name, setting(default), setting(value)] for name, default, value in run.differences()]
    others = sorted(path.name for path in run.path.parent.glob("*.pt") if path.name != run.path.name)
    return section(
        "The run",
        "What was trained, from what, and in which settings.",
        facts(rows),
        note(f"Beside this checkpoint lies {' and '.join(others)}: name it in the place of the run for its page.")
        if others
        else "",
        heading("Recipe: what differs from the method's default"),
        table(["setting", "default", "this run"], changes, slim=True) if changes else note("Nothing differs."),
    )


def accuracy_section(evaluated: Evaluated, protocols: Sequence[Protocol], left_out: Sequence[str]) -> str:
    """Table per protocol; trials and cameras folded away."""
    scores = evaluated.scores
    rows = [[protocol.title, *figures(found)] for protocol, found in zip(protocols, scores, strict=True)]
    return section(
        "Accuracy",
        "In percent, mean ± standard deviation over the trials of a protocol, whose galleries are drawn anew; figures "
        "of different protocols cannot be compared.",
        table(["protocol", *FIGURES, "probes", "gallery", "trials"], rows),
        *(note(reason) for reason in left_out),
        folded("Each trial", *trial_tables(protocols, scores)) if len(scores[0].trials) > 1 else "",
        camera_table(protocols[0], evaluated.features),
    )


def figures(scores: Scores) -> list[str]:
    """One row of the table of accuracies, in the order of FIGURES, with the sizes of the protocol."""
    trials = len(scores.trials)
    valid = scores.trials[0].queries
    return [
        spread(scores.rank1, scores.rank1_spread, trials),
        f"{100 * scores.mean_rank(10):.2f}",
        f"{100 * scores.mean_rank(20):.2f}",
        spread(scores.mean_ap, scores.mean_ap_spread, trials),
        spread(scores.mean_inp, scores.mean_inp_spread, trials),
        str(scores.probes) if valid == scores.probes else f"{valid} of {scores.probes}",
        str(scores.gallery),
        str(trials),
    ]


def trial_tables(protocols: Sequence[Protocol], scores: Sequence[Scores]) -> list[str]:
    parts: list[str] = []
    for protocol, found in zip(protocols, scores, strict=True):
        rows = [
            [str(number), *(f"{100 * value:.2f}" for value in _figures_of(trial))]
            for number, trial in enumerate(found.trials, start=1)
        ]
        parts += [heading(protocol.title), table(["trial", *FIGURES], rows)]
    return parts


def _figures_of(trial: Metrics) -> list[float]:
    return [trial.rank(1), trial.rank(10), trial.rank(20), trial.mean_ap, trial.mean_inp]


def camera_table(protocol: Protocol, features: Features) -> str:
    """Rank-1 and mAP of each probe camera against each gallery camera; nothing where there is one of each."""
    found = camera_scores(protocol, features)
    if len(found) < 2:
        return ""
    rows = [
        [
            f"camera {pair.query_camera}",
            f"camera {pair.gallery_camera}",
            *([percent(pair.rank1), percent(pair.mean_ap)] if pair.probes else [NONE, NONE]),
            str(pair.probes) if pair.probes else "none: one place",
            str(pair.gallery),
        ]
        for pair in found
    ]
    query, gallery = protocol.trials[0].query[0].modality, protocol.trials[0].gallery[0].modality
    return folded(
        "Each pair of cameras",
        note(
            f"{protocol.title}: the {query} probes of one camera against the {gallery} gallery of one camera alone, "
            "mean over the trials. The whole gallery's figures are not their mean."
        ),
        table(["probes", "gallery", "rank-1", "mAP", "number of probes", "gallery images"], rows),
    )


def cmc_table(protocols: Sequence[Protocol], scores: Sequence[Scores]) -> str:
    """The curves at a few ranks."""
    ranks = (1, 5, 10, 20)
    rows = [
        [protocol.title, *(f"{100 * found.mean_rank(rank):.1f}" for rank in ranks)]
        for protocol, found in zip(protocols, scores, strict=True)
    ]
    return table(["in percent", *(f"rank {rank}" for rank in ranks)], rows)


def cmc_curves(protocols: Sequence[Protocol], scores: Sequence[Scores]) -> dict[str, list[float]]:
    return {protocol.title: found.cmc_R.tolist() for protocol, found in zip(protocols, scores, strict=True)}
