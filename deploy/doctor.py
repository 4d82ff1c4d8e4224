# PYTHON_ARGCOMPLETE_OK
"""Say what is on this device, what is missing for a run, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

EXAMPLES = (
    "python deploy/doctor.py",
    "python deploy/doctor.py --engine engines/built/people --gallery gallery.db --json",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser

    parser = Parser(
        "doctor", __doc__, EXAMPLES, notes="Exit codes: 0 no problem, 1 something will not work, 2 bad input."
    )
    add = parser.add_argument_group("model").add_argument
    add("--engine", type=Path, metavar="FOLDER", help="engine folder (default: the newest in engines/built)")
    add = parser.add_argument_group("gallery").add_argument
    add("--gallery", metavar="WHERE", help="file, qdrant:FOLDER or qdrant+http://HOST:6333/NAME to read")
    add = parser.add_argument_group("output").add_argument
    add("--json", action="store_true", help="print the findings as JSON, one list, instead of the table")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.diagnosis.run import examine

        return examine(args.engine, args.gallery, as_json=args.json)

    return run_script("doctor", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
