# PYTHON_ARGCOMPLETE_OK
"""Write a synthetic site: recordings of two to four cameras, the truth of who is where, and its site file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from engines.command_line import Parser

log = logging.getLogger(__name__)
MINUTES = {2: 5.0, 3: 3.0, 4: 3.0}  # one place takes longer for everybody to come back

EXAMPLES = (
    "python train/make_site.py --out site",
    "python train/make_site.py --out door --cameras 2 --identities 8 --infrared thermal --seed 3",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import measure, whole

    parser = Parser("make_site", __doc__, EXAMPLES)
    people, minutes, seed = (
        whole("a whole number of people"),
        measure("a number of minutes"),
        whole("a whole number", least=0),
    )
    add = parser.add_argument_group("content").add_argument
    cameras = whole("a whole number of cameras", least=2, most=4)
    add("--cameras", type=cameras, default=4, metavar="N", help="2: a door; 3 or 4: and a yard")
    add("--identities", type=people, default=20, metavar="N", help="people who come and come back")
    add("--unknowns", type=people, default=4, metavar="N", help="others, who come once")
    add("--minutes", type=minutes, metavar="MINUTES", help="length (default: 3; 5 with two cameras)")
    add(
        "--infrared",
        choices=("nir", "thermal"),
        default="nir",
        metavar="NAME",
        help="near wave, or long wave of 16 bits: %(choices)s",
    )
    add(
        "--seed",
        type=seed,
        default=0,
        metavar="N",
        help="same number, same bytes; give the dataset's for people of its kind",
    )
    add = parser.add_argument_group("output").add_argument
    add(
        "--out", type=Path, required=True, metavar="FOLDER",
        help="new folder that receives the recordings, truth.json and site.yaml",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    return run_script("make_site", lambda: make(args))


def make(args: argparse.Namespace) -> None:
    import time

    from train.datasets.synthetic_site import SiteShape, plan_site
    from train.datasets.synthetic_site_files import write_site

    shape = SiteShape(
        cameras=args.cameras,
        identities=args.identities,
        unknowns=args.unknowns,
        minutes=MINUTES[args.cameras] if args.minutes is None else args.minutes,
        infrared=args.infrared,
    )
    began_s = time.monotonic()
    summary = write_site(args.out, plan_site(shape, args.seed))
    log.info(
        "wrote %d recordings of %d cameras, %d frames with %d boxes of %d people in %d visits, to %s in %.1f s",
        summary.recordings, shape.cameras, summary.frames, summary.boxes, summary.people, summary.visits, args.out,
        time.monotonic() - began_s,
    )  # fmt: skip


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
