# PYTHON_ARGCOMPLETE_OK
"""Recognise people across visible and infrared cameras with a built engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/run_cameras.py --rgb 0 --ir 2 --dry-run",
    "python deploy/run_cameras.py --rgb 0 --ir 2 --gallery gallery.db --web",
    "python deploy/run_cameras.py --rgb door=rtsp://10.0.0.5/live --ir thermal=/dev/video2 --save out.mp4",
    "python deploy/run_cameras.py --site site.yaml --patient",
)


def parser() -> Parser:
    """Return the command line; what is not typed is None, so that a site file can say it."""
    from deploy.settings.arguments import SOURCES, add_cameras, add_model
    from engines.command_line import Parser
    from engines.option_values import measure, whole

    frames, crops, port = whole("a whole number of frames"), whole("a whole number of crops"), whole("a port number")
    parser = Parser("run_cameras", __doc__, EXAMPLES, notes=f"{SOURCES}\n\nWhat is typed wins over the site file.")
    add_cameras(parser)
    add = add_model(parser)
    add("--auto-build", action="store_true", default=None, help="build the plan that this GPU lacks (minutes, once)")
    add = parser.add_argument_group("run").add_argument
    add("--dry-run", action="store_true", default=None, help="look at 30 frames of each camera, save one, stop")
    add("--max-frames", type=frames, metavar="N", help="stop after N frames of a camera (default: never)")
    add("--patient", action="store_true", default=None, help="start although a camera refuses for good (for a service)")
    add = parser.add_argument_group("matching").add_argument
    add("--thresholds", type=Path, metavar="FILE", help="of calibrate_threshold.py (default: the engine's own)")
    add("--threshold", type=measure("a cosine"), metavar="COSINE", help="one for all, -1 to 1")
    add("--embed-every", type=frames, metavar="N", help="frames between two crops of a track (default: 10)")
    add("--most-crops", type=crops, metavar="N", help="crops of a track that are embedded (default: 8)")
    add = parser.add_argument_group("gallery").add_argument
    add("--gallery", metavar="WHERE", help="file, qdrant:FOLDER or qdrant+http://HOST:6333/NAME (default: memory)")
    add(
        "--keep-days",
        type=measure("a number of days"),
        metavar="DAYS",
        help="until people who are not enrolled are erased (default: 7)",
    )
    add = parser.add_argument_group("output").add_argument
    add("--sightings", type=Path, metavar="FILE", help="JSON lines (default: sightings.jsonl)")
    add("--every-box", action="store_true", default=None, help="record every tracked box too, for score_sightings.py")
    add("--record-crops", type=Path, metavar="FOLDER", help="keep embedded crops, to calibrate on")
    add("--save", type=Path, metavar="FILE", help="annotated video, .mp4")
    add("--show", action="store_true", default=None, help="annotated video in a window; q ends the run")
    add = parser.add_argument_group("web page and messages").add_argument
    add(
        "--web",
        type=port,
        nargs="?",
        const=8080,
        metavar="PORT",
        help="page for this machine only, PORT 8080 if none is typed (default: no page)",
    )
    add("--listen", metavar="HOST:PORT", help="page for other machines too; needs a token (default: no page)")
    add("--token", metavar="TEXT", help="of the page (default: environment variable CROSSLIGHT_TOKEN)")
    add(
        "--mqtt",
        metavar="URL",
        help="mqtt://USER@HOST:1883/TOPIC; password in CROSSLIGHT_MQTT_PASSWORD",
    )
    add("--webhook", metavar="URL", help="POST every sighting and event as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    import os

    from engines.errors import run_script

    # Before NumPy comes: with two threads its pool fights the networks', and matching takes 25 ms, not 5, a moment.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    def body() -> int:
        from deploy.assembly.installation import run
        from deploy.settings.options import options_of

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
