"""How a trained engine does on a synthetic site with truth, against the false-match rate that it promises.

Four cameras of both kinds at two places, residents who come back, crossings, strangers, one camera lost for a while; a
site of other people for each seed. One process a run, as a user would start it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_site", description=__doc__)
    parser.add_argument("--engine", type=Path, default=ROOT / "demo" / "engine", metavar="FOLDER")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="sites of other people (3)")
    parser.add_argument("--minutes", type=float, metavar="M", help="of each site (make_site's own)")
    parser.add_argument("--detector", type=Path, metavar="FILE", help="ONNX (default: motion)")
    parser.add_argument("--thresholds", type=Path, metavar="FILE", help="(default: the engine's)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep sites and sightings there")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    from engines.provenance import git_revision

    args = parse(argv)
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        for seed in range(args.seeds):
            results.append(run_site(args, folder / f"site-{seed}", seed))
    sys.stdout.write(
        json.dumps({"benchmark": "site", "commit": git_revision(), "engine": args.engine.name, "seeds": results}) + "\n"
    )
    return 0


def run_site(args: argparse.Namespace, site: Path, seed: int) -> dict[str, Any]:
    """Draw a site, run the cameras over it, score the run, print the table."""
    minutes = [] if args.minutes is None else ["--minutes", str(args.minutes)]
    if not (site / "site.yaml").exists():
        _python("train/make_site.py", "--out", str(site), "--seed", str(seed), *minutes)
    sightings = site.with_suffix(".jsonl")
    more: list[str] = []
    if args.detector is not None:
        more += ["--detector", str(args.detector)]
    if args.thresholds is not None:
        more += ["--thresholds", str(args.thresholds)]
    flags = ["--engine", str(args.engine), "--sightings", str(sightings), "--every-box", *more]
    _python("deploy/run_cameras.py", "--site", str(site / "site.yaml"), *flags)
    sys.stdout.write(
        f"\nsite {seed}\n" + _python("deploy/score_sightings.py", str(sightings), str(site / "truth.json"))
    )
    sys.stdout.flush()
    score = _python("deploy/score_sightings.py", str(sightings), str(site / "truth.json"), "--json")
    return {"seed": seed, **json.loads(score)}


def _python(script: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, str(ROOT / script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.stderr.write(done.stderr[-2000:])
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
