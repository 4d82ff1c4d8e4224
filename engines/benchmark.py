"""Time engines side by side: the same batch, in turns, the least time of each.

On a shared machine a mean measures the neighbours. Turns spread a disturbance over all engines; the least time is the
one that was not disturbed.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One engine on one batch size."""

    name: str
    batch: int
    least_s: float

    @property
    def images_per_s(self) -> float:
        return self.batch / self.least_s


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    batch: int,
    *,
    rounds: int = 7,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Call each once to warm up, then all in turn, rounds times."""
    for call in calls.values():
        call()
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            call()
            least[name] = min(least[name], clock() - start)
    return [Timing(name=name, batch=batch, least_s=seconds) for name, seconds in least.items()]


def cpu_name() -> str:
    """Name the processor and the instruction sets that decide how fast INT8 and bf16 are."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in lines}
    flags = facts.get("flags", "").split()
    wanted = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    sets = " ".join(name for name in wanted if name in flags) or platform.machine()
    return f"{facts.get('model name', platform.machine())}, {os.cpu_count()} cores, {sets}"
