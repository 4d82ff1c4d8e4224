"""What of one person's tracklets goes: what is older than the retention time, and what is above a bound.

Both keep a gallery flat over weeks in which the same people come every day, and with it the matching threshold, which
rises with the number of tracklets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.gallery.protocol import ENROLLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.gallery.ledger import Entry

MOST_PER_PERSON = 50  # tracklets of a modality


def outdated(entries: Sequence[Entry], before_s: float, *, labelled: bool) -> list[Entry]:
    """Return a person's tracklets that ended before this time; with all of them the person goes.

    A labelled person keeps what an operator gave, and the newest of a modality that would have nothing left: who was
    away for longer is known when he comes back.
    """
    old = [entry for entry in entries if entry.last_s < before_s]
    if not labelled:
        return old
    old = [entry for entry in old if entry.camera != ENROLLED]
    leaving = {entry.number for entry in old}
    staying = {entry.modality for entry in entries if entry.number not in leaving}
    for modality in {entry.modality for entry in old} - staying:
        old.remove(max((entry for entry in old if entry.modality == modality), key=_age))
    return old


def surplus(entries: Iterable[Entry], new: Entry) -> list[Entry]:
    """Return what goes for a person's new tracklet: the oldest of its modality, but none that an operator gave.

    The new one stays, so where an operator gave as many as may be kept, there is one more.
    """
    same = [entry for entry in entries if entry.modality == new.modality]
    many = len(same) - MOST_PER_PERSON
    if many <= 0:
        return []
    free = [entry for entry in same if entry.camera != ENROLLED and entry.number != new.number]
    return sorted(free, key=_age)[:many]


def _age(entry: Entry) -> tuple[float, float, str, int, int]:
    """Return what sorts tracklets by their end, the same way in every gallery."""
    return entry.last_s, entry.first_s, entry.camera, entry.track, entry.number
