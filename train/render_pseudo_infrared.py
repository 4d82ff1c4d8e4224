# PYTHON_ARGCOMPLETE_OK
"""Render an infrared look-alike of a visible clip, frame for frame, to try the cameras without an infrared one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from engines.command_line import Parser

log = logging.getLogger(__name__)

EXAMPLES = (
    "python train/render_pseudo_infrared.py visible.mp4 --out infrared.mp4",
    "python train/render_pseudo_infrared.py visible.mp4 --out noisier.mp4 --seed 7",
)


def parser() -> Parser:
    """Return the command line."""
    from engines.command_line import Parser
    from engines.option_values import whole

    parser = Parser("render_pseudo_infrared", __doc__, EXAMPLES)
    add = parser.add_argument_group("input").add_argument
    add("video", type=Path, metavar="VIDEO", help="visible clip that OpenCV can read")
    add("--seed", type=whole("a whole number", least=0), default=0, metavar="N", help="of the sensor noise")
    add = parser.add_argument_group("output").add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="video to write, .mp4")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)

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
