# PYTHON_ARGCOMPLETE_OK
"""Make one archive that installs Crosslight on a device without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = (
    "python deploy/make_bundle.py --engine engines/built/people --python 3.10 --runtime tensorrt --opencv system",
    "python deploy/make_bundle.py --table",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser

    parser = Parser("make_bundle", __doc__, examples=EXAMPLES)
    add = parser.add_argument_group("device").add_argument
    add("--platform", choices=("aarch64", "x86_64"), default="aarch64", help="its processor")
    add("--python", metavar="VERSION", default="3.10", help="its Python; 3.10 is JetPack 6, 3.12 JetPack 7")
    add("--glibc", metavar="VERSION", default="", help="its C library (default: 2.39 for Python 3.12, else 2.35)")
    add("--runtime", choices=("cpu", "tensorrt"), default="cpu", help="cpu is carried, tensorrt is the device's own")
    add("--opencv", choices=("wheel", "system"), default="wheel", help="system is the device's own")
    add = parser.add_argument_group("contents").add_argument
    add("--engine", type=Path, metavar="FOLDER", help="engine folder to carry (default: none)")
    add(
        "--with-plans", action="store_true", help="carry its TensorRT plans too: they are code, for one GPU and version"
    )
    add = parser.add_argument_group("wheels").add_argument
    add("--cache", type=Path, metavar="FOLDER", default=Path("dist/wheels"), help="where they are kept")
    add("--wheels-from", type=Path, metavar="FOLDER", help="take them from here instead of the package index")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, metavar="FILE", help="default: dist/crosslight-VERSION-DEVICE.tar.gz")
    add("--table", action="store_true", help="instead: what every kind of device of this platform would install")
    add("--json", type=Path, metavar="FILE", help="write that table as JSON too")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> int:
        from deploy.bundle.making import BundleRequest, announce, make_bundle
        from deploy.bundle.table import show_table
        from deploy.bundle.target import Target

        device = {name: getattr(args, name) for name in ("platform", "python", "glibc", "runtime", "opencv")}
        rest = {name: getattr(args, name) for name in ("engine", "with_plans", "cache", "wheels_from", "out")}
        if args.table or args.json:
            return show_table(args.platform, args.cache, args.wheels_from, args.json, ROOT)
        return announce(make_bundle(BundleRequest(target=Target(**device), **rest), ROOT))

    return run_script("make_bundle", body)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
