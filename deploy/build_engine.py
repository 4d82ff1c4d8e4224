# PYTHON_ARGCOMPLETE_OK
"""Build an inference engine from a trained model: export, calibrate, quantise, check against PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser


def parser() -> Parser:
    """Return the command line."""
    from deploy.building.options import options

    return options(__doc__)


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> None:
        import sys

        from deploy.building.request import request_of

        request = request_of(args)
        if args.estimate:
            from deploy.building.roofline import estimate
            from deploy.building.roofline_table import estimate_text

            sys.stdout.write(estimate_text(estimate(request.model)))
            return
        from deploy.building.build import build_engine

        build_engine(request)

    return run_script("build_engine", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
