# PYTHON_ARGCOMPLETE_OK
"""Check the engines of a folder against the PyTorch model that they were built from: every runtime, stage and layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/check_parity.py engines/built/mcja --picture parity.png --json parity.json",
    "python deploy/check_parity.py engines/built/mcja --data ~/SYSU-MM01 --backend tensorrt --precision fp16 int8",
)
NOTES = """Needs the held-out images, which are not in the engine folder; no PyTorch, for the build wrote what it gave
into the folder.

Exit codes: 0 all limits hold, 1 a limit is broken, 2 bad input."""


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import EVERY_BACKEND, PRECISIONS, measure, whole

    parser = Parser("check_parity", __doc__, EXAMPLES, notes=NOTES)
    add = parser.add_argument_group("model").add_argument
    add("engine", type=Path, metavar="ENGINE", help="engine folder of build_engine.py")
    add(
        "--backend", choices=EVERY_BACKEND, default="auto", metavar="NAME",
        help="runtime: %(choices)s (default: auto, all that run here)",
    )  # fmt: skip
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="NAME", help="%(choices)s")
    points = measure("a number of points of mAP", least=0)
    add("--max-map-drop", type=points, default=0.5, metavar="POINTS", help="of mAP, of 100, that may be lost")
    add = parser.add_argument_group("input").add_argument
    add("--data", type=Path, metavar="FOLDER", help="dataset with the held-out images (default: the build's)")
    images = whole("a whole number of images")
    add("--images", type=images, metavar="N", help="compare the first N held-out images (default: all)")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add("--picture", type=Path, metavar="FILE", help="also draw them, .png; needs matplotlib")
    add("--junit", type=Path, metavar="FILE", help="also write a test case per engine and stage, .xml")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> int:
        import sys

        from deploy.parity.output import to_json, to_junit, to_table
        from deploy.parity.picture import check_picture, write_picture
        from deploy.parity.report import measure_parity
        from engines.atomic import write_text

        if args.picture is not None:
            check_picture(args.picture)
        report = measure_parity(
            args.engine,
            data=args.data,
            backend=args.backend,
            precisions=args.precision,
            images=args.images,
            max_map_drop=args.max_map_drop,
        )
        sys.stdout.write(to_table(report))
        for path, written in ((args.json, to_json), (args.junit, to_junit)):
            if path is not None:
                write_text(path, written(report))
        if args.picture is not None:
            write_picture(report, args.picture)
        return 1 if report.findings else 0

    return run_script("check_parity", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
