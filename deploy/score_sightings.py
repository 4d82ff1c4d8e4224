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
    parser.add_argument("truth", type=Path, help="truth.json of make_site or make_streams")
    parser.add_argument("--overlap", type=float, default=0.5, help="least intersection over union of a match (0.5)")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("score_sightings", lambda: write_score(args))


def write_score(args: argparse.Namespace) -> None:
    import sys

    from deploy.scoring.score import read_run, read_truth, score
    from deploy.scoring.table import score_json, score_table
    from engines.errors import BadInput

    if not 0 < args.overlap <= 1:
        raise BadInput(f"--overlap: expected a share above 0 and up to 1, got {args.overlap:g}")
    result = score(read_run(args.sightings), read_truth(args.truth), args.overlap)
    sys.stdout.write(score_json(result) + "\n" if args.json else score_table(result))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
