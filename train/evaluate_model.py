# PYTHON_ARGCOMPLETE_OK
"""Score a trained model or an engine on SYSU-MM01, RegDB or LLCM, by the protocol that you name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python train/evaluate_model.py runs/mcja/checkpoint.pt --data ~/SYSU-MM01",
    "python train/evaluate_model.py engines/built/mcja --precision int8 --data ~/SYSU-MM01 --search indoor --shots 10",
    "python train/evaluate_model.py runs/mcja --data ~/SYSU-MM01 --rerank both --json runs/mcja/scores.json",
    "python train/evaluate_model.py runs/regdb --dataset regdb --data ~/RegDB --direction infrared-to-visible",
)
LINEAGES = ("official", "seeded", "mpanet", "transposed")


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import DATASETS, EVERY_BACKEND, PRECISIONS
    from train.methods import METHODS

    parser = Parser("evaluate_model", __doc__, EXAMPLES)
    add = parser.add_argument_group("model").add_argument
    add(
        "model", type=Path, metavar="MODEL",
        help="checkpoint, run folder (its best.pt if there is one), engine folder, or pixels (the floor)",
    )  # fmt: skip
    add("--method", choices=tuple(METHODS), metavar="METHOD", help="refuse a checkpoint of another (default: any)")
    add(
        "--backend",
        choices=EVERY_BACKEND,
        default="auto",
        metavar="NAME",
        help="runtime of an engine folder: %(choices)s",
    )
    add(
        "--precision", choices=PRECISIONS, metavar="NAME",
        help="of an engine folder: %(choices)s (default: the engine's fastest here)",
    )  # fmt: skip
    add = parser.add_argument_group("input").add_argument
    add("--data", type=Path, required=True, metavar="FOLDER", help="dataset")
    add("--dataset", choices=DATASETS, default="sysu", metavar="NAME", help="its layout: %(choices)s")
    _add_protocol(parser)
    add = parser.add_argument_group("extra figures").add_argument
    add(
        "--rerank", action="append", default=[], choices=("mser", "k-reciprocal", "both"), metavar="NAME",
        help="also score re-ranked, below the plain figures: %(choices)s; repeatable",
    )  # fmt: skip
    add("--flip", action="store_true", help="average the embeddings of each image and its mirror")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser


def _add_protocol(parser: Parser) -> None:
    from engines.option_values import whole

    add = parser.add_argument_group("protocol").add_argument
    add(
        "--lineage", choices=LINEAGES, default="official", metavar="NAME",
        help="whose; sysu: official (rand_perm_cam.mat), seeded (AGW, DEEN and others); regdb: official, mpanet (CMC "
        "over identities); llcm: official, transposed (the authors' script since 2023-06-20, not comparable)",
    )  # fmt: skip
    add("--search", choices=("all", "indoor"), default="all", metavar="NAME", help="sysu: gallery cameras: %(choices)s")
    shots = whole("a whole number of images")
    add(
        "--shots",
        type=shots,
        choices=(1, 10),
        default=1,
        metavar="N",
        help="sysu: images per identity and camera: %(choices)s",
    )
    add(
        "--direction", choices=("visible-to-infrared", "infrared-to-visible"), metavar="NAME",
        help="modality of queries, then of the gallery: %(choices)s (default: regdb the first, llcm the second)",
    )  # fmt: skip
    trial = whole("the number of a RegDB split")
    add("--trial", type=trial, metavar="N", help="regdb: split 1 to 10 (default: the model's, else 1)")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script
    from train.evaluation_run import run_evaluation

    return run_script("evaluate_model", lambda: run_evaluation(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
