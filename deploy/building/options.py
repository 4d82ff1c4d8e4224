"""The command line of build_engine.py. Standard library only: --help loads nothing of ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python deploy/build_engine.py                                       the newest run, every precision, CPU and plans
  python deploy/build_engine.py runs/mcja --data ~/SYSU-MM01 --max-map-drop 0.3
  python deploy/build_engine.py runs/mcja --calibration-data crops/ --precision int8
  python deploy/build_engine.py engines/built/mcja --backend tensorrt   plans for this Jetson, no PyTorch needed
  python deploy/build_engine.py engines/built/mcja --estimate           which Jetson is fast enough
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="build_engine",
        description="Turn a trained model into an engine: export, calibrate, quantise, check against PyTorch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "model", nargs="?", type=Path, metavar="MODEL",
        help="checkpoint, run folder, or engine folder that gets plans for this device (default: newest run)",
    )  # fmt: skip
    group.add_argument("--data", type=Path, metavar="DIR", help="dataset (default: the one of the training)")
    group.add_argument("--dataset", metavar="NAME", help="its layout: sysu, regdb, llcm (default: as in training)")
    group.add_argument(
        "--calibration-data", type=Path, metavar="DIR",
        help="calibrate on crops, DIR/visible and DIR/infrared, as run_cameras.py --record-crops leaves them "
        "(default: the dataset's training identities)",
    )  # fmt: skip
    group.add_argument(
        "--calibration-images", type=int, default=512, metavar="N", help="images that calibrate (default: 512)"
    )
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--precision", nargs="+", choices=["fp32", "fp16", "int8"], default=["fp32", "fp16", "int8"],
        help="default: all three; fp32 is always there, as what the others are measured against",
    )  # fmt: skip
    group.add_argument(
        "--backend", default="auto", help="auto, openvino, onnxruntime, tensorrt, tensorrt-rtx (default: auto)"
    )
    group.add_argument("--opset17", action="store_true", help="also write graphs for TensorRT 8.x (JetPack 5 and 6.0)")
    group.add_argument(
        "--implicit-int8", action="store_true", help="also write TensorRT's calibration cache, for INT8 on a DLA"
    )
    group.add_argument("--out", type=Path, metavar="DIR", help="engine folder (default: engines/built/RUN)")
    group.add_argument("--estimate", action="store_true", help="print what each Jetson could do at most, build nothing")
    group = parser.add_argument_group("accuracy budget, against PyTorch FP32 on held-out people")
    group.add_argument("--parity-images", type=int, default=512, metavar="N", help="held-out images (default: 512)")
    group.add_argument(
        "--max-map-drop", type=float, default=0.5, metavar="POINTS", help="of mAP, in 100 (default: 0.5)"
    )
    group.add_argument("--min-cosine", type=float, metavar="COSINE", help="of the worst INT8 embedding (default: 0.9)")
    group.add_argument(
        "--min-rank1-agreement", type=float, metavar="SHARE",
        help="of INT8 queries with the same first match (default: 0.75)",
    )  # fmt: skip
    group.add_argument("--accept-drift", action="store_true", help="keep an engine that is over the limits")
    group.add_argument(
        "--false-match-rate", type=float, default=0.01, metavar="SHARE",
        help="of pairs of different held-out people that may match: sets the threshold (default: 0.01)",
    )  # fmt: skip
    group = parser.add_argument_group("TensorRT plans")
    group.add_argument(
        "--batch", type=int, nargs=3, default=[1, 8, 32], metavar=("MIN", "USUAL", "MAX"),
        help="batch sizes that a plan takes, tuned for USUAL (default: 1 8 32)",
    )  # fmt: skip
    group.add_argument("--capability", nargs="+", default=[], metavar="SM", help="of TensorRT-RTX plans, such as SM86")
    group.add_argument("--workspace-mb", type=int, default=1024, metavar="MB", help="for the builder (default: 1024)")
    group.add_argument(
        "--hardware", choices=["same", "same-sm", "ampere-plus"], default="same",
        help="who may run the plan: this GPU model, its compute capability, or Ampere and newer (default: same)",
    )  # fmt: skip
    group.add_argument("--version-compatible", action="store_true", help="newer TensorRT may run the plan; slower")
    group.add_argument("--dla", type=int, metavar="N", help="build for accelerator N, GPU fallback (TensorRT up to 10)")
    return parser.parse_args(argv)
