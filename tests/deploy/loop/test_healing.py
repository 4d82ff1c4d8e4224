from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest

from deploy.loop.healing import MOST_WAIT_S, Healing


@dataclass
class Part:
    failing: bool = False
    asked: int = 0
    closed: int = 0

    def answer(self) -> int:
        self.asked += 1
        if self.failing:
            raise RuntimeError("device lost\nat some place")
        return 7

    def close(self) -> None:
        self.closed += 1


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_failure_costs_an_answer_and_is_told_once() -> None:
    part, clock = Part(failing=True), Clock()
    healing = Healing("engine", part, clock)
    assert [healing.ask(Part.answer) for _ in range(3)] == [None, None, None]
    assert healing.take_changes() == [("device lost", False)]
    assert (healing.failures, healing.reason) == (3, "device lost")


def test_it_works_again_by_itself() -> None:
    part, clock = Part(failing=True), Clock()
    healing = Healing("engine", part, clock)
    healing.ask(Part.answer)
    part.failing = False
    assert healing.ask(Part.answer) == 7
    assert healing.take_changes() == [("device lost", False), ("device lost", True)]
    assert not healing.reason


def test_a_part_that_keeps_failing_rests_and_is_opened_anew() -> None:
    parts = [Part(failing=True), Part(failing=True), Part()]
    opened = iter(parts[1:])
    clock = Clock()
    healing = Healing("engine", parts[0], clock, lambda: next(opened))
    answers: list[int | None] = []
    for tenth in range(200):
        clock.now_s = tenth / 10
        answers.append(healing.ask(Part.answer))
    assert parts[0].asked == 3
    assert parts[0].closed == parts[1].closed == 1
    assert parts[1].asked == 1
    assert answers[-1] == 7


def test_rests_grow_but_not_for_ever() -> None:
    part, clock = Part(failing=True), Clock()
    healing = Healing("engine", part, clock)
    asked_s: list[float] = []
    for second in range(1000):
        clock.now_s = float(second)
        before = part.asked
        healing.ask(Part.answer)
        if part.asked > before:
            asked_s.append(clock.now_s)
    gaps = [b - a for a, b in itertools.pairwise(asked_s)]
    assert gaps[2:7] == [2, 4, 8, 16, 32]
    assert gaps[-1] == MOST_WAIT_S


def test_a_part_that_cannot_be_opened_is_tried_again() -> None:
    tries = 0

    def open_again() -> Part:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise OSError("no device")
        return Part()

    clock = Clock()
    healing = Healing("detector", Part(failing=True), clock, open_again)
    last: int | None = None
    for second in range(60):
        clock.now_s = float(second)
        last = healing.ask(Part.answer)
    assert (tries, last) == (3, 7)


def test_an_interrupt_is_no_failure() -> None:
    healing = Healing("engine", Part(), Clock())

    def interrupt(part: Part) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        healing.ask(interrupt)
