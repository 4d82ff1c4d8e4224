"""Score a trained model or an engine on SYSU-MM01, RegDB or LLCM, by the protocol that you name."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python train/evaluate_model.py runs/mcja/checkpoint.pt --data ~/SYSU-MM01
  python train/evaluate_model.py engines/built/mcja --precision int8 --data ~/SYSU-MM01 --search indoor --shots 10
  python train/evaluate_model.py runs/mcja --data ~/SYSU-MM01 --rerank both --json runs/mcja/scores.json
  python train/evaluate_model.py runs/regdb --dataset regdb --data ~/RegDB --direction infrared-to-visible
"""
LINEAGES = """whose protocol (default: official); sysu: official (rand_perm_cam.mat), seeded (AGW, DEEN and others);
regdb: official, mpanet (CMC over identities);
llcm: official, transposed (the authors' script since 2023-06-20, not comparable)"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "model",
        type=Path,
        help="checkpoint, run folder (best.pt if there is one), engine folder, or pixels (the floor)",
    )
    model.add_argument("--method", help="refuse a checkpoint of any other method")
    model.add_argument(
        "--backend", default="auto", help="for an engine folder: openvino, onnxruntime, torch (default: auto)"
    )
    model.add_argument("--precision", help="for an engine folder: fp32, fp16, int8 (default: the fastest there)")
    data = parser.add_argument_group("data and protocol")
    data.add_argument("--dataset", default="sysu", choices=["sysu", "regdb", "llcm"], help="layout (default: sysu)")
    data.add_argument("--data", type=Path, required=True, metavar="DIR", help="dataset folder")
    data.add_argument("--lineage", default="official", metavar="NAME", help=LINEAGES)
    data.add_argument("--search", default="all", choices=["all", "indoor"], help="sysu: gallery cameras (default: all)")
    data.add_argument(
        "--shots", type=int, default=1, choices=[1, 10], help="sysu: images per identity and camera (default: 1)"
    )
    data.add_argument(
        "--direction",
        choices=["visible-to-infrared", "infrared-to-visible"],
        help="regdb (default: the first), llcm (default: the second): modality of queries, then gallery",
    )
    data.add_argument("--trial", type=int, metavar="N", help="regdb: split 1 to 10 (default: the model's, else 1)")
    extra = parser.add_argument_group("extra figures")
    extra.add_argument(
        "--rerank",
        action="append",
        default=[],
        choices=["mser", "k-reciprocal", "both"],
        help="also score re-ranked, below the plain figures; repeatable",
    )
    extra.add_argument("--flip", action="store_true", help="average the embeddings of each image and its mirror")
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script
    from train.evaluation_run import run_evaluation

    return run_script("evaluate_model", lambda: run_evaluation(args))


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
