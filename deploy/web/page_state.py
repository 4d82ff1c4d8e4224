"""What the server shows of a run: the parts that it asks, and on which thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.loop.mailbox import Mailbox
    from deploy.loop.run_state import RunState
    from deploy.settings.site_plan import CameraSite
    from deploy.web.desk import Desk
    from deploy.web.tiles import Tiles
    from deploy.web.timeline import Timeline


def _fine() -> tuple[bool, str]:
    return True, "ok"


@dataclass(frozen=True, kw_only=True, eq=False)
class PageState:
    """One run. `desk` is asked through the mailbox; everything else answers any thread at once."""

    cameras: tuple[CameraSite, ...]
    engine: str  # for people: method and backend
    state: Callable[[], RunState]
    mailbox: Mailbox
    desk: Desk
    tiles: Tiles
    timeline: Timeline
    recording: bool = False  # times count from the start of the recording, not from 1970
    healthz: Callable[[], tuple[bool, str]] = _fine
    readyz: Callable[[], tuple[bool, str]] = _fine
    remarks: Callable[[], list[str]] = list[str]
    metrics_text: Callable[[], bytes] | None = None
    clock: Callable[[], float] = time.monotonic  # RunState.round_s is on it
