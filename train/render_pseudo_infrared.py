"""Render an infrared look-alike of a visible clip, frame for frame, to try the cameras without an infrared one."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, help="visible clip that OpenCV can read")
    parser.add_argument("--out", type=Path, required=True, metavar="MP4", help="file to write")
    parser.add_argument("--seed", type=int, default=0, help="of the sensor noise (default: 0)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)

    from engines.errors import run_script

    return run_script("render_pseudo_infrared", lambda: render(args))


def render(args: argparse.Namespace) -> None:
    from train.datasets.pseudo_infrared import render_video

    frames = render_video(args.video, args.out, seed=args.seed)
    log.info("wrote %d frames to %s", frames, args.out)


if __name__ == "__main__":
    import sys

    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    raise SystemExit(main())
