"""Score a sightings file of run_cameras --every-box against a truth file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="score_sightings", description=__doc__)
    parser.add_argument("sightings", type=Path, help="sightings.jsonl")
    parser.add_argument("truth", type=Path, help="truth.json")
    parser.add_argument("--overlap", type=float, default=0.5, help="least intersection over union of a match (0.5)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    def body() -> int:
        import dataclasses
        import json
        import sys

        from deploy.scoring import read_run, read_truth, score

        result = score(read_run(args.sightings), read_truth(args.truth), args.overlap)
        ratios = {name: getattr(result, name) for name in ("pair_precision", "pair_recall", "idf1")}
        # For people, then one JSON line for programs.
        sys.stdout.write(f"{result}\n{json.dumps({**dataclasses.asdict(result), **ratios})}\n")
        return 0

    return run_script("score_sightings", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
