"""Whether a run is alive (restart it otherwise) and ready (people are being recognised)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.loop.run_state import RunState

HUNG_S = 10.0  # the loop says at least once a second that it is alive
SEEING = frozenset({"running", "holding"})


@dataclass(frozen=True)
class Health:
    """Answers for a run whose newest state and clock are given."""

    state: Callable[[], RunState]
    clock: Callable[[], float]

    def alive(self) -> tuple[bool, str]:
        """Return whether the loop turns, and since when not."""
        silent_s = self.clock() - self.state().round_s
        return silent_s < HUNG_S, "alive" if silent_s < HUNG_S else f"the loop has not turned for {silent_s:.0f} s"

    def ready(self) -> tuple[bool, str]:
        """Return whether a camera delivers and no part is broken, with every reason why not."""
        alive, told = self.alive()
        state = self.state()
        reasons = [] if alive else [told]
        if not any(camera.state in SEEING for camera in state.cameras):
            reasons.append("no camera delivers")
        reasons += [f"{part}: {reason}" for part, reason in state.troubles.items()]
        return not reasons, "; ".join(reasons) or "ready"

    def remarks(self) -> list[str]:
        """Return what works, but not as it should."""
        state = self.state()
        remarks = [
            f"camera {camera.camera}: {camera.state}" + (f" ({camera.reason})" if camera.reason else "")
            for camera in state.cameras
            if camera.state not in (*SEEING, "ended")
        ]
        remarks += [f"camera {camera.camera}: {note}" for camera in state.cameras for note in camera.notes]
        remarks += [f"sink {name}: {sink.trouble}" for name, sink in state.sinks.items() if sink.trouble]
        if state.level:
            remarks.append(f"load: {state.meaning}")
        return remarks
