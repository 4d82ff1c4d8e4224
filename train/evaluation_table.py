"""Figures of an evaluation for people and for programs, always with the protocol that gave them. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from train.protocol import Protocol, Scores

TRANSDUCTIVE = "transductive: uses all other probes"
RERANKED = {"mser": "MSER", "k-reciprocal": "k-reciprocal"}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model under one protocol."""

    model: str
    protocol: Protocol
    flip: bool
    plain: Scores
    reranked: Mapping[str, Scores] = field(default_factory=dict[str, "Scores"])  # by name in RERANKED

    @property
    def header(self) -> str:
        """Name the model and the protocol with its counts."""
        plain = self.plain
        parts = [self.protocol.title]
        if "trial" in self.protocol.choices:
            parts.append(f"split {self.protocol.choices['trial']}")
        parts += [f"gallery {plain.gallery}", f"probes {plain.probes} ({plain.trials[0].queries} valid)"]
        if len(plain.trials) > 1:
            parts.append(f"{len(plain.trials)} trials")
        if self.flip:
            parts.append("flip averaging")
        return f"{self.model}: {', '.join(parts)}"


def table(result: Result) -> str:
    """The figures in percent under the line that names their protocol; the plain ones always come first."""
    return "\n".join([result.header, *rows(result.plain, result.reranked)])


def mean_table(model: str, results: Sequence[Result]) -> str:
    """The mean over models, each scored on its own split."""
    first, plain, reranked = results[0], *averaged(results)
    flipped = ", flip averaging" if first.flip else ""
    return "\n".join([f"{model}: {first.protocol.title}{flipped}", *rows(plain, reranked)])


def averaged(results: Sequence[Result]) -> tuple[Scores, dict[str, Scores]]:
    """Put the trials of all models together, so that mean and spread are over models."""
    from train.protocol import Scores

    def together(scores: Sequence[Scores]) -> Scores:
        trials = tuple(trial for found in scores for trial in found.trials)
        return Scores(trials=trials, gallery=scores[0].gallery, probes=scores[0].probes)

    names = results[0].reranked
    return (
        together([result.plain for result in results]),
        {name: together([result.reranked[name] for result in results]) for name in names},
    )


def rows(plain: Scores, reranked: Mapping[str, Scores]) -> list[str]:
    """One line of figures each; a re-ranked one says what it is."""
    found = [f"  {'plain':<14}{_figures(plain)}"]
    found += [f"  {RERANKED[name]:<14}{_figures(scores)}  {TRANSDUCTIVE}" for name, scores in reranked.items()]
    return found


def _figures(scores: Scores) -> str:
    def percent(value: float, spread: float | None = None) -> str:
        shown = f"{100 * value:.2f}"
        return shown if spread is None or len(scores.trials) == 1 else f"{shown} ± {100 * spread:.2f}"

    return "  ".join(
        [
            f"rank-1 {percent(scores.rank1, scores.rank1_spread)}",
            f"rank-10 {percent(scores.mean_rank(10))}",
            f"rank-20 {percent(scores.mean_rank(20))}",
            f"mAP {percent(scores.mean_ap, scores.mean_ap_spread)}",
            f"mINP {percent(scores.mean_inp, scores.mean_inp_spread)}",
        ]
    )


def as_dict(result: Result) -> dict[str, Any]:
    """The figures, as shares, with the protocol that gave them."""
    return {
        "model": result.model,
        **_protocol(result),
        "gallery": result.plain.gallery,
        "probes": result.plain.probes,
        **_shares(result.plain),
        **_reranked(result.reranked),
    }


def mean_as_dict(model: str, results: Sequence[Result]) -> dict[str, Any]:
    """The mean over models, and each of them."""
    plain, reranked = averaged(results)
    protocol = {name: value for name, value in _protocol(results[0]).items() if name != "trial"}
    return {
        "model": model,
        **protocol,
        **_shares(plain),
        **_reranked(reranked),
        "models": [as_dict(result) for result in results],
    }


def _protocol(result: Result) -> dict[str, Any]:
    protocol = result.protocol
    return {
        "dataset": protocol.dataset,
        "lineage": protocol.lineage,
        "protocol": protocol.title,
        **protocol.choices,
        "flip_averaging": result.flip,
    }


def _reranked(found: Mapping[str, Scores]) -> dict[str, Any]:
    listed = {name: {"note": TRANSDUCTIVE, **_shares(scores)} for name, scores in found.items()}
    return {"reranked": listed} if listed else {}


def _shares(scores: Scores) -> dict[str, Any]:
    return {
        "rank1": scores.rank1,
        "rank1_spread": scores.rank1_spread,
        "rank10": scores.mean_rank(10),
        "rank20": scores.mean_rank(20),
        "mean_ap": scores.mean_ap,
        "mean_ap_spread": scores.mean_ap_spread,
        "mean_inp": scores.mean_inp,
        "mean_inp_spread": scores.mean_inp_spread,
        "cmc": scores.cmc_R.tolist(),
        "trials": [
            {
                "rank1": trial.rank1,
                "mean_ap": trial.mean_ap,
                "mean_inp": trial.mean_inp,
                "queries": trial.queries,
            }
            for trial in scores.trials
        ],
    }
