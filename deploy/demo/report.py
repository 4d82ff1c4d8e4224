"""The demonstration's report: what the cameras saw, how accurate the engine is, and what was run."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from deploy.scoring.score import Score, read_run, read_truth, score
from deploy.sightings import TrackKey
from engines.atomic import write_text
from engines.manifest import load_manifest
from engines.open import open_engine
from train.datasets.sysu import open_sysu
from train.evaluation import embed_images
from train.protocol import build_protocol
from train.rank_lists import rank_list_html, rank_lists
from train.reports.figures import cmc_figure, training_figures
from train.reports.page import Tile, columns, page, panels, picture, section, table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.demo.road import Done
    from deploy.scoring.score import Run
    from engines.manifest import Manifest

STILLS = 3  # frames of the annotated video in the report
LEGEND = {
    "pixels": "raw pixels (floor)",
    "pytorch": "MCJA, PyTorch FP32",
    "int8": "MCJA, INT8 engine",
}


def write_report(out: Path, done: Sequence[Done]) -> str:
    """Write out/report.html and return its summary in one line."""
    scores = {name: json.loads((out / "scores" / f"{name}.json").read_text()) for name in LEGEND}
    manifest = load_manifest(out / "engine")
    run = read_run(out / "sightings.jsonl")
    matches = score(run, read_truth(out / "streams" / "truth.json"))
    end = _last_record(out / "sightings.jsonl")
    fps = sum(end["frames"].values()) / max(end["seconds"], 1e-9)
    tiles = [
        Tile(_percent(matches.pair_precision), "of cross-camera matches are right"),
        Tile(f"{matches.people_matched} of {matches.people_in_both}", "people matched between the cameras"),
        Tile(_number(matches.idf1), "IDF1 over both cameras"),
        Tile(f"{100 * scores['int8']['rank1']:.1f} %", "rank-1 of the INT8 engine on unseen people"),
        Tile(f"{100 * scores['pixels']['rank1']:.1f} %", "rank-1 of raw pixels"),
        Tile(f"{fps:.0f}", "frames a second, both streams, this CPU"),
    ]
    rows = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    sections = [
        _cameras(out, run, matches, end),
        _accuracy(scores),
        _ranks(out),
        section(
            "Training",
            f"MCJA, small, {len(rows)} epochs; identity loss and retrieval loss.",
            panels(training_figures(rows)),
        ),
        _parity(manifest),
        _commands(done),
    ]
    lead = (
        "A network trained on synthetic people, turned into an INT8 engine, matching a visible and an infrared camera. "
        "The people are drawn, not filmed: these figures say that the road works, not how it does on a street."
    )
    write_text(out / "report.html", page("Crosslight demonstration", lead, tiles, sections))
    return (
        f"{matches}; INT8 rank-1 {100 * scores['int8']['rank1']:.1f} % "
        f"(PyTorch {100 * scores['pytorch']['rank1']:.1f} %, raw pixels {100 * scores['pixels']['rank1']:.1f} %)"
    )


def _cameras(out: Path, run: Run, matches: Score, end: dict[str, Any]) -> str:
    stills = "".join(picture(still, f"visible and infrared, frame {frame}") for frame, still in best_stills(out, run))
    rows = [
        ["precision of cross-camera pairs", _percent(matches.pair_precision), "right pairs / reported pairs"],
        ["recall of cross-camera pairs", _percent(matches.pair_recall), "right pairs / true pairs"],
        ["IDF1", _number(matches.idf1), "boxes under the right identity, both cameras (Ristani et al., 2016)"],
        ["people in both cameras", str(matches.people_in_both), f"{matches.people_matched} of them matched"],
        ["tracks", str(sum(end["tracks"].values())), ", ".join(f"{name} {n}" for name, n in end["tracks"].items())],
    ]
    return section(
        "Two cameras, one person",
        "A colour is an identity; a line joins the two views of one person. out.mp4 beside this file has every frame.",
        f'<div class="frames">{stills}</div>',
        table(["measure", "value", ""], rows),
    )


def best_stills(out: Path, run: Run) -> list[tuple[int, NDArray[np.uint8]]]:
    """Return frames of the annotated video that show most people matched, far apart in time, RGB."""
    seen: dict[tuple[int, str], set[int]] = {}  # identities of a frame and modality
    for spot, people in run.boxes.items():
        for person in people:
            track = TrackKey(spot.camera, person.label)
            identity = run.identities.get(track)
            if identity is not None:
                seen.setdefault((spot.frame, run.modalities[track]), set()).add(identity)
    nobody: set[int] = set()
    matched = {
        frame: len(seen.get((frame, "visible"), nobody) & seen.get((frame, "infrared"), nobody)) for frame, _ in seen
    }
    # Late frames of an encounter first: by then the evidence is in and the overlay shows the decision.
    order = sorted(matched, key=lambda frame: (-matched[frame], -frame))
    gap = max(matched, default=0) // (STILLS + 1)
    chosen: list[int] = []
    for frame in order:
        if len(chosen) < STILLS and all(abs(frame - other) > gap for other in chosen):
            chosen.append(frame)
    return [(frame, image) for frame in sorted(chosen) if (image := _video_frame(out / "out.mp4", frame)) is not None]


def _video_frame(path: Path, frame: int) -> NDArray[np.uint8] | None:
    capture = cv2.VideoCapture(str(path))
    try:
        capture.set(cv2.CAP_PROP_POS_FRAMES, frame)
        taken, image = capture.read()
        return np.asarray(image[:, :, ::-1], np.uint8) if taken else None
    finally:
        capture.release()


def _accuracy(scores: dict[str, dict[str, Any]]) -> str:
    rows = [
        [
            LEGEND[name],
            *(f"{100 * found[figure]:.1f} %" for figure in ("rank1", "rank10", "mean_ap", "mean_inp")),
        ]
        for name, found in scores.items()
    ]
    first = scores["int8"]
    note = (
        f"SYSU-MM01's official protocol, all-search, single-shot, ten trials: {first['probes']} infrared probes "
        f"against {first['gallery']} visible images of people that training never saw."
    )
    curves = {LEGEND[name]: found["cmc"] for name, found in scores.items()}
    return section(
        "Accuracy",
        note,
        columns(table(["model", "rank-1", "rank-10", "mAP", "mINP"], rows), cmc_figure(curves)),
    )


def _ranks(out: Path) -> str:
    protocol = build_protocol(open_sysu(out / "data"))
    with open_engine(out / "engine", precision="int8") as engine:
        manifest = engine.manifest
        features = embed_images(engine.embed, protocol.images(), manifest.height_px, manifest.width_px)
    return section(
        "Rank lists",
        "An infrared probe, then the ten most similar visible images: a green, solid frame is the same person, a red, "
        "dashed one another. The number is the cosine. Best, median and worst probes by average precision.",
        *(rank_list_html(ranked) for ranked in rank_lists(protocol, features)),
    )


def _parity(manifest: Manifest) -> str:
    rows: list[list[str]] = []
    for stage, found in manifest.parity.items():
        if isinstance(found, dict):
            drift = cast("dict[str, float | None]", found)
            rows.append([stage, *(_number(drift.get(name), 4) for name in PARITY_COLUMNS)])
    return section(
        "Parity with PyTorch",
        "The same held-out images through PyTorch and through each engine.",
        table(["stage", *PARITY_COLUMNS.values()], rows),
    )


PARITY_COLUMNS = {
    "worst_cosine": "worst cosine",
    "mean_cosine": "mean cosine",
    "rank1_agreement": "rank-1 agreement",
    "max_similarity_error": "largest similarity error",
    "map_difference": "mAP difference",
}


def _commands(done: Sequence[Done]) -> str:
    lines = "\n".join(f"{html.escape(item.step.typed)}    # {item.seconds:.0f} s" for item in done)
    return section("What was run", "The public commands, one behind the other.", f"<pre><code>{lines}</code></pre>")


def _last_record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text().splitlines()[-1])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
