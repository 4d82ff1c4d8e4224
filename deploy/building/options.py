"""The command line of build_engine.py. Standard library only: --help loads nothing heavy."""

from __future__ import annotations

from pathlib import Path

from engines.command_line import Parser
from engines.option_values import BACKENDS, DATASETS, PRECISIONS, measure, whole

EXAMPLES = (
    "python deploy/build_engine.py  # the newest run, every precision, CPU and plans",
    "python deploy/build_engine.py runs/mcja --data ~/SYSU-MM01 --max-map-drop 0.3",
    "python deploy/build_engine.py runs/mcja --calibration-data crops/ --precision int8",
    "python deploy/build_engine.py engines/built/mcja --backend tensorrt  # for this Jetson, without PyTorch",
    "python deploy/build_engine.py engines/built/mcja --estimate  # which Jetson is fast enough",
)


def options(purpose: str | None) -> Parser:
    """Return the command line; deploy.building.request checks what it says."""
    parser = Parser("build_engine", purpose, EXAMPLES)
    add = parser.add_argument_group("model").add_argument
    add(
        "model", nargs="?", type=Path, metavar="MODEL",
        help="checkpoint, run folder, or engine folder that gets plans for this device (default: the newest run)",
    )  # fmt: skip
    add("--estimate", action="store_true", help="print what each Jetson could do at most, build nothing")
    _add_input(parser)
    _add_engine(parser)
    _add_budget(parser)
    _add_plans(parser)
    return parser


def _add_input(parser: Parser) -> None:
    add = parser.add_argument_group("input").add_argument
    add("--data", type=Path, metavar="FOLDER", help="dataset (default: that of the training)")
    add("--dataset", choices=DATASETS, metavar="NAME", help="its layout: %(choices)s (default: as in training)")
    add(
        "--calibration-data", type=Path, metavar="FOLDER",
        help="calibrate on its crops, in visible/ and infrared/, as run_cameras.py --record-crops leaves them "
        "(default: the dataset's training identities)",
    )  # fmt: skip
    images = whole("a whole number of images")
    add("--calibration-images", type=images, default=512, metavar="N", help="images that calibrate")


def _add_engine(parser: Parser) -> None:
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FOLDER", help="engine folder (default: engines/built/RUN)")
    add(
        "--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="NAME",
        help="%(choices)s (default: all three; fp32 is always there, as what the others are measured against)",
    )  # fmt: skip
    add("--backend", choices=BACKENDS, default="auto", metavar="NAME", help="runtime: %(choices)s")
    add("--opset17", action="store_true", help="also write graphs for TensorRT 8.x (JetPack 5 and 6.0)")
    add("--implicit-int8", action="store_true", help="also write TensorRT's calibration cache, for INT8 on a DLA")


def _add_budget(parser: Parser) -> None:
    add = parser.add_argument_group("accuracy budget, against PyTorch FP32 on held-out people").add_argument
    images, share, cosine = whole("a whole number of images"), measure("a share"), measure("a cosine")
    add("--parity-images", type=images, default=512, metavar="N", help="held-out images")
    points = measure("a number of points of mAP")
    add("--max-map-drop", type=points, default=0.5, metavar="POINTS", help="of mAP, of 100, that may be lost")
    add("--min-cosine", type=cosine, metavar="COSINE", help="of the worst INT8 embedding, 0 to 1 (default: 0.9)")
    add(
        "--min-rank1-agreement", type=share, metavar="SHARE",
        help="of INT8 queries with the same first match, 0 to 1 (default: 0.75)",
    )  # fmt: skip
    add("--accept-drift", action="store_true", help="keep an engine that is over the limits")
    add(
        "--false-match-rate", type=share, default=0.01, metavar="SHARE",
        help="of searches among held-out people that may find a wrong one, 0 to 1: sets the thresholds",
    )  # fmt: skip


def _add_plans(parser: Parser) -> None:
    add = parser.add_argument_group("TensorRT plans").add_argument
    images, megabytes = whole("a whole number of images"), whole("a whole number of megabytes")
    add(
        "--batch", type=images, nargs=3, default=[1, 8, 32], metavar=("MIN", "USUAL", "MAX"),
        help="images that a plan takes at once, tuned for USUAL",
    )  # fmt: skip
    add("--capability", nargs="+", default=[], metavar="SM", help="of TensorRT-RTX plans (default: SM80 SM86 SM89)")
    add("--workspace-mb", type=megabytes, default=1024, metavar="MB", help="memory that the builder may take, in MB")
    add(
        "--hardware", choices=("same", "same-sm", "ampere-plus"), default="same", metavar="NAME",
        help="who may run a plan: this GPU model (same), its compute capability (same-sm), Ampere and newer "
        "(ampere-plus)",
    )  # fmt: skip
    add("--version-compatible", action="store_true", help="newer TensorRT may run the plan; slower")
    number = whole("the number of an accelerator")
    add("--dla", type=number, metavar="N", help="build for DLA N, with GPU fallback; TensorRT up to 10")
