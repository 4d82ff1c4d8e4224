"""Every method on the synthetic people with one budget, and IMFE's ablation: rank-1 and mAP, plain and with MSER.

Each run is the user's own two commands (train_model.py, evaluate_model.py) with resnet_small at 96 x 48, the same
number of training images, batches of 64 and the same data; the seeds are of training. The networks start from random
weights. A run that is in --out already is not repeated. Prints tables and one JSON line.

The default budget shows that everything runs and nothing more; the table in the README was made with
    python tests/benchmarks/bench_methods.py --out bench --images 40000 --seeds 3 --jobs 2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
BATCH = 64
COMMON = ("backbone=resnet_small", "height_px=96", "width_px=48", "pad_px=4", 'train_on=["train"]')
EIGHT_EACH = ("identities_per_batch=8", "images_per_identity=8")
# Rates for random weights: each method's own out of a few tried on the validation identities (train/LOG.md).
VARIANTS: dict[str, tuple[str, ...]] = {
    "baseline": ("baseline", *COMMON, *EIGHT_EACH, "lr=4e-3", "warmup_epochs=0"),
    "mcja": ("mcja", *COMMON, "identities_per_batch=16", "images_per_identity=4", "lr=2e-3"),
    "mpanet": ("mpanet", *COMMON, *EIGHT_EACH, "lr=2e-3"),
    "imfe": ("imfe", *COMMON, *EIGHT_EACH, "warmup_epochs=0"),
    "imfe without both": ("imfe", *COMMON, *EIGHT_EACH, "warmup_epochs=0", "lam_intra=0", "lam_dist=0"),
    "imfe + intra": ("imfe", *COMMON, *EIGHT_EACH, "warmup_epochs=0", "lam_dist=0"),
    "imfe + distribution": ("imfe", *COMMON, *EIGHT_EACH, "warmup_epochs=0", "lam_intra=0"),
    # Its own batches: 8 people for the encoder, 4 for the generators, and three phases of equal length.
    "aligngan": (
        "aligngan", *COMMON[:3], "pad_px=0", *COMMON[4:], "feature_height_px=96", "feature_width_px=48",
        "identities_per_batch=8", "generator_width=8", "discriminator_width=8", "iterations_per_epoch=20",
    ),
}  # fmt: skip
ALIGNGAN_IMAGES = 20 * (32 + 32 + 96)  # of one epoch of each phase
ABLATION = ("imfe without both", "imfe + intra", "imfe + distribution", "imfe")
FIGURES = ("rank1", "mean_ap")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_methods", description=__doc__)
    parser.add_argument("--out", type=Path, metavar="DIR", help="keep data and runs here (default: a temporary folder)")
    parser.add_argument("--images", type=int, default=4000, metavar="N", help="training images a run (default: 4000)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="runs of each variant (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs at a time, one thread each (default: 2)")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, metavar="NAME", help="some of: " + ", ".join(VARIANTS))
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    def body() -> None:
        if args.out is not None:
            measure(args, args.out)
            return
        with tempfile.TemporaryDirectory() as folder:
            measure(args, Path(folder))

    return run_script("bench_methods", body)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One training and its scores."""

    variant: str
    seed: int
    images: int

    def folder(self, out: Path) -> Path:
        return out / f"{self.variant.replace(' ', '-')}-{self.images}-seed{self.seed}"


def measure(args: argparse.Namespace, out: Path) -> None:
    from engines.benchmark import cpu_name
    from engines.progress import progress
    from engines.provenance import git_revision, tool_versions

    data = out / "data"
    if not data.is_dir():
        command("train/make_synthetic.py", "--out", str(data))
    runs = [
        Run(variant=variant, seed=seed, images=args.images)
        for seed in range(args.seeds)
        for variant in args.only or VARIANTS
    ]
    with ThreadPoolExecutor(args.jobs) as pool:
        done = pool.map(lambda run: perform(run, data, out), runs)
        scores = list(progress(done, total=len(runs), unit="runs", label="methods"))
    rows = [summary(variant, runs, scores, out) for variant in args.only or VARIANTS]
    write = sys.stdout.write
    write(
        f"\nsynthetic people, resnet_small 96 x 48, {args.images} training images a run, seeds {args.seeds}: "
        "all-search, single-shot, percent, mean ± spread over seeds\n"
    )
    write(f"  {'':<22} {'rank-1':>14} {'mAP':>14} {'MSER rank-1':>14} {'MSER mAP':>14}   minutes\n")
    for row in rows:
        shown = "".join(f"{text(row[name]):>15}" for name in ("rank1", "mean_ap", "mser_rank1", "mser_mean_ap"))
        write(f"  {row['variant']:<22}{shown}   {row['minutes']:7.1f}\n")
    write("  MSER is transductive: it uses all other probes.\n")
    found = {
        "bench": "methods",
        "commit": git_revision(),
        "cpu": cpu_name(),
        "tools": tool_versions(("torch", "numpy")),
        "images": args.images,
        "seeds": args.seeds,
        "rows": rows,
    }
    write(json.dumps(found) + "\n")


def settings(run: Run, data: Path) -> list[str]:
    """The recipe of a run: as many epochs as the budget has images for, the rate lowered at 5/8 and 7/8 of them."""
    from train.datasets.sysu import open_sysu
    from train.methods import load
    from train.recipe import override
    from train.sampler import epoch_batches

    method, *changes = VARIANTS[run.variant]
    recipe = override(load(method).default_recipe, changes)
    if recipe.sampler == "paired":
        phase = max(1, round(run.images / ALIGNGAN_IMAGES))
        phases = [f"feature_epochs={phase}", f"pixel_epochs={phase}", f"epochs={3 * phase}"]
        return [*changes, *phases, f"milestones=[{2 * phase + (phase + 1) // 2}]"]
    batches = epoch_batches(open_sysu(data).split("train"), recipe, 0)
    images = sum(len(part) for parts in batches for part in parts)
    epochs = max(1, round(run.images / images))
    return [*changes, f"epochs={epochs}", f"milestones=[{epochs * 5 // 8}, {epochs * 7 // 8}]"]


def perform(run: Run, data: Path, out: Path) -> dict[str, Any]:
    """Train and score, unless that was done."""
    folder = run.folder(out)
    result = folder / "scores.json"
    if not result.is_file():
        chosen = [part for setting in settings(run, data) for part in ("--set", setting)]
        chosen += ["--set", f"seed={run.seed}", "--out", str(folder), "--accelerator", "cpu"]
        if (folder / "checkpoint.pt").is_file():
            chosen.append("--resume")
        command("train/train_model.py", VARIANTS[run.variant][0], "--data", str(data), *chosen)
        command("train/evaluate_model.py", str(folder), "--data", str(data), "--rerank", "mser", "--json", str(result))
    return json.loads(result.read_text(encoding="utf-8"))


def command(script: str, *arguments: str) -> None:
    """Run one of our scripts on one thread; its errors end the benchmark."""
    from engines.errors import BadInput

    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BadInput(f"{script} {' '.join(arguments)}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")


def minutes_of(run: Run, out: Path) -> float:
    """How long the training took, from its own record."""
    lines = (run.folder(out) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["seconds"] for line in lines) / 60


def summary(variant: str, runs: Sequence[Run], scores: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    """Put the seeds of a variant together."""
    own = [(run, found) for run, found in zip(runs, scores, strict=True) if run.variant == variant]
    row: dict[str, Any] = {
        "variant": variant,
        "minutes": round(statistics.mean(minutes_of(run, out) for run, _ in own), 1),
    }
    for name in FIGURES:
        row[name] = [round(100 * found[name], 2) for _, found in own]
        row[f"mser_{name}"] = [round(100 * found["reranked"]["mser"][name], 2) for _, found in own]
    return row


def text(values: Sequence[float]) -> str:
    """Mean and spread (standard deviation over the seeds)."""
    mean = statistics.mean(values)
    return f"{mean:.1f} ± {statistics.stdev(values):.1f}" if len(values) > 1 else f"{mean:.1f}"


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
