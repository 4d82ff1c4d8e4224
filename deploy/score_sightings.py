# PYTHON_ARGCOMPLETE_OK
"""Score a sightings file of run_cameras --every-box against a truth file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/score_sightings.py sightings.jsonl site/truth.json",
    "python deploy/score_sightings.py sightings.jsonl truth.json --overlap 0.3 --json",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import measure

    parser = Parser("score_sightings", __doc__, EXAMPLES)
    add = parser.add_argument_group("input").add_argument
    add("sightings", type=Path, metavar="SIGHTINGS", help="JSON lines of run_cameras.py --every-box")
    add("truth", type=Path, metavar="TRUTH", help="truth.json of make_site.py or make_streams.py")
    share = measure("a share", above=0, most=1)
    add("--overlap", type=share, default=0.5, metavar="SHARE", help="least intersection over union of a match, 0 to 1")
    add = parser.add_argument_group("output").add_argument
    add("--json", action="store_true", help="print the figures as JSON, one line, instead of the table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    return run_script("score_sightings", lambda: write_score(args))


def write_score(args: argparse.Namespace) -> None:
    import sys

    from deploy.scoring.score import read_run, read_truth, score
    from deploy.scoring.table import score_json, score_table

    result = score(read_run(args.sightings), read_truth(args.truth), args.overlap)
    sys.stdout.write(score_json(result) + "\n" if args.json else score_table(result))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
