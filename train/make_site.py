"""Write a synthetic site: recordings of two to four cameras, the truth of who is where, and its site file."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)
MINUTES = {2: 5.0, 3: 3.0, 4: 3.0}  # one place takes longer for everybody to come back


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    help_out = "new folder that receives the recordings, truth.json and site.yaml"
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=help_out)
    parser.add_argument(
        "--cameras", type=int, choices=(2, 3, 4), default=4, help="2: a door; 3, 4: and a yard (default: 4)"
    )
    parser.add_argument("--identities", type=int, default=20, metavar="N", help="who come and come back (default: 20)")
    parser.add_argument("--unknowns", type=int, default=4, metavar="N", help="others who come once (default: 4)")
    parser.add_argument("--minutes", type=float, metavar="M", help="length (default: 3; 5 with two cameras)")
    parser.add_argument(
        "--infrared",
        choices=("nir", "thermal"),
        default="nir",
        help="near wave, or long wave of 16 bits (default: nir)",
    )
    parser.add_argument("--seed", type=int, default=0, help="give the data set's, for people of its kind (default: 0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("make_site", lambda: make(args))


def make(args: argparse.Namespace) -> None:
    import time

    from engines.errors import BadInput
    from train.datasets.synthetic_site import SiteShape, plan_site
    from train.datasets.synthetic_site_files import write_site

    if args.seed < 0:
        raise BadInput(f"expected a --seed of 0 or more, got {args.seed}")
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
