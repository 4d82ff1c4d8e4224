"""Recognise people across a visible and an infrared camera with a built engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run_cameras", description=__doc__)
    source = "device index, /dev path, video file or folder of images"
    group = parser.add_argument_group("input")
    group.add_argument("--rgb", required=True, metavar="SOURCE", help=f"visible camera: {source}")
    group.add_argument("--ir", required=True, metavar="SOURCE", help=f"infrared camera: {source}")
    group.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames of a camera")
    group = parser.add_argument_group("model")
    group.add_argument("--engine", type=Path, metavar="FOLDER", help="default: the newest in engines/built")
    group.add_argument("--backend", default="auto", help="runtime of the engine (default: the fastest here)")
    group.add_argument("--precision", help="fp32, fp16 or int8 (default: the engine's fastest)")
    group.add_argument("--auto-build", action="store_true", help="build the plan that this GPU lacks (minutes, once)")
    group.add_argument("--threshold", type=float, help="least cosine of a match (default: the engine's own)")
    group.add_argument("--embed-every", type=int, default=10, metavar="N", help="frames between crops of a track (10)")
    group.add_argument("--detector", type=Path, metavar="FILE", help="YOLOX as ONNX (default: motion, fixed cameras)")
    group.add_argument("--ir-invert", action="store_true", help="white-hot thermal: invert infrared for the detector")
    group = parser.add_argument_group("output")
    group.add_argument("--sightings", type=Path, default=Path("sightings.jsonl"), metavar="FILE", help="JSON lines")
    group.add_argument("--every-box", action="store_true", help="record every tracked box too, for scoring")
    group.add_argument("--record-crops", type=Path, metavar="DIR", help="keep embedded crops, to calibrate on")
    group.add_argument("--save", type=Path, metavar="FILE", help="annotated video, .mp4")
    group.add_argument("--show", action="store_true", help="annotated video in a window; q ends it")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.installation import Options, run

        return run(Options(**vars(args)))

    return run_script("run_cameras", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
