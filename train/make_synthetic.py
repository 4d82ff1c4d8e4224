# PYTHON_ARGCOMPLETE_OK
"""Write a synthetic visible-infrared dataset in the layout of SYSU-MM01."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from engines.command_line import Parser

log = logging.getLogger(__name__)

EXAMPLES = (
    "python train/make_synthetic.py --out data/people",
    "python train/make_synthetic.py --out data/thermal --infrared thermal --train-identities 500 --seed 3",
    "python train/make_synthetic.py --out data/like-sysu --like-sysu ~/SYSU-MM01/exp --blank",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import whole

    parser = Parser("make_synthetic", __doc__, EXAMPLES)
    people, processes = whole("a whole number of people"), whole("a whole number of processes", least=1)
    add = parser.add_argument_group("content").add_argument
    add("--train-identities", type=people, metavar="N", help="people to train on (default: 320)")
    add("--val-identities", type=people, metavar="N", help="people to validate on (default: 20)")
    add("--test-identities", type=people, metavar="N", help="people to test on (default: 60)")
    add("--infrared", choices=("nir", "thermal"), default="nir", metavar="NAME", help="near or long wave: %(choices)s")
    add("--seed", type=whole("a whole number", least=0), default=0, metavar="N", help="same number, same bytes")
    add = parser.add_argument_group("the real cardinalities of SYSU-MM01 (45,863 images)").add_argument
    add("--like-sysu", type=Path, metavar="FOLDER", help="with the published split files")
    add(
        "--only", nargs="+", choices=("train", "val", "test"), metavar="SPLIT",
        help="write the images of these splits: %(choices)s (default: all)",
    )  # fmt: skip
    add("--blank", action="store_true", help="4 x 8 px grey images: quick, for counting")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, required=True, metavar="FOLDER", help="new folder that receives the dataset")
    add("--workers", type=processes, metavar="N", help="processes (default: every core)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    return run_script("make_synthetic", lambda: make(args))


def make(args: argparse.Namespace) -> None:
    import time

    from engines.errors import BadInput
    from train.datasets.images import SPLITS
    from train.datasets.synthetic import DatasetShape, Plan, default_workers, draw_counts, write_dataset
    from train.datasets.synthetic_camera import SceneStyle
    from train.datasets.synthetic_sysu import plan_like_sysu

    sizes = {f"{split}_identities": getattr(args, f"{split}_identities") for split in SPLITS}
    given = {name: size for name, size in sizes.items() if size is not None}
    exp: Path | None = args.like_sysu
    if exp is None and args.only:
        raise BadInput("--only chooses splits of --like-sysu; give that too, or --train-identities and its like")
    if exp is not None and given:
        raise BadInput("--like-sysu fixes who is in which split; leave out the numbers of identities")
    if exp is not None:
        plan = plan_like_sysu(
            exp, seed=args.seed, style=SceneStyle(), infrared=args.infrared, only=args.only or SPLITS, blank=args.blank
        )
    else:
        identities, counts = draw_counts(DatasetShape(**given), args.seed)
        plan = Plan(identities=identities, counts=counts, seed=args.seed, infrared=args.infrared, blank=args.blank)
    began_s = time.monotonic()
    workers = args.workers if args.workers is not None else default_workers()
    count = write_dataset(plan, args.out, workers=workers, official_exp=exp)
    took_s = time.monotonic() - began_s
    log.info("wrote %d images of %d people to %s in %.1f s", count, len({i for _, i in plan.counts}), args.out, took_s)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
