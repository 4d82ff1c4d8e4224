from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import pytest

from deploy.loop.load import HIGHEST, MEANINGS, LoadGovernor


@dataclass
class Loop:
    """A loop with two live cameras at 20 frames a second, of which every round takes what the work allows."""

    governor: LoadGovernor = field(default_factory=LoadGovernor)
    time_s: float = 0.0
    levels: list[tuple[float, int]] = field(default_factory=list)

    def run(self, seconds: float, cost_ms: tuple[float, ...]) -> None:
        """cost_ms: of a round at each level."""
        end_s = self.time_s + seconds
        while self.time_s < end_s:
            busy_s = cost_ms[self.governor.level] / 1000
            round_s = max(busy_s, 0.05)
            came = round(2 * round_s / 0.05)
            self.time_s += round_s
            changed = self.governor.note(
                self.time_s, taken=2, dropped=max(0, came - 2), waited_s=max(0.0, round_s - busy_s)
            )
            if changed:
                self.levels.append((self.time_s, self.governor.level))


def test_nothing_is_left_out_where_the_loop_keeps_up() -> None:
    loop = Loop()
    loop.run(60, (45,) * 4)
    assert loop.levels == []


def test_levels_rise_in_the_written_order_until_the_load_fits() -> None:
    loop = Loop()
    loop.run(30, (200, 150, 45, 20))
    assert [level for _, level in loop.levels] == [1, 2]
    assert loop.levels[-1][0] < 10


def test_the_last_level_is_the_highest() -> None:
    loop = Loop()
    loop.run(60, (400,) * 4)
    assert loop.governor.level == HIGHEST == len(MEANINGS) - 1


def test_a_rush_that_is_over_is_forgotten_level_by_level() -> None:
    loop = Loop()
    loop.run(20, (400,) * 4)
    loop.run(60, (20,) * 4)
    assert [level for _, level in loop.levels] == [1, 2, 3, 2, 1, 0]


def test_a_level_that_is_left_too_early_is_held_longer_each_time() -> None:
    loop = Loop()
    loop.run(600, (120, 25, 20, 20))  # level 0 never fits, level 1 idles half of the time
    falls = [time_s for time_s, level in loop.levels if level == 0]
    gaps = [b - a for a, b in itertools.pairwise(falls)]
    assert gaps
    assert gaps == sorted(gaps)
    assert gaps[-1] > 3 * gaps[0]


def test_little_idleness_keeps_the_level() -> None:
    loop = Loop()
    loop.run(20, (120, 40, 20, 20))
    loop.run(60, (120, 40, 20, 20))
    assert [level for _, level in loop.levels] == [1]


@pytest.mark.parametrize(
    ("level", "detected", "taken", "stretch"), [(0, 4, 4, 1), (1, 4, 4, 3), (2, 2, 4, 3), (3, 2, 2, 3)]
)
def test_what_each_level_leaves_out(level: int, detected: int, taken: int, stretch: int) -> None:
    governor = LoadGovernor(level=level)
    assert sum(governor.detects(number) for number in range(4)) == detected
    assert sum(governor.takes(number) for number in range(4)) == taken
    assert governor.crop_stretch == stretch
