"""Which pictures wait for the consumer, and which are not worth decoding."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from deploy.cameras.frame_slot import QUEUE_FRAMES, FrameSlot
from deploy.cameras.frames import Frame


def frame(index: int) -> Frame:
    return Frame(image_HWC=np.zeros((1, 1, 3), np.uint8), time_s=0.0, index=index, camera="door", modality="visible")


def test_a_live_slot_holds_the_newest() -> None:
    slot = FrameSlot()
    for index in range(3):
        slot.put(frame(index), live=True)
    taken = slot.take(0.0)
    assert taken is not None
    assert (taken.index, slot.dropped, slot.take(0.0)) == (2, 2, None)


def test_a_recordings_queue_is_full_after_four() -> None:
    slot = FrameSlot()
    for index in range(QUEUE_FRAMES):
        assert not slot.full
        slot.put(frame(index), live=False)
    assert (slot.full, slot.dropped) == (True, 0)
    assert [taken.index for _ in range(QUEUE_FRAMES) if (taken := slot.take(0.0)) is not None] == [0, 1, 2, 3]


def test_everything_is_decoded_before_the_consumer_is_known() -> None:
    slot = FrameSlot()
    for number in range(5):
        slot.grabbed(number / 25)
        assert not slot.in_vain(number / 25)


@dataclass
class Watching:
    """What a consumer saw, and how many pictures were decoded for it."""

    taken: list[tuple[float, int]] = field(default_factory=list)
    decoded: int = 0


def watch(grabs_s: list[float], rounds_s: list[float], *, sparing: bool) -> Watching:
    """Play a camera and a consumer that works for rounds_s after each frame; decoding takes no time."""
    slot, seen = FrameSlot(), Watching()
    rounds = iter(rounds_s)
    free_s: float | None = 0.0
    for index, now_s in enumerate(grabs_s):
        while free_s is not None and free_s <= now_s:
            slot.asked(free_s)
            taken = slot.take(free_s)
            if taken is None:
                break
            seen.taken.append((free_s, taken.index))
            free_s = free_s + step if (step := next(rounds, None)) is not None else None
        slot.grabbed(now_s)
        if sparing and slot.in_vain(now_s):
            continue
        seen.decoded += 1
        slot.put(frame(index), live=True)
        if free_s is not None and free_s <= now_s:
            free_s = now_s  # the consumer waited for it
    return seen


@pytest.mark.parametrize("round_s", [0.01, 0.039, 0.041, 0.1, 0.37])
def test_sparing_costs_the_consumer_nothing(round_s: float) -> None:
    """With steady rates the same frames are taken at the same times as if every picture were decoded."""
    grabs_s = [index * 0.04 for index in range(300)]
    plain = watch(grabs_s, [round_s] * 1000, sparing=False)
    spared = watch(grabs_s, [round_s] * 1000, sparing=True)
    assert spared.taken == plain.taken
    assert plain.decoded == 300


@pytest.mark.parametrize(("round_s", "most"), [(0.1, 240), (0.37, 75), (1.0, 45)])
def test_a_slow_consumer_spares_most_of_the_decoding(round_s: float, most: int) -> None:
    """By hand: of 25 pictures a second a round of 0.37 s leaves those that come in its last 0.052 s: 1 or 2 of 9.25."""
    spared = watch([index * 0.04 for index in range(300)], [round_s] * 1000, sparing=True)
    assert len(spared.taken) <= spared.decoded <= most


def test_uneven_pictures_and_rounds_cost_at_most_a_late_frame_now_and_then() -> None:
    rng = np.random.default_rng(4)
    grabs_s = np.cumsum(rng.uniform(0.02, 0.06, 2000)).tolist()
    rounds_s = rng.uniform(0.08, 0.2, 3000).tolist()
    plain = watch(grabs_s, rounds_s, sparing=False)
    spared = watch(grabs_s, rounds_s, sparing=True)
    assert len(spared.taken) >= 0.98 * len(plain.taken)
    age_s = [time_s - grabs_s[index] for time_s, index in spared.taken]
    assert max(age_s) <= max(time_s - grabs_s[index] for time_s, index in plain.taken) + 0.06
    assert spared.decoded < 0.85 * plain.decoded
