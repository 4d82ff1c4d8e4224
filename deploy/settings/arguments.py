"""Options that run_cameras.py and calibrate_threshold.py share. Standard library only: --help loads nothing heavy.

None of them has a default: what is not typed is None, so that a site file can say it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engines.option_values import EVERY_BACKEND, PRECISIONS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from engines.command_line import Parser

SOURCES = """SOURCE is a device index (0), a /dev path, an rtsp:// or http:// address, csi://0, gst:PIPELINE, a video, a
folder of pictures, or synthetic:; NAME=SOURCE names the camera. --rgb and --ir are repeated for more cameras: the first
of both stand at one place, the second at the next."""


def add_cameras(parser: Parser) -> Callable[..., argparse.Action]:
    """Add the group "input", which names the cameras of a site; return what adds more to it."""
    add = parser.add_argument_group("input").add_argument
    add("--rgb", action="append", metavar="SOURCE", help="visible camera; repeatable (default: those of --site)")
    add("--ir", action="append", metavar="SOURCE", help="infrared camera; repeatable (default: those of --site)")
    add("--ir-invert", action="store_true", default=None, help="white-hot thermal: invert infrared for the detector")
    add("--site", type=Path, metavar="FILE", help="YAML with cameras, places and any option")
    return add


def add_model(parser: Parser) -> Callable[..., argparse.Action]:
    """Add the group "model", which names the engine and the detector; return what adds more to it."""
    add = parser.add_argument_group("model").add_argument
    add("--engine", type=Path, metavar="FOLDER", help="engine folder (default: the newest in engines/built)")
    add(
        "--backend",
        choices=EVERY_BACKEND,
        metavar="NAME",
        help="runtime: %(choices)s (default: auto, the fastest here)",
    )
    add("--precision", choices=PRECISIONS, metavar="NAME", help="%(choices)s (default: the engine's fastest here)")
    add("--detector", type=Path, metavar="FILE", help="ONNX file (default: motion, which needs fixed cameras)")
    return add
