# PYTHON_ARGCOMPLETE_OK
"""Fetch a person detector as ONNX: the published YOLOX-nano, or any file by its address and SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.command_line import Parser

# YOLOX-nano (Megvii, Apache-2.0), 416 x 416, 3.7 MB, as published in Kazuhito00/YOLOX-ONNX-TFLite-Sample (Apache-2.0):
# the file that every figure of this project was measured with.
YOLOX_NANO_URLS = tuple(
    f"https://raw.githubusercontent.com/Kazuhito00/YOLOX-ONNX-TFLite-Sample/{version}/model/yolox_nano.onnx"
    for version in ("main", "ac07155e3ac8a531d89d24204e50f364d3444275")
)
YOLOX_NANO_SHA256 = "695e750a5d5754bb5a8d5325643b59282191a7e7a564e435a415fd3c578eab14"

EXAMPLES = (
    "python deploy/fetch_detector.py",
    "python deploy/fetch_detector.py --out /opt/detectors",
    'python deploy/fetch_detector.py --url https://example.org/yolox_s.onnx --sha256 "$SHA256"',
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser

    parser = Parser("fetch_detector", __doc__, EXAMPLES)
    add = parser.add_argument_group("input").add_argument
    add("--url", metavar="URL", help="another file, such as a larger YOLOX; needs --sha256 (default: YOLOX-nano)")
    add("--sha256", metavar="HEX", help="64 digits that the file of --url must hash to (default: YOLOX-nano's)")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, default=Path("detectors"), metavar="FOLDER", help="folder that receives the file")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

    from engines.errors import run_script

    def body() -> int:
        import sys

        from deploy.detection.download import download, name_of

        urls, sha256 = choose(args.url, args.sha256)
        target = args.out / name_of(urls[0])
        fetched = download(urls, target, sha256)
        sys.stdout.write(f"{target}\n")
        sys.stderr.write(f"{'fetched' if fetched else 'there already'}; run_cameras.py --detector {target}\n")
        return 0

    return run_script("fetch_detector", body)


def choose(url: str | None, sha256: str | None) -> tuple[tuple[str, ...], str]:
    """Return addresses and the hash: YOLOX-nano's, or the two that were given."""
    from engines.errors import BadInput

    if url is None and sha256 is None:
        return YOLOX_NANO_URLS, YOLOX_NANO_SHA256
    digest = (sha256 or "").lower()
    if url is None or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise BadInput(
            f"expected --url and --sha256 with 64 hexadecimal digits, got {url} and {sha256}; the publisher names the "
            "hash, or sha256sum of a copy that you trust"
        )
    return (url,), digest


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
