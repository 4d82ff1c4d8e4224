"""A camera's pictures one after the other, as `multipart/x-mixed-replace`, which browsers and players show as video."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.web.tiles import Tiles

BOUNDARY = "crosslight"
CONTENT_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
DEFAULT_FPS = 8
MOST_FPS = 30
SAY_AGAIN_S = 5.0  # a picture that stays is sent again, so that a reader who is gone is noticed
LOOK_S = 0.5  # how soon the end of the server is noticed


def stream_pictures(
    tiles: Tiles, camera: str, fps: float, stopped: Callable[[], bool], clock: Callable[[], float] = time.monotonic
) -> Iterator[bytes]:
    """Yield the parts of a stream until stopped() is true: a new picture at most fps times a second."""
    sent, sent_s = 0, -SAY_AGAIN_S
    while not stopped():
        newest = tiles.wait(camera, sent, LOOK_S)
        if newest == sent and clock() - sent_s < SAY_AGAIN_S:
            continue
        early_s = sent_s + 1 / fps - clock()
        if early_s > 0:
            time.sleep(early_s)
        tile = tiles.newest(camera)
        if tile is None:  # a camera that gave nothing yet
            continue
        sent, sent_s = tile.version, clock()
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(tile.jpeg)}\r\n\r\n"
        yield head.encode() + tile.jpeg + b"\r\n"
