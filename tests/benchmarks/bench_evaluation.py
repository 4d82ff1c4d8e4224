"""How fast train.metrics scores SYSU-MM01's ten trials, against a loop over the probes as public evaluators have it.

The loop is written here from the protocol: argsort of the distances, then for each probe its camera mask, np.unique for
the CMC over identities, AP and mINP. It comes in two forms: with precision as a Python list over the ranked gallery, as
the evaluators that descend from torchreid and AGW have it, and with arrays only. All get the same float64 matrix in the
same process, in turns; their results are checked to be equal. Ranking alone leaves the matrix out; the whole run adds
the same matrix product to each.

Identities and cameras are the official ones where the shared material is, else drawn up with the same sizes; features
are random around one centre per identity. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from train.metrics import Metrics

DIMENSION = 2048
SHOTS = (1, 10)
TRIALS = 10
INFRARED, VISIBLE = (3, 6), (1, 2, 4, 5)
PROBES = 3803
SPREAD = 4.3  # of a feature around its identity's centre, in units of the centres' own: mAP about 50 and 40 %
TOLERANCE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Identity and camera of each image."""

    identity_N: NDArray[np.int64]
    camera_N: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """One trial."""

    product: float
    ours: float
    lists: float
    arrays: float


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_evaluation", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns on each trial (default: 3)")
    parser.add_argument("--trials", type=int, default=TRIALS, metavar="N", help=f"galleries (default: {TRIALS})")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("bench_evaluation", lambda: measure(args.repeats, args.trials))


def measure(repeats: int, trials: int) -> None:
    from engines.benchmark import cpu_name
    from engines.provenance import git_revision, tool_versions
    from train.metrics import THREADS

    counts, origin = image_counts()
    rows: list[dict[str, Any]] = []
    write = sys.stdout.write
    write(f"{trials} trials, {PROBES} probes, D {DIMENSION}, {origin}, {THREADS} threads, {cpu_name()}\n")
    write(
        f"{'gallery':>8}{'part':>10}{'ours s':>9}{'lists s':>9}{'arrays s':>9}{'x lists':>9}{'x arrays':>9}"
        f"{'mAP %':>7}\n"
    )
    for shots in SHOTS:
        probes, gallery = labels(counts, INFRARED), labels(counts, VISIBLE, shots)
        seconds, mean_ap = time_trials(probes, gallery, repeats, trials)
        for part in ("ranking", "whole run"):
            product = sum(trial.product for trial in seconds) if part == "whole run" else 0.0
            ours, lists, arrays = (
                product + sum(getattr(trial, way) for trial in seconds) for way in ("ours", "lists", "arrays")
            )
            row = {
                "probes": len(probes.identity_N),
                "gallery": len(gallery.identity_N),
                "part": part,
                "ours_s": round(ours, 3),
                "lists_s": round(lists, 3),
                "arrays_s": round(arrays, 3),
                "times_lists": round(lists / ours, 1),
                "times_arrays": round(arrays / ours, 1),
                "mean_ap": round(mean_ap, 4),
            }
            rows.append(row)
            write(
                f"{row['gallery']:8}{part:>10}{ours:9.3f}{lists:9.3f}{arrays:9.3f}"
                f"{row['times_lists']:9.1f}{row['times_arrays']:9.1f}{100 * mean_ap:7.1f}\n"
            )
    facts = {"bench": "evaluation", "commit": git_revision(), "cpu": cpu_name(), "tools": tool_versions(("numpy",))}
    write(json.dumps({**facts, "threads": THREADS, "trials": trials, "labels": origin, "rows": rows}) + "\n")


def time_trials(probes: Labels, gallery: Labels, repeats: int, trials: int) -> tuple[list[Seconds], float]:
    """Time each trial in turns, take the median of each; the mean AP is over the trials."""
    from train.metrics import evaluate, same_place

    rng = np.random.default_rng(0)
    centre_KD = rng.standard_normal((1000, DIMENSION))
    probe_ND = features(rng, centre_KD, probes)
    seconds: list[Seconds] = []
    found: list[float] = []
    for _ in range(trials):
        gallery_ND = features(rng, centre_KD, gallery)
        start = time.perf_counter()
        similarity_NN = probe_ND @ gallery_ND.T
        product = time.perf_counter() - start
        distance_NN = -similarity_NN
        taken: dict[str, list[float]] = {"ours": [], "lists": [], "arrays": []}
        for repeat in range(repeats):
            start = time.perf_counter()
            excluded_NN = same_place(probes.camera_N, gallery.camera_N)
            metrics = evaluate(similarity_NN, probes.identity_N, gallery.identity_N, excluded_QG=excluded_NN)
            taken["ours"].append(time.perf_counter() - start)
            for way in ("arrays",) if repeat else ("arrays", "lists"):  # lists are slow: ten trials are turns enough
                start = time.perf_counter()
                expected = probe_by_probe(distance_NN, probes, gallery, lists=way == "lists")
                taken[way].append(time.perf_counter() - start)
                check(metrics, *expected)
            found.append(metrics.mean_ap)
        median = {way: statistics.median(times) for way, times in taken.items()}
        seconds.append(Seconds(product=product, **median))
    return seconds, statistics.mean(found)


def probe_by_probe(
    distance_NN: NDArray[np.float64], probes: Labels, gallery: Labels, *, lists: bool
) -> tuple[NDArray[np.float64], float, float]:
    """CMC over identities, mAP and mINP, one probe at a time."""
    order_NN = np.argsort(distance_NN, axis=1)
    hits = np.zeros(len(np.unique(gallery.identity_N)))
    precisions: list[float] = []
    penalties: list[float] = []
    for order, identity, camera in zip(order_NN, probes.identity_N, probes.camera_N, strict=True):
        ranked = gallery.identity_N[order]
        if camera == 3:
            ranked = ranked[gallery.camera_N[order] != 2]
        at = np.flatnonzero(ranked == identity) + 1
        if len(at) == 0:
            continue
        first = np.unique(ranked, return_index=True)[1]
        distinct = ranked[np.sort(first)]
        hits[np.flatnonzero(distinct == identity)[0] :] += 1
        if lists:
            match = ranked == identity
            precision = [found / (place + 1) for place, found in enumerate(match.cumsum())]
            precisions.append(float((np.asarray(precision) * match).sum() / len(at)))
        else:
            precisions.append(float((np.arange(1, len(at) + 1) / at).mean()))
        penalties.append(len(at) / int(at[-1]))
    return hits / len(precisions), float(np.mean(precisions)), float(np.mean(penalties))


def check(metrics: Metrics, cmc_R: NDArray[np.float64], mean_ap: float, mean_inp: float) -> None:
    from engines.errors import BadInput

    pairs = ((metrics.cmc_R, cmc_R), (metrics.mean_ap, mean_ap), (metrics.mean_inp, mean_inp))
    worst = max(float(np.abs(np.asarray(ours) - theirs).max()) for ours, theirs in pairs)
    if worst > TOLERANCE:
        raise BadInput(f"expected equal results from both ways, got a difference of {worst}; the timing means nothing")


def features(rng: np.random.Generator, centre_KD: NDArray[np.float64], labels: Labels) -> NDArray[np.float64]:
    found_ND = centre_KD[labels.identity_N] + SPREAD * rng.standard_normal((len(labels.identity_N), DIMENSION))
    return found_ND / np.linalg.norm(found_ND, axis=1, keepdims=True)


def labels(counts: dict[tuple[int, int], int], cameras: Sequence[int], shots: int | None = None) -> Labels:
    """List images camera by camera, identity ascending; shots limits the images of an identity in a camera."""
    images = [
        (identity, camera)
        for (camera, identity), count in sorted(counts.items())
        if camera in cameras
        for _ in range(count if shots is None else min(count, shots))
    ]
    identity_N, camera_N = np.array(images).T
    return Labels(identity_N=identity_N, camera_N=camera_N)


def image_counts() -> tuple[dict[tuple[int, int], int], str]:
    """Return the images of each (camera, test identity) and where the numbers are from."""
    import pytest

    from tests.shared_material import shared_folder
    from train.datasets.sysu import read_identities

    try:
        folder = shared_folder("data/splits")
    except pytest.skip.Exception:
        return drawn_up_counts(), "labels drawn up with the official sizes"
    listed = json.loads((folder / "sysu_image_counts_per_cam_id.json").read_text(encoding="utf-8"))
    identities = read_identities(folder / "test_id.txt")
    found = {
        (camera, identity): count
        for camera in (*VISIBLE, *INFRARED)
        for identity in identities
        if (count := listed[f"cam{camera}"].get(f"{identity:04d}", 0))
    }
    return found, "official labels"


def drawn_up_counts() -> dict[tuple[int, int], int]:
    """As many identities in each camera as the official test set has, and 1883 + 1920 infrared images."""
    identities = {1: 56, 2: 56, 3: 93, 4: 94, 5: 95, 6: 96}
    counts = {(camera, identity): 20 for camera, count in identities.items() for identity in range(1, count + 1)}
    counts.update({(3, identity): 21 for identity in range(1, 24)})
    return counts


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
