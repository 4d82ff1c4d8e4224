"""A score as a table for people and as JSON for programs."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.scoring.score import Score, Share


def score_table(score: Score) -> str:
    """Return two columns; a false-match rate stands with its 95 % interval."""
    promised = "none promised" if score.false_match_rate is None else f"{_percent(score.false_match_rate)} promised"
    rows: list[tuple[str, str]] = [
        (
            "people",
            f"{score.people}, {score.people_in_both} of them in both modalities, {score.people_matched} matched",
        ),
        ("tracks", f"{score.tracks}, {score.stray_tracks} of them follow nobody"),
        ("IDF1, all boxes", _number(score.idf1)),
        ("IDF1, people in both modalities", _number(score.idf1_in_both)),
        ("cross-modality links, precision", str(score.cross.precision)),
        ("cross-modality links, recall", str(score.cross.recall)),
        ("returns in one modality, precision", str(score.returns.precision)),
        ("returns in one modality, recall", str(score.returns.recall)),
        ("newcomers falsely matched", f"{_interval(score.newcomers)}; {promised}"),
        ("searches falsely matched", _interval(score.searches)),
    ]
    rows += [(f"  {entry.direction}", _interval(entry.searches)) for entry in score.directions if entry.searches.whole]
    rows += [
        ("people in view together, joined", _interval(score.in_view)),
        ("unknowns kept unknown", f"{score.unknowns_kept.part} of {score.unknowns_kept.whole}"),
        ("tracks that change person", str(score.switches)),
        ("people in view who change track", str(score.fragments)),
    ]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:{width}}  {value}\n" for name, value in rows)


def score_json(score: Score) -> str:
    """Return one line: the counts, and the rates that follow from them (null: nothing to divide by)."""
    rates = {
        "pair_precision": score.pair_precision,
        "pair_recall": score.pair_recall,
        "return_precision": score.returns.precision.rate,
        "return_recall": score.returns.recall.rate,
        "idf1": score.idf1,
        "idf1_in_both": score.idf1_in_both,
        "newcomers_falsely_matched": score.newcomers.rate,
        "newcomers_interval_95": score.newcomers.interval,
        "searches_falsely_matched": score.searches.rate,
        "searches_interval_95": score.searches.interval,
        "joined_in_view": score.in_view.rate,
        "joined_in_view_interval_95": score.in_view.interval,
    }
    return json.dumps({**rates, **dataclasses.asdict(score)}, allow_nan=False)


def _interval(share: Share) -> str:
    if share.rate is None:
        return "-"
    low, high = share.interval
    return f"{_percent(share.rate)} ({share.part} of {share.whole}; 95 %: {_percent(low)} to {_percent(high)})"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
