"""Progress with rate and time left on a terminal; nothing at all in a pipe or a log file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from collections.abc import Iterable

ItemT = TypeVar("ItemT")


def progress(
    iterable: Iterable[ItemT], *, total: int | None = None, unit: str = "items", label: str = ""
) -> Iterable[ItemT]:
    """Wrap iterable; the bar goes to stderr and shows only where stderr is a terminal."""
    return tqdm(
        iterable,
        total=total,
        unit=f" {unit}",
        desc=label or None,
        file=sys.stderr,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
    )
