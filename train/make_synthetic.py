"""Write a synthetic visible-infrared data set in the layout of SYSU-MM01."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    output = parser.add_argument_group("output")
    output.add_argument("--out", type=Path, required=True, metavar="DIR", help="new folder that receives the tree")
    output.add_argument("--workers", type=int, metavar="N", help="processes (default: every core)")
    content = parser.add_argument_group("content")
    content.add_argument("--train-identities", type=int, metavar="N", help="people to train on (default: 320)")
    content.add_argument("--val-identities", type=int, metavar="N", help="people to validate on (default: 20)")
    content.add_argument("--test-identities", type=int, metavar="N", help="people to test on (default: 60)")
    content.add_argument(
        "--infrared", choices=("nir", "thermal"), default="nir", help="near or long wave (default: nir)"
    )
    content.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default: 0)")
    sysu = parser.add_argument_group("the real cardinalities of SYSU-MM01 (45,863 images)")
    sysu.add_argument("--like-sysu", type=Path, metavar="SPLITS", help="folder with the published split files")
    sysu.add_argument("--only", nargs="+", choices=("train", "val", "test"), help="write only these splits' images")
    sysu.add_argument("--blank", action="store_true", help="4 x 8 grey images: quick, for counting")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

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
    if args.seed < 0 or (args.workers is not None and args.workers < 1):
        raise BadInput("expected a --seed of 0 or more and at least 1 of --workers")
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
