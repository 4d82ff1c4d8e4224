"""Check the engines of a folder against the PyTorch model that they were built from: every runtime, stage and layer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = """examples:
  python deploy/check_parity.py engines/built/mcja --picture parity.png --json parity.json
  python deploy/check_parity.py engines/built/mcja --data ~/SYSU-MM01 --backend tensorrt --precision fp16 int8
needs: the held-out images, which are not in the folder. No PyTorch: the build wrote its reference into the folder.
exit codes: 0 all limits hold, 1 a limit is broken, 2 bad input
"""
PRECISIONS = ["fp32", "fp16", "int8"]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="check_parity", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument_group("input").add_argument
    add("engine", type=Path, metavar="ENGINE_FOLDER", help="what deploy/build_engine.py made")
    add("--data", type=Path, metavar="DIR", help="tree of the held-out images (default: the build's)")
    add("--images", type=int, metavar="N", help="compare the first N only (default: all)")
    add = parser.add_argument_group("engine").add_argument
    add("--backend", default="auto", metavar="NAME", help="tensorrt, openvino, torch, ... (default: all that run here)")
    add("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="default: all")
    add("--max-map-drop", type=float, default=0.5, metavar="POINTS", help="of mAP, in 100 (default: 0.5)")
    add = parser.add_argument_group("output").add_argument
    add("--json", type=Path, metavar="FILE", help="also write the figures as JSON")
    add("--picture", type=Path, metavar="FILE.png", help="also draw them (needs matplotlib)")
    add("--junit", type=Path, metavar="FILE.xml", help="also write a test case for each engine and stage")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

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
