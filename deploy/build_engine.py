"""Build an inference engine from a trained model: export, calibrate, quantise, check against PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python deploy/build_engine.py
  python deploy/build_engine.py runs/mcja --precision fp32 int8 --data ~/SYSU-MM01
  python deploy/build_engine.py runs/mcja --precision fp32 --backend openvino --out engines/built/door
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="build_engine", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = parser.add_argument_group("input")
    group.add_argument(
        "model", nargs="?", type=Path, metavar="MODEL", help="checkpoint or run folder (default: newest run)"
    )
    group.add_argument("--data", type=Path, metavar="DIR", help="SYSU-MM01 tree (default: the one of the training)")
    group = parser.add_argument_group("engine")
    group.add_argument(
        "--precision", nargs="+", choices=["fp32", "int8"], default=["fp32", "int8"], help="default: fp32 int8"
    )
    group.add_argument(
        "--backend", default="auto", help="auto, openvino, onnxruntime, tensorrt, tensorrt-rtx (default: auto)"
    )
    group.add_argument(
        "--calibration-images", type=int, default=512, metavar="N", help="training images (default: 512)"
    )
    group = parser.add_argument_group("parity")
    group.add_argument("--parity-images", type=int, default=512, metavar="N", help="held-out images (default: 512)")
    group.add_argument(
        "--max-map-drop", type=float, default=0.5, metavar="POINTS", help="of mAP, in 100 (default: 0.5)"
    )
    group.add_argument("--accept-drift", action="store_true", help="keep an engine that is over the limits")
    group = parser.add_argument_group("matching")
    group.add_argument(
        "--false-match-rate",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of pairs of different held-out people that may match: sets the threshold (default: 0.01)",
    )
    group = parser.add_argument_group("output")
    group.add_argument("--out", type=Path, metavar="DIR", help="engine folder (default: engines/built/RUN)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from deploy.building import BuildRequest, build_engine
    from engines.errors import run_script

    def body() -> None:
        build_engine(
            BuildRequest(
                model=args.model,
                precisions=tuple(args.precision),
                backend=args.backend,
                data=args.data,
                calibration_images=args.calibration_images,
                parity_images=args.parity_images,
                out=args.out,
                max_map_drop=args.max_map_drop,
                accept_drift=args.accept_drift,
                false_match_rate=args.false_match_rate,
            )
        )

    return run_script("build_engine", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
