"""Say what is on this device, what is missing for a run, and what to do about it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EPILOG = """Ends with exit code 1 where something will not work, else 0.

examples:
  python deploy/doctor.py
  python deploy/doctor.py --engine engines/built/people --gallery gallery.db --json"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="doctor", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", type=Path, metavar="FOLDER", help="default: the newest in engines/built")
    parser.add_argument("--gallery", metavar="WHERE", help="also read the whole gallery")
    parser.add_argument("--json", action="store_true", help="findings as JSON, one list")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

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
