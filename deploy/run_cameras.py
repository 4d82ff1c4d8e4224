"""Recognise people across visible and infrared cameras with a built engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCE = "device index, /dev path, rtsp:// or http:// address, csi://0, gst:PIPELINE, video, folder or synthetic:"
EXAMPLES = """examples:
  python deploy/run_cameras.py --rgb 0 --ir 2 --dry-run
  python deploy/run_cameras.py --rgb 0 --ir 2 --gallery gallery.db --web
  python deploy/run_cameras.py --site site.yaml --patient"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line; what is not typed is None, so that a site file can say it."""
    parser = argparse.ArgumentParser(
        prog="run_cameras",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    group = parser.add_argument_group("input")
    add_cameras(group)
    group.add_argument("--max-frames", type=int, metavar="N", help="stop after N frames of a camera")
    group.add_argument(
        "--patient",
        action="store_true",
        default=None,
        help="start although a camera refuses for good, and say so (for a service)",
    )
    group.add_argument(
        "--dry-run",
        action="store_true",
        default=None,
        help="open the cameras, look at 30 pictures of each, save one, stop",
    )
    group = parser.add_argument_group("model")
    add_model(group)
    group.add_argument(
        "--auto-build", action="store_true", default=None, help="build the plan that this GPU lacks (minutes, once)"
    )
    group.add_argument("--threshold", type=float, metavar="COSINE", help="one least cosine for every match")
    group.add_argument(
        "--thresholds", type=Path, metavar="FILE", help="from calibrate_threshold.py (default: engine's)"
    )
    group.add_argument("--embed-every", type=int, metavar="N", help="frames between crops of a track (10)")
    group.add_argument("--most-crops", type=int, metavar="N", help="crops of a track (8)")
    group = parser.add_argument_group("memory")
    group.add_argument(
        "--gallery", metavar="WHERE", help="file, qdrant:FOLDER or qdrant+http://HOST:6333/NAME (default: memory)"
    )
    group.add_argument("--keep-days", type=float, metavar="DAYS", help="how long people who were not enrolled stay (7)")
    group = parser.add_argument_group("output")
    group.add_argument("--sightings", type=Path, metavar="FILE", help="JSON lines (sightings.jsonl)")
    group.add_argument(
        "--every-box", action="store_true", default=None, help="record every tracked box too, for scoring"
    )
    group.add_argument("--record-crops", type=Path, metavar="DIR", help="keep embedded crops, to calibrate on")
    group.add_argument("--save", type=Path, metavar="FILE", help="annotated video, .mp4")
    group.add_argument("--show", action="store_true", default=None, help="annotated video in a window; q ends it")
    group.add_argument("--web", type=int, nargs="?", const=8080, metavar="PORT", help="page on 127.0.0.1 (8080)")
    group.add_argument("--listen", metavar="HOST:PORT", help="page for other machines; needs a token")
    group.add_argument("--token", help="of the page; better: environment variable CROSSLIGHT_TOKEN")
    group.add_argument("--mqtt", metavar="URL", help="mqtt://USER@HOST:1883/TOPIC; password: CROSSLIGHT_MQTT_PASSWORD")
    group.add_argument("--webhook", metavar="URL", help="POST every sighting and event as JSON")
    return parser.parse_args(argv)


def add_cameras(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add what names the cameras of a site."""
    group.add_argument("--rgb", action="append", metavar="SOURCE", help=f"visible camera, also NAME=SOURCE: {SOURCE}")
    group.add_argument("--ir", action="append", metavar="SOURCE", help="infrared camera, also NAME=SOURCE")
    group.add_argument("--site", type=Path, metavar="FILE", help="YAML with cameras, places and every option")
    group.add_argument(
        "--ir-invert", action="store_true", default=None, help="white-hot thermal: invert infrared for the detector"
    )


def add_model(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add what names the engine and the detector."""
    group.add_argument("--engine", type=Path, metavar="FOLDER", help="default: the newest in engines/built")
    group.add_argument("--backend", help="runtime of the engine (default: the fastest here)")
    group.add_argument("--precision", help="fp32, fp16 or int8 (default: the engine's fastest)")
    group.add_argument("--detector", type=Path, metavar="FILE", help="ONNX (default: motion, fixed cameras)")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    import os

    from engines.errors import run_script

    # Before NumPy comes: with two threads its pool fights the networks', and matching takes 25 ms, not 5, a moment.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    def body() -> int:
        from deploy.assembly.installation import run
        from deploy.assembly.options import options_of

        if args.dry_run:
            from deploy.assembly.dry_run import dry_run

            return dry_run(options_of(args))
        return run(options_of(args))

    return run_script("run_cameras", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
